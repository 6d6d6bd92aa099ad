"""Texts without queries: a title or a sentence asks for its text, or for the same content in other languages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from saelex.corpus.reading import parse_json
from saelex.errors import InputError
from saelex.files import expanded
from saelex.training.examples.example import Passage, TrainingQuery
from saelex.training.examples.facts import fingerprint
from saelex.training.examples.filtering import PassageFilter
from saelex.training.examples.lines import LineFile

if TYPE_CHECKING:
    from saelex.training.examples.settings import Source

QueryFrom = Literal["title", "first_sentence", "sentence"]

_SENTENCE_END = re.compile(r"(?<=[.!?…؟।۔])\s+|(?<=[。！？])|\n+")
_SHORTEST, _LONGEST = 12, 200  # characters of a sentence that asks; where none is in between, the text's beginning does


class _Row(NamedTuple):
    """A line: in which file and where it begins, and the number of its content, which translations share."""

    file: int
    offset: int
    content: int


class _Text(NamedTuple):
    title: str
    text: str


class TextsSource:
    """A query for every line; see `open_texts`."""

    def __init__(
        self,
        files: list[LineFile],
        columns: Mapping[str, str],
        query_from: QueryFrom,
        passages: PassageFilter,
        *,
        max_queries: int | None = None,
        progress: bool = False,
    ) -> None:
        self._files, self._columns, self._query_from = files, columns, query_from
        self._rows: list[_Row] = []
        self._of_content: list[list[int]] = []  # rows of each content
        self._asking: list[int] = []  # rows with a query
        self._read = 0
        contents: dict[Any, int] = {}
        for file, line, key, text in self._lines(progress):
            self._read += 1
            if passages.bans(text.text) or passages.needs_scores:  # which nobody gave
                continue
            content = contents.setdefault((file, line) if key is None else key, len(contents))
            if content == len(self._of_content):
                self._of_content.append([])
            self._of_content[content].append(len(self._rows))
            if self._query(text):
                self._asking.append(len(self._rows))
            self._rows.append(_Row(file, line, content))
        self._asking = self._asking[:max_queries]

    @property
    def size(self) -> int:
        """Lines with a query."""
        return len(self._asking)

    def __getitem__(self, index: int) -> TrainingQuery:
        number = self._asking[index]
        own = self._text(number)
        others = (self._text(row).text for row in self._of_content[self._rows[number].content] if row != number)
        texts = dict.fromkeys(text for text in others if text != own.text)
        if self._query_from == "title" or not texts:
            texts = {own.text: None, **texts}
        return TrainingQuery(self._query(own), tuple(map(Passage, texts)))

    def facts(self) -> dict[str, Any]:
        """Contents, lines without a query, and the files' fingerprint."""
        left_out = self._read - self.size
        files = fingerprint(file.path for file in self._files)
        return {"contents": len(self._of_content), "queries_left_out": left_out, **files}

    def _lines(self, progress: bool) -> Iterator[tuple[int, int, str | None, _Text]]:
        """File, offset, key and text of all lines."""
        for number, file in enumerate(self._files):
            for line in file.lines(progress=progress):
                record = parse_json(line.text, f"{file.path}:{line.number}")
                try:
                    yield number, line.offset, _optional(record, self._columns, "key"), _text(record, self._columns)
                except InputError as error:
                    raise InputError(f"{file.path}:{line.number}: {error}") from error

    def _text(self, row: int) -> _Text:
        file = self._files[self._rows[row].file]
        return _text(parse_json(file.at(self._rows[row].offset), file.path.name), self._columns)

    def _query(self, text: _Text) -> str:
        """Blank where there is none."""
        if self._query_from == "title":
            return text.title.strip()
        return sentence_of(text.text, first=self._query_from == "first_sentence")


def open_texts(source: Source, passages: PassageFilter, *, progress: bool = False) -> TextsSource:
    """JSON lines with the field text, and perhaps title and key; or a folder of such files (.jsonl, .jsonl.gz).

    Lines of one key have one content in several languages. A query, by `source.query_from`, is a line's title, and its
    passages are all texts of the content; or a sentence, whose passages are the other texts, or its own where there is
    no other. Raises InputError with file and line.
    """
    if unknown := set(source.columns) - {"text", "title", "key"}:
        raise InputError(f"columns names {min(unknown)!r}; of texts it may name text, title and key")
    return TextsSource(
        [LineFile(path) for path in _paths(source.path)],
        source.columns,
        source.query_from,
        passages,
        max_queries=source.max_queries,
        progress=progress,
    )


def sentence_of(text: str, *, first: bool) -> str:
    """A sentence of the text, of 12 to 200 characters: the first one, or one chosen by the text itself.

    The text's beginning where none is of that length; cut at white space where there is some.
    """
    sentences = (part.strip() for part in _SENTENCE_END.split(text))
    fitting = [sentence for sentence in sentences if _SHORTEST <= len(sentence) <= _LONGEST]
    if fitting:
        drawn = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        return fitting[0 if first else drawn % len(fitting)]
    start = text.strip()[: _LONGEST + 1]
    return start if len(start) <= _LONGEST else (start[:_LONGEST].rsplit(None, 1) or [""])[0]


def _paths(path: str) -> list[Path]:
    root = expanded(path)
    if not root.is_dir():
        return [root]
    found = sorted(one for kind in ("*.jsonl", "*.jsonl.gz") for one in root.glob(kind))
    if not found:
        raise InputError(f"{root}: no .jsonl files in it")
    return found


def _text(record: Any, columns: Mapping[str, str]) -> _Text:
    text = _optional(record, columns, "text")
    if text is None:
        raise InputError(f"no text; the fields are {', '.join(record) or 'none'}, say which by the source's columns")
    return _Text(_optional(record, columns, "title") or "", text)


def _optional(record: Any, columns: Mapping[str, str], name: str) -> str | None:
    """A field of text, or a key, which may be a number; None where it is missing or null."""
    if not isinstance(record, dict):
        raise InputError(f"a JSON object is expected, not {type(record).__name__}")
    if name in columns and columns[name] not in record:
        raise InputError(f"no field {columns[name]!r}; the fields are {', '.join(record) or 'none'}")
    value = record.get(columns.get(name, name))
    if isinstance(value, int) and not isinstance(value, bool) and name == "key":
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"the field {columns.get(name, name)!r} holds no text")
    return value
