from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from saelex.encoder.weighting import FILE_NAME, LatentWeighting, WeightingSettings
from saelex.errors import InputError, MismatchError
from saelex.vectors import SparseRows

N_DOCUMENTS, N_LATENTS = 40, 30


@pytest.fixture(scope="module")
def activations() -> np.ndarray:
    random = np.random.default_rng(0)
    dense = random.gamma(1.0, 2.0, (N_DOCUMENTS, N_LATENTS)) * (random.random((N_DOCUMENTS, N_LATENTS)) < 0.3)
    dense[:, 0] = 1.0  # a latent that is always active
    dense[:, 1] = 0.0  # and one that never is
    return dense.astype(np.float32)


def reference(dense: np.ndarray, s: WeightingSettings, corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Document and query weights, written out over dense arrays."""
    df = (corpus > 0).sum(0)
    idf = np.maximum(np.log(1 + (len(corpus) - df + 0.5) / (df + 0.5)), s.idf_floor) ** (s.idf_power / 2)
    norm = 1 - s.b + s.b * dense.sum(1, keepdims=True) / corpus.sum(1).mean()
    kept = df <= s.max_df * len(corpus)
    tf = dense / norm if s.k1 is None else dense / (dense + s.k1 * norm)
    query = dense if s.query_k1 is None else dense / (dense + s.query_k1)
    return tf * idf * kept, query * idf * kept


@pytest.mark.parametrize(
    "settings",
    [
        WeightingSettings(),
        WeightingSettings(k1=0.4, b=0.3, query_k1=2.0, idf_power=1.7),
        WeightingSettings(k1=None, b=1.0, idf_floor=1.5, max_df=0.35),
        WeightingSettings(idf_power=0.0, max_df=0.9),
    ],
)
def test_equals_the_formula_over_dense_arrays(activations: np.ndarray, settings: WeightingSettings) -> None:
    rows = SparseRows.from_dense(activations)
    weighting = LatentWeighting.fit([rows[:25], rows[25:]], settings)
    fresh = activations[:7] * 1.5
    document, query = reference(fresh, settings, activations)
    np.testing.assert_allclose(weighting.document(SparseRows.from_dense(fresh)).to_dense(), document, rtol=1e-5)
    np.testing.assert_allclose(weighting.query(SparseRows.from_dense(fresh)).to_dense(), query, rtol=1e-5)


def test_dense_latents_go_and_positions_stay(activations: np.ndarray) -> None:
    positions = np.arange(activations.size).reshape(activations.shape)
    rows = SparseRows.from_dense(activations, positions)
    weighted = LatentWeighting.fit([rows], WeightingSettings(max_df=0.9)).document(rows)
    assert 0 not in weighted.latents
    assert weighted.positions is not None
    np.testing.assert_array_equal(weighted.positions, weighted.row_of_entry() * N_LATENTS + weighted.latents)


def test_saved_and_loaded_gives_the_same_weights(activations: np.ndarray, tmp_path: Path) -> None:
    rows = SparseRows.from_dense(activations)
    weighting = LatentWeighting.fit([rows], WeightingSettings(k1=None, query_k1=0.7, max_df=0.9))
    weighting.save(tmp_path)
    loaded = LatentWeighting.load(tmp_path)
    assert loaded.settings == weighting.settings
    np.testing.assert_array_equal(loaded.document(rows).weights, weighting.document(rows).weights)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_other_settings_on_the_same_statistics(activations: np.ndarray) -> None:
    rows = SparseRows.from_dense(activations)
    settings = WeightingSettings(k1=3.0)
    changed = dataclasses.replace(LatentWeighting.fit([rows]), settings=settings)
    fitted = LatentWeighting.fit([rows], settings)
    np.testing.assert_array_equal(changed.document(rows).weights, fitted.document(rows).weights)


def test_bad_input_is_named(activations: np.ndarray, tmp_path: Path) -> None:
    weighting = LatentWeighting.fit([SparseRows.from_dense(activations)])
    with pytest.raises(MismatchError, match="made for 30 latents"):
        weighting.query(SparseRows.empty(31, rows=1))
    with pytest.raises(InputError, match="max_df"):
        WeightingSettings(max_df=0.0)
    with pytest.raises(InputError, match="no such file"):
        LatentWeighting.load(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"\x00" * 20)
    with pytest.raises(InputError, match="is damaged, or not a readable safetensors file"):
        LatentWeighting.load(tmp_path)
