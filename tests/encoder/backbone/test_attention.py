"""The bidirectional switch against explicit 4-D masks given to transformers' eager attention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import DECODERS, LAYERS, LONG_TEXT, SLIDING_WINDOW, TEXTS, tiny_checkpoint
from torch import Tensor
from transformers import AutoModel

from saelex.encoder.backbone.backbone import Backbone
from saelex.errors import InputError

WINDOWED = ("modernbert", "gemma2", "gemma3_text", "qwen2", "mistral")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {model_type: tiny_checkpoint(model_type, folder / model_type) for model_type in (*DECODERS, "modernbert")}


def explicit_states(folder: Path, ids: Tensor, attention_mask: Tensor, reach: int) -> Tensor:
    """Final states of the full model under additive masks: real tokens see real tokens with |q - k| <= reach."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager")
    at = torch.arange(ids.shape[1])
    real = attention_mask.bool()[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
    near = (at[:, None] - at[None, :]).abs() <= reach
    full, sliding = (torch.zeros(seen.shape).masked_fill(~seen, -1e9) for seen in (real, real & near))
    kind = model.config.model_type
    if kind == "llama":
        masks: Tensor | dict[str, Tensor] = full
    elif kind == "mistral":
        masks = sliding  # all its layers have the window
    else:
        masks = {"full_attention": full, "sliding_attention": sliding}
    with torch.no_grad():
        return model(ids, attention_mask=masks).last_hidden_state


@pytest.mark.parametrize("model_type", DECODERS)
@pytest.mark.parametrize(
    "texts", [["lift"], [LONG_TEXT], list(TEXTS)], ids=["short", "longer-than-window", "padded-batch"]
)
def test_bidirectional_is_an_explicit_mask(model_type: str, texts: list[str], checkpoints: dict[str, Path]) -> None:
    backbone = Backbone.load(checkpoints[model_type], output="final")
    assert backbone.bidirectional and backbone.layer == LAYERS - 1
    batch = backbone.tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert len(texts[0]) < 10 or ids.shape[1] > 2 * SLIDING_WINDOW
    expected = explicit_states(checkpoints[model_type], ids, mask, reach=SLIDING_WINDOW - 1)
    with torch.no_grad():
        hidden = backbone(ids, mask)
    torch.testing.assert_close(hidden[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", DECODERS)
def test_bidirectional_sees_later_tokens_and_causal_does_not(model_type: str, checkpoints: dict[str, Path]) -> None:
    both = Backbone.load(checkpoints[model_type], layer=1)
    causal = Backbone.load(checkpoints[model_type], layer=1, bidirectional=False)
    ids = both.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    changed = ids.clone()
    changed[0, 4] = ids[0, 5]  # within every window of token 3
    with torch.no_grad():
        assert torch.equal(causal(ids)[:, :4], causal(changed)[:, :4])
        assert (both(ids)[:, 3] - both(changed)[:, 3]).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", WINDOWED)
@pytest.mark.parametrize("texts", [[LONG_TEXT], list(TEXTS)], ids=["longer-than-window", "padded-batch"])
def test_full_window_lets_every_layer_see_everything(
    model_type: str, texts: list[str], checkpoints: dict[str, Path]
) -> None:
    folder = checkpoints[model_type]
    backbone = Backbone.load(folder, output="final", window="full")
    batch = backbone.tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        hidden = backbone(ids, mask)[mask.bool()]
        kept = Backbone.load(folder, output="final")(ids, mask)[mask.bool()]
    expected = explicit_states(folder, ids, mask, reach=ids.shape[1])[mask.bool()]
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-5)
    assert (hidden - kept).abs().max() > 1e-2


@pytest.mark.parametrize("model_type", [name for name in WINDOWED if name in DECODERS])
def test_full_window_of_a_causal_model(model_type: str, checkpoints: dict[str, Path]) -> None:
    backbone = Backbone.load(checkpoints[model_type], output="final", window="full", bidirectional=False)
    ids = backbone.tokenizer(LONG_TEXT, return_tensors="pt")["input_ids"]
    changed = ids.clone()
    changed[0, 0] = ids[0, 5]
    with torch.no_grad():  # one block suffices to see the first token from far beyond the window
        one = Backbone.load(checkpoints[model_type], layer=0, window="full", bidirectional=False)
        assert (one(ids)[0, -1] - one(changed)[0, -1]).abs().max() > 1e-5
        torch.testing.assert_close(backbone(ids)[:, :9], backbone(ids[:, :9]), rtol=1e-5, atol=1e-5)


def test_gemma3s_own_switch_means_another_window(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    """`use_bidirectional_attention` halves the window; ours keeps it, and keeps the half where that was trained."""
    trained = tiny_checkpoint("gemma3_text", tmp_path / "embedding-gemma", use_bidirectional_attention=True)
    config = json.loads((trained / "config.json").read_text())
    config["sliding_window"] = SLIDING_WINDOW  # as published; older transformers save the halved window
    (trained / "config.json").write_text(json.dumps(config))
    theirs = AutoModel.from_pretrained(trained)
    backbone = Backbone.load(trained, output="final")
    batch = backbone.tokenizer(LONG_TEXT, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        expected = theirs(ids).last_hidden_state
        torch.testing.assert_close(backbone(ids, mask), expected, rtol=1e-4, atol=1e-5)
        ours = Backbone.load(checkpoints["gemma3_text"], output="final")(ids, mask)
    halved = explicit_states(checkpoints["gemma3_text"], ids, mask, reach=SLIDING_WINDOW // 2)
    torch.testing.assert_close(expected, halved, rtol=1e-4, atol=1e-5)
    assert (ours - expected).abs().max() > 1e-2

    with pytest.raises(InputError, match="trained with bidirectional attention"):
        Backbone.load(trained, bidirectional=False)
