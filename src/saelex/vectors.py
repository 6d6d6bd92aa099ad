"""SparseRows: the one container for a batch of sparse vectors.

Compressed sparse rows as four numpy arrays. Encoders return it, the index stores it, training and evaluation read it;
a batch is never a Python list of tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saelex.errors import InputError
from saelex.files import expanded, making_folder, write_text, writing
from saelex.reading.arrays import read_npy
from saelex.reading.json_object import JsonObject, parse_json, read_json
from saelex.reading.regular import is_listed, regular_file
from saelex.top_k import Cut, TopKSetting

if TYPE_CHECKING:
    import scipy.sparse
    import torch

FORMAT = "saelex-sparse-rows/1"
_ARRAYS: dict[str, type] = {"indptr": np.int64, "latents": np.int32, "weights": np.float32, "positions": np.int32}


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A batch of sparse vectors in compressed-sparse-row form.

    indptr: int64 [rows + 1]; row i owns the entries indptr[i]:indptr[i + 1].
    latents: int32 [non-zeros], strictly increasing inside a row.
    weights: float32 [non-zeros].
    n_latents: number of columns.
    positions: int32 [non-zeros] or None; the token of the row's text at which the latent was strongest, counted in the
        encoded sequence with its special tokens; -1 where a weight does not come from one token.

    Raises InputError when the arrays do not describe such a batch.
    """

    indptr: NDArray[np.int64]
    latents: NDArray[np.int32]
    weights: NDArray[np.float32]
    n_latents: int
    positions: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.indptr.ndim != 1 or len(self.indptr) == 0 or self.indptr[0] != 0:
            raise InputError("sparse rows: indptr must be one-dimensional and start with 0")
        lengths = {len(self.latents), len(self.weights), int(self.indptr[-1])}
        if self.positions is not None:
            lengths.add(len(self.positions))
        if len(lengths) != 1:
            raise InputError("sparse rows: latents, weights, positions and the end of indptr differ in length")

    # ---- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        indptr: ArrayLike,
        latents: ArrayLike,
        weights: ArrayLike,
        n_latents: int,
        positions: ArrayLike | None = None,
    ) -> SparseRows:
        """From any arrays: converts the types and checks that every row's latents increase and lie in range."""
        rows = cls(
            np.ascontiguousarray(indptr, np.int64),
            np.ascontiguousarray(latents, np.int32),
            np.ascontiguousarray(weights, np.float32),
            int(n_latents),
            None if positions is None else np.ascontiguousarray(positions, np.int32),
        )
        if np.any(np.diff(rows.indptr) < 0):
            raise InputError("sparse rows: indptr decreases")
        if rows.n_nonzero and (rows.latents.min() < 0 or rows.latents.max() >= rows.n_latents):
            raise InputError(f"sparse rows: a latent lies outside 0..{rows.n_latents - 1}")
        same_row = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
        if np.any((np.diff(rows.latents) <= 0) & (np.diff(same_row) == 0)):
            raise InputError(
                "sparse rows: latents must strictly increase inside a row; sort them and add up duplicates"
            )
        return rows

    @classmethod
    def empty(cls, n_latents: int, rows: int = 0) -> SparseRows:
        """`rows` empty rows."""
        return cls(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), n_latents)

    @classmethod
    def concatenate(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """The rows of all parts, one after the other. Token positions are kept only where every part has them."""
        if not parts:
            raise InputError("sparse rows: nothing to concatenate; give at least one part")
        if len({part.n_latents for part in parts}) != 1:
            raise InputError("sparse rows: parts differ in their number of latents, so they are of different encoders")
        starts = np.cumsum([0, *(part.n_nonzero for part in parts)])
        indptr = np.concatenate([[0], *(part.indptr[1:] + start for part, start in zip(parts, starts))])
        positions = [part.positions for part in parts if part.positions is not None]
        return cls(
            indptr.astype(np.int64, copy=False),
            np.concatenate([part.latents for part in parts]),
            np.concatenate([part.weights for part in parts]),
            parts[0].n_latents,
            np.concatenate(positions) if len(positions) == len(parts) else None,
        )

    @classmethod
    def from_dense(cls, array: ArrayLike, positions: ArrayLike | None = None) -> SparseRows:
        """The non-zeros of a dense [rows, latents] array; positions, where given, has the same shape."""
        dense = np.asarray(array, np.float32)
        row, latents = np.nonzero(dense)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))])
        where = None if positions is None else np.asarray(positions)[row, latents]
        return cls.build(indptr, latents, dense[row, latents], dense.shape[1], where)

    @classmethod
    def from_scipy(cls, matrix: scipy.sparse.spmatrix | scipy.sparse.sparray) -> SparseRows:
        """From any scipy sparse matrix [rows, latents]; duplicates are added up, explicit zeros dropped."""
        import scipy.sparse

        csr: scipy.sparse.csr_array = scipy.sparse.csr_array(matrix, copy=True)  # type: ignore[call-overload]
        csr.sum_duplicates()
        csr.eliminate_zeros()
        return cls.build(csr.indptr, csr.indices, csr.data, csr.shape[1])

    @classmethod
    def from_torch(cls, tensor: torch.Tensor) -> SparseRows:
        """From a torch tensor [rows, latents]: dense, COO or CSR, on any device."""
        import torch

        csr = tensor.detach() if tensor.layout == torch.sparse_csr else tensor.detach().to_sparse_csr()
        crow, column, values = csr.crow_indices(), csr.col_indices(), csr.values().float()
        return cls.build(crow.cpu().numpy(), column.cpu().numpy(), values.cpu().numpy(), csr.shape[1])

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[int, float]], n_latents: int) -> SparseRows:
        """From one `{latent: weight}` mapping per row."""
        ordered = [sorted((int(latent), float(weight)) for latent, weight in row.items()) for row in rows]
        indptr = np.cumsum([0, *(len(row) for row in ordered)])
        entries = [entry for row in ordered for entry in row]
        return cls.build(indptr, [latent for latent, _ in entries], [weight for _, weight in entries], n_latents)

    # ---- reading it -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"SparseRows({len(self)} rows, {self.n_latents} latents, {self.n_nonzero} non-zeros)"

    @property
    def n_nonzero(self) -> int:
        """Number of stored entries over all rows."""
        return len(self.latents)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Active latents of each row, int64 [rows]."""
        return np.diff(self.indptr)

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Latents and weights of row i, as views."""
        part = slice(self.indptr[i], self.indptr[i + 1])
        return self.latents[part], self.weights[part]

    def __iter__(self) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        return (self.row(i) for i in range(len(self)))

    def __getitem__(self, key: int | slice | ArrayLike) -> SparseRows:
        """The chosen rows as a batch: an integer, a slice, an array of indices, or a boolean mask."""
        if isinstance(key, (int, np.integer)):
            i = int(key) + len(self) if key < 0 else int(key)
            if not 0 <= i < len(self):
                raise IndexError(f"row {key} of {len(self)}")
            return self[i : i + 1]
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._span(start, max(start, stop)) if step == 1 else self._take(np.arange(start, stop, step))
        chosen = np.asarray(key)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise IndexError(f"a mask of shape {chosen.shape} for {len(self)} rows")
        return self._take(np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64))

    def _span(self, start: int, stop: int) -> SparseRows:
        first, last = self.indptr[start], self.indptr[stop]
        positions = None if self.positions is None else self.positions[first:last]
        indptr = self.indptr[start : stop + 1] - first
        return SparseRows(indptr, self.latents[first:last], self.weights[first:last], self.n_latents, positions)

    def _take(self, rows: NDArray[np.int64]) -> SparseRows:
        rows = np.where(rows < 0, rows + len(self), rows)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"a row index lies outside 0..{len(self) - 1}")
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return self._entries(entries, indptr)

    def _entries(self, entries: NDArray[Any], indptr: NDArray[np.int64]) -> SparseRows:
        positions = None if self.positions is None else self.positions[entries]
        return SparseRows(indptr, self.latents[entries], self.weights[entries], self.n_latents, positions)

    def row_of_entry(self) -> NDArray[np.int64]:
        """The row that owns each entry, int64 [non-zeros]."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    # ---- changing it ------------------------------------------------------------------------------------------------

    def top_k(self, k: TopKSetting) -> SparseRows:
        """Each row's k largest weights (SPLARE section 3.2: 40 for a query, 400 for a document); None keeps all.

        k: "40+80%" keeps 40, and more of a row until they carry 80 % of its sum. Such a cut is of whole rows: a second
            one would take 80 % of what the first one left.

        Ties: see `saelex.selection`. Raises InputError for k < 1, and for other texts.
        """
        from saelex.selection import top_k_entries, top_share_entries

        if k is None:
            return self
        least, share = Cut.read(k, "top-k keeps at least one latent; it")
        if not len(self) or self.lengths.max() <= least:
            return self
        if share:
            return self.keep(top_share_entries(self.indptr, self.weights, least, share))
        indptr = np.concatenate([[0], np.cumsum(np.minimum(self.lengths, least))]).astype(np.int64)
        return self._entries(top_k_entries(self.indptr, self.weights, least), indptr)

    def keep(self, entries: NDArray[np.bool_]) -> SparseRows:
        """The entries for which the mask [non-zeros] is true; every row stays, possibly empty."""
        kept = np.concatenate([[0], np.cumsum(entries)])
        return self._entries(np.flatnonzero(entries), kept[self.indptr].astype(np.int64))

    def with_weights(self, weights: ArrayLike) -> SparseRows:
        """The same entries with other weights, [non-zeros]."""
        changed = np.ascontiguousarray(weights, np.float32)
        return SparseRows(self.indptr, self.latents, changed, self.n_latents, self.positions)

    def scale(self, factor: float) -> SparseRows:
        """All weights times a factor."""
        return self.with_weights(self.weights * np.float32(factor))

    def beside(self, other: SparseRows) -> SparseRows:
        """Row by row, the other's columns after mine: latents first, words after them.

        Entries without a token position get -1. Raises InputError when the numbers of rows differ.
        """
        if len(self) != len(other):
            raise InputError(f"sparse rows: {len(self)} rows cannot stand beside {len(other)}")
        indptr = self.indptr + other.indptr
        mine = np.arange(self.n_nonzero) + np.repeat(other.indptr[:-1], self.lengths)
        theirs = np.arange(other.n_nonzero) + np.repeat(self.indptr[1:], other.lengths)

        def interleave(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
            both = np.empty(len(left) + len(right), left.dtype)
            both[mine], both[theirs] = left, right
            return both

        positions = None
        if self.positions is not None or other.positions is not None:
            positions = interleave(_positions_or_none(self), _positions_or_none(other))
        return SparseRows(
            indptr,
            interleave(self.latents, other.latents + np.int32(self.n_latents)),
            interleave(self.weights, other.weights),
            self.n_latents + other.n_latents,
            positions,
        )

    def dot(self, other: SparseRows) -> NDArray[np.float32]:
        """Dot products of my rows with the other's, dense float32 [rows, other rows]."""
        if self.n_latents != other.n_latents:
            raise InputError(
                f"sparse rows: {self.n_latents} latents against {other.n_latents}; use one encoder for both"
            )
        try:
            product: NDArray[np.float32] = (self.to_scipy() @ other.to_scipy().T).toarray()
        except ModuleNotFoundError:  # a small installation has no scipy
            product = self._plain_dot(other)
        return product

    def _plain_dot(self, other: SparseRows) -> NDArray[np.float32]:
        product = np.zeros((len(self), len(other)), np.float32)
        spread, owner = np.zeros(self.n_latents, np.float32), other.row_of_entry()
        for row, (latents, weights) in enumerate(self):
            spread[latents] = weights
            product[row] = np.bincount(owner, spread[other.latents] * other.weights, len(other))
            spread[latents] = 0
        return product

    # ---- other forms ------------------------------------------------------------------------------------------------

    def to_scipy(self) -> scipy.sparse.csr_array:
        """As a scipy CSR array [rows, latents] that shares the weights."""
        import scipy.sparse

        return scipy.sparse.csr_array((self.weights, self.latents, self.indptr), shape=(len(self), self.n_latents))

    def to_torch(self) -> torch.Tensor:
        """As a torch sparse CSR tensor [rows, latents], float32."""
        import torch

        crow, column = torch.from_numpy(self.indptr), torch.from_numpy(self.latents.astype(np.int64))
        size = (len(self), self.n_latents)
        return torch.sparse_csr_tensor(crow, column, torch.from_numpy(self.weights), size=size)

    def to_dense(self) -> NDArray[np.float32]:
        """As a dense float32 array [rows, latents]: for small batches and tests."""
        dense = np.zeros((len(self), self.n_latents), np.float32)
        dense[self.row_of_entry(), self.latents] = self.weights
        return dense

    def to_dicts(self) -> list[dict[int, float]]:
        """One `{latent: weight}` per row."""
        return [dict(zip(latents.tolist(), weights.tolist())) for latents, weights in self]

    def write_jsonl(self, path: str | Path, ids: Sequence[str]) -> None:
        """One line a row, `{"id": ..., "vector": {"latent": weight}}`: the layout that sparse engines share."""
        if len(ids) != len(self):
            raise InputError(f"sparse rows: {len(ids)} ids for {len(self)} rows")

        def line(name: str, latents: NDArray[np.int32], weights: NDArray[np.float32]) -> str:
            vector = {str(latent): weight for latent, weight in zip(latents.tolist(), weights.tolist())}
            return json.dumps({"id": name, "vector": vector}, ensure_ascii=False) + "\n"

        write_text(expanded(path), (line(name, *row) for name, row in zip(ids, self)))

    @classmethod
    def read_jsonl(cls, path: str | Path, n_latents: int) -> tuple[list[str], SparseRows]:
        """Ids and rows of a file that `write_jsonl` wrote. Raises InputError, with file and line where there is one."""
        ids: list[str] = []
        vectors: list[dict[int, float]] = []
        number = 0
        try:
            with regular_file(expanded(path)).open("rb") as file:
                for line in file:
                    number += 1
                    where = f"{path}:{number}"
                    record = JsonObject({"line": parse_json(line, where)}, where).object("line")
                    weights = record.object("vector")
                    vector = {int(latent): weights.number(latent) for latent in weights}
                    if vector and not 0 <= min(vector) <= max(vector) < n_latents:
                        raise ValueError(f"a latent lies outside 0..{n_latents - 1}")
                    if len(vector) < len(weights):
                        raise ValueError("a latent is there twice")
                    vectors.append(vector)
                    ids.append(str(record["id"]))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError) as error:
            wanted = '{"id": ..., "vector": {"latent": weight}}'
            raise InputError(f"{path}:{number}: not a line of the form {wanted}: {error}") from error
        return ids, cls.from_dicts(vectors, n_latents)

    def save(self, folder: str | Path) -> None:
        """Plain files: one `.npy` an array and `sparse_rows.json`; written beside the target, then renamed.

        Raises InputError when there is something already, or the folder cannot be written.
        """
        target = expanded(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target}: not an empty folder; choose a new one for the vectors")
        with writing(target), making_folder(target) as made:
            self._write_into(made)

    def _write_into(self, folder: Path) -> None:
        for name in _ARRAYS:
            array = getattr(self, name)
            if array is not None:
                np.save(folder / f"{name}.npy", array)
        header = {"format": FORMAT, "rows": len(self), "n_latents": self.n_latents, "non_zeros": self.n_nonzero}
        (folder / "sparse_rows.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, mmap: bool = True) -> SparseRows:
        """Rows that `save` wrote, memory-mapped unless told otherwise. Raises InputError for anything else."""
        source = expanded(folder)
        header = read_json(source / "sparse_rows.json")
        if (written := header.text("format")) != FORMAT:
            raise InputError(f"{source}: not saved sparse rows of {FORMAT!r}, but of {written!r:.60}")
        arrays = {
            name: read_npy(source / f"{name}.npy", mmap=mmap)
            for name in _ARRAYS
            if name != "positions" or is_listed(source / "positions.npy")
        }
        for name, array in arrays.items():
            if array.ndim != 1 or array.dtype != _ARRAYS[name]:
                raise InputError(f"{source}: {name} is {array.dtype} {list(array.shape)}, not saved sparse rows'")
        if np.any(np.diff(arrays["indptr"]) < 0):
            raise InputError(f"{source}: not saved sparse rows: indptr decreases")
        rows = cls(n_latents=header.whole("n_latents"), **arrays)
        if (len(rows), rows.n_nonzero) != (header.whole("rows"), header.whole("non_zeros")):
            raise InputError(f"{source}: the arrays are not those that the header describes")
        if rows.n_nonzero and not 0 <= rows.latents.min() <= rows.latents.max() < rows.n_latents:
            raise InputError(f"{source}: latents.npy names a latent outside 0..{rows.n_latents - 1}")
        return rows


def _positions_or_none(rows: SparseRows) -> NDArray[np.int32]:
    return np.full(rows.n_nonzero, -1, np.int32) if rows.positions is None else rows.positions
