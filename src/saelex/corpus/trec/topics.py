"""Queries as TREC gives them out, topics, in the three forms that are met in the wild.

Classic: SGML without closing tags, `<top>`, `<num> Number: 301`, `<title> ...`, `<desc> Description:` and so on. XML:
one element a topic, its number an attribute or an element of its own. Tab-separated: `id<TAB>text`, or with a header,
as `read_queries` has it; CSV likewise.
"""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from saelex.corpus.delimited import needs_header
from saelex.corpus.documents import Query
from saelex.corpus.lines import read_lines, read_whole, suffix_of, unique
from saelex.corpus.reading import parse_queries
from saelex.corpus.trec.columns import column
from saelex.errors import InputError
from saelex.files import expanded, write_text

_FORMS = {".tsv": "tsv", ".xml": "xml"}
_TEXTS = ("title", "query", "text")  # what a topic's query is called, first come
_NUMBERS = ("number", "num", "id", "qid", "identifier", "query_id")
_TAG = re.compile(r"\s*<(/?)([A-Za-z][\w.-]*)[^<>]*>")
_LABELS = {"num": "Number", "title": "Topic", "desc": "Description", "narr": "Narrative"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f\ufffe\uffff]")


def read_topics(path: str | Path, field: str | None = None) -> Iterator[Query]:
    """The queries of a topics file; `.tsv` and `.xml` tell its form, or else its first line; gzip by the name's `.gz`.

    field: which part of a topic is the query, such as `desc`; None is the title, or else `query`, `text` or, in XML,
    the topic's own text. Case does not matter. Blanks within are made one. A tab-separated file has only one part.

    Raises InputError with file and line (XML: the topic's place, from 1) for a topic without a number or that field,
    a second one of the same number, and what is not well formed.
    """
    source = expanded(path)
    if not source.is_file():
        raise InputError(f"{source}: no such topics file")
    form = _FORMS.get(suffix_of(source)) or _form_by_content(source)
    if form == "tsv":
        if field is not None:
            raise InputError(f"{source}: is tab-separated, and has no field {field!r} to choose")
        return unique(parse_queries(source), lambda one: one.id, "topic")
    topics = _classic(source) if form == "classic" else _xml(source)
    return unique(((topic.where, topic.query(field)) for topic in topics), lambda one: one.id, "topic")


def write_topics(path: str | Path, queries: Iterable[Query]) -> None:
    """Write queries as topics: tab-separated to `.tsv`, XML to `.xml`, classic otherwise; gzipped if `.gz` follows.

    Blanks within a text, line ends among them, become one blank each. Raises InputError for an id that is empty or
    holds blanks, and for a text that the form cannot hold: control characters, or `</title>` in a classic file.
    """
    target = expanded(path)
    lines = {"tsv": _tsv_lines, "xml": _xml_lines}.get(_FORMS.get(suffix_of(target), ""), _classic_lines)
    write_text(target, lines(queries))


# ---- reading --------------------------------------------------------------------------------------------------------


@dataclass
class _Topic:
    """Where a topic is, and its parts by their names in lower case; "" is text outside all of them."""

    where: str
    parts: dict[str, str] = field(default_factory=dict)

    def query(self, wanted: str | None) -> Query:
        number = next((self.parts[name] for name in _NUMBERS if self.parts.get(name)), "")
        if not number:
            raise InputError(f"{self.where}: a topic without a number")
        texts = (*_TEXTS, "") if wanted is None else (wanted.lower(),)
        text = next((self.parts[name] for name in texts if name in self.parts), None)
        if text is None:
            fields = ", ".join(name for name in self.parts if name and name not in _NUMBERS)
            missing = f"field {wanted!r}" if wanted else "title, query or text"
            raise InputError(f"{self.where}: topic {number} has no {missing}; it has {fields or 'nothing else'}")
        return Query(number, text)


def _form_by_content(source: Path) -> str:
    start = next((line.lstrip() for _, line in read_lines(source)), "")
    if not start:
        raise InputError(f"{source}: holds no topics")
    tag = _TAG.match(start)
    if tag and tag[2].lower() == "top":
        return "classic"
    return "xml" if start.startswith("<") else "tsv"


