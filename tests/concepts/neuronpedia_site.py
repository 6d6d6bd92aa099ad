"""A stand-in for Neuronpedia on this machine, which answers in the form of its documentation."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SOURCE = "gemma-2-2b/16-gemmascope-res-65k"


class Answer(NamedTuple):
    """content: of another kind than bytes, its JSON is sent. mute: nothing is ever sent."""

    status: int = 200
    content: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    mute: bool = False


def feature(latent: int, *texts: str, author: str = "gpt-4o-mini", **changes: Any) -> dict[str, Any]:
    """What `api/feature` answers of a latent, but for fields that nobody reads here."""
    model, layer = SOURCE.split("/")
    explanations = [
        {
            "id": f"cl{latent}{i}",
            "modelId": model,
            "layer": layer,
            "index": str(latent),
            "description": text,
            "authorId": "clkht01d40000jv08hvalcvly",
            "typeName": "oai_token-act-pair",
            "explanationModelName": author,
            "scores": [],
        }
        for i, text in enumerate(texts)
    ]
    known = {"modelId": model, "layer": layer, "index": str(latent), "maxActApprox": 41.5, "frac_nonzero": 0.001}
    activations = [{"tokens": ["▁the", "▁wing"], "values": [0, 41.5], "maxValue": 41.5, "maxValueTokenIndex": 1}]
    return {**known, "activations": activations, "explanations": explanations, **changes}


class Site:
    """answers: by latent, one after the other, the last one again and again; others are not known.

    asked: the paths of all questions, in their order.
    """

    def __init__(self) -> None:
        self.address = ""
        self.answers: dict[int, list[Answer]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()

    def shows(self, latent: int, *texts: str) -> None:
        self.answers[latent] = [Answer(content=feature(latent, *texts))]

    @property
    def asked_latents(self) -> list[int]:
        return [int(path.rsplit("/", 1)[1]) for path in self.asked]

    def next(self, path: str) -> Answer:
        self.asked.append(path)
        start, _, latent = path.rpartition("/")
        waiting = self.answers.get(int(latent)) if start == f"/api/feature/{SOURCE}" else None
        if not waiting:
            return Answer(404, {"error": "not found"})
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def running_site() -> Iterator[Site]:
    """A site on a free port of the loopback interface, until the end of the block."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.headers.append(dict(self.headers))
            answer = site.next(self.path)
            if answer.mute:
                site.over.wait()
                return
            content = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        site.address = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield site
        finally:
            site.over.set()
            server.shutdown()


class Time:
    """A clock that goes on where somebody sleeps, and by `step` each time it is looked at."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 1000.0, step
        self.slept: list[float] = []

    def clock(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
            self.now += seconds
