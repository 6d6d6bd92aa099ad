"""Published labels of latents: asked of Neuronpedia and kept, or read from its exports.

What was fetched is kept in the user's cache folder, in `neuronpedia/<model>/<source>.jsonl`, a line for each latent
as soon as it is there, so that a run that was stopped goes on where it was. A damaged line there is fetched again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from saelex.concepts.concept import Published
from saelex.concepts.neuronpedia import Neuronpedia, UnknownLatentError, belongs, check_source, published_in
from saelex.corpus.lines import read_lines
from saelex.corpus.reading import parse_jsonl
from saelex.errors import InputError, MismatchError
from saelex.files import cache_folder
from saelex.progress import progress_bar

_UNKNOWN = 5
"""Latents that are all unknown, one after the other from the first: then the source is, too."""
_EXPORTS = ("*.jsonl", "*.jsonl.gz")


class Fetched(NamedTuple):
    """What a run found."""

    published: dict[int, Published]
    """By latent; those that were kept before among them."""
    asked: int
    """Latents that were asked for now."""
    left: int
    """Latents that are still to be asked for."""
    stopped: str | None
    """Why it ended early; None where it did not."""


def fetch_published(
    latents: Sequence[int], site: Neuronpedia, *, most: int | None = None, progress: bool = False
) -> Fetched:
    """The published labels of some latents: those that are kept, and of the others the first `most` (None: all).

    Where it cannot go on, what was found by then is returned with the reason. Raises InputError where the site knows
    none of the first latents.
    """
    kept = _Kept(site.source)
    wanted = [latent for latent in latents if latent not in kept.texts]
    now = wanted[:most]
    asked, stopped = 0, None
    with progress_bar(desc="published labels", total=len(now), unit="latents", shown=progress) as bar:
        for latent in now:
            try:
                kept.add(latent, site.explanation(latent))
            except UnknownLatentError as error:
                kept.lacks(latent)
                if not kept.source_is_known and asked + 1 == min(_UNKNOWN, len(now)):
                    raise InputError(f"{error}, nor any other that was asked for; is it spelt like that?") from error
            except InputError as error:
                stopped = str(error)
                break
            asked += 1
            bar.update()
    published = {latent: text for latent in latents if (text := kept.texts.get(latent)) is not None}
    return Fetched(published, asked, len(wanted) - asked, stopped)


def read_exports(path: Path, source: str, n_latents: int) -> dict[int, Published]:
    """The explanations in a file of Neuronpedia's exports (JSON lines, plain or gzipped), or in all those of a folder.

    A line has `modelId`, `layer`, `index`, `description` and `explanationModelName`; of several of one latent the first
    that says something counts. Raises InputError with file and line, MismatchError for another source's.
    """
    check_source(source)
    published: dict[int, Published] = {}
    for file in _files(path):
        for where, record in parse_jsonl(read_lines(file), dict, str(file)):
            try:
                latent = _index(record, n_latents)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
            if not belongs(record, source):
                raise MismatchError(
                    f"{where}: is of {record.get('modelId')!s:.60}/{record.get('layer')!s:.60}, but the latents are "
                    f"those of {source}"
                )
            if latent not in published and (text := published_in(record, source)) is not None:
                published[latent] = text
    return published


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for pattern in _EXPORTS for file in path.glob(pattern))
    if not files:
        raise InputError(f"{path}: holds no file of an export (batch-0.jsonl.gz, ...)")
    return files


def _index(record: Mapping[str, Any], n_latents: int) -> int:
    value = record.get("index")
    number = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (number.isascii() and number.isdecimal() and len(number) < 10 and int(number) < n_latents):
        raise InputError(f"'index' is a latent's number from 0 to {n_latents - 1}, not {value!r:.40}")
    return int(number)


class _Kept:
    """The answers about one source that are on disk. A cache that cannot be read or written costs asking again."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._path = cache_folder() / "neuronpedia" / f"{source}.jsonl"
        self.texts: dict[int, Published | None] = dict(self._read())
        """None: asked for, and nothing is published."""
        self._lacking: list[int] = []

    @property
    def source_is_known(self) -> bool:
        """Whether the site has ever shown a latent of it."""
        return bool(self.texts)

    def add(self, latent: int, published: Published | None) -> None:
        """Keep an answer."""
        self._write(latent, published)
        for other in self._lacking:
            self._write(other, None)
        self._lacking.clear()

    def lacks(self, latent: int) -> None:
        """Keep that the site has no such latent, once it has shown another one of the source."""
        if self.source_is_known:
            self._write(latent, None)
        else:
            self._lacking.append(latent)

    def _write(self, latent: int, published: Published | None) -> None:
        self.texts[latent] = published
        told = {} if published is None else {"description": published.text, "explanationModelName": published.author}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                # after a kill the last line may have no end
                file.write(b"\n" * (file.tell() > 0) + json.dumps({"index": latent, **told}).encode())

    def _read(self) -> Iterator[tuple[int, Published | None]]:
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("index"), int):
                    yield record["index"], published_in(record, self._source)
