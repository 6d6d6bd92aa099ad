from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from saelex.cli.show import show_explanation, show_hits
from saelex.concepts.explanation import Contribution, Explanation
from saelex.corpus.documents import Document
from saelex.index.hits import Hit
from saelex.index.passages import Passage

LONG = "first words. " + "filler text " * 40 + "here the wing creates lift of the wing. " + "more filler " * 40


def hit(document: Document) -> Hit:
    rows = [
        Contribution(7, "wing [aero]", 3.0, ["wings"], ["wing"]),
        Contribution(9, "lift", 1.0, [], ["lift"], "boost x2"),
    ]
    explanation = Explanation("wings", document.id, 4.0, rows, ["river · bank"])
    return Hit(1, 4.0, document, Passage(0, len(document.content)), lambda: explanation)


def test_each_hit_is_shown_at_what_matched_with_and_without_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    document = Document("a", LONG, "Title")
    for explain in (False, True):
        show_hits("wings", [hit(document)], explain=explain)
        passage = capsys.readouterr().out.splitlines()[2]
        assert passage.startswith("    … ") and passage.endswith(" …")
        assert "here the wing creates lift of the wing." in passage and "Title" not in passage


def test_plain(capsys: pytest.CaptureFixture[str]) -> None:
    show_hits("wings", [hit(Document("a", "a wing", "Of [wings]"))], explain=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["? wings", " 1  4.000  a  Of [wings]", "    a wing"]
    assert lines[3:] == [
        "       3.000  wing [aero]  (wings → wing)",
        "       1.000  lift  (lift)  [boost x2]",
        "      banned  river · bank",
    ]


def test_coloured_output_keeps_brackets_and_marks_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(Console, "width", 100)
    show_hits("wings [of] birds", [hit(Document("a", "a wing", "Of [wings]"))], explain=True)
    shown = screen.getvalue()
    assert "[of]" in shown and "Of [wings]" in shown and "wing [aero]" in shown
    assert "\x1b[1;33mwing\x1b[0m" in shown
    assert "━" in shown and "banned" in shown and "boost x2" in shown


def test_an_explanation_counts_banned_labels_and_names_latents(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Contribution(7, "wing", 3.0, ["wings"], ["wing"]),
        Contribution(9, "latent 9", 1.0),
        Contribution(40, "word:wing", 0.5, ["wing"], ["wing"]),
    ]
    show_explanation(Explanation("wings", "a", 4.5, rows, ["lift", "bank", "lift"]))
    assert capsys.readouterr().out.splitlines() == [
        "a  4.500  for 'wings'",
        "       3.000  wing #7  (wings → wing)",
        "       1.000  latent 9",
        "       0.500  word:wing  (wing → wing)",
        "      banned  lift (x2)",
        "      banned  bank",
    ]


def test_no_hits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show_hits("nothing", [], explain=False)
    assert capsys.readouterr().out == "? nothing\n  no hits\n"
