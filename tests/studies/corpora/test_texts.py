"""Texts from unpacked packages, against what stands in them."""

import gzip
import json
import sys

from studies.corpora import texts

PAGE = """<page xmlns="http://projectmallard.org/1.0/" id="clock">
<info><desc>Not read.</desc></info><title>{title}</title><p>{first}</p><section><p>{second}
again.</p></section></page>"""
HTML = """<html><head><title>{title}</title></head><body><p>Menu</p><div id="DisplayArea"><h1>{title}</h1>
<p>{first} <span>now</span>.</p><div class="howtoget"><p>Choose File.</p></div></div>
<div id="SearchFrame"></div><footer><p>Debug</p></footer></body></html>"""
LONG = "The clock shows the time of day, and that of other places in the world that you have chosen, one by one. "


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def gather(monkeypatch, folder, output):
    monkeypatch.setattr(sys, "argv", ["texts", str(folder), "--output", str(output)])
    texts.main()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def test_help_pages_are_aligned_and_untranslated_ones_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "FEWEST_PAGES", 1)
    for language, title in (("C", "Clock"), ("de", "Uhr"), ("fr", "Clock")):
        page = PAGE.format(title=title, first=f"{title}. {LONG}", second=f"{LONG}And more")
        put(tmp_path / "in/usr/share/help" / language / "gnome-help/clock.page", page)
        folder = {"C": "en-US"}.get(language, language)
        html = HTML.format(title=f"{title} - Calc", first=f"{title}: {LONG * 2}")
        put(tmp_path / "in/usr/lib/libreoffice/help" / folder / "text/scalc/clock.html", html)
    gather(monkeypatch, tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/help").iterdir()) == ["de.jsonl", "en.jsonl"]
    gnome, office = records(tmp_path / "out/help/de.jsonl")
    assert (gnome["key"], gnome["title"]) == ("gnome/gnome-help/clock", "Uhr")
    assert gnome["text"] == f"Uhr. {LONG}{LONG}And more again."
    assert (office["key"], office["title"]) == ("libreoffice/scalc/clock", "Uhr - Calc")
    assert office["text"] == f"Uhr: {(LONG * 2).strip()} now."
    assert [one["key"] for one in records(tmp_path / "out/help/en.jsonl")] == [gnome["key"], office["key"]]


def test_code_manuals_and_documentation(tmp_path, monkeypatch):
    docstring = "Turn the key of a clock until it stops.\n\n    More."
    code = f'def wind(clock):\n    """{docstring}"""\n    note = "{"x" * 150}"\n    return note\n'
    put(tmp_path / "in/clocks.py", code)
    put(tmp_path / "in/broken.py", "def (")
    put(tmp_path / "in/tests/test_clocks.py", code)
    manual = f".SH NAME\nclock\n.SH DESCRIPTION\n.PP\n{LONG}\n.SH FILES\nnone\n"
    (tmp_path / "in/usr/share/man/man1").mkdir(parents=True)
    (tmp_path / "in/usr/share/man/man1/clock.1.gz").write_bytes(
        gzip.compress((manual + ".SH DESCRIPTION\n" + LONG).encode())
    )
    put(
        tmp_path / "in/clock.rst.txt",
        f"Clocks\n======\n\n{LONG}{LONG}See :func:`wind <clocks.wind>` and ``x``.\n\n.. note::\n",
    )
    gather(monkeypatch, tmp_path / "in", tmp_path / "out")
    (function,) = records(tmp_path / "out/code.jsonl")
    assert function["title"] == "Turn the key of a clock until it stops."
    assert function["text"].startswith("def wind(clock):\n    note = 'xxx") and "Turn" not in function["text"]
    (manual,) = records(tmp_path / "out/manuals.jsonl")
    assert (manual["title"], manual["text"]) == ("clock", (LONG * 2).strip())
    (section,) = records(tmp_path / "out/documentation.jsonl")
    assert (section["title"], section["text"]) == ("Clocks", f"{LONG}{LONG}See wind and x.")


def test_leads_of_wikipedia(tmp_path, monkeypatch):
    pages = {"Clock": {"title": "Clock", "extract": LONG * 2}, "Stub": {"title": "Stub", "extract": "Short."}}
    put(tmp_path / "in/data/summaries_es-es.json", json.dumps(pages))
    gather(monkeypatch, tmp_path / "in", tmp_path / "out")
    assert records(tmp_path / "out/wiki/es.jsonl") == [{"_id": "Clock", "title": "Clock", "text": (LONG * 2).strip()}]
