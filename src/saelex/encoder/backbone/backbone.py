"""A Hugging Face language model, cut after the block that an SAE reads: token ids in, hidden states out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saelex.encoder.backbone.adapter import ADAPTER_CONFIG, merge_adapter, open_with_adapter
from saelex.encoder.backbone.architectures import ARCHITECTURES, Architecture, architecture_of
from saelex.encoder.backbone.attention import (
    Window,
    attention_implementation,
    make_bidirectional,
    resolve_bidirectional,
    widen_windows,
)
from saelex.encoder.backbone.bert import build_bert
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.configuration import cut_settings, model_config, pad_id, settings_digest
from saelex.encoder.backbone.hugging_face import hugging_face_tokenizer
from saelex.errors import InputError, MismatchError
from saelex.files import expanded, local_or_name
from saelex.loading import Loading, LoadingOptions
from saelex.reading.regular import one_error

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
    from typing_extensions import Unpack

    from saelex.encoder.backbone.low_rank import LowRankUpdate

Output = Literal["residual", "final"]


class Backbone(nn.Module):
    """A language model up to and including block `layer`, with its tokenizer. Made by `Backbone.load`.

    model: the cut model; `model(input_ids=, attention_mask=).last_hidden_state` is what `forward` returns.
    layer: 0-based index of the last block, whose output is read (`blocks.<layer>.hook_resid_post`).
    bidirectional, window, output: as resolved by `load`. model_id, revision: hub id or folder, and the hub commit.
    settings: config.json of the cut model. stored: stored name of every tensor. adapter: SHA-256 of the adapter.
    update: the low-rank update that is merged into the weights. tokenizer_files: the checkpoint's, or an adapter's.
    base_model: the model that SAEs for it name, and its card: `model_id`, or what `saelex mntp` adapted.
    d_model: width of a hidden state. max_length: most tokens the model takes, special tokens counted.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoint: Checkpoint,
        settings: Mapping[str, Any],
        *,
        layer: int,
        bidirectional: bool,
        output: Output,
        window: Window,
        max_length: int,
        stored: Mapping[str, str],
        model_id: str,
        adapter: str | None,
        update: LowRankUpdate | None = None,
        tokenizer_files: Checkpoint | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.checkpoint = checkpoint
        self.settings = settings
        self.layer = layer
        self.bidirectional = bidirectional
        self.output: Output = output
        self.window: Window = window
        self.max_length = max_length
        self.model_id = model_id
        self.revision = checkpoint.revision
        self.base_model = str(settings.get("saelex_base_model") or model_id)  # saelex mntp notes what it adapted
        self.adapter = adapter
        self.update = update
        self.tokenizer_files = tokenizer_files or checkpoint
        self._stored = stored

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        layer: int | None = None,
        bidirectional: bool | None = None,
        output: Output = "residual",
        window: Window = "keep",
        adapter: str | Path | None = None,
        update: LowRankUpdate | None = None,
        **options: Unpack[LoadingOptions],
    ) -> Backbone:
        """Load a model's first `layer` + 1 blocks; the others are neither read nor run.

        model: folder or hub id of a checkpoint, bare or with a language model head, of a type in ARCHITECTURES. A peft
            LoRA adapter among its files is merged, as transformers would apply it.
        layer: block whose output is read; None is the last one.
        bidirectional: a decoder's tokens attend to both sides (default); False keeps it causal. Encoders always do.
        output: "residual" is the raw output of the block, what residual-stream SAEs read; "final" adds the final norm,
            what a vocabulary head reads (the same for models without one: BERT, DistilBERT, XLM-R).
        window: "keep" leaves sliding-window layers their window (see `attention.py` beside this file), "full" lifts it.
        adapter: folder or hub id of a peft LoRA adapter, merged into the weights.
        update: a low-rank update of this very cut, merged into the weights; not together with an adapter.
        options: device (the CPU unless told otherwise), dtype, revision and token, as in `saelex.loading.Loading`.

        Raises InputError for a missing or gated model, an unsupported type, a layer out of range or a causal encoder;
        MismatchError where tensors are missing or have the wrong shape.
        """
        if output not in ("residual", "final") or window not in ("keep", "full"):
            raise InputError(
                f"output is 'residual' or 'final' and window 'keep' or 'full', not {output!r} and {window!r}"
            )
        name = local_or_name(model)
        loading = Loading(**options)
        checkpoint, own_adapter = open_with_adapter(model, loading)
        if sum(given is not None for given in (own_adapter, adapter, update)) > 1:
            raise InputError(
                f"{name}: a backbone takes an adapter or a low-rank update, not both, and its own adapter counts; "
                "merge one into a checkpoint"
            )
        architecture, settings = architecture_of(checkpoint.settings, name)
        config = model_config(settings)
        settings, layer = cut_settings(settings, config, layer, name)
        _check_sizes(checkpoint, architecture, config, name)
        bidirectional = resolve_bidirectional(config, architecture.decoder, bidirectional, name)
        max_length = architecture.max_length(config)

        dtype = loading.torch_dtype or _stored_dtype(checkpoint, architecture, name)
        skeleton = build_skeleton(settings, window, dtype)
        if output == "residual" and architecture.final_norm is not None:
            setattr(skeleton, architecture.final_norm, nn.Identity())
        stored = _fill(skeleton, checkpoint, architecture, dtype, name)
        if architecture.decoder and bidirectional:
            make_bidirectional(skeleton)
        adapter_files, adapter_sha256 = own_adapter, None
        if adapter is not None:  # of another repository, with revisions of its own
            adapter_files = Checkpoint(adapter, Loading(token=loading.token), config_name=ADAPTER_CONFIG)
        if adapter_files is not None:
            skeleton, adapter_sha256 = merge_adapter(
                skeleton, adapter_files, architecture, blocks=layer + 1, whole=output == "final"
            )
        if update is not None:
            update.merge_into(skeleton)
        backbone = cls(
            skeleton.eval().to(loading.place),
            checkpoint,
            settings,
            layer=layer,
            bidirectional=bidirectional,
            output=output,
            window=window,
            max_length=max_length,
            stored=stored,
            model_id=name,
            adapter=adapter_sha256,
            update=update,
            tokenizer_files=own_adapter if own_adapter is not None and _holds_tokenizer(own_adapter) else None,
        )
        # as it was given: a card tells nobody where on a disk a folder lies
        backbone.base_model = str(settings.get("saelex_base_model") or model)
        return backbone

    def with_update(self, update: LowRankUpdate | None) -> Backbone:
        """This backbone read anew from its files, with `update` merged in place of the update that it has.

        What else has changed its weights since they were read is lost. Raises `load`'s errors, and InputError for a
        backbone with a merged adapter.
        """
        if self.adapter is not None:
            raise InputError(f"{self.model_id} has an adapter merged already; save it whole and load that")
        backbone = Backbone.load(
            self.model_id,
            layer=self.layer,
            bidirectional=self.bidirectional,
            output=self.output,
            window=self.window,
            update=update,
            dtype=self.dtype,
            device=self.device,
            **self.checkpoint.loading.hub,
        )
        backbone.base_model = self.base_model
        return backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Hidden states [batch, length, d_model] of token ids [batch, length], padded on the right.

        attention_mask: [batch, length], 1 = token, 0 = padding; None is no padding. States at padding mean nothing.
        """
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden

    def __repr__(self) -> str:
        direction = "bidirectional" if self.bidirectional else "causal"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"Backbone({self.model_id}, layer {self.layer}, {self.output}, {direction}, {dtype} on {self.device})"

    @property
    def d_model(self) -> int:
        return self.model.get_parameter(ARCHITECTURES[self.settings["model_type"]].embedding).shape[1]

    @property
    def n_words(self) -> int:
        """Rows of the token embedding: numbers of tokens are below it."""
        return self.model.get_parameter(ARCHITECTURES[self.settings["model_type"]].embedding).shape[0]

    @property
    def raw(self) -> bool:
        """Whether `forward` gives the block's own output, with no final norm after it."""
        return self.output == "residual" or ARCHITECTURES[self.settings["model_type"]].final_norm is None

    @property
    def pad_id(self) -> int:
        """Fills a batch up on the right; masked, so any id does where a model has none (Llama 3)."""
        return pad_id(self.settings, self.model_id)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The Hugging Face fast tokenizer, padding on the right; loaded when first asked for.

        Raises InputError where the files hold none that transformers can read.
        """
        return hugging_face_tokenizer(self.tokenizer_files)

    def identity(self) -> dict[str, Any]:
        """What decides the hidden states, for an encoder's fingerprint: equal for equal files, wherever they lie.

        `weights` is the SHA-256 of the weight files as loaded: weights trained since have none until they are saved.
        `config` is of what config.json says of the cut model, notes and training settings aside.
        """
        return {
            "model_type": self.settings["model_type"],
            "config": settings_digest(self.settings),
            "weights": self.checkpoint.weights_sha256(self._stored),
            "adapter": self.adapter if self.update is None else self.update.digest(),
            "layer": self.layer,
            "bidirectional": self.bidirectional,
            "output": self.output,
            "window": self.window,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def save(self, folder: str | Path) -> None:
        """Write config, weights (adapter or update merged) and tokenizer: a folder that `load` reads like the original.

        config.json tells of the cut, not of the attention switch: `load` needs the same bidirectional, output, window.
        """
        folder = expanded(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        settings = {
            name: value for name, value in self.settings.items() if name not in ("architectures", "torch_dtype")
        }
        settings["dtype"] = str(self.dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        self.tokenizer.save_pretrained(folder)


def _holds_tokenizer(files: Checkpoint) -> bool:
    return any((files.folder / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json"))


def _stored_dtype(checkpoint: Checkpoint, architecture: Architecture, model_id: str) -> torch.dtype:
    """The dtype that config.json names, as in transformers; where it names none, the stored token embedding's."""
    stored = checkpoint.find(architecture.embedding, architecture.prefixes)
    if stored is None:
        raise MismatchError(
            f"{model_id} holds no {architecture.embedding}; its weights do not belong to its config.json"
        )
    named = checkpoint.settings.get("dtype") or checkpoint.settings.get("torch_dtype")
    return (Loading(dtype=str(named)).torch_dtype if named else None) or checkpoint.stored_dtype(stored)


