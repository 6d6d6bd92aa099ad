"""Where a snippet is cut, and what is marked in it."""

from __future__ import annotations

import pytest

from saelex.concepts.explanation import Contribution, Explanation
from saelex.concepts.snippet import Snippet, cut_snippet
from saelex.corpus.documents import Document
from saelex.errors import InputError
from saelex.index.hits import Hit
from saelex.index.passages import Passage

FILLER = "alpha beta gamma delta " * 25  # 100 words
HAN = "空气在上表面流动得更快" * 20


def explanation(*rows: tuple[float, list[str]]) -> Explanation:
    made = [Contribution(i, f"label {i}", weight, [], words) for i, (weight, words) in enumerate(rows)]
    return Explanation("q", "a", sum(row.contribution for row in made), made)


def marked(snippet: Snippet) -> list[str]:
    return [snippet.text[start:end] for start, end, _ in snippet.marks]


def test_it_lies_where_the_labels_sum_up_to_the_most() -> None:
    text = f"{FILLER}one wing and a wing and a wing {FILLER}lift beside the drag {FILLER}"
    found = cut_snippet(text, explanation((3.0, ["wing"]), (2.0, ["lift"]), (1.5, ["drag"])), 10)
    assert "lift beside the drag" in found.text and marked(found) == ["lift", "drag"]
    again = cut_snippet(text, explanation((4.0, ["wing"]), (2.0, ["lift"]), (1.5, ["drag"])), 10)
    assert marked(again) == ["wing", "wing", "wing"]  # a label counts once, however often it is in sight


def test_of_equal_parts_the_one_with_more_matches_is_taken_and_then_the_first() -> None:
    text = f"1 wing {FILLER}2 wing or wing {FILLER}3 wing or wing"
    found = cut_snippet(text, explanation((1.0, ["wing"])), 5)
    assert "2 wing or wing" in found.text
    assert cut_snippet(text, explanation((1.0, ["wing"])), 1).text == "… wing …"


def test_it_has_about_the_words_asked_for_half_of_the_others_before() -> None:
    numbers = " ".join(f"n{i}" for i in range(100))
    found = cut_snippet(numbers, explanation((1.0, ["n50"])), 11)
    assert found.text == "… n45 n46 n47 n48 n49 n50 n51 n52 n53 n54 n55 …"
    assert numbers[found.start : found.end] == found.text.strip("… ")
    assert cut_snippet(numbers, explanation((1.0, ["n2"])), 11).text.startswith("n0 n1 n2 n3")
    assert cut_snippet(numbers, explanation((1.0, ["n99"])), 4).text == "… n96 n97 n98 n99"


def test_two_letters_of_a_script_without_spaces_are_a_word() -> None:
    found = cut_snippet(f"{HAN}机翼产生升力{HAN}", explanation((2.0, ["机翼"]), (1.0, ["升力"])), 20)
    assert "机翼产生升力" in found.text and marked(found) == ["机翼", "升力"]
    assert found.end - found.start == 40
    hangul = "공기가 위에서 더 빨리 흐른다 " * 20
    assert len(cut_snippet(hangul, explanation(), 10).text.split()) == 11  # with the dots after it


def test_no_mark_of_thai_is_parted_from_its_letter() -> None:
    text = "ที่นี่มีน้ำ" * 30
    for words in range(1, 12):
        found = cut_snippet(text, explanation(), words)
        assert text[found.end] not in "\u0e31\u0e34\u0e35\u0e36\u0e37\u0e48\u0e49\u0e33"


def test_long_words_count_as_several_and_are_cut() -> None:
    found = cut_snippet("x" * 1000, explanation(), 40)
    assert found.text == "x" * 416 + " …"  # 13 pieces of 32, each for 3 words


def test_blanks_are_one_and_marks_stay_at_their_words() -> None:
    text = "the\n\n wing\t of\xa0 a  Wing's edge and winged"
    found = cut_snippet(text, explanation((1.0, ["wing"])), 40)
    assert found.text == "the wing of a Wing's edge and winged"
    assert marked(found) == ["wing", "Wing"]
    pieces = [("the ", False), ("wing", True), (" of a ", False), ("Wing", True), ("'s edge and winged", False)]
    assert list(found.parts()) == pieces and str(found) == found.text


def test_where_nothing_fired_that_is_known_it_is_the_beginning() -> None:
    assert cut_snippet(FILLER, explanation((1.0, [])), 3) == Snippet("alpha beta gamma …", (), 0, 16)
    assert cut_snippet(FILLER, explanation((1.0, [" ", "absent"])), 3).start == 0
    assert cut_snippet("  ", explanation(), 3) == Snippet("", (), 0, 0)


def test_words_of_context_are_marked_too() -> None:
    row = Contribution(1, "label", 1.0, document_context=["gamma"])
    found = cut_snippet("alpha gamma", Explanation("q", "a", 1.0, [row]), 5)
    assert marked(found) == ["gamma"]


def test_of_a_hit_it_is_the_best_passage_without_the_title() -> None:
    why = explanation((1.0, ["wing"]))

    def hit(document: Document, start: int, end: int) -> Hit:
        return Hit(1, 1.0, document, Passage(start, end), lambda: why)

    document = Document("a", "the wing, and a long second passage with a wing", "Wing")
    first = hit(document, 0, 14).snippet()
    assert (first.text, marked(first)) == ("the wing,", ["wing"])
    assert document.content[first.start : first.end] == "the wing,"
    second = hit(document, 15, len(document.content)).snippet(5)
    assert second.text == "… second passage with a wing" and marked(second) == ["wing"]
    assert hit(Document("a", "", "Wing"), 0, 4).snippet().text == "Wing"
    for words in (0, True, 2.5):
        with pytest.raises(InputError, match="at least 1 word"):
            hit(document, 0, 14).snippet(words)  # type: ignore[arg-type]
