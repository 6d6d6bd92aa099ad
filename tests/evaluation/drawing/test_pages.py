from __future__ import annotations

from pathlib import Path

import pytest

from saelex.errors import InputError
from saelex.evaluation.drawing.pages import DARK, LIGHT, check_folder, cut, html_page, inline_svg, replacing_folder


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("short", 5, "short"),
        ("one  two\nthree", 13, "one two three"),
        ("one two three", 12, "one two …"),
        ("one two three", 9, "one two …"),
        ("one two three", 8, "one two…"),  # between words, there is room for half of the line only
        ("unbreakable", 6, "unbre…"),
        ("日本語の文章です", 5, "日本語の…"),
    ],
)
def test_texts_are_cut_between_words(text: str, length: int, expected: str) -> None:
    assert cut(text, length) == expected and len(cut(text, length)) <= length


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_words_stand_out_from_their_ground(colours: dict[str, str]) -> None:
    for words, ground in [("ink", "paper"), ("soft", "paper"), ("accent", "paper"), ("ink", "mark"), ("ink", "shade")]:
        low, high = sorted(luminance(colours[name]) for name in (words, ground))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (words, ground)  # WCAG 2, AA


def test_titles_are_escaped() -> None:
    assert "<title>a &lt;b&gt;</title>" in html_page("a <b>", "<p>body</p>")


def test_drawings_take_the_page_s_colours_and_keep_their_words() -> None:
    drawing = (
        '<?xml version="1.0"?><svg width="9pt" height="5pt"><metadata>x</metadata><g id="a" style="fill: #ffffff">'
        '<use xlink:href="#a" clip-path="url(#b)" style="stroke: #000000"/>'
        '<text>#000000 id="a" url(#b)</text></g></svg>'
    )
    assert inline_svg(drawing, "one") == (
        '<svg  data-height="5pt"><g id="one-a" style="fill: none">'
        '<use xlink:href="#one-a" clip-path="url(#one-b)" style="stroke: var(--ink)"/>'
        '<text>#000000 id="a" url(#b)</text></g></svg>'
    )


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as made:
        (made / "index.html").write_text("half")
        raise ZeroDivisionError
    assert not folder.exists() and list(folder.parent.iterdir()) == []
    with replacing_folder(folder) as made:
        (made / "index.html").write_text("whole")
    assert (folder / "index.html").read_text() == "whole"
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"), replacing_folder(tmp_path / "file" / "report"):
        pass


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    names = {"index.html", "figures"}
    check_folder(tmp_path / "none", names)
    check_folder(tmp_path, names)
    (tmp_path / "figures").mkdir()
    with pytest.raises(InputError, match="is no report"):  # somebody's own figures
        check_folder(tmp_path, names)
    (tmp_path / "index.html").write_text("x")
    check_folder(tmp_path, names)
    with pytest.raises(InputError, match="is no report"):
        check_folder(tmp_path / "index.html", names)