def _classic(source: Path) -> Iterator[_Topic]:
    """Topics between `<top>` and `</top>`.

    A tag at a line's beginning, or right behind <top> or a closing tag, opens a part, which goes on to its closing tag
    or to the next part.
    """
    topic: _Topic | None = None
    part = ""
    for number, rest in read_lines(source):
        tag = _TAG.match(rest)
        while tag or part:
            if tag is None:
                text, closing, rest = _cut(rest, part)
                assert topic is not None  # or there were no part
                topic.parts[part] = f"{topic.parts.get(part, '')} {text}"
                if not closing:
                    break
                part, tag = "", _TAG.match(rest)
                continue
            rest = rest[tag.end() :]
            closes, name = bool(tag[1]), tag[2].lower()
            if name == "top":
                if closes == (topic is None):
                    wrong = "</top> without a <top> before it" if closes else "<top> before the </top> of the last one"
                    raise InputError(f"{source}:{number}: {wrong}")
                if topic is not None:
                    yield _cleaned(topic)
                topic = None if closes else _Topic(f"{source}:{number}")
            part = "" if closes or name == "top" or topic is None else name
            tag = None if part else _TAG.match(rest)
    if topic is not None:
        raise InputError(f"{topic.where}: a <top> that is not closed by </top>")


def _cut(text: str, part: str) -> tuple[str, bool, str]:
    """What is before the part's closing tag, whether that is there, and what is behind it."""
    closing = _closing(part).search(text)
    return (text[: closing.start()], True, text[closing.end() :]) if closing else (text, False, "")


def _closing(part: str) -> re.Pattern[str]:
    return re.compile(f"</{re.escape(part)}>", re.IGNORECASE)


def _cleaned(topic: _Topic) -> _Topic:
    """Without the labels that TREC puts before a part ("Number:"), and needless blanks."""
    parts = {}
    for name, text in topic.parts.items():
        label = _LABELS.get(name)
        parts[name] = " ".join((re.sub(rf"^\s*{label}:", "", text) if label else text).split())
    return _Topic(topic.where, parts)


def _xml(source: Path) -> Iterator[_Topic]:
    try:
        root = ET.fromstring(read_whole(source))
    except ET.ParseError as error:
        raise InputError(f"{source}:{error.position[0]}: not well-formed XML: {error}") from error
    except (LookupError, ValueError) as error:  # encodings unknown or wrong
        raise InputError(f"{source}: not readable XML: {error}") from error
    for place, element in enumerate(root, start=1):
        parts = {name.lower(): " ".join(value.split()) for name, value in element.attrib.items()}
        for child in element:
            if isinstance(child.tag, str):
                parts.setdefault(child.tag.rpartition("}")[2].lower(), " ".join("".join(child.itertext()).split()))
        if not len(element):
            parts[""] = " ".join((element.text or "").split())
        yield _Topic(f"{source}, topic {place}", parts)


# ---- writing --------------------------------------------------------------------------------------------------------


def _tsv_lines(queries: Iterable[Query]) -> Iterator[str]:
    """Without a header, which other readers do not expect, unless the first line would be taken for one."""
    quoted = None
    for query in queries:
        cells = [column(query.id, "the query id"), _text(query)]
        line = "\t".join(cells) + "\n"
        if quoted is None and (quoted := needs_header(line)):
            yield "id\ttext\n"
        yield _quoted(cells) if quoted else line


def _quoted(cells: list[str]) -> str:
    written = io.StringIO()
    csv.writer(written, delimiter="\t", lineterminator="\n").writerow(cells)
    return written.getvalue()


def _xml_lines(queries: Iterable[Query]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<topics>\n'
    for query in queries:
        number = quoteattr(column(query.id, "the query id"))
        yield f"  <topic number={number}><title>{escape(_text(query))}</title></topic>\n"
    yield "</topics>\n"


def _classic_lines(queries: Iterable[Query]) -> Iterator[str]:
    for query in queries:
        text = _text(query)
        if _closing("title").search(text):
            raise InputError(f"query {query.id!r} holds </title>; write the topics to .tsv or .xml")
        label = "Topic: " if text.startswith("Topic:") else ""  # or a reader would take the text's own for the label
        yield f"<top>\n<num> Number: {column(query.id, 'the query id')}\n<title> {label}{text}\n</top>\n\n"


def _text(query: Query) -> str:
    text = " ".join(query.text.split())
    if _CONTROL.search(text + query.id):
        raise InputError(f"query {query.id!r} holds a control character, which a topics file cannot")
    return text
