"""A whole language model with its head, in which the output of one block can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from saelex.encoder.backbone.architectures import ARCHITECTURES
from saelex.encoder.backbone.attention import attention_implementation
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.configuration import model_config
from saelex.encoder.backbone.vocabulary import has_language_model_head
from saelex.errors import InputError
from saelex.hub import asking_hub
from saelex.reading.regular import one_error

_BLOCKS = ("layers", "encoder.layer", "transformer.layer", "language_model.layers")  # within a Hugging Face base model


class LanguageModel(nn.Module):
    """The model that a backbone was cut from, with all its blocks and its head. Made by `LanguageModel.of`.

    layer: the block whose output `forward` can replace: the one that the backbone ends with.
    causal: whether it predicts the next token (decoders) or masked ones (encoders). n_words: size of its vocabulary.
    """

    def __init__(self, model: Any, layer: int, causal: bool) -> None:
        super().__init__()
        self.model = model
        self.layer = layer
        self.causal = causal
        self.n_words = int(model.get_output_embeddings().weight.shape[0])

    @classmethod
    def of(cls, backbone: Backbone) -> LanguageModel:
        """Load the backbone's whole model, in its dtype and on its device, with the attention it was trained with.

        Raises InputError for a model without a language model head, and for a backbone that changes the model by an
        adapter or reads it in both directions where it was trained in one: there is nothing to compare with.
        """
        checkpoint = backbone.checkpoint
        if not has_language_model_head(checkpoint):
            raise InputError(f"{backbone.model_id} has no language model head, so no loss of its own")
        causal = ARCHITECTURES[backbone.settings["model_type"]].decoder
        if causal and backbone.bidirectional:
            raise InputError(f"{backbone.model_id} is read in both directions, where it has no loss; read it causally")
        if backbone.adapter is not None or backbone.update is not None:
            raise InputError(f"{backbone.model_id} is read with an adapter, which its head was not trained with")
        import transformers

        kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
        attention = attention_implementation(model_config(backbone.settings))
        with (
            one_error(checkpoint.model_id, "a language model that transformers reads"),
            asking_hub(checkpoint.model_id),
        ):
            model = kind.from_pretrained(
                checkpoint.model_id,
                **checkpoint.loading.pretrained,
                dtype=backbone.dtype,
                attn_implementation=attention,
            )
        return cls(model.eval().to(backbone.device), backbone.layer, causal)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, replace: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Logits [batch, length, n_words] of token ids [batch, length], padded on the right.

        replace: given the block's output [batch, length, d_model], returns what the next block reads in its place.
        """
        if replace is None:
            return self._logits(input_ids, attention_mask)

        def hook(module: nn.Module, arguments: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (replace(output[0]), *output[1:])
            return replace(output)

        handle = self._block().register_forward_hook(hook)
        try:
            return self._logits(input_ids, attention_mask)
        finally:
            handle.remove()

    def _logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        extra = {"use_cache": False} if self.causal else {}
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **extra).logits
        return logits

    def _block(self) -> nn.Module:
        base = self.model.base_model
        for path in _BLOCKS:
            try:
                blocks = base.get_submodule(path)
            except AttributeError:
                continue
            return blocks[self.layer]  # type: ignore[no-any-return]
        raise InputError(f"{type(self.model).__name__} keeps its blocks in none of {', '.join(_BLOCKS)}")
