"""Hugging Face data sets, streamed: nothing is stored, and nobody knows how many queries there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from saelex.corpus.sources.hub import import_datasets, newest_revision, one_clear_error
from saelex.errors import InputError
from saelex.files import expanded, expanded_text
from saelex.training.examples.example import TrainingQuery
from saelex.training.examples.facts import fingerprint
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.records import training_query

if TYPE_CHECKING:
    from datasets import IterableDataset

    from saelex.training.examples.settings import Source

# Examples are shuffled within a window that moves over the stream.
_WINDOW = 10_000
_LOADERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}


class HubSource:
    """A streamed data set; see `open_hub`."""

    def __init__(self, source: Source, dataset: IterableDataset, passages: PassageFilter, revision: str | None) -> None:
        self._source, self._filter, self._revision = source, passages, revision
        self._dataset = dataset if source.max_queries is None else dataset.take(source.max_queries)

    def stream(self, seed: int, epoch: int) -> Iterator[TrainingQuery]:
        """The queries that can be used, shuffled within a moving window of 10,000 rows.

        Raises InputError for a row that is no query with a positive.
        """
        shuffled = self._dataset.shuffle(seed=seed, buffer_size=_WINDOW)
        shuffled.set_epoch(epoch)
        return self._usable(shuffled)

    def check(self) -> None:
        """Read one row, so that wrong column names are known at once. Raises InputError."""
        next(self._usable(self._dataset), None)

    def facts(self) -> dict[str, Any]:
        """Subset, split, and the hub's revision or the files' fingerprint."""
        path = expanded(self._source.path)
        files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
        known = fingerprint(files) if files else {"revision": self._revision}
        return {"subset": self._source.subset, "split": self._source.split, **known}

    def _usable(self, dataset: IterableDataset) -> Iterator[TrainingQuery]:
        for record in dataset:
            try:
                query = self._filter.usable(training_query(record, self._source.columns))
            except InputError as error:
                raise InputError(f"{self._source.path}: {error}") from error
            if query is not None:
                yield query


def open_hub(source: Source, passages: PassageFilter, *, progress: bool = False) -> HubSource:
    """A data set of the Hugging Face hub, or a file or folder that `datasets` loads, streamed.

    Columns: query, positive, and negatives as a list, as one column `negative`, or as negative_1, negative_2, ...;
    perhaps scores; see `saelex.training.examples.records.training_query`. Raises InputError where the package
    `datasets` is missing, the data set, subset or split does not exist, or a column is missing.
    """
    datasets = import_datasets()
    path = expanded(source.path)
    revision = None if path.exists() else newest_revision(source.path)
    local = path if path.is_file() else None
    loader = expanded_text(source.path) if local is None else _LOADERS.get(local.suffix.lower(), "json")
    options = {"revision": revision} if revision else {}
    files = {} if local is None else {"data_files": {source.split: str(local)}}
    with one_clear_error(source.path):
        dataset = datasets.load_dataset(
            loader, name=source.subset, split=source.split, streaming=True, **files, **options
        )
        opened = HubSource(source, dataset, passages, revision)
        opened.check()
    return opened
