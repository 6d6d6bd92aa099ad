"""What a model folder may contain, layout by layout: no file that changes vectors is passed over in silence.

A file that a layout reads, and one that never matters, pass. One that is known to change the model and is not read is
an error; any other settings or weights are warned of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from saelex.errors import InputError
from saelex.reading.regular import is_folder

logger = logging.getLogger(__name__)

SENTENCE_TRANSFORMERS_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names of the file with a language model's lengths, in the order in which sentence-transformers looks for them."""

_LANGUAGE_MODEL = (
    "config.json",
    "model.safetensors", "model-*.safetensors", "model.safetensors.index.json",
    "pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json",
    "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin",
)  # fmt: skip
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "*.model", "chat_template.jinja",
)  # fmt: skip
_MODULES = ("modules.json", "config_sentence_transformers.json", "router_config.json", *SENTENCE_TRANSFORMERS_CONFIGS)
_STATIC = ("config.json", "model.safetensors", "pytorch_model.bin", "idf.json", *_TOKENIZER)
_SAELEX = (
    "saelex_config.json", "head.safetensors", "adapter.safetensors", "probes.safetensors", "weighting.safetensors",
    "token_weights.safetensors", "labels.json", "modules.json", "config_sentence_transformers.json",
)  # fmt: skip

READ: Mapping[str, tuple[str, ...]] = {
    "masked language model": (*_LANGUAGE_MODEL, *_TOKENIZER, "idf.json"),
    "SparseEncoder": (*_LANGUAGE_MODEL, *_TOKENIZER, *_MODULES, "idf.json"),
    "SparseStaticEmbedding": _STATIC,
    "SpladePooling": ("config.json",),
    "saelex encoder": _SAELEX,
    "saelex backbone": ("config.json", "model.safetensors", *_TOKENIZER),
}
"""Patterns of the files that decide a model, by layout."""

WITHOUT_EFFECT = (
    "generation_config.json", "data_config.json", "*results*.json", "trainer_state.json", "training_args.bin",
    "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth", "tf_model.h5",
)  # fmt: skip
"""Files of any layout that change no vector: training's leftovers, the same weights for other frameworks."""

REFUSED: Mapping[str, str] = {
    "quantize_config.json": "quantised weights; give the original checkpoint",
    "quant_config.json": "quantised weights; give the original checkpoint",
    "hf_quant_config.json": "quantised weights; give the original checkpoint",
}
_REFUSED_IN_OUR_OWN: Mapping[str, str] = dict.fromkeys(
    ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"),
    "a peft adapter, which a saelex model does not read; merge it before the model is saved",
)

# A file of another kind (text, picture, code, another engine's model) changes nothing.
_KINDS = (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".npy", ".pkl", ".h5", ".model")


def check_files(folder: Path, layout: str, modules: Iterable[Path] = ()) -> None:
    """Raises InputError for a file that changes the model and is not read; logs a warning for one that might.

    layout: a key of READ. modules: the folders of its modules that are read, too.
    """
    if not is_folder(folder):
        raise InputError(f"{folder}: there is no such folder of a {layout}; fetch the model again")
    refused = {**REFUSED, **(_REFUSED_IN_OUR_OWN if layout.startswith("saelex") else {})}
    read = {path.resolve() for path in modules}
    for path in sorted(folder.iterdir()):
        if path.name in refused:
            raise InputError(f"{path}: {refused[path.name]}")
        if path.is_dir():
            if path.name[0].isdigit() and path.resolve() not in read:
                logger.warning("%s looks like a module of the model, but nothing names it: it is not read", path)
        elif path.suffix in _KINDS and not _matches(path.name, (*READ[layout], *WITHOUT_EFFECT)):
            logger.warning("%s is no file of a %s: it is not read and changes no vector here", path, layout)
    if (folder / "adapter_model.safetensors").is_file() and not (folder / "adapter_config.json").is_file():
        logger.warning("%s: adapter weights without adapter_config.json are not read", folder)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
