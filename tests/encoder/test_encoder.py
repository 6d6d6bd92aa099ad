from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.encoder.tiny_encoders import N_LATENTS, SETTINGS, random_head, tiny_encoder
from tests.encoder.tiny_models import LONG_TEXT, TEXTS, tiny_checkpoint
from transformers import AutoModelForCausalLM

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.vocabulary import load_vocabulary
from saelex.encoder.encoder import Encoder
from saelex.encoder.head import LinearHead
from saelex.encoder.settings import EncoderSettings, Side
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError, MismatchError
from saelex.sae.activations import JumpReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.vectors import SparseRows

MIXED = ["", *TEXTS, LONG_TEXT, " \n ", LONG_TEXT * 4]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("bert"))


def expected(encoder: Encoder, text: str, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Weights and arg-max tokens [latents] of one text: transformers' tokenizer, no batch, plain PyTorch, no Top-K."""
    config = encoder.settings
    prompt, limit = config.prompt(side), min(config.max_length(side) or 10**9, encoder.backbone.max_length)
    wrapped = encoder.backbone.tokenizer(
        prompt + text, truncation=True, max_length=limit, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    ids = torch.tensor([wrapped["input_ids"]])
    keep = torch.ones(ids.shape[1], dtype=torch.bool)
    if config.mask_special_tokens:
        keep &= torch.tensor(wrapped["special_tokens_mask"]) == 0
    if not config.pool_prompt:
        keep &= torch.tensor([end > len(prompt) or end == 0 for _, end in wrapped["offset_mapping"]])
    with torch.no_grad():
        hidden = encoder.backbone(ids, torch.ones_like(ids))[0]  # [tokens, d_model]
        if config.sink_norm is not None:
            keep &= hidden.norm(dim=-1) <= config.sink_norm
        if not keep.any():
            return np.zeros(encoder.n_latents, np.float32), np.full(encoder.n_latents, -1)
        head = encoder.head
        latents = head.activation(hidden @ head.weight.T + head.bias)  # [tokens, latents]
        latents[~keep] = 0
        weights, tokens = torch.log1p(latents).max(0)
    return weights.numpy(), np.where(weights > 0, tokens, -1)


def assert_expected(encoder: Encoder, rows: SparseRows, texts: list[str], side: Side) -> None:
    assert rows.positions is not None
    for i, text in enumerate(texts):
        weights, tokens = expected(encoder, text, side) if text.strip() else (np.zeros(N_LATENTS), None)
        np.testing.assert_allclose(rows[i].to_dense()[0], weights, rtol=1e-4, atol=1e-4)
        if tokens is not None:
            np.testing.assert_array_equal(rows[i].positions, tokens[rows[i].latents])


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "modernbert", "llama", "gemma2"])
@pytest.mark.parametrize("changes", [{}, {"mask_special_tokens": False}, {"pool_prompt": False}])
def test_rows_are_those_of_each_text_alone(model_type: str, changes: dict[str, bool], tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, model_type, **changes)
    encoder.batch_tokens = 50
    assert_expected(encoder, encoder.encode_query(MIXED, top_k=None), MIXED, "query")
    assert_expected(encoder, encoder.encode_document(MIXED, top_k=None), MIXED, "document")


def test_blank_texts_are_empty_rows_even_with_special_tokens_pooled(encoder: Encoder) -> None:
    pooled = Encoder(encoder.backbone, encoder.head, replace(SETTINGS, mask_special_tokens=False))
    assert pooled.encode_query(["", "lift", "  \n"]).lengths.tolist()[::2] == [0, 0]
    assert len(pooled.encode_query([])) == 0
    assert pooled.encode_document(["", " "]).positions is not None


def test_high_norm_tokens_stay_out(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, "llama")  # BERT's last step, a LayerNorm, would make all norms equal
    norm = encoder.measure_sink_norm(TEXTS, factor=1.001)  # the median token itself lies off the boundary
    sober = Encoder(encoder.backbone, encoder.head, replace(SETTINGS, sink_norm=norm))
    rows = sober.encode_document(TEXTS, top_k=None)
    assert_expected(sober, rows, list(TEXTS), "document")
    assert rows.n_nonzero < encoder.encode_document(TEXTS, top_k=None).n_nonzero


def test_sink_norm_is_a_multiple_of_the_median(encoder: Encoder) -> None:
    norms = []
    for text in encoder.tokenizer.tokenize(TEXTS, "document"):
        with torch.no_grad():
            hidden = encoder.backbone(torch.from_numpy(text.ids)[None])[0]
        norms.append(hidden[torch.from_numpy(text.pooled)].norm(dim=-1))
    assert encoder.measure_sink_norm([*TEXTS, ""]) == pytest.approx(10 * float(torch.cat(norms).median()), rel=1e-5)
    with pytest.raises(InputError, match="not blank"):
        encoder.measure_sink_norm([" "])


