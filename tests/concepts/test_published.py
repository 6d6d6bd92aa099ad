from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.concepts.neuronpedia_site import SOURCE, Answer, Site, Time, running_site

from saelex.concepts.concept import Published
from saelex.concepts.neuronpedia import Neuronpedia
from saelex.concepts.published import Fetched, fetch_published, read_exports
from saelex.errors import InputError, MismatchError

HOUR = Answer(429, headers=(("Retry-After", "3600"),))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "neuronpedia" / f"{SOURCE}.jsonl"


@pytest.fixture
def site(cache: Path) -> Iterator[Site]:
    with running_site() as running:
        yield running


def fetch(site: Site, *latents: int, most: int | None = None) -> Fetched:
    time = Time()
    return fetch_published(
        latents, Neuronpedia(SOURCE, address=site.address, clock=time.clock, sleep=time.sleep), most=most
    )


def label(text: str) -> Published:
    return Published(text, "gpt-4o-mini", SOURCE)


def test_what_was_fetched_is_kept(site: Site) -> None:
    for latent in (3, 1, 2):
        site.shows(latent, f"text {latent}")
    site.shows(5)
    assert fetch(site, 3, 1, 5, 4) == Fetched({3: label("text 3"), 1: label("text 1")}, 4, 0, None)
    assert site.asked_latents == [3, 1, 5, 4]
    # neither those that have a label nor those without are asked for again
    assert fetch(site, 2, 3, 1, 5, 4) == Fetched(
        {2: label("text 2"), 3: label("text 3"), 1: label("text 1")}, 1, 0, None
    )
    assert site.asked_latents == [3, 1, 5, 4, 2]


def test_a_run_that_was_stopped_goes_on(site: Site) -> None:
    for latent in range(4):
        site.shows(latent, f"text {latent}")
    site.answers[2].insert(0, HOUR)
    stopped = fetch(site, 0, 1, 2, 3)
    assert (stopped.published, stopped.asked, stopped.left) == ({0: label("text 0"), 1: label("text 1")}, 2, 2)
    assert stopped.stopped is not None and "left alone for 3,600 seconds" in stopped.stopped
    assert fetch(site, 0, 1, 2, 3) == Fetched({i: label(f"text {i}") for i in range(4)}, 2, 0, None)
    assert site.asked_latents == [0, 1, 2, 2, 3]


def test_so_many_in_one_run(site: Site) -> None:
    for latent in range(4):
        site.shows(latent, f"text {latent}")
    assert fetch(site, 3, 2, 1, 0, most=3) == Fetched({i: label(f"text {i}") for i in (3, 2, 1)}, 3, 1, None)
    assert fetch(site, 3, 2, 1, 0, most=3).left == 0


def test_a_source_that_is_not_there_is_found_out_early(site: Site, cache: Path) -> None:
    with pytest.raises(InputError, match=rf"has no latent 4 of {SOURCE}, nor any other that was asked for"):
        fetch(site, *range(100))
    assert len(site.asked) == 5 and not cache.exists()
    with pytest.raises(InputError, match="has no latent 1 of"):
        fetch(site, 0, 1)


def test_unknown_latents_before_the_first_known_one_are_kept(site: Site) -> None:
    site.shows(2, "text 2")
    assert fetch(site, 0, 1, 2, 3).published == {2: label("text 2")}
    assert fetch(site, 0, 1, 2, 3).asked == 0


def test_a_damaged_cache_costs_asking_again(site: Site, cache: Path) -> None:
    for latent in range(4):
        site.shows(latent, f"text {latent}")
    fetch(site, 0, 1, 2, 3)
    kept = cache.read_bytes().splitlines()
    torn = kept[3][:-9]
    cache.write_bytes(b"\n".join([kept[0], b"\xff\xfe", b"[1]", b'{"index": "x"}', b"[" * 100_000, kept[1], torn]))
    assert fetch(site, 0, 1, 2, 3) == Fetched({i: label(f"text {i}") for i in range(4)}, 2, 0, None)
    assert fetch(site, 0, 1, 2, 3).asked == 0


def test_a_cache_that_cannot_be_written_stops_nothing(site: Site, cache: Path) -> None:
    cache.parents[2].write_text("a file in the way")
    site.shows(0, "text 0")
    assert fetch(site, 0).published == fetch(site, 0).published == {0: label("text 0")}
    assert len(site.asked) == 2


# ---- exports ---------------------------------------------------------------------------------------------------------


def line(index: Any, description: str = "wings", **changes: Any) -> dict[str, Any]:
    model, layer = SOURCE.split("/")
    embedding = "[" + ",".join(["0.25"] * 256) + "]"
    told = {"description": description, "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini"}
    return {"id": "c1", "modelId": model, "layer": layer, "index": index, **told, "embedding": embedding, **changes}


def write(path: Path, *records: dict[str, Any]) -> Path:
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_exports_are_read(tmp_path: Path) -> None:
    write(tmp_path / "batch-0.jsonl.gz", line("0", ""), line("0", "a\nb"), line("0", "second"), line("3"))
    assert read_exports(tmp_path / "batch-0.jsonl.gz", SOURCE, 10) == {0: label("a b"), 3: label("wings")}
    write(tmp_path / "batch-1.jsonl", line(9, explanationModelName=None))
    (tmp_path / "notes.txt").write_text("no export")
    assert read_exports(tmp_path, SOURCE, 10) == {
        0: label("a b"),
        3: label("wings"),
        9: Published("wings", "", SOURCE),
    }


@pytest.mark.parametrize("index", ["10", 10, "-1", "x", None, True, 1.5, "²", "1" * 5000])
def test_a_line_of_another_latent_is_named(tmp_path: Path, index: Any) -> None:
    path = write(tmp_path / "e.jsonl", line("1"), line(index))
    with pytest.raises(InputError, match=r"e.jsonl:2: 'index' is a latent's number from 0 to 9, not "):
        read_exports(path, SOURCE, 10)


@pytest.mark.parametrize("change", [{"modelId": "gemma-2-9b"}, {"layer": "17-gemmascope-res-65k"}])
def test_exports_of_another_source_are_refused(tmp_path: Path, change: dict[str, str]) -> None:
    path = write(tmp_path / "e.jsonl", line("1"), line("2", **change))
    with pytest.raises(MismatchError, match=r"e.jsonl:2: is of .*, but the latents are those of " + SOURCE):
        read_exports(path, SOURCE, 10)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file of an export"):
        read_exports(tmp_path, SOURCE, 10)
    (tmp_path / "batch-0.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="damaged gzip file"):
        read_exports(tmp_path, SOURCE, 10)
    (tmp_path / "e.jsonl").write_text('["x"]\n')
    with pytest.raises(InputError, match=r"e.jsonl:1: a JSON object is expected"):
        read_exports(tmp_path / "e.jsonl", SOURCE, 10)
    with pytest.raises(InputError, match="is no model/source"):
        read_exports(tmp_path / "e.jsonl", "gemma", 10)
    with pytest.raises(InputError, match=r"absent.jsonl"):
        read_exports(tmp_path / "absent.jsonl", SOURCE, 10)
