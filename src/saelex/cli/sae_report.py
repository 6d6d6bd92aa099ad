"""`saelex sae report`, `export` and `push`: measure an SAE, write it for others, share it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from saelex.cli.options import check_models, check_saes
from saelex.files import expanded

if TYPE_CHECKING:
    from saelex.sae.autoencoder import SparseAutoencoder
    from saelex.training.text_settings import TokenStates

_READING = ("prompt", "max_length", "mask_special_tokens", "sink_norm", "dtype")  # what decides a text's states

Source = Annotated[
    str, typer.Argument(metavar="SAE", help="Folder, name from `saelex sae list`, or hub id with the path after it.")
]
Licence = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Licence for the card, such as apache-2.0; a catalogue's SAE has its own."),
]


def report(
    source: Source,
    texts: Annotated[
        list[str], typer.Option("--texts", "-t", metavar="CORPUS", help="BEIR folder, JSONL or TSV; may be repeated.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="runs/<SAE>-report if not given.")
    ] = None,
    against: Annotated[
        list[str], typer.Option("--against", metavar="SAE", help="Another SAE on the same states; may be repeated.")
    ] = [],  # noqa: B006
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="BACKBONE", help="Folder or hub id; the SAE's own by default."),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Block, from 0, where the SAE does not say.")] = None,
    max_texts: Annotated[int, typer.Option(help="Texts to read at most.")] = 2000,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a text, special ones counted; as in training, or 256.")
    ] = None,
    bidirectional: Annotated[
        bool | None, typer.Option(help="Whether a decoder sees both sides; as in training, or causal.")
    ] = None,
    ablation: Annotated[
        Literal["zero", "mean"], typer.Option(help="What the loss recovered is compared with.")
    ] = "zero",
    loss: Annotated[bool, typer.Option(help="Measure the loss recovered, if the backbone predicts words.")] = True,
    device: Annotated[str, typer.Option(help="Where backbone and SAE run.")] = "cpu",
) -> None:
    """Measure an SAE on texts and write a page with plots, and the same as JSON.

    FVU, cosine, L0, dead and dense latents, the strongest contexts of some latents, and how much of the language
    model's loss is kept when the reconstructions take the place of the states.
    """
    check_saes([source, *against])
    check_models([model] if model else [])
    from saelex.evaluation.sae_report import PAGE, ReportSettings, check_target, report_saes
    from saelex.evaluation.sae_report.backbone import backbone_of
    from saelex.training.text_reading import read_texts
    from saelex.training.text_settings import TextData

    folder = output or Path("runs") / f"{_slug(source)}-report"
    check_target(folder)
    saes = [_load(name, device) for name in (source, *against)]
    states = _states(saes[0], max_length, device)
    found = report_saes(
        saes,
        backbone_of(saes[0], states, model=model, layer=layer, bidirectional=bidirectional),
        lambda: read_texts(TextData(texts, max_texts=max_texts)),
        folder,
        ReportSettings(states=states, loss=loss, ablation=ablation),
        corpora=texts,
        command=f"saelex {shlex.join(sys.argv[1:])}",
        progress=True,
    )
    for sae in found["saes"]:
        typer.echo(_line(sae))
    if loss and found["no_loss"]:
        typer.echo(f"no loss recovered: {found['no_loss']}")
    typer.echo(folder / PAGE)


def export(
    source: Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made, or taken from an older export.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Of the weights; the source's by default."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="ID", help="What the card calls it, such as the hub id it will have.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--report", metavar="FOLDER", help="A report whose figures go into the card.")
    ] = None,
    licence: Licence = None,
) -> None:
    """Write an SAE of any format in SAELens' layout, with a model card."""
    check_saes([source])
    from saelex.sae.hub import check_export, export_sae
    from saelex.sae.model_card import known_metrics

    check_export(folder)
    sae = _load(source, "cpu", dtype)
    metrics = known_metrics(figures or source)
    export_sae(sae.parts, folder, name=name, metrics=metrics, licence=licence or _licence(source))
    typer.echo(f"{folder}: {sae.config.n_latents:,} latents, {str(sae.W_enc.dtype).removeprefix('torch.')}")


def push(
    source: Source,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="Hub id, owner/name; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    licence: Licence = None,
) -> None:
    """Upload an SAE to the Hugging Face hub, in SAELens' layout; a README.md in its folder goes along as it is.

    The token is that of `hf auth login`, or HF_TOKEN.
    """
    check_saes([source])
    from saelex.sae.hub import CARD, push_sae
    from saelex.sae.model_card import known_metrics

    sae = _load(source, "cpu")
    card = expanded(source) / CARD
    address = push_sae(
        sae.parts,
        repo,
        private=private,
        card=card.read_text(encoding="utf-8") if card.is_file() else None,
        metrics=known_metrics(source),
        licence=licence or _licence(source),
    )
    typer.echo(address)


def _load(source: str, device: str, dtype: str | None = None) -> SparseAutoencoder:
    from saelex.sae.autoencoder import SparseAutoencoder

    return SparseAutoencoder.load(source, device=device, dtype=dtype)


def _states(sae: SparseAutoencoder, max_length: int | None, device: str) -> TokenStates:
    """Texts are read as they were in training, where the SAE records it."""
    from saelex.training.text_settings import TokenStates

    recorded: dict[str, Any] = sae.config.metadata.get("states") or {}
    values = {name: recorded[name] for name in _READING if name in recorded}
    if max_length is not None:
        values["max_length"] = max_length
    return TokenStates(**values, device=device)


def _licence(source: str) -> str | None:
    """A published SAE's own, as the catalogue has it."""
    from saelex.sae.catalogue import resolve

    entry = None if expanded(source).exists() else resolve(source)
    return None if entry is None else entry.suite.licence


def _slug(source: str) -> str:
    """A name for a folder: of a folder its own, of anything else all of it."""
    path = expanded(source)
    return path.resolve().name if path.exists() else source.strip("/").replace("/", "-")


def _line(sae: dict[str, Any]) -> str:
    metrics, loss = sae["metrics"], sae["loss"]
    recovered = "" if loss is None else f", loss recovered {loss['recovered']:.4f} ({loss['objective']})"
    return (
        f"{sae['name']}: FVU {metrics['fvu']:.4f}, cosine {metrics['cosine']:.4f}, L0 {metrics['l0']:.1f}, "
        f"dead {100 * metrics['dead_share']:.2f} %, dense {100 * metrics['dense_share']:.2f} %{recovered}"
    )
