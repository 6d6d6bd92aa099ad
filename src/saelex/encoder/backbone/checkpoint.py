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
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saelex.errors import InputError, MismatchError
from saelex.files import local_or_name, read_json, sha256_of
from saelex.hub import asking_hub
from saelex.loading import Loading

# Looked for in this order; an index names the file of every tensor of a sharded checkpoint.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


class Checkpoint:
    """One model's files. `model` is a folder or a hub id; of `loading`, its revision and token matter, on the hub only.

    config_name: the file with the settings. Raises InputError where there is no such model or file, or no access to it.
    """

    def __init__(self, model: str | Path, loading: Loading | None = None, *, config_name: str = "config.json") -> None:
        self.model_id = local_or_name(model)
        self.loading = loading or Loading()
        self._local = Path(self.model_id).is_dir()
        if not self._local and (isinstance(model, Path) or self.model_id.startswith((".", "/", "~"))):
            raise InputError(f"no model folder {model}; give a folder that holds {config_name}, or a hub id")
        config = self.file(config_name)
        if config is None:
            raise InputError(f"{model} holds no {config_name}; give the folder or hub id of a Hugging Face model")
        self.folder = config.parent
        if not self._local:
            # the commit that the revision stood for, so that later files belong to it
            self.loading = replace(self.loading, revision=self.folder.name)
        self.settings: dict[str, Any] = read_json(config)

    @property
    def revision(self) -> str | None:
        """The hub's commit; of a folder, what was asked for."""
        return self.loading.revision

    def __repr__(self) -> str:
        return f"Checkpoint({self.model_id}{f', revision {self.revision}' if self.revision else ''})"

    def file(self, name: str) -> Path | None:
        """Path of one of the model's files, fetched if necessary; None where the model has no such file."""
        if self._local:
            path = Path(self.model_id) / name
            return path if path.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with asking_hub(self.model_id):
                return Path(hf_hub_download(self.model_id, name, **self.loading.hub))
        except EntryNotFoundError:
            return None

    @cached_property
    def weight_map(self) -> Mapping[str, str]:
        """File name of every stored tensor, by its stored name."""
        # What the hub's cache holds already goes first: without a network, asking for another file is an error.
        for name in sorted(_WEIGHTS, key=lambda name: not (self.folder / name).is_file()):
            path = self.file(name)
            if path is None:
                continue
            if path.suffix == ".json":
                return dict(read_json(path)["weight_map"])
            if path.suffix == ".safetensors":
                with _open(path) as file:
                    return dict.fromkeys(file.keys(), name)
            return dict.fromkeys(_load_pickled(path), name)
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
            if path.suffix == ".safetensors":
                with _open(path) as file:
                    tensors |= {name: _cast(file.get_tensor(stored[name]), dtype) for name in names}
            else:
                pickled = _load_pickled(path)
                tensors |= {name: _cast(pickled[stored[name]], dtype) for name in names}
        return tensors

    def stored_dtype(self, key: str) -> torch.dtype:
        """The dtype of one stored tensor."""
        return self.tensors({key: key})[key].dtype

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


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or not a safetensors file ({error}); fetch the model again") from error


def _load_pickled(path: Path) -> dict[str, Tensor]:
    # weights_only: a pickle may hold nothing but tensors here; PyTorch before 1.6 wrote no zip file, nothing to map
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path} is damaged or holds more than tensors ({reason}); fetch the model again") from error
    return tensors
