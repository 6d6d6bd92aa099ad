"""What mteb wants to know of a model, from the encoder itself and from what its folder tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from torch import from_numpy, nn

from saelex.encoder.encoder import Encoder
from saelex.encoder.files.folder import EMBEDDED
from saelex.errors import InputError
from saelex.installation import needs_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from mteb.models.model_meta import ModelMeta

_ORGANISATION = "saelex"  # of models that are not on the hub: mteb's names have one


def describe(
    encoder: Encoder, *, name: str | None = None, words: bool | str = True, loader: Callable[..., Any] | None = None
) -> ModelMeta:
    """An encoder as an `mteb.models.ModelMeta`.

    name, words: as in `SaelexSearch`. loader: makes the searching model again, of name, revision, `loader_kwargs` (the
    encoder's source) and `experiment_kwargs`.

    The revision is the encoder's fingerprint. What changes results beside it (Top-K, words and their scale, precision)
    is in `experiment_kwargs`, since mteb takes results of equal name, revision and experiment from its cache.
    Languages and licence are those of the encoder's description; None where it says nothing of them.

    `training_datasets` are the description's `datasets` where mteb has tasks of all these names, else None, which mteb
    reads as unknown: what it has no task for would pass for never seen, and the model for zero-shot everywhere. What
    training here records (`training_data`) is prose for the model card, and stays out of it.

    Raises InputError where mteb is not installed, or for a name without an organisation.
    """
    try:
        from mteb.models.model_meta import ModelMeta
    except ImportError as error:
        raise needs_extra("mteb's protocol (Python 3.11 up)", "mteb>=2", "mteb") from error
    named = name or _name(encoder)
    if "/" not in named:
        raise InputError(f"mteb: a model's name is organisation/model, not {named!r}; put an organisation before it")
    told, settings = encoder.description, encoder.settings
    limit = encoder.tokenizer.limit
    return ModelMeta(
        loader=loader,
        loader_kwargs={"source": encoder.name},
        name=named,
        revision=encoder.fingerprint,
        release_date=None,
        languages=_languages(told.get("language")),
        **_sizes(encoder),
        max_tokens=min(limit, settings.max_document_length or limit),
        embed_dim=encoder.n_latents,
        license=_licence(told.get("licence")),
        open_weights=True if told.get("licence") else None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        reference=f"https://huggingface.co/{encoder.name}" if _from_hub(encoder) else None,
        similarity_fn_name="dot",
        use_instructions=bool(settings.query_prompt or settings.document_prompt),
        training_datasets=_training_tasks(told.get("datasets")),
        adapted_from=encoder.backbone.base_model if _is_hub_id(encoder.backbone.base_model) else None,
        modalities=["text"],
        model_type=["sparse"],
        experiment_kwargs=_experiment(encoder, words),
    )


def _experiment(encoder: Encoder, words: bool | str) -> dict[str, Any]:
    """All that changes what is found, and that the fingerprint leaves out; arguments of `load_search`."""
    settings = encoder.settings
    return {
        "query_top_k": settings.query_top_k,
        "document_top_k": settings.document_top_k,
        "words": words,
        **({"word_scale": settings.word_scale} if words else {}),
        "dtype": str(encoder.backbone.dtype).removeprefix("torch."),
    }


def _name(encoder: Encoder) -> str:
    if _from_hub(encoder):
        return encoder.name
    own = encoder.name if encoder.name in EMBEDDED else Path(encoder.name).expanduser().resolve().name
    return f"{_ORGANISATION}/{own}"


def _from_hub(encoder: Encoder) -> bool:
    """Whether the encoder itself was loaded from the hub; one made in memory goes by the name of its backbone."""
    return _is_hub_id(encoder.name) and encoder.name != encoder.backbone.model_id


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _sizes(encoder: Encoder) -> dict[str, Any]:
    # of one list: tied weights, as those of a vocabulary head, count once
    parameters = list(nn.ModuleList([encoder.backbone, encoder.head]).parameters())
    if encoder.token_weights is not None:
        parameters.append(nn.Parameter(from_numpy(encoder.token_weights.weight), requires_grad=False))
    tables = [one.weight.numel() for one in encoder.backbone.modules() if isinstance(one, nn.Embedding)]
    return {
        "n_parameters": sum(values.numel() for values in parameters),
        "n_embedding_parameters": max(tables, default=None),  # the tokens' table is the largest
        "memory_usage_mb": sum(values.numel() * values.element_size() for values in parameters) / 2**20,
    }


def _training_tasks(told: Any) -> set[str] | None:
    """Data sets that the model has seen, if they are all tasks of mteb."""
    from mteb import get_task

    names = {told} if isinstance(told, str) else set(told or ())
    try:
        for name in names:
            get_task(name)
    except KeyError:
        return None
    return names or None


def _licence(told: Any) -> str | None:
    """As mteb spells it; None where it has no name for it and it is no address."""
    from mteb.types import Licenses

    licence = str(told or "").lower()
    return licence if licence in get_args(Licenses) or licence.startswith(("http://", "https://")) else None


def _languages(told: Any) -> list[str] | None:
    """A model card's codes ("en", "deu") as mteb's ("eng-Latn"); None where there are none that mteb knows."""
    try:
        from mteb.languages.iso_mappings import _hf_langs_to_iso_lang_scripts
    except ImportError:  # it is mteb's own affair and may move
        return None
    found: list[str] | None = _hf_langs_to_iso_lang_scripts(told or None)
    return found
