from __future__ import annotations

from pathlib import Path

import pytest
from tests.corpus.sources.files import write_jsonl
from tests.evaluation.languages.toy import write_languages

from saelex.errors import InputError
from saelex.evaluation.languages.sets import LanguageSet, _name


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_languages(tmp_path_factory.mktemp("sets") / "toy")


def test_languages_are_sub_folders_in_the_order_given(toy: Path) -> None:
    found = LanguageSet.read(str(toy), "en,de")
    assert (found.name, found.label) == ("toy", "toy:test")
    assert found.pairs == [("en", "en"), ("en", "de"), ("de", "en"), ("de", "de")]
    across = found.collection(("de", "en"))
    assert across.queries[0].text.startswith("Wo steht")
    assert next(across.documents()).text.startswith("The wing")
    assert found.collection(("de", "de")) == found.collections["de"]


def test_queries_and_documents_apart(toy: Path) -> None:
    found = LanguageSet.read(f"{toy}:test", "de,tlh/en")
    assert found.pairs == [("de", "en"), ("tlh", "en")]
    assert found.query_languages == ["de", "tlh"] and found.document_languages == ["en"]


def test_all_sub_folders_and_a_name_around_the_language(toy: Path, tmp_path: Path) -> None:
    (toy / "notes").mkdir(exist_ok=True)  # no collection
    assert LanguageSet.read(str(toy), "all").query_languages == ["de", "en", "tlh"]
    assert LanguageSet.read(str(toy), "en/all").pairs == [("en", "de"), ("en", "en"), ("en", "tlh")]
    for code in ("de", "en"):
        (tmp_path / f"mine-{code}").symlink_to(toy / code)
    found = LanguageSet.read(str(tmp_path / "mine-{language}"), "de,en")
    assert found.name == "mine" and found.pairs[1] == ("de", "en")
    assert found.collections["de"].queries[0].text.startswith("Wo steht")


def test_languages_are_subsets_of_mtebs_layout(tmp_path: Path) -> None:
    root = tmp_path / "MyTask"
    for code, text in (("de", "Auftrieb"), ("en", "lift")):
        write_jsonl(root / f"{code}-corpus" / "test.jsonl", [{"id": 1, "text": text}])
        write_jsonl(root / f"{code}-queries" / "test.jsonl", [{"id": 2, "text": f"was {text}"}])
        write_jsonl(root / f"{code}-qrels" / "test.jsonl", [{"query-id": 2, "corpus-id": 1, "score": "1"}])
    found = LanguageSet.read(str(root), "de/en")
    assert found.label == "MyTask:test"
    across = found.collection(("de", "en"))
    assert across.queries[0].text == "was Auftrieb" and next(across.documents()).text == "lift"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("data/mlqa-{language}", "mlqa"),
        ("data/{language}/xquad", "xquad"),
        ("{language}-questions", "questions"),
        ("ir_datasets:mmarco/v2/{language}/dev", "mmarco/v2/dev"),
        ("hf:owner/name", "owner/name"),
        ("{language}", "{language}"),
    ],
)
def test_a_set_is_named_without_the_language(place: str, name: str) -> None:
    assert _name(place) == name


def test_words_are_those_of_each_language_and_by_script_where_it_has_no_rules(toy: Path, tmp_path: Path) -> None:
    found = LanguageSet.read(str(toy), "all")
    assert found.analysers == found.index_languages == {"de": "de", "en": "en", "tlh": "auto"}
    found = LanguageSet.read(str(toy), "de/en", index_language="none")
    assert (found.analysers, found.index_languages) == ({"de": "de", "en": "en"}, {"en": "none"})
    (tmp_path / "zh-TW").symlink_to(toy / "en")
    assert LanguageSet.read(str(tmp_path), "zh-TW").analysers == {"zh-TW": "zh"}


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ("de,,en", "codes with commas between, as in de,es,en or de,es/en, not 'de,,en'"),
        ("de/", "not ''"),
        ("de,en,de", "the language 'de' is named twice"),
        ("de,fr", "no such folder"),
    ],
)
def test_languages_that_cannot_be(toy: Path, languages: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LanguageSet.read(str(toy), languages)


def test_sets_that_cannot_be(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the languages"):
        LanguageSet.read("hf:owner/name", "all")
    with pytest.raises(InputError, match="no sub-folder is a collection"):
        LanguageSet.read(str(tmp_path), "all")
    other = write_languages(tmp_path / "other")
    (other / "de" / "qrels" / "test.tsv").write_text("q1\td3\t1\nq2\td1\t2\nq3\td4\t1\n")
    with pytest.raises(InputError, match="must agree"):
        LanguageSet.read(str(other), "de,en")
