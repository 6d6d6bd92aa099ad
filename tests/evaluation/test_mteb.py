"""mteb's own evaluation over tasks made here, beside what saelex measures without it."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from ir_measures import nDCG
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import TEXTS

from saelex.corpus.collection import Collection
from saelex.corpus.documents import Run
from saelex.corpus.opening import read_collection
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError
from saelex.evaluation.evaluate import evaluate_collections
from saelex.evaluation.measures import untied
from saelex.evaluation.mteb import SaelexSearch, register
from saelex.evaluation.vectors_cache import VectorsCache

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install 'saelex[mteb]'")

from datasets import Dataset, DatasetDict  # noqa: E402 - mteb brings it
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.models.model_implementations import MODEL_REGISTRY  # noqa: E402

N_DOCUMENTS, N_QUERIES, CANDIDATES = 60, 12, 9


def metadata(name: str, kind: str, main_score: str, **changes: Any) -> TaskMetadata:
    dataset = {"path": "made/here", "revision": "1"}
    told = {"name": name, "type": kind, "description": name, "main_score": main_score, "dataset": dataset}
    return TaskMetadata(**(told | {"eval_langs": ["eng-Latn"], "category": "t2t"} | changes))


class LocalTask(AbsTaskRetrieval):
    """A task on a BEIR folder: no hub, no network."""

    metadata = metadata("LocalTask", "Retrieval", "ndcg_at_10")
    collection: Collection
    top_ranked: dict[str, list[str]] | None = None

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        documents = [
            {"id": one.id, "title": one.title, "text": one.text} for one in reversed(list(self.collection.documents()))
        ]
        split = {
            "corpus": Dataset.from_list(documents),
            "queries": Dataset.from_list([{"id": one.id, "text": one.text} for one in self.collection.queries]),
            "relevant_docs": self.collection.qrels,
            "top_ranked": self.top_ranked,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class LocalReranking(LocalTask):
    metadata = metadata("LocalReranking", "Reranking", "ndcg_at_10")


class Classifying(AbsTaskClassification):
    metadata = metadata("Classifying", "Classification", "accuracy", category="t2c")

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        rows = Dataset.from_dict({"text": ["wings", "banks"], "label": [0, 1]})
        self.dataset = DatasetDict({"train": rows, "test": rows})
        self.data_loaded = True


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Random documents, each twice, so that ties abound and their order changes every measure."""
    rng = random.Random(5)
    vocabulary = " ".join(TEXTS).split()
    root = tmp_path_factory.mktemp("mteb") / "tiny"
    (root / "qrels").mkdir(parents=True)
    documents: list[dict[str, str]] = [{"_id": "blank", "text": "", "title": ""}]
    for i in range(N_DOCUMENTS // 2):
        text, title = " ".join(rng.sample(vocabulary, 9)), rng.choice(["", "Wings and banks"])
        documents += [{"_id": f"{twin}{i}", "title": title, "text": text} for twin in "ab"]
    queries = [{"_id": f"q{i}", "text": " ".join(rng.sample(vocabulary, 3))} for i in range(N_QUERIES)]
    # of a pair of twins only one is relevant: with ties in another order every query's nDCG differs
    judged = [(query["_id"], f"{twin}{i}") for query in queries for i in rng.sample(range(30), 8) for twin in "ab"]
    lines = [f"{query}\t{document}\t{rng.randint(1, 3) if document[0] == 'a' else 0}\n" for query, document in judged]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels" / "test.tsv").write_text("".join(lines))
    return read_collection(root)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("mteb") / "bert")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files; must be empty after all."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def task(kind: type[LocalTask], collection: Collection, top_ranked: dict[str, list[str]] | None = None) -> LocalTask:
    made = kind()
    made.collection, made.top_ranked = collection, top_ranked
    return made


