"""Where in a text what fired is marked, and whose the marks are."""

from __future__ import annotations

from saelex.concepts.explanation import Contribution, Explanation
from saelex.concepts.marks import Mark, document_marks, marks_of, query_marks
from saelex.concepts.snippet import cut_snippet

ROWS = [
    Contribution(7, "lift", 1.0, ["lifts"], ["lift"], query_context=["wing"]),
    Contribution(4, "wing", 3.0, ["wing"], ["wing"]),
    Contribution(5, "wing", 0.5, ["Wing"], ["Wings"]),  # of the same label
    Contribution(9, "word:wing", 2.0, ["wing"], ["Wing"]),
]
WHY = Explanation("the Wing lifts", "a", 6.5, ROWS)


def test_marks_name_the_rows_by_label_that_contribute_most_first() -> None:
    assert [row.label for row in WHY.by_label] == ["wing", "word:wing", "lift"]
    assert query_marks(WHY) == [Mark(4, 8, (0, 1, 2)), Mark(9, 14, (2,))]
    text = "Lift of a WING; wings, winged"
    assert document_marks(text, WHY) == [Mark(0, 4, (2,)), Mark(10, 14, (0, 1)), Mark(16, 21, (0,))]
    assert document_marks(text, WHY, 5) == [Mark(10, 14, (0, 1)), Mark(16, 21, (0,))]


def test_a_snippet_keeps_the_rows_of_its_marks() -> None:
    found = cut_snippet("some \n words before the  wing and its lift", WHY, 4)
    assert (found.text, found.marks) == ("… wing and its lift", (Mark(2, 6, (0, 1)), Mark(15, 19, (2,))))
    assert cut_snippet("a wing's  lift", WHY, 1).marks == (Mark(2, 6, (0, 1)),)


def test_of_words_in_each_other_the_longer_is_marked() -> None:
    assert marks_of("飞机翼产生升力", [["机翼"], ["翼"], ["升力"]]) == [Mark(1, 3, (0,)), Mark(5, 7, (2,))]
    assert marks_of("a.b (c)", [["(c)", "(c)"], [" "], []]) == [Mark(4, 7, (0,))]
    assert marks_of("İstanbul", [["İstanbul"]]) == [Mark(0, 8, (0,))]
    assert marks_of("anything", [[], [""]]) == []
