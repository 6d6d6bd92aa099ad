from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from saelex import hub
from saelex.errors import InputError
from saelex.hub import asking_hub, check_obtainable, unreachable


@pytest.fixture(autouse=True)
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that has not been asked yet, an empty cache, and the flags as they were at the end."""
    monkeypatch.setattr(hub, "_last", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mute() -> Iterator[str]:
    """A server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that gives everybody one status, and an error code in the hub's header."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            status, code = request.param
            self.send_response(200 if self.path == "/" and status < 500 else status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


def fetch() -> None:
    from huggingface_hub import constants, hf_hub_download

    with asking_hub("a/b"):
        hf_hub_download("a/b", "config.json", cache_dir=constants.HF_HUB_CACHE)


def test_a_hub_that_refuses_calls_is_one_line(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    endpoint(monkeypatch, closed)
    with pytest.raises(InputError, match="a/b is not in the local cache and the hub cannot be reached") as caught:
        fetch()
    assert closed in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_never_answers_is_asked_once(monkeypatch: pytest.MonkeyPatch, mute: str) -> None:
    endpoint(monkeypatch, mute)
    monkeypatch.setattr(hub, "_PATIENCE", 0.2)
    with pytest.raises(InputError, match="the hub cannot be reached"):
        fetch()
    monkeypatch.setattr(hub, "_refusal", lambda _: pytest.fail("asked again"))
    with pytest.raises(InputError, match="the hub cannot be reached"):
        fetch()


def test_a_search_for_the_address_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("huggingface_hub.get_session", lambda: release.wait(60))
    monkeypatch.setattr(hub, "_PATIENCE", 0.1)
    assert "does not answer" in str(unreachable())
    release.set()


def test_what_is_cached_loads_while_the_hub_is_away(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    from huggingface_hub import is_offline_mode

    endpoint(monkeypatch, closed)
    with asking_hub("a/b"):
        assert is_offline_mode()


def test_the_hub_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import is_offline_mode

    answers = iter(["down", None])
    monkeypatch.setattr(hub, "_refusal", lambda _: next(answers))
    assert unreachable() == "down"
    assert is_offline_mode()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert unreachable() is None
    assert not is_offline_mode()


def test_offline_by_setting_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "_refusal", lambda _: pytest.fail("asked"))
    with pytest.raises(InputError, match=r"the hub cannot be reached \(HF_HUB_OFFLINE is set\)"):
        fetch()


@pytest.mark.parametrize(
    ("answering", "message"),
    [
        ((503, ""), "the hub cannot be reached .* answers 503"),
        ((401, "RepoNotFound"), "no folder and no hub model named a/b"),
        ((404, "RepoNotFound"), "no folder and no hub model named a/b"),
        ((404, "RevisionNotFound"), "no folder and no hub model named a/b"),
        ((403, "GatedRepo"), "a/b is gated: accept its licence"),
    ],
    indirect=["answering"],
)
def test_what_the_hub_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch, answering: str, message: str) -> None:
    endpoint(monkeypatch, answering)
    with pytest.raises(InputError, match=message) as caught:
        fetch()
    assert "\n" not in str(caught.value)


def test_a_path_that_is_there_asks_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "_refusal", lambda _: pytest.fail("asked"))
    with pytest.raises(FileNotFoundError), asking_hub(str(tmp_path)):
        (tmp_path / "none").read_text()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    check_obtainable("a/b")


def test_a_name_that_cannot_be_had_is_said_before_anything_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_refusal", lambda _: "down")
    with pytest.raises(InputError, match=r"^a/b is not in the local cache and the hub cannot be reached \(down\)"):
        check_obtainable("a/b")
    for no_hub_id in ("bm25", "a/b/c", "./a", "/a", "~/a", "hf:a/b"):
        check_obtainable(no_hub_id)


def test_what_the_cache_holds_something_of_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "_refusal", lambda _: pytest.fail("asked"))
    (tmp_path / "cache" / "models--a--b").mkdir(parents=True)
    check_obtainable("a/b")


def test_offline_by_setting_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"\(HF_HUB_OFFLINE is set\)"):
        check_obtainable("a/b")


def test_transformers_own_failure_is_one_line(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    from transformers import AutoTokenizer

    endpoint(monkeypatch, closed)
    with pytest.raises(InputError, match="a/b is not in the local cache") as caught, asking_hub("a/b"):
        AutoTokenizer.from_pretrained("a/b")
    assert "\n" not in str(caught.value)
