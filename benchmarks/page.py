"""How long a reader waits for the page over the demo's index: first paint, first hits, a steered re-ranking; and its
pictures.

    python benchmarks/page.py --json page.json --screenshots docs/images

Server and Chromium (Debian's `chromium`, driven by Playwright; SAELEX_CHROMIUM names another) share this machine. The
index is the demo's own, made by `saelex demo` if it is not there yet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from chromium import chromium_path
from report import Report
from saelex import Encoder
from saelex.cli.demo import demo_path, open_demo
from saelex.cli.options import DEFAULT_MODEL

QUERY = "how do I read a zip archive?"
STEPS = 30  # of the slider, there and back

# from the event that a moved slider fires to the frame in which the list shows what the server answered
_MOVE = """async ([slider, value]) => {
  const input = document.querySelectorAll("input[type=range]")[slider];
  const list = document.querySelector(".hits");
  const start = performance.now();
  const changed = new Promise((resolve) => {
    const observer = new MutationObserver(() => { observer.disconnect(); requestAnimationFrame(resolve); });
    observer.observe(list, { childList: true, subtree: true, characterData: true });
  });
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  await changed;
  return performance.now() - start;
}"""
_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"

PICTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "page": ({"q": QUERY}, {"viewport": {"width": 1360, "height": 900}}),
    "page-steered": (
        {"q": QUERY, "boost": "word:read=3", "ban": "word:archive"},
        {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    ),
    "page-compare": ({"q": QUERY, "compare": 1, "b.words": 0}, {"viewport": {"width": 1500, "height": 900}}),
    "page-concept": ({"q": QUERY}, {"viewport": {"width": 1360, "height": 900}}),
    "page-phone": ({"q": QUERY}, {"viewport": {"width": 400, "height": 800}, "device_scale_factor": 1.5}),
}  # fmt: skip


@contextmanager
def served(index: Path) -> Iterator[str]:
    """The address of `saelex serve INDEX`, a process of its own."""
    command = [sys.executable, "-m", "saelex", "serve", f"python={index}", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stderr is not None
    try:
        address = next((line.split()[-1] for line in process.stderr if " at http" in line), None)
        if address is None:
            sys.exit("saelex serve did not start")
        yield address
    finally:
        process.terminate()
        process.wait()


def opened(browser: Browser, address: str, state: dict[str, Any], **options: Any) -> Page:
    """A page in a browser that has kept nothing, with its hits."""
    page = browser.new_context(locale="en-US", **options).new_page()
    page.goto(f"{address}/#{urlencode(state)}")
    page.wait_for_selector(".hit")
    return page


def waits(browser: Browser, address: str, repeats: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first paint, and to the hits of a link; the server is warm."""
    paints, hits = [], []
    for _ in range(repeats):
        page = opened(browser, address, {"q": QUERY})
        hits.append(page.evaluate("() => performance.now()"))
        paints.append(page.evaluate(_PAINT))
        page.context.close()
    return paints, hits


def moves(browser: Browser, address: str) -> list[float]:
    """Milliseconds from a slider's move to the list that follows it."""
    page = opened(browser, address, {"q": QUERY})
    there = [*range(1, STEPS // 2 + 1), *range(STEPS // 2 - 1, -1, -1)]
    times = [page.evaluate(_MOVE, [slider, str(step)]) for slider in (0, 1) for step in there]
    page.context.close()
    return times


def pictures(browser: Browser, address: str, folder: Path) -> None:
    """The page in its main states."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (state, options) in PICTURES.items():
        page = opened(browser, address, state, reduced_motion="reduce", **options)
        if name.endswith("compare"):
            page.wait_for_selector(".column[data-column='1'] .hit")
        if name.endswith("concept"):
            page.locator(".slider button.label").first.click()
            page.wait_for_selector("dialog.concept h2")
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"{name}.png")
        page.context.close()


def add(report: Report, metric: str, times: Sequence[float], goal: str | None) -> None:
    """Median, and the slowest of twenty."""
    report.add(
        metric, round(statistics.median(times)), "ms", goal, f"p95 {sorted(times)[int(0.95 * (len(times) - 1))]:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="pages opened")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="write the page's pictures here")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    path = chromium_path()
    if path is None:
        sys.exit("no Chromium here: install it, or name it with SAELEX_CHROMIUM")
    encoder = Encoder.load(DEFAULT_MODEL)
    index = demo_path(encoder)
    open_demo(index, encoder).close()
    report = Report("page", ["fastapi", "uvicorn", "playwright"])
    with served(index) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened(browser, address, {"q": QUERY}).context.close()
        paints, hits = waits(browser, address, options.repeats)
        add(report, "first paint", paints, "< 500")
        add(report, "hits of a link", hits, None)
        add(report, "steered re-ranking", moves(browser, address), "< 100")
        if options.screenshots is not None:
            pictures(browser, address, options.screenshots)
        browser.close()
    report.print()
    if options.json is not None:
        report.write(options.json)


if __name__ == "__main__":
    main()
