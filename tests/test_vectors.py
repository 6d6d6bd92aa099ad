from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from saelex.errors import InputError
from saelex.vectors import SparseRows


@st.composite
def dense_arrays(draw: st.DrawFn, rows: int | None = None) -> NDArray[np.float32]:
    """Small sparse matrices with empty rows, negative weights and many ties."""
    shape = (draw(st.integers(0, 7)) if rows is None else rows, draw(st.integers(1, 12)))
    values = draw(
        st.lists(
            st.sampled_from([0, 0, 0, 0.5, 1, 1, 2.25, -1.5]),
            min_size=shape[0] * shape[1],
            max_size=shape[0] * shape[1],
        )
    )
    return np.array(values, np.float32).reshape(shape)


def example() -> tuple[NDArray[np.float32], SparseRows]:
    dense = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 1, 1, 1]], np.float32)
    return dense, SparseRows.from_dense(dense, positions=np.arange(12).reshape(3, 4))


@given(dense_arrays())
def test_every_form_and_back(dense: NDArray[np.float32]) -> None:
    rows = SparseRows.from_dense(dense)
    for copy in (
        rows,
        SparseRows.from_scipy(scipy.sparse.coo_array(dense)),
        SparseRows.from_scipy(rows.to_scipy()),
        SparseRows.from_torch(torch.from_numpy(dense)),
        SparseRows.from_torch(rows.to_torch()),
        SparseRows.from_dicts(rows.to_dicts(), rows.n_latents),
    ):
        np.testing.assert_array_equal(copy.to_dense(), dense)


@given(dense_arrays(), st.integers(1, 13))
@settings(deadline=None)
def test_top_k_is_a_stable_sort(dense: NDArray[np.float32], k: int) -> None:
    kept = SparseRows.from_dense(dense).top_k(k)
    for row, (latents, weights) in zip(dense, kept):
        active = np.flatnonzero(row)
        expected = sorted(sorted(active, key=lambda latent: (-row[latent], latent))[:k])
        assert latents.tolist() == expected
        np.testing.assert_array_equal(weights, row[expected])


@given(dense_arrays(), st.integers(1, 5), st.integers(1, 99))
@settings(deadline=None)
def test_top_k_with_a_share_goes_on_until_it_is_carried(dense: NDArray[np.float32], least: int, percent: int) -> None:
    dense = np.abs(dense)
    kept = SparseRows.from_dense(dense, np.full(dense.shape, 7)).top_k(f"{least}+{percent}%")
    assert kept.positions is not None and len(kept.positions) == kept.n_nonzero
    for row, (latents, weights) in zip(dense, kept):
        order = sorted(np.flatnonzero(row), key=lambda latent: (-row[latent], latent))
        carried = np.cumsum(row[order].astype(np.float64))
        enough = np.searchsorted(carried, percent / 100 * carried[-1]) + 1 if order else 0
        expected = sorted(order[: max(least, enough)])
        assert latents.tolist() == expected
        np.testing.assert_array_equal(weights, row[expected])


