"""What an encoder is, as hashes: of all that changes a vector, computed again only where something has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from saelex.encoder.backbone.stored import StoredBackbone
from saelex.encoder.digest import head_digest, json_digest, tensors_digest
from saelex.encoder.tokens import TextTokenizer
from saelex.files import fact_of

if TYPE_CHECKING:
    from torch import nn

    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.head import LinearHead
    from saelex.encoder.weighting import LatentWeighting


class BackboneIdentity:
    """What decides a backbone's hidden states: weights by their file's hash, changed ones by value; not the dtype.

    recorded: as a model folder's reader has computed and compared it; None takes the backbone's own files.
    """

    def __init__(self, backbone: Backbone | StoredBackbone, recorded: Mapping[str, Any] | None) -> None:
        self._backbone = backbone
        self._recorded = recorded
        self._versions = _versions(backbone)

    def changed(self) -> bool:
        """Whether the weights were trained or edited since this object was made."""
        return _versions(self._backbone) != self._versions

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        if self._recorded is None:  # kept, because the files may be gone or others the next time
            self._recorded = self._backbone.identity()
        facts = {name: value for name, value in self._recorded.items() if name != "dtype"}
        if self.changed():
            # the values hold whatever has been merged into them
            state = cast("Backbone", self._backbone).model.state_dict()
            facts |= {"weights": tensors_digest(state), "adapter": None}
        return facts


class HeadIdentity:
    """sha256 over a head's shape, gate, pooling and values; computed again when one of them has changed.

    recorded: of the head as a model folder's reader has computed and compared it.
    """

    def __init__(self, head: LinearHead, recorded: str | None) -> None:
        self._known = None if recorded is None else (_state(head), recorded)

    def digest(self, head: LinearHead) -> str:
        """The digest of the head as it is now, which may be another one than before."""
        from saelex.encoder.stored_head import head_config, head_tensors

        state = _state(head)
        if self._known is None or self._known[0] != state:
            self._known = (state, head_digest(head_config(head), tensors_digest(head_tensors(head))))
        return self._known[1]


def weighting_digest(weighting: LatentWeighting) -> str:
    """sha256 over a weighting's settings and statistics."""
    statistics = weighting.statistics
    digest = sha256(json.dumps(asdict(weighting.settings), sort_keys=True).encode())
    digest.update(f"{statistics.n_documents} {statistics.mean_length!r}".encode())
    digest.update(np.ascontiguousarray(statistics.document_frequencies, np.int64).data)
    return digest.hexdigest()


def tokenizer_digest(tokenizer: TextTokenizer, file: Path) -> str:
    """sha256 over all that turns a text into token ids: normaliser, splitter, vocabulary, added and special tokens.

    Of the tokenizer as it works, whatever files it was put together from. Not of how it pads and decodes, which no
    vector depends on, nor of the length that it cuts at, which an encoder's settings and its backbone say.

    file: of the model; the answer is remembered with it, since that of a large vocabulary takes a while.
    """
    text, split = tokenizer.tokenizer.to_str(), tokenizer.tokenizer.encode_special_tokens

    def digest() -> str:
        parts = json.loads(text)
        side = (parts["truncation"] or {}).get("direction", "Right")
        for name in ("version", "truncation", "padding", "decoder"):
            del parts[name]
        return json_digest(
            parts | {"cut_side": None if side == "Right" else side, "split_special_tokens": split or None}
        )

    return fact_of(file, f"tokenizer {sha256(f'{split} {text}'.encode()).hexdigest()}", digest)


def _versions(module: nn.Module | StoredBackbone) -> tuple[int, ...]:
    """Changes whenever a parameter or buffer of the module is written to; files are not."""
    if isinstance(module, StoredBackbone):
        return ()
    return tuple(tensor._version for tensor in (*module.parameters(), *module.buffers()))


def _state(head: LinearHead) -> tuple[Any, ...]:
    """Changes whenever the head is another one, or written to, or its gate, pooling or saturation is exchanged."""
    from saelex.encoder.stored_head import head_config

    tensors = (*head.parameters(), *head.buffers())
    return (json.dumps(head_config(head), sort_keys=True), *((id(tensor), tensor._version) for tensor in tensors))
