"""A published model's files: config, tokenizer and weights, in a folder or on the Hugging Face hub.

Only what is asked for is read, and from the hub only what is asked for is fetched: a backbone that is cut at block 6 of
32 does not download the shards of the other 25.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from saelex.errors import InputError, MismatchError
from saelex.files import local_or_name, sha256_of
from saelex.hub import asking_hub
from saelex.loading import Loading
from saelex.reading.json_object import JsonObject, read_json
from saelex.reading.regular import file_within, is_folder, is_listed
from saelex.reading.tensors import SafetensorsFile, check_weights, read_pt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Looked for in this order; an index names the file of every tensor of a sharded checkpoint.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


class Checkpoint:
    """One model's files. `model` is a folder or a hub id; of `loading`, its revision and token matter, on the hub only.

    config_name: the file with the settings. Raises InputError where there is no such model or file, or no access to it.
    """

    def __init__(self, model: str | Path, loading: Loading | None = None, *, config_name: str = "config.json") -> None:
        self.model_id = local_or_name(model)
        self.loading = loading or Loading()
        self._local = is_folder(self.model_id)
        if not self._local and (isinstance(model, Path) or self.model_id.startswith((".", "/", "~"))):
            raise InputError(f"no model folder {model}; give a folder that holds {config_name}, or a hub id")
        config = self.file(config_name)
        if config is None:
            raise InputError(f"{model} holds no {config_name}; give the folder or hub id of a Hugging Face model")
        self.folder = config.parent
        if not self._local:
            # the commit that the revision stood for, so that later files belong to it
            self.loading = replace(self.loading, revision=self.folder.name)
        self.settings: JsonObject = read_json(config)

    @property
    def revision(self) -> str | None:
        """The hub's commit; of a folder, what was asked for."""
        return self.loading.revision

    def __repr__(self) -> str:
        return f"Checkpoint({self.model_id}{f', revision {self.revision}' if self.revision else ''})"

    def file(self, name: str) -> Path | None:
        """Path of one of the model's files, fetched if necessary; None where the model has no such file."""
        if self._local:
            path = file_within(Path(self.model_id), name, self.model_id)
            return path if is_listed(path) else None  # what is there and no file is the reader's to refuse
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with asking_hub(self.model_id):
                return Path(hf_hub_download(self.model_id, name, **self.loading.hub))
        except EntryNotFoundError:
            return None

    @cached_property
    def weight_map(self) -> Mapping[str, str]:
        """File name of every stored tensor, by its stored name.

        Raises InputError where an index and the files here disagree: transformers reads all that the files hold.
        """
        # What the hub's cache holds already goes first: without a network, asking for another file is an error.
        for name in sorted(_WEIGHTS, key=lambda name: not (self.folder / name).is_file()):
            path = self.file(name)
            if path is None:
                continue
            if path.suffix == ".json":
                weights = read_json(path).object("weight_map")
                listed = {key: weights.text(key) for key in weights}
                for shard in sorted({name for name in listed.values() if name.endswith(".safetensors")}):
                    if (held := file_within(self.folder, shard, self.model_id)).is_file():
                        _check_shard(SafetensorsFile(held), shard, listed, held)
                return listed
            return dict.fromkeys(_read(path), name)
        raise InputError(f"{self.model_id} holds no weights; looked for {', '.join(_WEIGHTS)}")

    def find(self, name: str, prefixes: tuple[str, ...]) -> str | None:
        """The stored name of tensor `name`: behind one of `prefixes`, or under TensorFlow's old LayerNorm names.

        Raises MismatchError where more than one of them is stored: which one counts is nowhere said.
        """
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        possible = dict.fromkeys(prefix + known for prefix in prefixes for known in (name, old))
        stored = [key for key in possible if key in self.weight_map]
        if len(stored) > 1:
            raise MismatchError(f"{self.model_id} stores both {stored[0]} and {stored[1]}; drop the one that is stale")
        return stored[0] if stored else None

    def tensors(self, stored: Mapping[str, str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read tensors: `stored` maps wanted names to stored ones. Cast to `dtype`; None keeps the stored one."""
        by_file: dict[str, list[str]] = {}
        for name, key in stored.items():
            by_file.setdefault(self.weight_map[key], []).append(name)
        tensors: dict[str, Tensor] = {}
        for file_name, names in by_file.items():
            path = self._weight_file(file_name)
            held = _read(path)
            _check_shard(held, file_name, self.weight_map, path)
            for name in names:
                key = stored[name]
                tensor = check_weights(held[key], key, path)
                tensors[name] = tensor if dtype is None else tensor.to(dtype)
        return tensors

    def stored_dtype(self, key: str) -> torch.dtype:
        """The dtype of one stored tensor."""
        return self.stored(key).dtype

    def stored(self, key: str) -> Tensor:
        """One tensor as it is stored, its numbers neither read nor checked."""
        name = self.weight_map[key]
        path = self._weight_file(name)
        held = _read(path)
        _check_shard(held, name, self.weight_map, path)
        return held[key]

    def safetensors(self, name: str) -> SafetensorsFile:
        """One of the files that `weight_map` names. Raises InputError where it holds other tensors than it should."""
        path = self._weight_file(name)
        file = SafetensorsFile(path)
        _check_shard(file, name, self.weight_map, path)
        return file

    def weights_sha256(self, stored: Mapping[str, str]) -> str:
        """SHA-256 of the one file that holds these tensors, or of the list of the files' hashes."""
        names = sorted({self.weight_map[key] for key in stored.values()})
        hashes = [sha256_of(self._weight_file(name)) for name in names]
        return hashes[0] if len(hashes) == 1 else sha256("\n".join(hashes).encode()).hexdigest()

    def _weight_file(self, name: str) -> Path:
        path = self.file(name)
        if path is None:
            raise InputError(f"{self.model_id} names the weight file {name} in its index but does not hold it")
        return path


def _read(path: Path) -> Mapping[str, Tensor]:
    return SafetensorsFile(path) if path.suffix == ".safetensors" else read_pt(path)


def _check_shard(held: Mapping[str, object], name: str, listed: Mapping[str, str], path: Path) -> None:
    """Raises InputError unless a weight file holds the tensors that the model's index says it holds, and no other."""
    if missing := sorted(key for key, file in listed.items() if file == name and key not in held):
        raise InputError(f"{path}: lacks {missing[0]}, which the model's index says it holds; fetch it again")
    if other := sorted(key for key in held if listed.get(key) != name):
        raise InputError(f"{path}: holds {other[0]}, which the model's index says it does not; fetch it again")