def test_top_k_defaults_calls_and_all(encoder: Encoder) -> None:
    whole = encoder.encode_query(MIXED, top_k=None)
    for rows, k in (
        (encoder.encode_query(MIXED), 7),
        (encoder.encode_query(MIXED, top_k=3), 3),
        (encoder.encode_query(MIXED, top_k="3+60%"), "3+60%"),
    ):
        kept = whole.top_k(k)
        np.testing.assert_array_equal(rows.latents, kept.latents)
        np.testing.assert_array_equal(rows.weights, kept.weights)
        np.testing.assert_array_equal(rows.positions, kept.positions)
    assert encoder.encode_document(MIXED).lengths.max() == 20
    for wrong in (0, -1, "all", True, 2.0):
        with pytest.raises(InputError, match="top_k"):
            encoder.encode_query("lift", top_k=wrong)  # type: ignore[arg-type]


def test_weighting_comes_before_top_k_and_differs_by_side(encoder: Encoder) -> None:
    weighting = LatentWeighting.fit([encoder.encode_document(TEXTS, top_k=None)])
    weighted = Encoder(encoder.backbone, encoder.head, SETTINGS, weighting=weighting)
    queries = weighting.query(encoder.encode_query(TEXTS, top_k=None)).top_k(7)
    documents = weighting.document(encoder.encode_document(TEXTS, top_k=None)).top_k(20)
    np.testing.assert_allclose(weighted.encode_query(TEXTS).to_dense(), queries.to_dense(), rtol=1e-5)
    np.testing.assert_allclose(weighted.encode_document(TEXTS).to_dense(), documents.to_dense(), rtol=1e-5)


def test_a_stream_gives_the_same_rows_chunk_by_chunk_and_reads_no_further(encoder: Encoder) -> None:
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for i in range(30):
            taken.append(i)
            yield MIXED[i % len(MIXED)]

    chunks = encoder.encode_stream(texts(), chunk_size=7)
    parts = [next(chunks)]
    assert len(taken) == 7
    parts += chunks
    assert [len(part) for part in parts] == [7, 7, 7, 7, 2]
    whole = encoder.encode_document([MIXED[i % len(MIXED)] for i in range(30)])
    np.testing.assert_allclose(
        SparseRows.concatenate(parts).to_dense(), whole.to_dense(), rtol=1e-4, atol=1e-4
    )  # other batches, other kernels


def copies_among_others() -> list[str]:
    """64 texts, each three times, and 60 others once, of all lengths and in any order; a blank text is among them."""
    words = " ".join(TEXTS).split()
    texts = ["", *(" ".join([*words[i % 19 : i % 19 + i % 11 + 1], str(i)]) for i in range(123))]
    shuffled = texts[:64] * 3 + texts[64:]
    Random(0).shuffle(shuffled)
    return shuffled


def assert_equal_rows(rows: SparseRows, texts: list[str]) -> None:
    """Rows of equal texts are equal bit by bit, and those of different ones are not all the same."""
    assert rows.positions is not None and len(rows) == len(texts)
    for text in set(texts):
        first, *copies = (rows[i] for i, other in enumerate(texts) if other == text)
        for copy in copies:
            for name in ("indptr", "latents", "weights", "positions"):
                np.testing.assert_array_equal(getattr(copy, name), getattr(first, name))
    assert len({rows[i].weights.tobytes() for i in range(len(rows))}) > len(set(texts)) / 2


def test_equal_texts_get_equal_vectors_and_are_encoded_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = copies_among_others()
    tokenized: list[str] = []
    run: list[int] = []
    tokenize = encoder.tokenizer.tokenize
    monkeypatch.setattr("saelex.encoder.encoder.WINDOW", 50)
    monkeypatch.setattr(encoder, "batch_tokens", 60)
    monkeypatch.setattr(
        encoder.tokenizer, "tokenize", lambda given, side: tokenized.extend(given) or tokenize(given, side)
    )
    handle = encoder.backbone.register_forward_hook(lambda _, arguments, __: run.append(len(arguments[0])))
    try:
        rows = encoder.encode_document(texts, top_k=None)
    finally:
        handle.remove()
    assert tokenized == list(dict.fromkeys(texts))  # over three windows
    assert sum(run) == len(set(texts)) - 1 and len(run) > 20  # a blank text is not run
    assert_equal_rows(rows, texts)
    assert_expected(encoder, rows[:30], texts[:30], "document")


