from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.concepts.neuronpedia_site import SOURCE, Answer, Site, Time, feature, running_site

from saelex.concepts import neuronpedia
from saelex.concepts.concept import Published
from saelex.concepts.neuronpedia import Neuronpedia, UnknownLatentError
from saelex.errors import InputError

WINGS = Published("references to aircraft wings", "gpt-4o-mini", SOURCE)


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


def client(site: Site, time: Time) -> Neuronpedia:
    return Neuronpedia(SOURCE, address=site.address, clock=time.clock, sleep=time.sleep)


def test_explanations_are_read_from_the_documented_answer(site: Site) -> None:
    site.shows(7, "references to aircraft wings", "another one")
    site.shows(8)
    site.answers[9] = [Answer(content=feature(9, "", " \n ", "third", author=""))]
    time = Time()
    asking = client(site, time)
    assert asking.explanation(7) == WINGS
    assert WINGS.page(7) == f"https://www.neuronpedia.org/{SOURCE}/7"
    assert asking.explanation(8) is None
    assert asking.explanation(9) == Published("third", "", SOURCE)
    assert site.asked == [f"/api/feature/{SOURCE}/{latent}" for latent in (7, 8, 9)]
    assert time.slept == [0.5, 0.5]  # two questions a second
    told = {name.lower(): value for name, value in site.headers[0].items()}
    assert (told["accept"], told["user-agent"]) == ("application/json", "saelex") and "authorization" not in told


def test_a_packed_answer_is_read(site: Site) -> None:
    content = gzip.compress(json.dumps(feature(7, WINGS.text)).encode())
    site.answers[7] = [Answer(content=content, headers=(("Content-Encoding", "gzip"),))]
    assert client(site, Time()).explanation(7) == WINGS


def test_a_latent_that_is_not_there(site: Site) -> None:
    site.answers[4] = [Answer(content=None)]
    time = Time()
    for latent in (3, 4):
        with pytest.raises(UnknownLatentError, match=f"has no latent {latent} of {SOURCE}"):
            client(site, time).explanation(latent)
    assert time.slept == []


def test_what_may_pass_is_asked_again(site: Site) -> None:
    good = Answer(content=feature(7, WINGS.text))
    site.answers[7] = [Answer(500), Answer(503), Answer(502), good]
    time = Time()
    assert client(site, time).explanation(7) == WINGS
    assert time.slept == [1.0, 4.0, 16.0]


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ((("Retry-After", "90"),), 90.0),
        ((("Retry-After", "Sun, 01 Nov 2026 10:00:30 GMT"), ("Date", "Sun, 01 Nov 2026 10:00:00 GMT")), 30.0),
        ((("Retry-After", "soon"),), 1.0),
        ((("Retry-After", "-5"),), 1.0),
    ],
)
def test_retry_after_is_honoured(site: Site, headers: tuple[tuple[str, str], ...], waited: float) -> None:
    site.answers[7] = [Answer(429, headers=headers), Answer(content=feature(7, WINGS.text))]
    time = Time()
    assert client(site, time).explanation(7) == WINGS
    assert time.slept == [waited]


def test_a_wait_of_an_hour_is_left_to_the_user(site: Site) -> None:
    site.answers[7] = [Answer(429, headers=(("Retry-After", "3412"),))]
    time = Time()
    with pytest.raises(
        InputError, match=r"cannot be asked .* answers 429 and wants to be left alone for 3,412 seconds"
    ):
        client(site, time).explanation(7)
    assert time.slept == [] and len(site.asked) == 1


def test_what_stays_broken_is_one_line(site: Site) -> None:
    site.answers[7] = [Answer(500)]
    time = Time()
    with pytest.raises(InputError) as raised:
        client(site, time).explanation(7)
    assert str(raised.value) == f"{site.address} cannot be asked for the labels of {SOURCE} now (it answers 500)"
    assert time.slept == [1.0, 4.0, 16.0] and len(site.asked) == 4


def test_a_site_that_falls_silent_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.shows(7, WINGS.text)
    site.answers[8] = [Answer(mute=True)]
    time = Time()
    asking = client(site, time)
    asking.explanation(7)
    monkeypatch.setattr(neuronpedia, "_PATIENCE", 0.05)
    with pytest.raises(InputError, match=r"cannot be asked .*time"):
        asking.explanation(8)
    assert time.slept == [0.5, 1.0, 4.0, 16.0]


def test_nobody_there_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
    time = Time()
    with pytest.raises(InputError, match=rf"^{address} cannot be asked for the labels of {SOURCE} now \(.+\)$"):
        Neuronpedia(SOURCE, address=address, clock=time.clock, sleep=time.sleep).explanation(1)
    assert time.slept == []


def test_offline_by_setting_asks_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        client(site, Time()).explanation(1)
    assert site.asked == []


def test_an_answer_that_never_ends_is_given_up(site: Site) -> None:
    site.answers[7] = [Answer(content=b" " * (1 << 20))]
    time = Time(step=25.0)  # a look at the clock for each part
    with pytest.raises(InputError, match="no whole answer within 60 seconds"):
        client(site, time).explanation(7)


def test_an_answer_without_measure_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuronpedia, "_LARGEST_ANSWER", 1 << 20)
    packed = gzip.compress(b" " * (4 << 20))
    assert len(packed) < 1 << 20
    site.answers[7] = [Answer(content=packed, headers=(("Content-Encoding", "gzip"),))]
    with pytest.raises(InputError, match="answers with more than 1 MiB"):
        client(site, Time()).explanation(7)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b'"\xff"', "no JSON"),
        ([1], "a list in place of a latent"),
        (feature(8, "x"), "another latent"),
        (feature(7, "x", modelId="gemma-2-9b"), "another latent"),
        (feature(7, "x", layer="17-gemmascope-res-65k"), "another latent"),
        (feature(7, "x", explanations={"a": 1}), "explanations that are no list"),
    ],
)
def test_other_answers_are_refused(site: Site, content: Any, said: str) -> None:
    site.answers[7] = [Answer(content=content)]
    with pytest.raises(InputError, match=said):
        client(site, Time()).explanation(7)
    assert len(site.asked) == 1


def test_a_page_that_is_elsewhere_is_not_followed(site: Site) -> None:
    site.answers[7] = [Answer(302, headers=(("Location", "http://127.0.0.1:9/"),))]
    with pytest.raises(InputError, match="answers 302"):
        client(site, Time()).explanation(7)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  two\r\nlines\tof it ", "two lines of it"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\u202eb\ud800c", "a b c"),
        ("word: word:wing", "wing"),
        ("x" * 500, "x" * 199 + "…"),
    ],
)
def test_texts_become_one_line(site: Site, text: str, line: str) -> None:
    site.answers[7] = [Answer(content=feature(7, text, author="gpt\n" + "4" * 90))]
    assert client(site, Time()).explanation(7) == Published(line, "gpt " + "4" * 55 + "…", SOURCE)


@pytest.mark.parametrize("source", ["", "gemma", "a/b/c", "../x", "a/..", "a/b?c", "a/b\n", "a b/c", "é/b"])
def test_what_is_no_source_is_refused(source: str) -> None:
    with pytest.raises(InputError, match="is no model/source of Neuronpedia"):
        Neuronpedia(source)
