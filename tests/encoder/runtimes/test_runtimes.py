"""Every runtime against torch's modules, on tiny models: equal vectors within a tolerance, one fingerprint.

Weights are held to 1e-4 of each other where both are above it: an entry that lies at a gate's threshold may flip.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoder.tiny_encoders import SETTINGS, random_head
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint

from saelex.encoder import kernels, plain_kernels
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.backbone.vocabulary import MaskedLMTransform
from saelex.encoder.encoder import Encoder
from saelex.encoder.runtimes import choosing
from saelex.encoder.runtimes.activations import ACTIVATIONS
from saelex.encoder.runtimes.onnx_graph import bert_model
from saelex.encoder.token_weights import TokenWeights
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError
from saelex.loading import Loading
from saelex.sae.activations import JumpReLU, ReLU, TopK
from saelex.sae.normalisation import TokenNorm

RUNTIMES = ("numpy", "onnxruntime", "openvino")
TOLERANCE = 1e-4
BLANK = "  "
ASKED = [*TEXTS, BLANK, TEXTS[1] + " " + TEXTS[3]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("runtimes") / "bert")


def made(checkpoint: Path, head: dict[str, Any], **settings: Any) -> Encoder:
    backbone = Backbone.load(checkpoint, layer=2)
    gate = head.pop("gate", None)
    return Encoder(backbone, random_head(backbone.d_model, gate, **head), replace(SETTINGS, **settings))


def assert_close(ours: Encoder, theirs: Encoder, texts: list[str] = ASKED) -> None:
    """The same rows; positions where the token is no tie."""
    assert ours.fingerprint == theirs.fingerprint
    for side in ("query", "document"):
        a, b = ours.encode(texts, side=side, top_k=None), theirs.encode(texts, side=side, top_k=None)  # type: ignore[arg-type]
        np.testing.assert_allclose(a.to_dense(), b.to_dense(), atol=TOLERANCE)
        assert b.n_nonzero > len(texts)
        kept = ours.encode(texts, side=side)  # type: ignore[arg-type]
        np.testing.assert_allclose(kept.to_dense(), theirs.encode(texts, side=side).to_dense(), atol=TOLERANCE)  # type: ignore[arg-type]
        if a.n_nonzero == b.n_nonzero:
            np.testing.assert_array_equal(a.latents, b.latents)
            np.testing.assert_array_equal(a.positions, b.positions)


HEADS: dict[str, dict[str, Any]] = {
    "jumprelu": {},
    "topk": {"gate": TopK(5)},
    "topk, scaled": {"gate": TopK(5), "scale": torch.linspace(0.5, 2.0, 96), "saturation": "sqrt", "alpha": 1.5},
    "relu, summed": {"gate": ReLU(), "pooling": "sum"},
    "topk, summed": {"gate": TopK(5), "pooling": "sum", "saturation": "none"},
    "jumprelu, summed": {"gate": JumpReLU(torch.tensor([0.3])), "pooling": "sum", "saturation": "log1p_log1p"},
    "soft-capped": {"gate": ReLU(), "softcap": 30.0, "scale": torch.linspace(0.5, 2.0, 96)},
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["jumprelu", "topk"])
def test_a_runtime_gives_torchs_vectors(checkpoint: Path, tmp_path: Path, runtime: Any, name: str) -> None:
    encoder = made(checkpoint, dict(HEADS[name]))
    encoder.save_pretrained(tmp_path / "model")
    loaded = Encoder.load(tmp_path / "model", runtime=runtime)
    assert str(loaded).endswith(f"; {runtime} in float32)")
    assert_close(loaded, encoder)
    assert loaded.token_spans(TEXTS[0], "query") == encoder.token_spans(TEXTS[0], "query")


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("sink_norm", [None, 6.0])
def test_every_head_on_arrays(checkpoint: Path, tmp_path: Path, name: str, sink_norm: float | None) -> None:
    encoder = made(checkpoint, dict(HEADS[name]), sink_norm=sink_norm)
    encoder.save_pretrained(tmp_path / "model")
    loaded = Encoder.load(tmp_path / "model", runtime="numpy")
    assert_close(loaded, encoder)
    nearest = loaded.neighbours(3, 5)
    assert [latent for latent, _ in nearest] == [latent for latent, _ in encoder.neighbours(3, 5)]
    np.testing.assert_allclose([c for _, c in nearest], [c for _, c in encoder.neighbours(3, 5)], atol=1e-6)


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm", "masked_lm", "both"])
def test_transforms_before_the_head(checkpoint: Path, tmp_path: Path, kind: Any) -> None:
    torch.manual_seed(0)
    masked = MaskedLMTransform(32, "gelu", 1e-12)
    transforms = {"masked_lm": masked, "both": torch.nn.Sequential(masked, TokenNorm("layer_norm"))}
    transform = transforms.get(kind) or TokenNorm(kind)
    encoder = made(checkpoint, {"gate": TopK(5), "transform": transform})
    encoder.save_pretrained(tmp_path / "model")
    assert_close(Encoder.load(tmp_path / "model", runtime="numpy"), encoder)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation(tmp_path: Path, runtime: Any, activation: str) -> None:
    encoder = made(tiny_checkpoint("bert", tmp_path / "bert", hidden_act=activation), {"gate": TopK(5)})
    encoder.save_pretrained(tmp_path / "model")
    assert_close(Encoder.load(tmp_path / "model", runtime=runtime), encoder, list(TEXTS[:3]))


def test_a_low_rank_update_weighting_and_a_rounded_head(checkpoint: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    modules = ("encoder.layer.0.attention.self.query", "encoder.layer.2.output.dense")
    shapes = {modules[0]: (32, 32), modules[1]: (32, 64)}
    update = LowRankUpdate({name: (torch.randn(4, d_in), torch.randn(d_out, 4) / 8)
                            for name, (d_out, d_in) in shapes.items()}, torch.float16)  # fmt: skip
    encoder = made(checkpoint, {"gate": TopK(5)})
    plain = encoder.encode_document(TEXTS[1]).to_dense()
    encoder = Encoder(encoder.backbone.with_update(update), encoder.head, encoder.settings)
    assert np.abs(encoder.encode_document(TEXTS[1]).to_dense() - plain).max() > 0.01
    encoder.weighting = LatentWeighting.fit([encoder.encode_document(TEXTS, top_k=None)])
    encoder.save_pretrained(tmp_path / "model", include_backbone=False, weight_dtype=torch.float16)
    assert_close(Encoder.load(tmp_path / "model", runtime="numpy"), Encoder.load(tmp_path / "model", runtime="torch"))


def test_queries_that_are_looked_up(checkpoint: Path, tmp_path: Path) -> None:
    encoder = made(checkpoint, {"gate": ReLU()})
    encoder.token_weights = TokenWeights(np.linspace(0, 3, 96))
    encoder.save_pretrained(tmp_path / "model")
    # of the tiny tokenizer's 150 tokens the head knows the first 96
    texts = ["e", "a o"]
    loaded = Encoder.load(tmp_path / "model", runtime="numpy")
    np.testing.assert_array_equal(loaded.encode_query(texts).to_dense(), encoder.encode_query(texts).to_dense())


def test_modules_are_loaded_when_they_are_asked_for_and_then_compute(checkpoint: Path, tmp_path: Path) -> None:
    made(checkpoint, {"gate": TopK(5)}).save_pretrained(tmp_path / "model")
    loaded = Encoder.load(tmp_path / "model", runtime="numpy")
    fingerprint = loaded.fingerprint
    with torch.no_grad():
        loaded.head.bias += 10
    assert loaded.fingerprint != fingerprint
    assert loaded.runtime().arithmetic.runtime == "torch"
    assert loaded.encode_document(TEXTS[0]).weights.min() > 1


def test_lower_precisions_stay_near(checkpoint: Path, tmp_path: Path) -> None:
    encoder = made(checkpoint, {"gate": JumpReLU(torch.tensor([0.1]))})
    encoder.save_pretrained(tmp_path / "model")
    exact = encoder.encode_document(TEXTS, top_k=None).to_dense()
    for runtime, precision in (("onnxruntime", "int8"), ("openvino", "bfloat16"), ("torch", "bfloat16")):
        loaded = Encoder.load(tmp_path / "model", runtime=runtime, precision=precision)  # type: ignore[arg-type]
        assert loaded.fingerprint == encoder.fingerprint
        found = loaded.encode_document(TEXTS, top_k=None).to_dense()
        norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
        assert ((exact * found).sum(axis=1) / norms).min() > 0.97
        assert loaded.runtime().arithmetic == (runtime, precision)


def test_what_only_torch_computes(checkpoint: Path, tmp_path: Path) -> None:
    half = made(checkpoint, {"gate": TopK(5)})
    Encoder(half.backbone.to(torch.bfloat16), half.head, half.settings).save_pretrained(tmp_path / "half")
    with pytest.raises(InputError, match="has weights in bfloat16, and float32 runs without torch"):
        Encoder.load(tmp_path / "half", runtime="numpy")
    backbone = Backbone.load(tiny_checkpoint("distilbert", tmp_path / "distilbert"), layer=2)
    Encoder(backbone, random_head(backbone.d_model), SETTINGS).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="is of type distilbert, and only BERT runs without torch"):
        Encoder.load(tmp_path / "other", runtime="onnxruntime")
    masked = tiny_checkpoint("bert", tmp_path / "splade", language_model=True)
    with pytest.raises(InputError, match="only torch reads others"):
        Encoder.load(masked, runtime="numpy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorflow"}, "a runtime is one of auto, torch"),
        ({"precision": "float8"}, "a precision is one of float32"),
        ({"runtime": "numpy", "precision": "int8"}, "numpy has no int8; these have: onnxruntime"),
        ({"precision": "int8"}, "int8 belongs to a runtime; name one: onnxruntime"),
        ({"runtime": "numpy", "dtype": "bfloat16"}, "dtype are torch's"),
        ({"runtime": "torch", "precision": "bfloat16", "dtype": "float32"}, "are the same setting"),
    ],
)
def test_settings_that_do_not_go_together(checkpoint: Path, tmp_path: Path, options: Any, message: str) -> None:
    made(checkpoint, {"gate": TopK(5)}).save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match=message):
        Encoder.load(tmp_path / "model", **options)


def test_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choosing.choose("auto", None, Loading()) is None  # these tests have imported torch
    monkeypatch.delitem(choosing.sys.modules, "torch")
    monkeypatch.setattr(choosing, "_GPUS", ())
    assert choosing.choose("auto", None, Loading()) == ("numpy", "float32")
    assert choosing.choose("auto", None, Loading(device="cuda")) is None
    assert choosing.choose("auto", None, Loading(dtype="bfloat16")) is None
    monkeypatch.setattr(choosing, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the runtime openvino needs openvino; install it with"):
        choosing.choose("openvino", None, Loading())


def test_the_graph_is_valid_onnx(checkpoint: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from saelex.encoder.backbone.stored import StoredBackbone

    stored = StoredBackbone(
        checkpoint, layer=2, bidirectional=True, output="residual", window="keep", update=None, revision=None,
        loading=Loading(),
    )  # fmt: skip
    model = onnx.load_model_from_string(bert_model(stored.weights(), stored.shape))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["embedded", "mask"]


# ---- plain and compiled loops ---------------------------------------------------------------------------------------


def test_gelu_is_near_the_exact_one() -> None:
    x = np.concatenate([np.linspace(-12, 12, 20001), [0.0, -0.0, 1e-20, 60.0, -60.0]]).astype(np.float32)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.astype(float)])
    for loops in (kernels, plain_kernels):
        values = x.copy()
        loops.gelu(values)
        assert (np.abs(values - exact) <= 3e-7 * np.abs(x)).all()


@pytest.mark.parametrize("seed", range(8))
def test_plain_and_compiled_loops_agree(seed: int) -> None:
    """With many ties: values are multiples of a half."""
    generator = np.random.default_rng(seed)
    block = (generator.integers(-6, 7, (11, 40)) / 2).astype(np.float32)
    offsets = np.array([0, 0, 4, 5, 5, 11])
    bias, scale = (generator.integers(-2, 3, 40) / 2).astype(np.float32), np.full(40, 2, np.float32)

    found = []
    for loops in (kernels, plain_kernels):
        maxima, tokens = np.zeros((5, 42), np.float32), np.zeros((5, 42), np.int32)
        total = np.zeros((5, 42), np.float32)
        loops.segment_max(block, offsets, maxima, tokens, 1)
        loops.segment_sum(block, offsets, total, 1)
        values, latents = np.full((11, 6), -np.inf, np.float32), np.zeros((11, 6), np.int64)
        for start in (0, 20, 36):
            stop = {0: 20, 20: 36, 36: 40}[start]
            loops.keep_largest(block[:, start:stop].copy(), bias[start:stop], scale[start:stop], values, latents, start)
        places = loops.strongest(values, latents, offsets, 40)
        found.append([maxima, tokens, total, values, latents, places, *loops.active(maxima, tokens, np.zeros(42, "f"))])
    for compiled, plain in zip(*found):
        np.testing.assert_array_equal(compiled, plain)
    assert len(found[0][5]) > 10