def _check_sizes(checkpoint: Checkpoint, architecture: Architecture, config: Any, model_id: str) -> None:
    """Raises MismatchError unless the stored embedding is as wide as config.json says: it is asked before memory is."""
    stored = checkpoint.find(architecture.embedding, architecture.prefixes)
    if stored is not None:
        shape = list(checkpoint.stored(stored).shape)
        if shape != [config.vocab_size, config.hidden_size]:
            raise MismatchError(
                f"{model_id} stores {shape} as its embedding, where config.json has {config.vocab_size!r:.60} tokens "
                f"of {config.hidden_size!r:.60} dimensions; its weights do not belong to its config.json"
            )


def build_skeleton(settings: dict[str, Any], window: Window, dtype: torch.dtype) -> nn.Module:
    """The cut model, with weights still undefined."""
    if settings["model_type"] == "bert":
        return build_bert(settings)
    from transformers import AutoModel
    from transformers.initialization import no_init_weights

    config = model_config(settings)
    config.use_cache = False
    if window == "full":
        widen_windows(config)
    with no_init_weights(), one_error("config.json", f"settings of a {settings['model_type']} model"):
        model = AutoModel.from_config(
            config, attn_implementation=attention_implementation(config), dtype=dtype, trust_remote_code=False
        )
    if hasattr(model, "pooler"):
        model.pooler = None
    return model  # type: ignore[no-any-return]


def _fill(
    skeleton: nn.Module, checkpoint: Checkpoint, architecture: Architecture, dtype: torch.dtype, model_id: str
) -> dict[str, str]:
    """Read exactly the tensors that the skeleton has, and return their stored names."""
    found = {name: checkpoint.find(name, architecture.prefixes) for name in skeleton.state_dict()}
    stored = {name: key for name, key in found.items() if key is not None}
    if len(stored) < len(found):
        missing = next(name for name, key in found.items() if key is None)
        raise MismatchError(f"{model_id} lacks {missing}; its weights do not belong to its config.json")
    try:
        skeleton.load_state_dict(checkpoint.tensors(stored, dtype), assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise MismatchError(f"the weights of {model_id} do not fit its config.json: {reason}") from error
    return stored