def test_equal_texts_of_a_chunk_get_equal_vectors(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = copies_among_others()
    monkeypatch.setattr(encoder, "batch_tokens", 60)
    chunks = list(encoder.encode_stream(iter(texts), side="query", chunk_size=200))
    assert [len(chunk) for chunk in chunks] == [200, 52]
    assert_equal_rows(chunks[0], texts[:200])


def test_progress_counts_the_texts_that_were_given(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = copies_among_others()
    bars: list[tuple[int | None, list[int]]] = []

    class Bar(AbstractContextManager["Bar"]):
        def __init__(self, *, total: int | None, **_: object) -> None:
            bars.append((total, []))

        def update(self, n: int) -> None:
            bars[-1][1].append(n)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("saelex.encoder.encoder.progress_bar", Bar)
    monkeypatch.setattr(encoder, "batch_tokens", 60)
    encoder.encode_document(texts, progress=True)
    list(encoder.encode_stream(texts, chunk_size=100, progress=True))
    list(encoder.encode_stream(iter(texts), chunk_size=100, progress=True))
    assert [(total, sum(done)) for total, done in bars] == [(252, 252), (252, 252), (None, 252)]
    assert len(bars[0][1]) > 20  # batch by batch


def test_what_is_no_text_is_named_by_its_index(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="text 1 is a NoneType"):
        encoder.encode_query(["lift", None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="text 5 is a int"):
        list(encoder.encode_stream(iter(["a", "b", "c", "d", "e", 7]), chunk_size=2))  # type: ignore[list-item]
    with pytest.raises(InputError, match="text 1 holds half a surrogate"):
        encoder.encode_document(["lift", "\ud800"])
    with pytest.raises(InputError, match="chunk_size"):
        list(encoder.encode_stream(["lift"], chunk_size=0))


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_has_an_encoding_and_spans_inside_it(encoder: Encoder, text: str) -> None:
    rows = encoder.encode_document([text, "lift"])
    assert np.isfinite(rows.weights).all()
    spans = encoder.token_spans(text, "document")
    assert rows.positions is not None
    assert all(0 <= position < len(spans) for position in rows[0].positions)
    assert all(0 <= start <= end <= len(text) for start, end in spans)


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "llama"])
def test_spans_leave_the_prompt_and_special_tokens_out(model_type: str, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, model_type, max_document_length=40)
    text = "a bank lends money"
    words = [text[start:end].strip() for start, end in encoder.token_spans(text, "document")]
    assert "".join(words) == text.replace(" ", "")
    framing = len(encoder.tokenizer.tokenize([text], "document")[0].ids) - len([word for word in words if word])
    assert words[:1] == [""] and framing > 0
    assert encoder.token_spans("  ", "query") == []


def test_a_special_token_written_in_a_text_is_masked_but_the_unknown_one_is_not(encoder: Encoder) -> None:
    text = encoder.tokenizer.tokenize(["lift [SEP] 鷺 lift"], "document", prompt="")[0]
    tokens = [encoder.tokenizer.tokenizer.id_to_token(int(i)) for i in text.ids]
    assert dict(zip(tokens, text.pooled.tolist())) == {"[CLS]": False, "lift": True, "[SEP]": False, "[UNK]": True}


def test_decode_names_the_heaviest_first(encoder: Encoder) -> None:
    rows = SparseRows.from_dicts([{2: 0.5, 7: 3.0, 9: 1.0}, {}], N_LATENTS)
    encoder.labels = {7: "aviation"}
    assert encoder.decode(rows, top=2) == [[("aviation", 3.0), ("latent 9", 1.0)], []]
    assert len(encoder.decode(rows)[0]) == 3
    with pytest.raises(MismatchError, match="latents"):
        encoder.decode(SparseRows.empty(5, 1))


def test_a_head_of_another_width_is_refused(encoder: Encoder) -> None:
    with pytest.raises(MismatchError, match="dimensions"):
        Encoder(encoder.backbone, random_head(encoder.backbone.d_model + 1))


def test_dropout_is_off_in_the_middle_of_training(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path)
    quiet = encoder.encode_query(TEXTS)
    encoder.backbone.train()
    np.testing.assert_array_equal(encoder.encode_query(TEXTS).weights, quiet.weights)
    assert all(module.training for module in encoder.backbone.modules())


@pytest.mark.parametrize(("told", "known"), [("gemma-2-2b/16-res", "gemma-2-2b/16-res"), ("../x", None), (4, None)])
def test_from_sae_tells_where_its_latents_are_published(told: object, known: str | None, tmp_path: Path) -> None:
    folder = tiny_checkpoint("llama", tmp_path / "llama")
    tensors = [torch.ones(shape) for shape in ((32, N_LATENTS), (N_LATENTS,), (N_LATENTS, 32), (32,))]
    config = SaeConfig(32, N_LATENTS, str(folder), layer=1, source="here", metadata={"neuronpedia_id": told})
    encoder = Encoder.from_sae(folder, SparseAutoencoder(*tensors, TopK(4), config))
    assert encoder.description == {"sae": "here"} | ({"neuronpedia": known} if known else {})


@pytest.mark.parametrize("gate", [JumpReLU(torch.tensor([0.2])), TopK(4)])
def test_from_sae_encodes_with_the_sae(gate: JumpReLU | TopK, tmp_path: Path) -> None:
    folder = tiny_checkpoint("llama", tmp_path / "llama")
    generator = torch.Generator().manual_seed(0)
    shapes = ((32, N_LATENTS), (N_LATENTS,), (N_LATENTS, 32), (32,))
    tensors = [torch.randn(shape, generator=generator) * 0.3 for shape in shapes]
    config = SaeConfig(d_model=32, n_latents=N_LATENTS, model_name=str(folder), layer=1)
    sae = SparseAutoencoder(
        *tensors, gate, config, apply_b_dec_to_input=True, encoder_scale=torch.full((N_LATENTS,), 0.7)
    )
    encoder = Encoder.from_sae(folder, sae, settings=EncoderSettings(document_top_k=None))
    assert encoder.backbone.layer == 1 and encoder.description == {"sae": None}
    text = encoder.tokenizer.tokenize([TEXTS[1]], "document")[0]
    with torch.no_grad():
        hidden = encoder.backbone(torch.from_numpy(text.ids)[None])[0][torch.from_numpy(text.pooled)]
        wanted = torch.log1p(sae.encode(hidden).amax(0)).numpy()
    np.testing.assert_allclose(
        encoder.encode_document(TEXTS[1]).to_dense()[0], wanted, rtol=1e-4, atol=1e-4
    )  # other batches, other kernels
    with pytest.raises(MismatchError):
        Encoder.from_sae(folder, sae, layer=2)
    with pytest.raises(MismatchError, match="cut at layer 3"):
        Encoder.from_sae(Backbone.load(folder, layer=3), sae, layer=1)
    with pytest.raises(MismatchError, match="final norm"):
        Encoder.from_sae(Backbone.load(folder, layer=1, output="final"), sae)
    with pytest.raises(InputError, match="this backbone is loaded"):
        Encoder.from_sae(encoder.backbone, sae, dtype="bfloat16")
    assert Encoder.from_sae(folder, sae, dtype="bfloat16").backbone.dtype == torch.bfloat16


def test_from_vocabulary_of_a_decoder_caps_its_logits(tmp_path: Path) -> None:
    folder = tiny_checkpoint("gemma2", tmp_path, language_model=True)
    # gemma2's attention is made bidirectional unless told otherwise; causal, it is transformers' own model
    encoder = Encoder.from_vocabulary(folder, bidirectional=False, settings=EncoderSettings(document_top_k=None))
    text = encoder.tokenizer.tokenize([TEXTS[1]], "document")[0]
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.from_numpy(text.ids)[None]).logits[0]
    wanted = torch.log1p(torch.relu(logits[torch.from_numpy(text.pooled)].amax(0))).numpy()
    np.testing.assert_allclose(
        encoder.encode_document(TEXTS[1]).to_dense()[0], wanted, rtol=1e-4, atol=1e-4
    )  # other batches, other kernels
    assert isinstance(encoder.head, LinearHead) and encoder.head.softcap == 3.0
    with pytest.raises(InputError, match="this model is loaded"):
        Encoder.from_vocabulary(load_vocabulary(folder), device="cpu")


def test_repr_tells_head_backbone_and_what_is_kept(encoder: Encoder) -> None:
    backbone, at = encoder.backbone, encoder.backbone.model_id
    told = f"Backbone({at}, layer 2, residual, bidirectional, float32 on cpu)"
    gate = "JumpReLU(n_thresholds=96), max, log1p"
    assert repr(encoder) == f"Encoder({at}: 96 latents, {gate}, keeps 7 / 20; {told})"
    named = Encoder(backbone, random_head(32, TopK(4)), EncoderSettings(document_top_k=None), name="me/model")
    assert repr(named) == f"Encoder(me/model: 96 latents, TopK(k=4), max, log1p, keeps 40 / all; {told})"
