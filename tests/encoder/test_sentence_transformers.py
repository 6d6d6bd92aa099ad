from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.encoder.encoder import Encoder
from saelex.encoder.sentence_transformers import LatentSparseEncoder
from saelex.encoder.weighting import LatentWeighting
from saelex.errors import InputError
from saelex.vectors import SparseRows

MIXED = [*TEXTS, "", "lift " * 80]


def assert_same_rows(theirs: torch.Tensor, ours: SparseRows) -> None:
    np.testing.assert_allclose(theirs.to_dense().numpy(), ours.to_dense(), rtol=1e-5, atol=1e-6)
    assert theirs.coalesce().values().numel() == ours.n_nonzero


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("encoder")
    encoder = tiny_encoder(folder / "checkpoint", pool_prompt=False)
    encoder.weighting = LatentWeighting.fit([encoder.encode_document(TEXTS, top_k=None)])
    encoder.labels = {3: "wings", 5: "river banks"}
    encoder.save_pretrained(folder / "model")
    encoder.name = str(folder / "model")
    return encoder


@pytest.fixture(scope="module")
def model(encoder: Encoder) -> SparseEncoder:
    return SparseEncoder(encoder.name, trust_remote_code=True, device="cpu")


def test_saved_folder_gives_the_same_vectors_on_both_sides(encoder: Encoder, model: SparseEncoder) -> None:
    queries, documents = encoder.encode_query(MIXED), encoder.encode_document(MIXED)
    assert queries.lengths.max() == 7
    assert documents.lengths.max() == 20
    assert_same_rows(model.encode_query(MIXED), queries)
    assert_same_rows(model.encode_document(MIXED, batch_size=3), documents)
    assert model.max_active_dims is None
    assert model.get_embedding_dimension() == encoder.n_latents


def test_a_share_is_cut_by_the_module_itself(encoder: Encoder, tmp_path: Path) -> None:
    settings = replace(encoder.settings, query_top_k="3+60%", document_top_k="5+80%")
    shared = Encoder(encoder.backbone, encoder.head, settings, weighting=encoder.weighting)
    shared.save_pretrained(tmp_path / "model")
    model = SparseEncoder(str(tmp_path / "model"), trust_remote_code=True, device="cpu")
    queries, documents = shared.encode_query(MIXED), shared.encode_document(MIXED)
    assert len(set(queries.lengths)) > 2 and queries.lengths.max() > 3
    assert_same_rows(model.encode_query(MIXED), queries)
    assert_same_rows(model.encode_document(MIXED, batch_size=3), documents)
    assert model.max_active_dims is None


def test_max_active_dims_of_a_call_takes_the_place_of_top_k(encoder: Encoder, model: SparseEncoder) -> None:
    assert_same_rows(model.encode_document(MIXED, max_active_dims=30), encoder.encode_document(MIXED, top_k=30))


def test_encode_without_a_side_reads_documents_without_a_prompt(encoder: Encoder, model: SparseEncoder) -> None:
    settings = replace(encoder.settings, document_prompt="")
    unprompted = Encoder(encoder.backbone, encoder.head, settings, weighting=encoder.weighting)
    assert_same_rows(model.encode(MIXED), unprompted.encode_document(MIXED))


def test_similarity_is_the_dot_product(encoder: Encoder, model: SparseEncoder) -> None:
    scores = model.similarity(model.encode_query(TEXTS), model.encode_document(TEXTS))
    ours = encoder.similarity(encoder.encode_query(TEXTS), encoder.encode_document(TEXTS))
    np.testing.assert_allclose(scores.numpy(), ours, rtol=1e-4)


def test_trust_remote_code_is_asked_for(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        SparseEncoder(encoder.name, device="cpu")


def test_saved_by_sentence_transformers_it_is_still_the_same_encoder(
    encoder: Encoder, model: SparseEncoder, tmp_path: Path
) -> None:
    model.save_pretrained(str(tmp_path / "again"))
    again = Encoder.load(tmp_path / "again", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    modules = json.loads((tmp_path / "again" / "modules.json").read_text())
    assert modules == json.loads((Path(encoder.name) / "modules.json").read_text())
    np.testing.assert_array_equal(again.encode_query(TEXTS).weights, encoder.encode_query(TEXTS).weights)


def test_decode_knows_labels(encoder: Encoder) -> None:
    model = LatentSparseEncoder.from_encoder(encoder)
    vector = torch.zeros(2, encoder.n_latents)
    vector[0, 3], vector[0, 5], vector[0, 9] = 1.0, 3.0, 2.0
    assert model.decode(vector[0], top_k=2) == [("river banks", 3.0), ("latent 9", 2.0)]
    assert model.decode(vector.to_sparse()) == [[("river banks", 3.0), ("latent 9", 2.0), ("wings", 1.0)], []]
    assert_same_rows(model.encode_query(MIXED), encoder.encode_query(MIXED))


def test_training_mode_has_gradients_and_no_top_k(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path)
    model = LatentSparseEncoder.from_encoder(encoder).train()
    whole = encoder.encode_document(TEXTS, top_k=None).to_dense()
    assert encoder.backbone.training  # encoding went without dropout and left the mode alone
    encoder.backbone.eval()  # the numbers are compared
    features = model.preprocess([*TEXTS, ""], prompt=encoder.settings.document_prompt, task="document")
    embedding = model(features, task="document")["sentence_embedding"]
    np.testing.assert_allclose(embedding[:-1].detach().numpy(), whole, rtol=1e-5, atol=1e-5)
    assert not embedding[-1].any()
    embedding.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_frozen_weighting_is_not_trained_over(encoder: Encoder) -> None:
    model = LatentSparseEncoder.from_encoder(encoder).train()
    with pytest.raises(InputError, match="weighting"):
        model(model.preprocess(["lift"]))
    model.eval()


def test_max_seq_length_sets_both_sides(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path)
    model = LatentSparseEncoder.from_encoder(encoder)
    model.max_seq_length = 6
    assert (encoder.settings.max_query_length, encoder.settings.max_document_length) == (6, 6)
    assert model.preprocess([TEXTS[1]])["input_ids"].shape == (1, 6)
