"""A whole language model that predicts masked tokens: loaded with its head or a new one, adapted, merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from saelex.encoder.backbone.adapter import has_adapter
from saelex.encoder.backbone.architectures import Architecture, architecture_of
from saelex.encoder.backbone.attention import attention_implementation, make_bidirectional
from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.encoder.backbone.dropout import set_dropout
from saelex.encoder.backbone.packaged import open_checkpoint
from saelex.encoder.backbone.vocabulary import has_language_model_head
from saelex.errors import InputError
from saelex.hub import asking_hub
from saelex.loading import Loading, without_own_code
from saelex.training.lora import LoraRecipe, add_adapters
from saelex.training.mntp.recipe import MntpRecipe

if TYPE_CHECKING:
    from peft import PeftModel


class MaskedLanguageModel(nn.Module):
    """Hugging Face's masked or causal language model; only masked tokens meet the vocabulary.

    model: its `base_model` gives the hidden states, final norm included. new_head: whether its head starts anew.
    n_words: size of its vocabulary.
    """

    accepts_loss_kwargs = True  # tells Trainer that the loss is a sum, to be divided by the number of items

    def __init__(self, model: Any, model_type: str, *, new_head: bool = False) -> None:
        super().__init__()
        self.model = model
        self.model_type = model_type
        self.new_head = new_head
        self.n_words = int(model.get_input_embeddings().weight.shape[0])

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, rows: Tensor, columns: Tensor, labels: Tensor
    ) -> Tensor:
        """Sum of the masked tokens' cross entropies, float32; the arguments are a MaskedBatch's."""
        return cross_entropy(self.logits(input_ids, attention_mask, rows, columns).float(), labels, reduction="sum")

    def logits(self, input_ids: Tensor, attention_mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Logits [masked, vocabulary] from the hidden states at (rows, columns)."""
        hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self._head(hidden[rows, columns])  # [masked, d_model] -> [masked, vocabulary]

    def head_parameters(self) -> list[nn.Parameter]:
        """What stands above the base model and is not tied to it."""
        below = {id(parameter) for parameter in self.model.base_model.parameters()}
        return [parameter for parameter in self.model.parameters() if id(parameter) not in below]

    def _head(self, hidden: Tensor) -> Tensor:
        model = self.model
        if self.model_type == "bert":
            logits = model.cls(hidden)
        elif self.model_type == "xlm-roberta":
            logits = model.lm_head(hidden)
        elif self.model_type == "distilbert":
            logits = model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(hidden))))
        elif self.model_type == "modernbert":
            logits = model.decoder(model.head(hidden))
        else:
            logits = model.lm_head(hidden)
            if (cap := getattr(model.config, "final_logit_softcapping", None)) is not None:
                logits = cap * torch.tanh(logits / cap)
        return logits  # type: ignore[no-any-return]


class Loaded(NamedTuple):
    """A model to be trained, and where it comes from."""

    model: MaskedLanguageModel
    checkpoint: Checkpoint
    architecture: Architecture
    tokenizer: Any


def load_masked_model(recipe: MntpRecipe) -> Loaded:
    """The recipe's model in training shape: bidirectional, in its dtype, a new head where an encoder has none.

    Raises InputError for a missing, unsupported or multimodal model, and for a decoder without its head.
    """
    checkpoint = open_checkpoint(recipe.model, Loading(revision=recipe.revision))
    architecture, settings = architecture_of(checkpoint.settings, recipe.model)
    if checkpoint.settings["model_type"] != settings["model_type"]:
        raise InputError(f"{recipe.model} holds a vision model too; give a text-only checkpoint")
    if has_adapter(checkpoint):
        raise InputError(
            f"{recipe.model} holds a peft adapter; merge it (merge_and_unload), save the model and give that"
        )
    has_head = has_language_model_head(checkpoint)
    if architecture.decoder and not has_head:
        raise InputError(f"{recipe.model} has no language model head; give the checkpoint that has one")
    import transformers

    where = checkpoint.loading.pretrained
    with without_own_code(recipe.model), asking_hub(checkpoint.model_id):
        config = transformers.AutoConfig.from_pretrained(checkpoint.model_id, **where)
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.model_id, **where)
    if not tokenizer.is_fast:
        raise InputError(f"{recipe.model} has no fast tokenizer (tokenizer.json)")
    kind = transformers.AutoModelForCausalLM if architecture.decoder else transformers.AutoModelForMaskedLM
    with torch.random.fork_rng(devices=[]), asking_hub(checkpoint.model_id):
        torch.manual_seed(recipe.training.seed)  # a new head is drawn here
        model = kind.from_pretrained(
            checkpoint.model_id,
            **where,
            config=config,
            dtype=_dtype(recipe),
            attn_implementation=attention_implementation(config),
        )
    if recipe.training.dropout is not None:
        set_dropout(model, recipe.training.dropout)
    if architecture.decoder:
        make_bidirectional(model)
        model.config.use_cache = False
    if recipe.training.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    masked = MaskedLanguageModel(model, settings["model_type"], new_head=not has_head)
    return Loaded(masked, checkpoint, architecture, tokenizer)


def adapt(model: MaskedLanguageModel, lora: LoraRecipe, seed: int) -> PeftModel:
    """LoRA on the blocks' linear layers in place; nothing else learns but a new head.

    Returns peft's wrapper, whose `merge_and_unload()` ends it. Raises InputError where no module has a target's name.
    """
    head = model.head_parameters()
    adapted = add_adapters(model.model, lora, seed=seed, within=f"{model.model.base_model_prefix}.")
    if model.new_head:
        for parameter in head:
            parameter.requires_grad_(True)
    return adapted


def _dtype(recipe: MntpRecipe) -> torch.dtype | str:
    return Loading(dtype=recipe.dtype).torch_dtype or (torch.float32 if recipe.tune == "full" else "auto")
