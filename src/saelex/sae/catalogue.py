"""The published suites of SAEs on residual streams: short names, where their files lie, what they read.

`catalogue.yaml` beside this file holds them as patterns and small tables, and says where its facts are from. It is read
when somebody asks, and only names are handled here: no weights, no network, no torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from saelex.errors import InputError, MismatchError
from saelex.sae.config import SaeConfig, is_neuronpedia_id
from saelex.sae.memory import DTYPE_BYTES, BaseModel, head_bytes

WIDTHS: Mapping[str, int] = {
    "16k": 16_384,
    "25k": 24_576,
    "32k": 32_768,
    "64k": 65_536,
    "65k": 65_536,
    "80k": 81_920,
    "128k": 131_072,
    "131k": 131_072,
    "262k": 262_144,
    "524k": 524_288,
    "1m": 1_048_576,
}
"""Latents, by how the suites' publishers write them."""

USUAL_L0 = 100
"""Without a canonical variant, the one whose mean L0 is nearest to this stands for its layer and width."""


@dataclass(frozen=True)
class Suite:
    """SAEs of one publisher on one language model, in one repository or several of one pattern.

    name: what their ids begin with. model: the language model. repo, path: hub id and the SAE's place in it, templates.
    format: the layout, as `SparseAutoencoder.load` calls it. gate: relu, jumprelu, topk or batch_topk.
    saes: layers, widths and variants there are; `catalogue.yaml` explains it, and the placeholders of templates.
    id: template of the short name. file: weights within path; empty where path is the file itself.
    dtype: of the stored weights. scale: which states the SAE takes. licence: of the SAE. l0: mean L0 of named variants.
    neuronpedia, neuronpedia_other: ids of the pages of the canonical variants, and of the others.
    saelens, saelens_default: SAELens's "release/id" of the same SAEs, and of the canonical variants.
    """

    name: str
    model: BaseModel
    repo: str
    path: str
    format: str
    gate: str
    saes: str
    id: str = "{name}/{layer}/{width}/{variant}"
    file: str = ""
    dtype: str | None = None
    scale: str = ""
    licence: str | None = None
    note: str = ""
    l0: Mapping[str, str | float] | None = None
    neuronpedia: str | None = None
    neuronpedia_other: str | None = None
    saelens: str | None = None
    saelens_default: str | None = None

    def entries(self) -> Iterator[CatalogueEntry]:
        """Every SAE of the suite, in the order of `saes`."""
        for line in self.saes.splitlines():
            places, variants = line.split(":")
            layers, widths = places.split("/")
            for layer in _numbers(layers):
                for width in widths.split():
                    yield from self._variants(layer, width, variants.split())

    def may_have(self, name: str) -> bool:
        """Whether a name begins like one of the suite's; spares going through all the SAEs of the others."""
        templates = (self.id, self.repo, self.saelens, self.saelens_default)
        return any(name.startswith(known.replace("{name}", self.name).split("{")[0]) for known in templates if known)

    def _variants(self, layer: int, width: str, variants: list[str]) -> Iterator[CatalogueEntry]:
        """The SAEs of one layer and width; exactly one of them is the default."""
        found = [
            CatalogueEntry(self, layer, width, variant.rstrip("*+"), "*" in variant, "+" in variant)
            for variant in variants
        ]
        if not any(entry.default for entry in found):
            nearest = min(found, key=lambda entry: abs((entry.l0 or 0) - USUAL_L0))
            found = [replace(entry, default=entry is nearest) for entry in found]
        yield from found


