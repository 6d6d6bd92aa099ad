"""Debian's Chromium, driven by Playwright. Where there is none these tests are skipped, or fail if they must not be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from chromium import chromium_path

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from saelex import Index

Look = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the tests of a file; it is gone before others start, whose event loops it would be in the way of."""
    path = chromium_path()
    if path is None:
        lacking = pytest.fail if os.environ.get("SAELEX_REQUIRE_CHROMIUM") == "1" else pytest.skip
        lacking("no Chromium here: install it, or name it with SAELEX_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Index]]:
    """Two: "notes", and "other" with another encoder and without the first document."""
    from tests.server.page.served import DOCUMENTS, make_index

    folder = tmp_path_factory.mktemp("page")
    made = {
        "notes": make_index(folder / "notes"),
        "other": make_index(folder / "other", seed=1, documents=DOCUMENTS[1:]),
    }
    yield made
    for index in made.values():
        index.close()


@pytest.fixture(scope="session")
def address(indexes: dict[str, Index]) -> Iterator[str]:
    """Where both are served."""
    from tests.server.page.served import serving

    with serving(indexes) as url:
        yield url


@pytest.fixture
def look(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Look]:
    """`look({"q": "zip"})`: a page in a browser of its own. Afterwards its console is empty, and it asked nobody else.

    base: of another server. ready: what is waited for. may: "fail" where refusals are expected, which browsers log.
    The other names are the browser's: viewport, locale and so on.
    """
    opened: list[tuple[Page, list[str]]] = []
    contexts = []

    def open_page(
        fragment: dict[str, Any] | None = None,
        *,
        base: str = "",
        ready: str | None = ".hit",
        may: str = "",
        **options: Any,
    ) -> Page:
        base = base or request.getfixturevalue("address")
        context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1300, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # of a busy machine
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))

        def refuse(route: Any) -> None:
            wrong.append(f"asked elsewhere: {route.request.url}")
            route.abort()

        context.route(lambda url: not url.startswith(base), refuse)
        page.goto(f"{base}#{urlencode(fragment or {}, doseq=True)}")
        if ready:
            page.wait_for_selector(ready)
        opened.append((page, [] if may == "fail" else wrong))
        return page

    yield open_page
    try:
        assert [wrong for _, wrong in opened] == [[] for _ in opened]
    finally:
        for context in contexts:
            context.close()
