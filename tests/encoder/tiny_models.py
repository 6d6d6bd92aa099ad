"""Tiny random checkpoints of every supported model type, saved as Hugging Face folders with a fast tokenizer.

`tiny_checkpoint("gemma2", tmp_path / "gemma2")` is a folder that `Backbone.load`, `AutoModel` and `AutoTokenizer` read.
Norm weights and biases are random too, so that a norm which is skipped or applied twice changes the numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

D_MODEL = 32
LAYERS = 4
SLIDING_WINDOW = 6  # shorter than LONG_TEXT, so that windows matter
MAX_LENGTH = 64

TEXTS = (
    "how do wings create lift?",
    "The wing of an aircraft creates lift because air flows faster over its curved upper surface.",
    "Boundary layers separate at high angles of attack, and the wing stalls.",
    "reading a zip archive in Python",
    "River banks flood when the rain falls for days.",
    "A bank lends money; interest rates follow inflation.",
    "lift",
)
LONG_TEXT = " ".join(TEXTS[1:3])


@dataclass(frozen=True)
class TinyModel:
    """How one model type is built: its config class and settings, LM class, tokenizer family and special tokens."""

    config: str
    base: str
    language_model: str
    tokenizer: str  # "wordpiece", "byte_bpe" or "metaspace_bpe"
    specials: dict[str, str]
    prefix: tuple[str, ...]
    suffix: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


_ENCODER = {"hidden_size": D_MODEL, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 64}
_DECODER = _ENCODER | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": MAX_LENGTH}
_LOCAL_GLOBAL = ["sliding_attention", "full_attention"] * (LAYERS // 2)
_BRACKETS = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}
_GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
_QWEN = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}

TINY_MODELS: dict[str, TinyModel] = {
    "bert": TinyModel(
        "BertConfig", "BertModel", "BertForMaskedLM", "wordpiece", _BRACKETS, ("[CLS]",), ("[SEP]",),
        _ENCODER | {"max_position_embeddings": MAX_LENGTH},
    ),
    "distilbert": TinyModel(
        "DistilBertConfig", "DistilBertModel", "DistilBertForMaskedLM", "wordpiece", _BRACKETS, ("[CLS]",), ("[SEP]",),
        {"dim": D_MODEL, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": MAX_LENGTH},
    ),
    "xlm-roberta": TinyModel(
        "XLMRobertaConfig", "XLMRobertaModel", "XLMRobertaForMaskedLM", "metaspace_bpe",
        {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>",
         "unk_token": "<unk>", "mask_token": "<mask>"},
        ("<s>",), ("</s>",),
        # positions start after the padding index 1
        _ENCODER | {"max_position_embeddings": MAX_LENGTH + 2, "type_vocab_size": 1},
    ),
    "modernbert": TinyModel(
        "ModernBertConfig", "ModernBertModel", "ModernBertForMaskedLM", "byte_bpe", _BRACKETS, ("[CLS]",), ("[SEP]",),
        _ENCODER | {"max_position_embeddings": MAX_LENGTH, "local_attention": 2 * SLIDING_WINDOW,
                    "global_attn_every_n_layers": 2},
    ),
    "llama": TinyModel(
        "LlamaConfig", "LlamaModel", "LlamaForCausalLM", "byte_bpe",
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},  # Llama 3 has no padding token
        ("<|begin_of_text|>",), (), _DECODER,
    ),
    "gemma2": TinyModel(
        "Gemma2Config", "Gemma2Model", "Gemma2ForCausalLM", "metaspace_bpe", _GEMMA, ("<bos>",), (),
        _DECODER | {"sliding_window": SLIDING_WINDOW, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0,
                    "attn_logit_softcapping": 2.0},
    ),
    "gemma3_text": TinyModel(
        "Gemma3TextConfig", "Gemma3TextModel", "Gemma3ForCausalLM", "metaspace_bpe", _GEMMA, ("<bos>",), (),
        _DECODER | {"sliding_window": SLIDING_WINDOW, "query_pre_attn_scalar": 8, "layer_types": _LOCAL_GLOBAL},
    ),
    "qwen2": TinyModel(
        "Qwen2Config", "Qwen2Model", "Qwen2ForCausalLM", "byte_bpe", _QWEN, (), (),
        _DECODER | {"use_sliding_window": True, "sliding_window": SLIDING_WINDOW, "max_window_layers": LAYERS // 2},
    ),
    "qwen3": TinyModel(
        "Qwen3Config", "Qwen3Model", "Qwen3ForCausalLM", "byte_bpe", _QWEN, (), (), _DECODER,
    ),
    "mistral": TinyModel(
        "MistralConfig", "MistralModel", "MistralForCausalLM", "metaspace_bpe",
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, ("<s>",), (),
        _DECODER | {"sliding_window": SLIDING_WINDOW},
    ),
}  # fmt: skip
ENCODERS = ("bert", "distilbert", "xlm-roberta", "modernbert")
DECODERS = ("llama", "gemma2", "gemma3_text", "qwen2", "qwen3", "mistral")


def tiny_checkpoint(
    model_type: str, folder: Path | str, *, language_model: bool = False, seed: int = 0, **overrides: Any
) -> Path:
    """Save a random checkpoint of `model_type` (a key of TINY_MODELS) to `folder`, and return the folder.

    language_model: save the masked LM (encoders) or causal LM (decoders) instead of the bare backbone.
    overrides: further config settings, e.g. `num_hidden_layers=2`.
    """
    folder = Path(folder)
    tokenizer = tiny_tokenizer(model_type)
    tokenizer.save_pretrained(folder)
    tiny_model(model_type, tokenizer, language_model=language_model, seed=seed, **overrides).save_pretrained(folder)
    return folder


def tiny_model(
    model_type: str,
    tokenizer: PreTrainedTokenizerFast,
    *,
    language_model: bool = False,
    seed: int = 0,
    **overrides: Any,
) -> PreTrainedModel:
    """The random model itself, in evaluation mode; its special token ids are the tokenizer's."""
    tiny = TINY_MODELS[model_type]
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad", "cls", "sep")
    }  # a special token that this tokenizer does not have is None
    settings = {"vocab_size": len(tokenizer), "initializer_range": 0.2} | ids | tiny.settings | overrides
    config = getattr(transformers, tiny.config)(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = getattr(transformers, tiny.language_model if language_model else tiny.base)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:  # norms and biases: otherwise all ones and zeros
                    parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def tiny_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    """A fast tokenizer of the model type's family, trained on TEXTS, with that type's special tokens and template."""
    tiny = TINY_MODELS[model_type]
    specials = list(dict.fromkeys(tiny.specials.values()))
    tokenizer, trainer = _TOKENIZERS[tiny.tokenizer](specials)
    if trainer is not None:
        tokenizer.train_from_iterator(TEXTS, trainer)
    template = " ".join([*tiny.prefix, "$A", *tiny.suffix])
    if tiny.prefix or tiny.suffix:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template,
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in {*tiny.prefix, *tiny.suffix}],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **tiny.specials)


def _wordpiece(specials: list[str]) -> tuple[Tokenizer, None]:
    """With a vocabulary of its own: WordPieceTrainer breaks ties at random, another way in every process."""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in TEXTS for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({letter for word in words for letter in word})
    common = sorted(words, key=lambda word: (-words[word], word))
    pieces = dict.fromkeys([*specials, *letters, *(f"##{letter}" for letter in letters), *common])
    vocabulary = {piece: number for number, piece in enumerate(islice(pieces, 150))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, None


def _byte_bpe(specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )


def _metaspace_bpe(specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.BpeTrainer(vocab_size=150, special_tokens=specials, show_progress=False)


_TOKENIZERS = {"wordpiece": _wordpiece, "byte_bpe": _byte_bpe, "metaspace_bpe": _metaspace_bpe}
