"""A collection in several languages, and how a command names it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from saelex.corpus.collection import Collection
from saelex.corpus.opening import named_split, read_collection
from saelex.corpus.sources.pair import read_pair
from saelex.encoder.words.languages import AUTO, check_language
from saelex.errors import InputError
from saelex.files import expanded_text
from saelex.reading.regular import is_folder

LANGUAGE, ALL = "{language}", "all"

Pair = tuple[str, str]
"""The language of the queries and that of the documents."""


@dataclass(frozen=True)
class LanguageSet:
    """Collections that are translations of each other: equal ids, equal judgements.

    collections: by language. pairs: what is evaluated, in the order of tables.
    analysers: of each language the one whose rules cut its words in BM25: see `LexicalSettings`.
    index_language: whose rules cut all words beside concepts; None: those of the documents' language, from `analysers`.

    Raises InputError where ids or judgements of a pair differ.
    """

    name: str
    collections: dict[str, Collection]
    pairs: list[Pair]
    analysers: dict[str, str]
    index_language: str | None = None

    def __post_init__(self) -> None:
        for pair in self.pairs:
            self.collection(pair)

    @classmethod
    def read(cls, source: str, languages: str, split: str = "test", index_language: str | None = None) -> LanguageSet:
        """The set that a string names, perhaps with `:SPLIT` behind it.

        source: what `read_collection` takes, with "{language}" where the language stands; without that, the language is
            behind a slash: a folder's sub-folder, a subset of mteb's layout.
        languages: codes with commas between, for queries and documents alike; `QUERIES/DOCUMENTS` sets them apart;
            `all` stands for every sub-folder that is a collection.
        index_language: as the field. In BM25 each language has its own rules, "auto" where there are none for it.

        Raises InputError as `read_collection` does, for languages that are named twice, and where judgements differ.
        """
        place, chosen = named_split(source, split)
        name = _name(place)
        place = place if LANGUAGE in place else f"{place}/{LANGUAGE}"
        asked, slash, searched = languages.partition("/")
        query_languages = _languages(asked, place)
        document_languages = _languages(searched, place) if slash else query_languages
        every = dict.fromkeys((*query_languages, *document_languages))
        collections = {code: read_collection(place.replace(LANGUAGE, code), chosen) for code in every}
        pairs = [(query, document) for query in query_languages for document in document_languages]
        analysers = {code: analyser_of(code) for code in every}
        return cls(name, collections, pairs, analysers, index_language)

    @property
    def query_languages(self) -> list[str]:
        """Rows of the matrix."""
        return list(dict.fromkeys(query for query, _ in self.pairs))

    @property
    def document_languages(self) -> list[str]:
        """Columns of the matrix."""
        return list(dict.fromkeys(document for _, document in self.pairs))

    @property
    def label(self) -> str:
        """NAME:SPLIT, or the name where there is but one split."""
        split = self.collections[self.query_languages[0]].split
        return f"{self.name}:{split}" if split else self.name

    @property
    def index_languages(self) -> dict[str, str]:
        """Language of documents -> whose rules cut words beside concepts in its index."""
        return {code: self.index_language or self.analysers[code] for code in self.document_languages}

    def collection(self, pair: Pair) -> Collection:
        """The queries of one language over the documents of the other."""
        queries, documents = (self.collections[code] for code in pair)
        return queries if pair[0] == pair[1] else read_pair(queries, documents, f"{self.name}/{'+'.join(pair)}")

    def with_own_ids(self, ignored: bool) -> LanguageSet:
        """Whether a query's own id is left out of what it finds, in place of what the names say."""
        changed = {code: replace(one, ignore_own_ids=ignored) for code, one in self.collections.items()}
        return replace(self, collections=changed)


def _languages(text: str, place: str) -> list[str]:
    codes = _found(place) if text == ALL else [code.strip() for code in text.split(",")]
    if not all(codes) or not codes:
        raise InputError(f"languages are codes with commas between, as in de,es,en or de,es/en, not {text!r}")
    if doubled := [code for code in codes if codes.count(code) > 1]:
        raise InputError(f"the language {doubled[0]!r} is named twice")
    return codes


def _found(place: str) -> list[str]:
    """Languages of a folder, by its sub-folders in BEIR's layout."""
    root = expanded_text(place.removesuffix(f"/{LANGUAGE}"))
    if LANGUAGE in root or not is_folder(root):
        raise InputError(f"{place}: all languages are those of a folder's sub-folders; name the languages")
    codes = sorted(path.name for path in Path(root).iterdir() if (path / "qrels").is_dir())
    if not codes:
        raise InputError(f"{root}: no sub-folder is a collection in BEIR's layout; name the languages")
    return codes


def _name(place: str) -> str:
    """For tables: a folder's own, what is behind a prefix; without the place of the language."""
    if is_folder(expanded_text(place)):
        return Path(expanded_text(place)).resolve().name
    _, prefixed, source = place.partition(":")
    return re.sub(r"\W*{language}", "", source if prefixed else Path(place).name).strip("-_./") or place


def analyser_of(code: str) -> str:
    """The analyser of a language that a folder is named for, such as zh-TW; "auto" where there is none."""
    language = re.split("[-_]", code.lower())[0]
    try:
        check_language(language)
    except InputError:
        return AUTO
    return language