@dataclass(frozen=True)
class CatalogueEntry:
    """One published SAE.

    layer: the block, from 0, whose output it reads. width: its number of latents as the suite writes it. variant: what
    else tells it from its siblings, mostly the mean L0. default: whether it is meant when no variant is named.
    has_page: whether Neuronpedia shows its latents.
    """

    suite: Suite
    layer: int
    width: str
    variant: str
    default: bool
    has_page: bool

    @property
    def id(self) -> str:
        """Its short name."""
        return self._filled(self.suite.id)

    @property
    def repo(self) -> str:
        """Hub id of the repository."""
        return self._filled(self.suite.repo)

    @property
    def path_in_repo(self) -> str:
        """Its folder in the repository, or its file where several SAEs share a folder."""
        return self._filled(self.suite.path)

    @property
    def file(self) -> str:
        """The file of its weights in the repository."""
        return f"{self.path_in_repo}/{self.suite.file}" if self.suite.file else self.path_in_repo

    @property
    def model(self) -> BaseModel:
        """The language model it was trained on."""
        return self.suite.model

    @property
    def hook_name(self) -> str:
        """The states it reads, as TransformerLens names them; Hugging Face's `hidden_states[layer + 1]`."""
        return f"blocks.{self.layer}.hook_resid_post"

    @property
    def d_model(self) -> int:
        return self.model.d_model

    @property
    def n_latents(self) -> int:
        return WIDTHS[self.width]

    @property
    def l0(self) -> float | None:
        """Mean number of active latents per token (k, for TopK); None where it is not known."""
        if self.variant.isdigit():
            return int(self.variant)
        value = (self.suite.l0 or {}).get(self.variant)
        if not isinstance(value, str):
            return value
        low, high = map(int, value.split("-"))
        return low + int((high - low) * min(3 * self.layer, self.model.blocks) / self.model.blocks)

    @property
    def neuronpedia(self) -> str | None:
        """Neuronpedia's "model/source", to which "/index" is added for a latent's page; None where there is none."""
        template = self.suite.neuronpedia if self.default else self.suite.neuronpedia_other
        return self._filled(template) if self.has_page and template else None

    @property
    def file_bytes(self) -> int | None:
        """Size of the weights' file, but for its header; None where its dtype is not known.

        Some of Gemma Scope's files are compressed, and smaller.
        """
        if self.suite.dtype is None:
            return None
        numbers = 2 * self.d_model * self.n_latents + self.d_model + self.n_latents
        if self.suite.gate == "jumprelu" and self.suite.format != "llama_scope":  # which has one threshold for all
            numbers += self.n_latents
        return numbers * DTYPE_BYTES[self.suite.dtype]

    def head_bytes(self, dtype: str) -> int:
        """Memory as a head, its weight in float32, bfloat16 or float16."""
        return head_bytes(self.d_model, self.n_latents, self.suite.gate, dtype)

    def backbone_bytes(self, dtype: str) -> int | None:
        """Memory of the language model's part that is run, up to `layer`; None for types whose size is not known."""
        parameters = self.model.parameters(self.layer)
        return None if parameters is None else parameters * DTYPE_BYTES[dtype]

    def total_bytes(self, dtype: str) -> int | None:
        """Head and backbone together, before any text: activations come on top. None as `backbone_bytes`."""
        backbone = self.backbone_bytes(dtype)
        return None if backbone is None else backbone + self.head_bytes(dtype)

    def fits(self, size: int) -> bool:
        """Whether head and backbone take at most `size` bytes in bfloat16; not, where the backbone's is not known."""
        total = self.total_bytes("bfloat16")
        return total is not None and total <= size

    def spellings(self) -> Iterator[str]:
        """All names that `find` takes for it: the id, without the variant, SAELens's, and hub id with path."""
        suite = self.suite
        yield self.id
        if self.default and self.id.endswith(f"/{self.variant}"):
            yield self.id.removesuffix(f"/{self.variant}")
        if suite.saelens:
            yield self._filled(suite.saelens)
        if suite.saelens_default and self.default:
            yield self._filled(suite.saelens_default)
        yield f"{self.repo}/{self.path_in_repo}"
        if suite.file:
            yield f"{self.repo}/{self.file}"

    def completed(self, config: SaeConfig) -> SaeConfig:
        """A loaded SAE's configuration, with model, layer and Neuronpedia's id where its file says nothing of them.

        Raises MismatchError where the file says something else than the catalogue: it is another SAE.
        """
        for what, own, known in (
            ("d_model", config.d_model, self.d_model),
            ("n_latents", config.n_latents, self.n_latents),
            ("layer", config.layer, self.layer),
        ):
            if own is not None and own != known:
                raise MismatchError(f"{config.source}: {what} is {own}, but {self.id} has {known}: another SAE")
        if config.layer is None and config.hook_name is not None:
            raise MismatchError(
                f"{config.source}: reads {config.hook_name}, but {self.id} {self.hook_name}: another SAE"
            )
        if config.model_name is not None and not self.model.is_called(config.model_name):
            raise MismatchError(
                f"{config.source}: was trained on {config.model_name}, but {self.id} on {self.model.name}: another SAE"
            )
        told = {} if config.neuronpedia or not self.neuronpedia else {"neuronpedia_id": self.neuronpedia}
        return replace(
            config,
            model_name=self.model.name,
            layer=self.layer,
            hook_name=config.hook_name or self.hook_name,
            metadata={**config.metadata, **told},
        )

    def _filled(self, template: str) -> str:
        return template.format(
            name=self.suite.name,
            layer=self.layer,
            next=self.layer + 1,
            width=self.width,
            WIDTH=self.width.upper(),
            variant=self.variant,
        )