def evaluate(model: Any, of: Any, **options: Any) -> dict[str, Any]:
    """mteb's scores of one task, on one split, without its cache of results."""
    fixed = {"cache": None, "co2_tracker": False, "show_progress_bar": False}
    result = mteb.evaluate(model, of, **(fixed | options))
    scores: dict[str, Any] = result.task_results[0].scores["test"][0]
    return scores


@pytest.mark.parametrize(("words", "system"), [(True, "concepts+words"), (False, "concepts")])
def test_mteb_measures_what_the_direct_path_measures(
    words: bool, system: str, collection: Collection, encoder: Encoder, tmp_path: Path, scratch: Path
) -> None:
    found = evaluate_collections([collection], encoder, cache=VectorsCache(tmp_path / "cache"))
    direct = found.collections[0].system(system).measures["nDCG@10"]
    assert 0.05 < direct < 0.95
    searched = evaluate(
        SaelexSearch(encoder, words=words), task(LocalTask, collection), prediction_folder=tmp_path / "predictions"
    )
    assert searched["ndcg_at_10"] == searched["main_score"] == pytest.approx(round(direct, 5), abs=1e-9)  # mteb rounds
    predictions = json.loads((tmp_path / "predictions" / "LocalTask_predictions.json").read_text())
    run = predictions["default"]["test"]
    ours = ir_measures.calc_aggregate([nDCG @ 10], collection.qrels, run)[nDCG @ 10]
    assert ours == pytest.approx(direct, abs=1e-6)
    assert "blank" not in {document for scores in run.values() for document in scores}
    assert not list(scratch.iterdir())


def test_words_match_by_the_rules_of_their_language(encoder: Encoder, tmp_path: Path) -> None:
    """At a large scale words decide, and "Haus" is a word of "die Häuser" in German alone."""
    root = tmp_path / "german"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text('{"_id": "a", "text": "der Fluss das"}\n{"_id": "b", "text": "die Häuser"}\n')
    (root / "queries.jsonl").write_text('{"_id": "q", "text": "das Haus"}\n')
    (root / "qrels" / "test.tsv").write_text("q\tb\t1\n")
    german, settings = read_collection(root), encoder.settings
    try:
        encoder.settings = replace(settings, word_scale=1e4)
        found = {
            words: evaluate(SaelexSearch(encoder, words=words), task(LocalTask, german))["ndcg_at_1"]
            for words in ("de", "en", True)
        }
    finally:
        encoder.settings = settings
    assert found == {"de": 1, "en": 0, True: 0}
    for refuse in (SaelexSearch, register):
        with pytest.raises(InputError, match="unknown language 'xx'"):
            refuse(encoder, words="xx")


def dot_products(collection: Collection, encoder: Encoder) -> Run:
    """Scores of concepts alone, by plain matrices."""
    documents = [one for one in collection.documents() if one.content]
    queries = encoder.encode_query([one.text for one in collection.queries]).to_dense()
    products = queries @ encoder.encode_document([one.content for one in documents]).to_dense().T
    return {
        query.id: {document.id: float(score) for document, score in zip(documents, row)}
        for query, row in zip(collection.queries, products)
    }


def test_reranking_scores_the_documents_named_and_no_others(
    collection: Collection, encoder: Encoder, tmp_path: Path, scratch: Path
) -> None:
    rng = random.Random(8)
    exact = dot_products(collection, encoder)
    ids = sorted(next(iter(exact.values())))
    named = {query: ["blank", *rng.sample(ids, CANDIDATES)] for query in exact}
    del named["q3"]  # nothing to rank: the query counts as 0
    searched = evaluate(
        SaelexSearch(encoder, words=False),
        task(LocalReranking, collection, named),
        prediction_folder=tmp_path / "predictions",
    )
    run = json.loads((tmp_path / "predictions" / "LocalReranking_predictions.json").read_text())["default"]["test"]
    wanted = {query: {name: (exact[query] | {"blank": 0.0})[name] for name in named.get(query, ())} for query in exact}
    assert run.keys() == wanted.keys()
    for query, scores in run.items():
        assert scores == pytest.approx(wanted[query], rel=2e-3, abs=1e-6)
    reference = ir_measures.calc_aggregate([nDCG @ 10], collection.qrels, untied(wanted))[nDCG @ 10]
    assert searched["ndcg_at_10"] == pytest.approx(reference, abs=1e-5)
    assert not list(scratch.iterdir())


