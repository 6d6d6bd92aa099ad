from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.corpus.documents import Query
from saelex.corpus.reading import read_queries
from saelex.corpus.trec.topics import read_topics, write_topics
from saelex.errors import InputError

CLASSIC = """
<top>
<head> Tipster Topic Description
<num> Number: 051
<title> Topic:  Airbus
Subsidies

<desc> Description:
Who pays for < 5 wings, AT&T?
They do.
<narr> Narrative: relevant if
so.
</top>

<top>
<num>52</num>
<title>South African</title> <desc>sanctions</desc>
</top>
<top><num>53</num><title>on one line</title></top>
"""

XML = """<?xml version="1.0" encoding="UTF-8"?>
<topics task="toy">
  <!-- a comment -->
  <topic number="1" type="faceted">
    <query>wing &amp; lift</query>
    <description>what
      lifts a <b>wing</b>?</description>
  </topic>
  <topic number="2"><query>drag</query><description>and drag?</description></topic>
</topics>
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_classic_topics(tmp_path: Path) -> None:
    path = write(tmp_path / "topics.51-53", CLASSIC)
    assert list(read_topics(path)) == [
        Query("051", "Airbus Subsidies"),
        Query("52", "South African"),
        Query("53", "on one line"),
    ]
    described = read_topics(path, "DESC")
    assert next(described) == Query("051", "Who pays for < 5 wings, AT&T? They do.")
    assert next(described) == Query("52", "sanctions")
    with pytest.raises(InputError, match=r"51-53:\d+: topic 53 has no field 'DESC'; it has title$"):
        next(described)


def test_xml_topics(tmp_path: Path) -> None:
    path = write(tmp_path / "topics.xml", XML)
    assert list(read_topics(path)) == [Query("1", "wing & lift"), Query("2", "drag")]
    assert next(read_topics(path, "description")) == Query("1", "what lifts a wing?")
    own = write(tmp_path / "own", '<topics><topic number="7">  a patient\nwith </topic></topics>')
    assert list(read_topics(own)) == [Query("7", "a patient with")]
    nested = write(tmp_path / "nested", "<topics><top><num> 8 </num><title>t</title></top></topics>")
    assert list(read_topics(nested)) == [Query("8", "t")]


def test_tab_separated_topics_by_name_or_content(tmp_path: Path) -> None:
    for name in ("topics.tsv", "topics.dl"):
        assert list(read_topics(write(tmp_path / name, "1\twing lift\n\n2\tdrag\n"))) == [
            Query("1", "wing lift"),
            Query("2", "drag"),
        ]
    with pytest.raises(InputError, match="has no field 'desc' to choose"):
        read_topics(tmp_path / "topics.tsv", "desc")


def test_gzip(tmp_path: Path) -> None:
    for name, text in (("a.txt", CLASSIC), ("a.xml", XML), ("a.tsv", "1\twing\n")):
        plain, packed = write(tmp_path / name, text), tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        assert list(read_topics(packed)) == list(read_topics(plain)) != []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<top>\n<title> a\n</top>\n", ":1: a topic without a number"),
        ("<top>\n<num> 1\n<top>\n", ":3: <top> before the </top> of the last one"),
        ("<top>\n<num> 1\n<title> a\n</top>\n</top>\n", ":5: </top> without a <top> before it"),
        ("<top>\n<num> 1\n<title> a\n", ":1: a <top> that is not closed"),
        ("<top>\n<num> 1\n<narr> a\n</top>\n", ":1: topic 1 has no title, query or text; it has narr"),
        ("<top>\n<num>1\n<title>a\n</top>\n<top>\n<num>1\n<title>b\n</top>\n", ":5: a second topic with the id '1'"),
        ("<topics>\n<topic number='1'>\n</topics>", ":3: not well-formed XML"),
        ("<topics><topic><title>a</title></topic></topics>", ", topic 1: a topic without a number"),
        ("<topics><topic id='1'><note>a</note></topic></topics>", ", topic 1: topic 1 has no title, query or text"),
        ("1\ta\n2\n", ":2: 1 columns where the first line has 2"),
        ("  \n", ": holds no topics"),
    ],
)
def test_bad_topics_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "topics", text)
    with pytest.raises(InputError) as caught:
        list(read_topics(path))
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_no_topics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such topics file"):
        read_topics(tmp_path / "nothing")


ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Z"]), min_size=1, max_size=4)
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn"]), max_size=12)
texts = words | st.sampled_from(["Topic: x", "<b> tags", "</top>", "<title>", "a <desc> b", "Number: 1", "\n\t<top>\n"])


@pytest.mark.parametrize("name", ["topics.txt", "topics.tsv", "topics.xml", "topics.xml.gz"])
@given(found=st.dictionaries(ids, texts, min_size=1, max_size=4))
def test_written_topics_come_back(tmp_path_factory: pytest.TempPathFactory, name: str, found: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("topics") / name
    queries = [Query(query, text) for query, text in found.items()]
    write_topics(path, queries)
    assert list(read_topics(path)) == [Query(query.id, " ".join(query.text.split())) for query in queries]


@pytest.mark.parametrize("first", [("ID", ""), ("id", "text"), ('"', "x"), ('"a"', 'say "x"'), ("docno", "title")])
def test_a_first_topic_that_looks_like_a_header_or_quotes_comes_back(tmp_path: Path, first: tuple[str, str]) -> None:
    queries = [Query(*first), Query("2", 'a "b" c'), Query('"3', '"')]
    write_topics(tmp_path / "t.tsv", queries)
    assert list(read_topics(tmp_path / "t.tsv")) == queries
    assert list(read_queries(tmp_path / "t.tsv")) == queries


def test_written_xml_is_what_others_read(tmp_path: Path) -> None:
    write_topics(tmp_path / "t.xml", [Query('"1"', "a < b & c")])
    (topic,) = ET.parse(tmp_path / "t.xml").getroot()
    assert (topic.attrib["number"], topic.findtext("title")) == ('"1"', "a < b & c")


def test_what_a_form_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'1' holds </title>; write the topics to \.tsv or \.xml"):
        write_topics(tmp_path / "t.txt", [Query("1", "a </TITLE> b")])
    with pytest.raises(InputError, match="'1' holds a control character"):
        write_topics(tmp_path / "t.tsv", [Query("1", "a\x00")])
    with pytest.raises(InputError, match="the query id '1 2' is empty or holds blanks"):
        write_topics(tmp_path / "t.xml", [Query("1 2", "a")])
    assert not list(tmp_path.iterdir())