@cache
def models() -> dict[str, BaseModel]:
    """The language models of all suites, by hub id."""
    known = {}
    for name, values in _data()["models"].items():
        known[name] = BaseModel(name, **{**values, "names": tuple(values.get("names", ()))})
    return known


@cache
def suites() -> tuple[Suite, ...]:
    """Every suite of the catalogue."""
    known, allowed = models(), {field.name for field in fields(Suite)}
    made = []
    for values in _data()["suites"]:
        if unknown := values.keys() - allowed:
            raise ValueError(f"catalogue.yaml: {values['name']} has the unknown field {min(unknown)}")
        made.append(Suite(**{**values, "model": known[values["model"]]}))
    return tuple(made)


def find(name: str) -> CatalogueEntry:
    """The SAE of a name: a short name such as "gemma-scope/2b/16/65k/128", or another of its `spellings`.

    Without its last part a short name means the variant of that layer and width that the publisher or SAELens calls
    canonical, or that with a mean L0 nearest to 100. Raises InputError naming similar ones.
    """
    entry = _lookup(name)
    if entry is None:
        raise InputError(f"{name}: no SAE of the catalogue; {_advice(name)}")
    return entry


def resolve(source: str | Path, path_in_repo: str | None = None) -> CatalogueEntry | None:
    """The SAE that `SparseAutoencoder.load` is asked for, or None where the catalogue does not know it.

    Raises InputError for the hub id of several known SAEs, and for a name that begins like the catalogue's own and goes
    on like none of them, since no hub id does.
    """
    name = f"{source}/{path_in_repo}" if path_in_repo else str(source)
    if (entry := _lookup(name)) is not None:
        return entry
    if in_repo := [
        entry for suite in suites() if suite.may_have(name) for entry in suite.entries() if entry.repo == name
    ]:
        if len(in_repo) > 1:
            raise InputError(f"{name} holds {len(in_repo)} SAEs that are known; name one, such as {in_repo[0].id}")
        return in_repo[0]
    return find(name) if name.split("/")[0] in {suite.name.split("/")[0] for suite in suites()} else None


def neuronpedia_of(description: Mapping[str, Any]) -> str | None:
    """Neuronpedia's "model/source" of the latents of an encoder, by what its description tells; None: unknown.

    `neuronpedia`, where it is told (None after the latents were trained), else the id of the SAE `sae`.
    """
    if "neuronpedia" in description:
        told = description["neuronpedia"]
        return str(told) if is_neuronpedia_id(told) else None
    name = description.get("sae")
    entry = _lookup(name) if isinstance(name, str) else None
    return None if entry is None else entry.neuronpedia


def search(model: str | None = None, layer: int | None = None) -> list[CatalogueEntry]:
    """The SAEs on a model, at a layer; all where neither is given.

    model: part of its hub id, in any case. Raises InputError where nothing fits, naming what there is.
    """
    wanted = (model or "").lower()
    chosen = [suite for suite in suites() if wanted in suite.model.name.lower()]
    if not chosen:
        raise InputError(f"no SAE of the catalogue is on {model!r}; it knows {', '.join(models())}")
    found = [entry for suite in chosen for entry in suite.entries()]
    at_layer = [entry for entry in found if layer in (None, entry.layer)]
    if not at_layer:
        layers = sorted({entry.layer for entry in found})
        raise InputError(f"no SAE of the catalogue is there for layer {layer}, only for {', '.join(map(str, layers))}")
    return at_layer


def _lookup(name: str) -> CatalogueEntry | None:
    name = name.strip("/")
    for suite in suites():
        if suite.may_have(name):
            for entry in suite.entries():
                if name in entry.spellings():
                    return entry
    return None


def _advice(name: str) -> str:
    near = [suite for suite in suites() if suite.may_have(name)] or suites()
    known = [entry.id for suite in near for entry in suite.entries()]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {', '.join(nearest)}?" if nearest else "`saelex sae list` shows what it knows"


@cache
def _data() -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, several times as fast, where it is there
    data: dict[str, Any] = yaml.load(Path(__file__).with_name("catalogue.yaml").read_bytes(), loader)
    return data


def _numbers(text: str) -> Iterator[int]:
    """ "0-3 7" -> 0, 1, 2, 3, 7."""
    for part in text.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
