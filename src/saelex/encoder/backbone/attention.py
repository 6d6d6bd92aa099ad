"""Which tokens a token attends to: causal or bidirectional, and within which window.

A decoder's sliding-window layer of window W shows token q the W tokens q-W+1 .. q. Made bidirectional, it shows the
same distance both ways, |q - k| < W (`window="keep"`).

Two neighbours mean something else by a bidirectional window, and neither is used here:
- `config.is_causal = False` alone, transformers' switch for every decoder, allows |q - k| <= W in its masks: one token
  further than the causal layer saw.
  A checkpoint whose config.json says so was trained with that, and keeps it.
- Gemma 3's `use_bidirectional_attention` halves the window when the config is built, |q - k| <= W // 2, so that the
  *total* stays about W. A checkpoint that was trained so (EmbeddingGemma) keeps that; every other one keeps its own W.
"""

from __future__ import annotations

from typing import Any, Literal

from saelex.errors import InputError

Window = Literal["keep", "full"]
_EVERYTHING = 1 << 30  # a window that no text fills


def resolve_bidirectional(config: Any, decoder: bool, wanted: bool | None, model_id: str) -> bool:
    """Whether attention will be bidirectional: encoders always, decoders unless told otherwise.

    Raises InputError where causal attention is asked of a model that was not trained with it.
    """
    if wanted is False and not decoder:
        raise InputError(f"{model_id} is an encoder: its attention is always bidirectional; leave bidirectional unset")
    if wanted is False and (getattr(config, "use_bidirectional_attention", None) or _reads_both_sides(config)):
        raise InputError(f"{model_id} was trained with bidirectional attention; leave bidirectional unset")
    return True if wanted is None else wanted


def widen_windows(config: Any) -> None:
    """Let sliding-window layers see everything (`window="full"`). Call it before the model is built from `config`.

    The layers keep their kind, because Gemma 3 and ModernBERT rotate the two kinds by different frequencies.
    """
    if getattr(config, "sliding_window", None) is not None:
        config.sliding_window = _EVERYTHING


def make_bidirectional(model: Any) -> None:
    """Let every layer of a built Hugging Face decoder attend to both sides, within its window as the module says.

    transformers reads `config.is_causal` when it builds its masks and passes it on to the attention kernel.
    """
    config = model.config
    if _reads_both_sides(config):
        return  # trained with transformers' switch, and so with its window
    config.is_causal = False
    if getattr(config, "use_bidirectional_attention", None):
        config.use_bidirectional_attention = False  # its window is in force already; its mask would be added to ours
    if getattr(config, "sliding_window", None) is not None:
        config.sliding_window -= 1  # transformers' bidirectional mask is |q - k| <= sliding_window


def _reads_both_sides(config: Any) -> bool:
    return getattr(config, "is_causal", None) is False


def attention_implementation(config: Any) -> str:
    """PyTorch's fused attention, except for Gemma 2: it cannot cap attention logits."""
    return "eager" if getattr(config, "attn_logit_softcapping", None) is not None else "sdpa"