def test_reranking_everything_is_searching(collection: Collection, encoder: Encoder) -> None:
    everything = [one.id for one in collection.documents()]
    named = {query.id: everything for query in collection.queries}
    model = SaelexSearch(encoder)
    ranked = evaluate(model, task(LocalReranking, collection, named))
    searched = evaluate(model, task(LocalTask, collection))
    for name in ("ndcg_at_10", "map_at_10", "mrr_at_10"):
        assert ranked[name] == searched[name]


def test_a_document_to_be_reranked_must_be_in_the_corpus(
    collection: Collection, encoder: Encoder, scratch: Path
) -> None:
    named = {query.id: ["a0", "nowhere"] for query in collection.queries}
    with pytest.raises(InputError, match="'nowhere' is to be reranked but is not in the corpus"):
        evaluate(SaelexSearch(encoder), task(LocalReranking, collection, named))
    assert not list(scratch.iterdir())


def test_other_tasks_are_refused_and_nothing_dense_is_given(encoder: Encoder) -> None:
    model = SaelexSearch(encoder)
    assert isinstance(model, mteb.SearchProtocol)
    assert not isinstance(model, (mteb.EncoderProtocol, mteb.CrossEncoderProtocol))
    with pytest.raises(TypeError, match="retrieval and reranking tasks only"):
        evaluate(model, Classifying())
    with pytest.raises(InputError, match="gives mteb no embeddings"):
        model.encode(["wings"])
    with pytest.raises(InputError, match="no corpus is indexed"):
        model.search(None, task_metadata=None, hf_split="test", hf_subset="default", top_k=10, encode_kwargs={})


def index(model: SaelexSearch, ids: list[str], **encode_kwargs: Any) -> None:
    corpus = Dataset.from_dict({"id": ids, "text": [TEXTS[0]] * len(ids)})
    options: dict[str, Any] = {"hf_split": "test", "hf_subset": "default", "num_proc": None, "of_later_versions": 1}
    model.index(corpus, task_metadata=LocalTask.metadata, encode_kwargs=encode_kwargs, **options)


