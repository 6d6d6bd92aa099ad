"""An index to an engine and back, through every engine: the same hits, scores and reasons, whatever is cut."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.engines.places import ALL, PLACES, Places
from tests.engines.proxy import Proxy, proxied
from tests.engines.stubs import VESPA_FIELDS
from tests.index.fakes import FakeEncoder, make_documents

from saelex.corpus.documents import Document
from saelex.engines import engine as live
from saelex.engines.calls import UnavailableError
from saelex.engines.engine import Engine
from saelex.engines.entry import Entry
from saelex.engines.pull import pull
from saelex.engines.push import push
from saelex.engines.registry import store_class
from saelex.engines.store import Store
from saelex.engines.url import EngineUrl
from saelex.errors import InputError, MismatchError, SaelexError
from saelex.index.index import Index

ENCODER = FakeEncoder()
QUERIES = ["storm lift only7", "canoe river", "only179 loan", "storms", "wing only901 part"]
ONE_OF_A_KIND = [one for one in PLACES if one not in ("qdrant-edge-float16", "qdrant-local", "elasticsearch")]
TEXTS_COMPARED = [name for name in ALL if not name.startswith(("qdrant", "vespa"))]


def long_document(number: int, words: str = "wing.") -> Document:
    text = " ".join(f"Part {j} only{900 + number} {words}" for j in range(40))
    return Document(f"long{number}", text, "Long", {"lang": "fr", "tags": ["a", number], "deep": {"day": "2001-02"}})


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """60 short documents and three of several passages, with words and labels."""
    with Index.create(tmp_path / "index", ENCODER) as made:
        made.fill([*make_documents(60), *map(long_document, range(3))])
        yield made


def tolerance(engine: Engine, query: str) -> float:
    """The most by which a score may be off: the errors that the engine states and our own integers, added up."""
    weights = abs(engine.encoder.encode_query([query]).weights).sum() + 10  # and its words
    limits = engine.store.limits
    heaviest = 3.0  # of the documents here
    return float(weights * heaviest * (limits.document_error + limits.query_error + 2**-13))


def check_same(index: Index, engine: Engine, **options: Any) -> None:
    for query in QUERIES:
        wanted = {hit.id: hit for hit in index.search(query, 100, **options)}
        found = engine.search(query, 8, **options)
        off = tolerance(engine, query)
        assert len(found) == min(8, len(wanted))
        assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
        last = found[-1].score if len(found) == 8 else 0.0
        if engine.store.limits.finds_all:
            surely = {name for name, hit in wanted.items() if hit.score > last + 2 * off}
            assert surely <= {hit.id for hit in found}
        for hit in found:
            same = wanted[hit.id]
            assert hit.score == pytest.approx(same.score, abs=off)
            assert hit.document == same.document and hit.passage == same.passage
            reasons = hit.explain()
            assert math.fsum(one.contribution for one in reasons.contributions) == pytest.approx(hit.score, abs=off)
            there = {one.latent: one for one in same.explain().contributions}
            for one in reasons.contributions:
                if abs(one.contribution) > off:
                    assert one.contribution == pytest.approx(there[one.latent].contribution, abs=off)
                    assert (one.label, one.query_words, one.document_words, one.note) == (
                        there[one.latent].label, there[one.latent].query_words, there[one.latent].document_words,
                        there[one.latent].note,
                    )  # fmt: skip


def held(url: str) -> dict[str, str]:
    """Ids and digests of all that a collection holds. Fails where one is there twice."""
    parsed = EngineUrl.parse(url)
    with closing(store_class(parsed).open(parsed)) as store:
        pairs = [(entry.id, entry.digest) for page in store.scan(("digest",)) for entry in page]
        assert len(pairs) == len(dict(pairs)) == len(store)
        return dict(pairs)


@pytest.mark.parametrize("name", PLACES)
def test_the_same_hits_after_every_change_of_the_index(name: str, places: Places, index: Index, tmp_path: Path) -> None:
    url = places(name)
    assert push(index, url)[:3] == (63, index.n_passages, index.n_passages)
    assert push(index, url)[2:] == (0, 0)
    with Engine.open(url, ENCODER) as engine:
        assert len(engine) == 63 and engine.contents.passages == index.n_passages
        check_same(index, engine)
        check_same(index, engine, words=False)
        check_same(index, engine, boost=["word:wing=3"], ban=["word:lift"], add=["#17=1.5"])
        assert engine.concepts is not None and index.concepts is not None
        assert list(engine.concepts) == list(index.concepts)
    index.delete(["d3", "long1"])
    index.update(
        [Document("d5", "storm lift only7 brandnewword", "x", {"year": 2010}), Document("long0", "short wing")]
    )
    index.add([Document("new", "canoe on the moon xylophone")])
    assert push(index, url).removed == 1 + 4 + 3  # d3, long1, the later passages of long0
    with Engine.open(url, ENCODER) as engine:
        check_same(index, engine)
        assert engine.search("xylophone")[0].id == "new" and engine.search("brandnewword")[0].id == "d5"
    with pull(url, tmp_path / "back", ENCODER) as back:
        assert len(back) == len(index) == 62
        for query in QUERIES:
            assert [(hit.id, hit.document, hit.passage) for hit in back.search(query)] == [
                (hit.id, hit.document, hit.passage) for hit in index.search(query)
            ]
            scores = [hit.score for hit in index.search(query)]
            assert [hit.score for hit in back.search(query)] == pytest.approx(
                scores, rel=4 * engine.store.limits.document_error
            )
        assert back.concepts is not None and list(back.concepts) == list(index.concepts)


@pytest.mark.parametrize("name", PLACES)
def test_filters_mean_what_they_mean_in_the_index(name: str, places: Places, index: Index) -> None:
    index.add(
        [
            Document("q1", "wing river", "", {"lang": "d'e\"x\\", "year": 1999.0, "odd name": True, "none": None}),
            Document(
                "q2", "wing river", "", {"lang": ["en", "fr"], "year": "1999", "odd name": 1, "deep": {"day": "1999"}}
            ),
        ]
    )
    url = places(name)
    push(index, url)
    with Engine.open(url, ENCODER) as engine:
        for where in (
            {"lang": "en", "year": {">=": 2001}},
            {"lang": {"!=": "en"}},
            {"lang": ["de", "fr"], "year": {"<": 2010, ">": 1995}},
            {"lang": "d'e\"x\\"},
            {"year": 1999},
            {"year": "1999"},
            {"odd name": True},
            {"odd name": 1},
            {"none": None},
            {"tags": ["a"]},
            {"tags": 2.0},
            {"deep.day": "2001-02"},
            {"year": {"<=": 1999}},
            {"year": {"in": []}},
        ):
            wanted = {hit.id for hit in index.search("wing river storm lift bank", 99, where=where)}
            assert {hit.id for hit in engine.search("wing river storm lift bank", 99, where=where)} == wanted, where
        later = {"deep.day": {">": "2000"}}
        if name in TEXTS_COMPARED:
            assert {hit.document.id for hit in engine.search("wing", 9, where=later)} == {"long0", "long1", "long2"}
        else:
            with pytest.raises(InputError, match=r"compares numbers, not texts such as deep\.day > '2000'"):
                engine.search("wing", where=later)
        with pytest.raises(InputError, match="no document has the field 'yaer'"):
            engine.search("wing", where={"yaer": 1999})


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
def test_a_write_that_fails_before_or_after_it_was_done(
    name: str, applied: bool, places: Places, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a lost connection leaves behind, for engines in this process, too."""
    url = places(name)
    kind = store_class(EngineUrl.parse(url))
    monkeypatch.setattr(kind, "batch", 10)
    whole, calls, written = kind._put, [0], list[str]()

    def flaky(self: Store, entries: Sequence[Entry]) -> None:
        calls[0] += 1
        failing = calls[0] in (4, 6, 7)
        if applied or not failing:
            whole(self, entries)
            written.extend(entry.id for entry in entries)
        if failing:
            raise UnavailableError("the line is dead")

    monkeypatch.setattr(kind, "_put", flaky)
    assert push(index, url).sent == index.n_passages
    assert calls[0] > 10 and len(written) > index.n_passages
    assert len(held(url)) == index.n_passages
    with Engine.open(url, ENCODER) as engine:
        check_same(index, engine)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_a_push_that_was_given_up_goes_on(
    name: str, places: Places, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = places(name)
    kind = store_class(EngineUrl.parse(url))
    monkeypatch.setattr(kind, "batch", 10)
    whole, calls = kind._put, [0]

    def dying(self: Store, entries: Sequence[Entry]) -> None:
        calls[0] += 1
        if calls[0] > 4:
            raise UnavailableError("the line is dead")
        whole(self, entries)

    monkeypatch.setattr(kind, "_put", dying)
    with pytest.raises(UnavailableError, match=r"does not answer: the line is dead; is it running\?"):
        push(index, url, patience=0.2)
    with pytest.raises(InputError, match="what was pushed to it is not whole; push again"):
        Engine.open(url, ENCODER)
    monkeypatch.setattr(kind, "_put", whole)
    there = len(held(url))
    assert 20 <= there < index.n_passages
    report = push(index, url)
    assert report.sent == index.n_passages - there and len(held(url)) == index.n_passages
    with Engine.open(url, ENCODER) as engine:
        check_same(index, engine)


WIRED = [one for one in ONE_OF_A_KIND if not str(one).startswith("qdrant") and "milvus" not in str(one)]


def through(name: str, places: Places) -> tuple[str | tuple[str, int], Callable[[int], str]]:
    """What a proxy stands before, and the URL through it."""
    url = places(name)
    parsed = EngineUrl.parse(url)
    if name.startswith("postgresql"):
        options = "".join(f"&{key}={value}" for key, value in parsed.options.items() if key != "host")
        address = places.server(name).address
        return (
            address,
            lambda port: f"postgresql://postgres@127.0.0.1:{port}/postgres/{parsed.name}?{options.strip('&')}",
        )
    assert parsed.port is not None
    return ("127.0.0.1", parsed.port), lambda port: url.replace(f":{parsed.port}/", f":{port}/")


@pytest.mark.parametrize("name", WIRED)
def test_a_connection_cut_in_the_middle_of_a_push(
    name: str, places: Places, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, url_by = through(name, places)
    monkeypatch.setattr(store_class(EngineUrl.parse(url_by(1))), "batch", 10)
    with proxied(target) as proxy:
        url = url_by(proxy.port)
        proxy.cut_after = 20_000
        push(index, url)
        assert proxy.cuts == 1
        assert len(held(url)) == index.n_passages
        with Engine.open(url, ENCODER) as engine:
            check_same(index, engine)
            proxy.cut_after = 10  # in the middle of a search
            check_same(index, engine)
        assert proxy.cuts == 2
        _refuse_then_resume(proxy, url, index)


def _refuse_then_resume(proxy: Proxy, url: str, index: Index) -> None:
    index.add([Document(f"later{i}", f"later storm {i}", "", {}) for i in range(40)])
    proxy.cut_after, proxy.refuses = 6_000, True
    with pytest.raises(SaelexError, match="does not answer"):
        push(index, url, patience=0.3)
    proxy.cut_after, proxy.refuses = None, False
    push(index, url)
    assert len(held(url)) == index.n_passages
    with Engine.open(url, ENCODER) as engine:
        assert len(engine) == 103
        check_same(index, engine)


def test_what_cannot_be_pushed_or_opened(places: Places, index: Index, tmp_path: Path) -> None:
    url = places("opensearch")
    push(index, url)
    other = FakeEncoder(seed=1)
    with pytest.raises(MismatchError, match="made with the encoder 'fake-8192-0'"):
        Engine.open(url, other)
    with Index.create(tmp_path / "other", other) as another, pytest.raises(MismatchError, match="choose another name"):
        push(another, url)
    with pytest.raises(InputError, match="unknown engine 'redis'"):
        Engine.open("redis://localhost/notes")
    with pytest.raises(InputError, match="names the collection"):
        Engine.open("qdrant://localhost/Notes-1")
    with pytest.raises(InputError, match="no option 'shards'; opensearch has ceiling, method"):
        Engine.open(f"{url}?shards=3")
    with pytest.raises(InputError, match="method is one of exact, seismic, not 'fast'"):
        Engine.open(f"{url}?method=fast")
    with Engine.open(url, ENCODER) as engine, pytest.raises(InputError, match="capped search is of an index on disk"):
        engine.search_batch(["wing"], mode="capped")
    with pytest.raises(InputError, match="latents: 65,537; this engine takes at most 65,536"):
        parsed = EngineUrl.parse(places("opensearch") + "?method=seismic")
        store_class(parsed).create(parsed, 65_537)


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    url = EngineUrl.parse("postgresql://me:secret@host:5432/base/notes?sslmode=require")
    assert str(url) == "postgresql://me@host:5432/base/notes?sslmode=require" and "secret" not in repr(url)
    assert url.password == "secret"
    monkeypatch.setenv("SAELEX_ENGINE_PASSWORD", "hidden")
    assert EngineUrl.parse("postgresql://me@host/base/notes").password == "hidden"


def test_elasticsearch_is_told_not_to_prune(places: Places, index: Index) -> None:
    url = places("elasticsearch")
    push(index, url)
    with Engine.open(url, ENCODER) as engine:
        engine.search("storm lift only7")
    searches = [body for _, path, body in places.stubs["elasticsearch"].requests if path.endswith("_search")]
    asked = [one["sparse_vector"] for body in searches for one in body["query"].get("bool", {}).get("must", [])]
    assert asked and all(one["prune"] is False for one in asked)


def test_threads_share_an_engine(places: Places, index: Index) -> None:
    from concurrent.futures import ThreadPoolExecutor

    url = places("opensearch")
    push(index, url)
    with Engine.open(url, ENCODER) as engine, ThreadPoolExecutor(8) as pool:
        alone = {query: [(hit.id, hit.score) for hit in engine.search(query)] for query in QUERIES}
        for query, hits in zip(QUERIES * 8, pool.map(engine.search, QUERIES * 8)):
            assert [(hit.id, hit.score) for hit in hits] == alone[query]


def test_the_public_name() -> None:
    import saelex

    assert saelex.Engine is live.Engine


def test_the_documented_schema_of_vespa_has_what_is_sent() -> None:
    text = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    field (\w+) type", text, re.MULTILINE)) == set(VESPA_FIELDS)


def test_every_file_of_an_engine_is_short() -> None:
    for path in Path(live.__file__).parent.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 150, path
