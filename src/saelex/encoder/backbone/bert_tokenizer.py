"""BERT's tokenizer straight from tokenizer.json, wherever transformers would make the same of the model's files.

transformers builds BERT's tokenizer from the vocabulary and tokenizer_config.json, and overrules what tokenizer.json
says of case, accents, framing and added tokens. Importing it takes longer than a whole search, so the usual case, in
which the files agree, is read here. Every setting that is not known to agree is left to transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saelex.encoder.backbone.checkpoint import Checkpoint
from saelex.errors import InputError
from saelex.reading.json_object import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NAMED = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
_FLAGS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
_PIPELINE = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
_BERT = ("BertTokenizer", "BertTokenizerFast")
_AS_IT_IS = ("PreTrainedTokenizerFast", "TokenizersBackend")
_SPECIAL = {*_NAMED, "bos_token", "eos_token"}
_CHECKED = {"tokenizer_class", "added_tokens_decoder", "truncation_side", *_PIPELINE, *_SPECIAL}
# of padding, decoding, saving and slow tokenizers; lengths are the encoder's settings
_WITHOUT_EFFECT = {
    "backend", "clean_up_tokenization_spaces", "do_basic_tokenize", "is_local", "local_files_only", "max_length",
    "model_input_names", "model_max_length", "name_or_path", "never_split", "pad_to_multiple_of", "pad_token_type_id",
    "padding_side", "special_tokens_map_file", "stride", "tokenizer_file", "truncation_strategy", "vocab_file",
}  # fmt: skip
_WITHOUT_EFFECT_WHERE_EMPTY = {"additional_special_tokens", "extra_special_tokens"}


def plain_bert_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """The tokenizer of a BERT checkpoint, truncating on the side that its files name; None: ask transformers."""
    try:
        paths = {name: checkpoint.file(f"{name}.json") for name in ("tokenizer", "tokenizer_config", "added_tokens")}
        map_path = checkpoint.file("special_tokens_map.json")
    except InputError:  # the hub is out of reach: transformers knows what its cache holds
        return None
    path, config_path = paths["tokenizer"], paths["tokenizer_config"]
    if path is None or config_path is None or paths["added_tokens"] is not None:
        return None
    stored, config = read_json(path), read_json(config_path)
    named = {} if "added_tokens_decoder" in config or map_path is None else read_json(map_path)
    kind = config.get("tokenizer_class") or checkpoint.settings.get("tokenizer_class") or _BERT[0]
    if kind not in (*_BERT, *_AS_IT_IS) or stored.get("post_processor") is None:
        return None
    from tokenizers import Tokenizer

    try:
        agree = _known(config) and _known(named) and _same_added_tokens(stored, config, named, kind in _BERT)
        if not agree or (kind in _BERT and not _same_pipeline(stored, {**config, **named})):
            return None
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # damage of any kind: transformers' reading of it is the one that is reported
        return None
    side = config.get("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.enable_truncation(512, direction=side)  # whoever encodes sets the length
    return tokenizer


def _known(config: Mapping[str, Any]) -> bool:
    """Whether every setting is one that is checked here, or one without effect on the tokens of a text."""
    empty = {name for name in _WITHOUT_EFFECT_WHERE_EMPTY if not config.get(name)}
    return set(config) <= _CHECKED | _WITHOUT_EFFECT | empty


def _same_added_tokens(
    stored: Mapping[str, Any], config: Mapping[str, Any], named: Mapping[str, Any], rebuilt: bool
) -> bool:
    """Whether tokenizer.json has all added tokens that the other files name, and where they would be put."""
    added, vocabulary = stored.get("added_tokens"), stored.get("model", {}).get("vocab")
    if isinstance(vocabulary, list):  # of a Unigram model, whose pieces have scores
        vocabulary = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    if not isinstance(added, list) or not isinstance(vocabulary, dict):
        return False
    listed = {str(token["id"]): {flag: token.get(flag) for flag in _FLAGS} for token in added}
    if config.get("added_tokens_decoder", listed) != listed:
        return False
    new = [token["id"] for token in added if vocabulary.get(token["content"]) != token["id"]]
    if new != list(range(len(vocabulary), len(vocabulary) + len(new))):
        return False
    special = {token["content"] for token in added if token["special"]}
    defaults = _NAMED if rebuilt else {}
    names = {name: value for name, value in {**defaults, **config, **named}.items() if name in _SPECIAL}
    return {_content(value) for value in names.values()} <= special


def _same_pipeline(stored: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether tokenizer.json says what transformers makes of tokenizer_config.json alone."""
    unknown, start, end = (_content(config.get(name, _NAMED[name])) for name in ("unk_token", "cls_token", "sep_token"))
    vocabulary = stored["model"]["vocab"]
    added = {token["content"]: token["id"] for token in stored["added_tokens"]}
    framing, frame = stored.get("post_processor") or {}, (start, end)
    return (
        {name: value for name, value in stored["model"].items() if name != "vocab"}
        == {"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100}
        and all(vocabulary.get(token) == added[token] for token in frame)
        and stored.get("normalizer")
        == {"type": "BertNormalizer", "clean_text": True, "lowercase": config.get("do_lower_case", True),
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents")}
        and stored.get("pre_tokenizer") == {"type": "BertPreTokenizer"}
        and framing.get("single")
        == [{"SpecialToken": {"id": start, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": end, "type_id": 0}}]
        and {token: framing.get("special_tokens", {}).get(token, {}).get("ids") for token in frame}
        == {token: [added[token]] for token in frame}
    )  # fmt: skip


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token
