"""What Neuronpedia shows of one latent, asked for politely.

One question at a time, half a second apart; of what fails, that which may pass is asked again after a pause, with
Retry-After honoured up to two minutes. Nothing of an answer is believed: its size, the time it takes, its form, and
which latent it is of are checked, and of its text one line is taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from saelex.concepts.concept import Published, one_line
from saelex.errors import InputError
from saelex.sae.config import NEURONPEDIA, is_neuronpedia_id

MOST_FETCHED = 1000
"""Latents to ask for in one run: whoever wants more, Neuronpedia says, is to take its exports."""
_INTERVAL = 0.5  # seconds between the starts of two questions
_PATIENCE = 10.0  # seconds for a connection, and for each part of an answer
_LONGEST_ANSWER = 60.0  # seconds
_LARGEST_ANSWER = 16 << 20  # bytes; one of a latent with its texts has some hundred thousand
_PAUSES = (1.0, 4.0, 16.0)  # seconds before it is asked again
_LONGEST_PAUSE = 120.0
_AGAIN = (408, 429, 500, 502, 503, 504)
_MOST_EXPLANATIONS = 100
_LONGEST_AUTHOR = 60


class UnknownLatentError(InputError):
    """Neuronpedia has no latent of that number, or none of that model and source."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes


class Neuronpedia:
    """The explanations of one source's latents.

    source: Neuronpedia's "model/source". address: of the site. clock, sleep: in seconds.
    """

    def __init__(
        self,
        source: str,
        *,
        address: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        check_source(source)
        self.source = source
        self._address = NEURONPEDIA if address is None else address
        self._clock, self._sleep = clock, sleep
        self._next = clock()  # when it may be asked again
        self._has_answered = False

    def explanation(self, latent: int) -> Published | None:
        """What is published of a latent; None where nothing is.

        Raises UnknownLatentError, and InputError where there is no answer, or one that says something else.
        """
        url = f"{self._address}api/feature/{self.source}/{latent}"
        for pause in (*_PAUSES, None):
            try:
                answer = self._ask(url)
                problem = f"it answers {answer.status}"
                asked_for = _retry_after(answer.headers)
            except _UnreachableError as error:
                answer, problem, asked_for = None, str(error), None
            if answer is not None and answer.status not in _AGAIN:
                return self._read(answer, latent, url)
            # of one that was never reached nothing better is to be expected
            if pause is None or (answer is None and not self._has_answered):
                break
            wait = pause if asked_for is None else asked_for
            if wait > _LONGEST_PAUSE:
                problem += f" and wants to be left alone for {wait:,.0f} seconds"
                break
            self._sleep(wait)
        raise InputError(f"{self._address} cannot be asked for the labels of {self.source} now ({problem})")

    def _ask(self, url: str) -> _Answer:
        self._sleep(max(0.0, self._next - self._clock()))
        self._next = self._clock() + _INTERVAL
        answer = _get(url, self._clock)
        self._has_answered = True
        return answer

    def _read(self, answer: _Answer, latent: int, url: str) -> Published | None:
        if answer.status == 404:
            raise UnknownLatentError(f"{self._address} has no latent {latent} of {self.source}")
        if answer.status != 200:
            raise InputError(f"{url} answers {answer.status}")
        try:
            feature = json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{url} answers with what is no JSON ({error})") from error
        if feature is None:
            raise UnknownLatentError(f"{self._address} has no latent {latent} of {self.source}")
        try:
            return _of_feature(feature, self.source, latent)
        except InputError as error:
            raise InputError(f"{url} answers with {error}") from error


def check_source(source: str) -> None:
    """Raises InputError for what cannot be Neuronpedia's "model/source"."""
    if not is_neuronpedia_id(source):
        raise InputError(
            f"{source!r:.80} is no model/source of Neuronpedia, such as gemma-2-2b/16-gemmascope-res-65k: "
            "what stands between neuronpedia.org/ and the number in the address of a latent's page"
        )


def published_in(record: Mapping[str, Any], source: str) -> Published | None:
    """The text of an explanation as Neuronpedia writes it, in answers and in exports; None where there is none."""
    text, author = record.get("description"), record.get("explanationModelName")
    line = one_line(text) if isinstance(text, str) else ""
    return (
        Published(line, one_line(author, _LONGEST_AUTHOR) if isinstance(author, str) else "", source) if line else None
    )


def belongs(record: Mapping[str, Any], source: str) -> bool:
    """Whether an answer, or an export's line, says nothing else than that it is of this source."""
    model, layer = source.split("/")
    return (record.get("modelId", model), record.get("layer", layer)) == (model, layer)


def _of_feature(feature: Any, source: str, latent: int) -> Published | None:
    """The first explanation of an answer that says something."""
    if not isinstance(feature, dict):
        raise InputError(f"a {type(feature).__name__} in place of a latent")
    if not belongs(feature, source) or str(feature.get("index", latent)) != str(latent):
        raise InputError("another latent")
    explanations = feature.get("explanations") or []
    if not isinstance(explanations, list):
        raise InputError("explanations that are no list")
    found: Iterable[Published | None] = (
        published_in(one, source) for one in explanations[:_MOST_EXPLANATIONS] if isinstance(one, dict)
    )
    return next((one for one in found if one), None)


class _UnreachableError(Exception):
    """Nobody answers, or not to the end. May pass."""


def _get(url: str, clock: Callable[[], float]) -> _Answer:
    """One question through huggingface_hub's client, which goes by the user's proxies and HF_HUB_OFFLINE."""
    from huggingface_hub import errors, get_session

    of_transport: type[Exception] = errors.HfHubHTTPError.__bases__[0]  # httpx's, under whatever name it is installed
    headers = {"accept": "application/json", "user-agent": "saelex"}
    latest, content = clock() + _LONGEST_ANSWER, bytearray()
    try:
        with get_session().stream("GET", url, headers=headers, timeout=_PATIENCE, follow_redirects=False) as answer:
            for part in answer.iter_bytes(1 << 16) if answer.status_code == 200 else ():
                content += part
                if len(content) > _LARGEST_ANSWER:
                    raise InputError(f"{url} answers with more than {_LARGEST_ANSWER >> 20} MiB")
                if clock() > latest:
                    raise _UnreachableError(f"no whole answer within {_LONGEST_ANSWER:.0f} seconds")
            return _Answer(answer.status_code, answer.headers, bytes(content))
    except (of_transport, OSError) as error:
        raise _UnreachableError(str(error).strip().split("\n")[0] or type(error).__name__) from error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, told as such or as a date; None where it does not, or not so."""
    from email.utils import parsedate_to_datetime

    told = headers.get("retry-after", "").strip()
    if told.isascii() and told.isdecimal():
        return float(told[:9])
    try:
        # by the clock of who answers
        wait = parsedate_to_datetime(told) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, wait.total_seconds())