def test_batch_size_and_progress_are_followed_and_folders_go(
    encoder: Encoder, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = SaelexSearch(encoder)
    budgets: list[int] = []
    plain = encoder.encode_document
    monkeypatch.setattr(encoder, "batch_tokens", 64)
    monkeypatch.setattr(encoder, "encode_document", lambda texts: budgets.append(encoder.batch_tokens) or plain(texts))
    index(model, ["1", "2", "3"], batch_size=8, show_progress_bar=False)
    # the index asks how heavy weights are, then for the texts
    assert (budgets, encoder.batch_tokens, len(list(scratch.iterdir()))) == ([16, 16], 64, 1)
    assert not capsys.readouterr().err
    monkeypatch.setattr("saelex.progress.LINE_EVERY", 0.0)
    index(model, ["2", "1"])  # in place of the other
    assert (budgets, len(list(scratch.iterdir()))) == ([16, 16, 64, 64], 1)
    assert "documents" in capsys.readouterr().err
    queries = Dataset.from_dict({"id": [1, 2], "text": ["wing lift", " "]})
    options: dict[str, Any] = {"hf_split": "test", "hf_subset": "default", "task_metadata": LocalTask.metadata}
    found = model.search(queries, top_k=1, encode_kwargs={}, of_later_versions=1, **options)
    assert list(found["1"]) == ["1"]  # at the last rank too the smaller id comes first among equals
    assert found["2"] == {}
    for wrong, ids, message in (
        ({"batch_size": 0}, ["1"], "batch_size is a whole number"),
        ({"precision": "int8"}, ["1"], "precision 'int8' is of dense vectors"),
        ({}, ["1", "1"], "'1' comes twice"),
    ):
        with pytest.raises(InputError, match=message):
            index(model, ids, **wrong)
        assert not list(scratch.iterdir())


def test_what_mteb_is_told_of_a_model(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "winged")
    loaded = Encoder.load(tmp_path / "winged")
    loaded.description |= {"licence": "Apache-2.0", "language": ["en", "de"], "datasets": ["SciFact"]}
    meta = SaelexSearch(loaded, words="de").mteb_model_meta
    assert (meta.name, meta.revision, meta.embed_dim) == ("saelex/winged", loaded.fingerprint, loaded.n_latents)
    assert (meta.similarity_fn_name.value, meta.model_type, meta.modalities) == ("dot", ["sparse"], ["text"])
    assert (meta.license, meta.languages, meta.training_datasets) == (
        "apache-2.0",
        ["deu-Latn", "eng-Latn"],
        {"SciFact"},
    )
    assert (meta.framework, meta.use_instructions, meta.max_tokens) == (["PyTorch"], True, loaded.backbone.max_length)
    counted = sum(one.numel() for module in (loaded.backbone, loaded.head) for one in module.parameters())
    assert (meta.n_parameters, meta.memory_usage_mb) == (counted, pytest.approx(counted * 4 / 2**20))
    assert meta.n_embedding_parameters == loaded.backbone.model.embeddings.word_embeddings.weight.numel()
    assert meta.experiment_kwargs == {
        "query_top_k": 7, "document_top_k": 20, "words": "de", "word_scale": 1.0, "dtype": "float32"
    }  # fmt: skip
    assert meta.is_zero_shot_on(["SciFact"]) is False and meta.is_zero_shot_on(["NFCorpus"])
    loaded.description["datasets"] = ["SciFact", "someone/questions"]  # that mteb knows nothing of: not zero-shot
    assert SaelexSearch(loaded).mteb_model_meta.is_zero_shot_on(["NFCorpus"]) is None
    untold = SaelexSearch(encoder, name="us/wing", words=False).mteb_model_meta
    assert (untold.name, untold.license, untold.languages, untold.training_datasets) == ("us/wing", None, None, None)
    assert json.dumps(untold.to_dict(), default=str)  # as mteb's cache of results writes it
    with pytest.raises(InputError, match="organisation/model"):
        _ = SaelexSearch(encoder, name="wing").mteb_model_meta


def test_a_registered_model_is_loaded_by_its_name_and_results_of_other_settings_are_kept_apart(
    encoder: Encoder, collection: Collection, tmp_path: Path
) -> None:
    encoder.save_pretrained(tmp_path / "winged")
    loaded = Encoder.load(tmp_path / "winged")
    meta = register(loaded, words=False)
    try:
        again = mteb.get_model("saelex/winged")
        assert (again.encoder.fingerprint, again.words) == (loaded.fingerprint, False)
        assert again.mteb_model_meta.experiment_name == meta.experiment_name
        kept = mteb.ResultCache(tmp_path / "results")
        first = evaluate(meta, task(LocalTask, collection), cache=kept)
        direct = evaluate(SaelexSearch(loaded, words=False), task(LocalTask, collection))
        assert first["ndcg_at_10"] == direct["ndcg_at_10"]
        fewer = mteb.get_model("saelex/winged", query_top_k=1)
        assert fewer.encoder.settings.query_top_k == 1
        shared = mteb.get_model("saelex/winged", query_top_k="1+60%")
        assert shared.encoder.settings.query_top_k == "1+60%"
        # equal fingerprints, and yet no result of the one is given for the other
        assert evaluate(fewer, task(LocalTask, collection), cache=kept)["ndcg_at_10"] != first["ndcg_at_10"]
        with pytest.raises(MismatchError, match="register it anew"):
            meta.model_copy(update={"revision": "0" * 64}).load_model()
    finally:
        del MODEL_REGISTRY[meta.name]