@given(st.integers(0, 5).flatmap(lambda rows: st.tuples(dense_arrays(rows), dense_arrays(rows))))
def test_beside_is_hstack(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    left, right = pair
    both = SparseRows.from_dense(left, np.full(left.shape, 7)).beside(SparseRows.from_dense(right))
    np.testing.assert_array_equal(both.to_dense(), np.hstack([left, right]))
    assert both.positions is not None
    np.testing.assert_array_equal(both.positions, np.where(both.latents < left.shape[1], 7, -1))


@given(dense_arrays(6), st.lists(st.integers(-6, 5), max_size=9))
@settings(max_examples=50)
def test_choosing_rows_is_numpy_indexing(dense: NDArray[np.float32], chosen: list[int]) -> None:
    rows = SparseRows.from_dense(dense, positions=np.broadcast_to(np.arange(dense.shape[1]), dense.shape))
    index = np.array(chosen, np.int64)
    mask = np.isin(np.arange(6), index)
    for key in (index, mask, slice(1, 4), slice(None, None, -2), slice(4, 2), 3):
        part = rows[key]
        np.testing.assert_array_equal(part.to_dense(), np.atleast_2d(dense[key]))
        np.testing.assert_array_equal(part.positions, part.latents)


@given(st.lists(dense_arrays(rows=3), min_size=1, max_size=4))
def test_concatenate_is_vstack(arrays: list[NDArray[np.float32]]) -> None:
    width = min(array.shape[1] for array in arrays)
    parts = [array[:, :width] for array in arrays]
    together = SparseRows.concatenate([SparseRows.from_dense(part) for part in parts])
    np.testing.assert_array_equal(together.to_dense(), np.vstack(parts))


def test_dot_scale_and_keep() -> None:
    dense, rows = example()
    np.testing.assert_array_equal(rows.scale(2).dot(rows), 2 * dense @ dense.T)
    np.testing.assert_array_equal(rows.keep(rows.weights > 1).to_dense(), np.where(dense > 1, dense, 0))
    assert rows.lengths.tolist() == [2, 0, 4]
    assert rows[2].keep(np.zeros(4, bool)).lengths.tolist() == [0]


def test_negative_row_counts_from_the_end_and_out_of_range_is_an_index_error() -> None:
    dense, rows = example()
    np.testing.assert_array_equal(rows[-1].to_dense(), dense[-1:])
    for key in (3, -4, np.array([3]), np.array([True, False])):
        with pytest.raises(IndexError):
            rows[key]


@pytest.mark.parametrize("mmap", [True, False])
def test_save_and_load(tmp_path: Path, mmap: bool) -> None:
    dense, rows = example()
    rows.save(tmp_path / "rows")
    loaded = SparseRows.load(tmp_path / "rows", mmap=mmap)
    np.testing.assert_array_equal(loaded.to_dense(), dense)
    np.testing.assert_array_equal(loaded.positions, rows.positions)
    SparseRows.empty(5, rows=2).save(tmp_path / "empty")
    assert len(SparseRows.load(tmp_path / "empty", mmap=mmap)) == 2
    with pytest.raises(InputError, match="not an empty folder"):
        rows.save(tmp_path / "rows")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        rows.save(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        rows.save(tmp_path / "file" / "rows")
    (tmp_path / "file").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "rows"]


def test_a_damaged_folder_is_an_input_error(tmp_path: Path) -> None:
    _, rows = example()
    rows.save(tmp_path / "rows")
    whole = (tmp_path / "rows" / "weights.npy").read_bytes()
    (tmp_path / "rows" / "weights.npy").write_bytes(whole[:-4])
    with pytest.raises(InputError, match=r"weights\.npy is damaged"):
        SparseRows.load(tmp_path / "rows")
    with pytest.raises(InputError, match=r"sparse_rows\.json: no such file"):
        SparseRows.load(tmp_path / "nowhere")


def test_json_lines_and_back(tmp_path: Path) -> None:
    dense, rows = example()
    rows.write_jsonl(tmp_path / "rows.jsonl", ["a", "b", "ç"])
    ids, loaded = SparseRows.read_jsonl(tmp_path / "rows.jsonl", 4)
    assert ids == ["a", "b", "ç"]
    np.testing.assert_array_equal(loaded.to_dense(), dense)
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "vector": {"1": 2}}\n{"id": "b"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:2:"):
        SparseRows.read_jsonl(tmp_path / "bad.jsonl", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2], [3, 1], [1, 1], 4), "strictly increase"),
        (([0, 2], [1, 1], [1, 1], 4), "strictly increase"),
        (([0, 2], [1, 4], [1, 1], 4), "outside"),
        (([0, 3], [1, 2], [1, 1], 4), "length"),
        (([0, 2, 1, 2], [1, 2], [1, 1], 4), "decreases"),
        (([1, 2], [1, 2], [1, 1], 4), "start with 0"),
    ],
)
def test_arrays_that_are_no_sparse_rows(arguments: tuple[list[int], list[int], list[int], int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SparseRows.build(*arguments)


def test_mixed_encoders_and_empty_choices_are_refused() -> None:
    _, rows = example()
    other = SparseRows.empty(5, rows=3)
    with pytest.raises(InputError):
        rows.dot(other)
    with pytest.raises(InputError):
        SparseRows.concatenate([rows, other])
    with pytest.raises(InputError):
        SparseRows.concatenate([])
    with pytest.raises(InputError):
        rows.beside(SparseRows.empty(5, rows=2))
    with pytest.raises(InputError):
        rows.top_k(0)
    with pytest.raises(InputError, match=r"as in 40\+80%, or None for all, not '70%'"):
        rows.top_k("70%")


def test_json_lines_that_cannot_be_read_name_file_and_line(tmp_path: Path) -> None:
    path, good = tmp_path / "rows.jsonl", b'{"id": "a", "vector": {"1": 2.5}}\n'
    with pytest.raises(InputError, match=r"rows\.jsonl: no such file"):
        SparseRows.read_jsonl(path, 4)
    for bad in (b"\xff", b'{"id": "b", "vector": {"4": 1}}', b'{"id": "b", "vector": {"-1": 1}}', b"[]", b'{"id": 1}'):
        path.write_bytes(good + bad)
        with pytest.raises(InputError, match=r"rows\.jsonl:2: "):
            SparseRows.read_jsonl(path, 4)


def test_repr_tells_the_size() -> None:
    rows = SparseRows.from_dicts([{1: 0.5, 3: 2.0}, {}, {0: 1.0}], 16384)
    assert repr(rows) == "SparseRows(3 rows, 16384 latents, 3 non-zeros)"
