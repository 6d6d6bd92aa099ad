"""Which SAE the embedded default is made of, measured in stages: first the layer, then the width, then k.

Every SAE is trained on the same number of tokens of the same texts. It is measured on texts that none of them has seen
(those that follow the training texts in reading order): fraction of variance unexplained, active latents per token, and
latents that no token activates. And label-free, on the development splits: BM25 over latents, whose statistics are
counted over the collections' documents, and a Top-K; with k latents per token and with fewer; alone and with words.

The rule, for each stage and for the default: the best mean nDCG@10 of concepts alone, at whichever number of latents
per token gives more; what lies within `tie` of it wins if it is the lower layer, the narrower SAE or the smaller k. An
SAE whose model folder would be larger than `folder_limit_mb` is measured but not chosen.

A run that is done is a line of runs.jsonl, and is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from saelex.corpus.documents import Run
from saelex.corpus.opening import named_split, read_collection
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.settings import EncoderSettings, Side
from saelex.encoder.weighting import LatentWeighting, WeightingSettings
from saelex.encoder.words.channel import LexicalChannel
from saelex.errors import InputError
from saelex.evaluation.baselines import dense_run
from saelex.evaluation.encoded import JudgedDocuments
from saelex.evaluation.exact import exact_run
from saelex.evaluation.measures import measure
from saelex.files import write_text
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.training.sae.recipe import SaeRecipe
from saelex.training.text_reading import read_texts
from saelex.training.text_settings import TextData
from saelex.vectors import SparseRows
from studies.sae.codes import pooled_rows, reconstruct
from studies.samples import judged_sample
from studies.states import TextStates, text_states, train_on_states, training_states

Result = dict[str, Any]


@dataclass(frozen=True)
class StudyRecipe:
    """Everything that the study needs."""

    sae: SaeRecipe = field(default_factory=SaeRecipe)
    """The SAE. Its layer is left open; its width and k are those of the stages before theirs."""
    layers: list[int] = field(default_factory=list)
    """First stage."""
    widths: list[int] = field(default_factory=list)
    """Second stage."""
    ks: list[int] = field(default_factory=list)
    """Third stage."""
    inference_shares: list[float] = field(default_factory=lambda: [1.0, 0.5])
    """Latents per token when a text is encoded, as shares of the k in training."""
    tie: float = 0.002
    """Differences of nDCG@10 up to this one do not count."""
    folder_limit_mb: float = 20.0
    """Largest model folder (million bytes) of a default."""
    heldout_texts: int = 1500
    """Texts after the training texts on which reconstruction is measured."""
    collections: list[str] = field(default_factory=list)
    """Development splits, FOLDER:SPLIT."""
    max_queries: int = 500
    """At most so many queries of each, drawn at random."""
    max_documents: int | None = None
    """Documents of each: those judged for the queries, be they more, and others drawn at random; null keeps all."""
    settings: EncoderSettings = field(default_factory=EncoderSettings)
    """Lengths, Top-K and the scale of words."""
    weighting: WeightingSettings = field(default_factory=WeightingSettings)
    """BM25 over latents."""


class Choice(NamedTuple):
    """What the stages vary."""

    layer: int
    width: int
    k: int

    @property
    def name(self) -> str:
        return f"layer-{self.layer}-width-{self.width}-k-{self.k}"


class Split(NamedTuple):
    """A development split with its words as vectors."""

    judged: JudgedDocuments
    query_words: SparseRows
    document_words: SparseRows

    @classmethod
    def read(cls, name: str, recipe: StudyRecipe) -> Split:
        """Of FOLDER:SPLIT, as much as the recipe takes of it."""
        judged = judged_sample(read_collection(*named_split(name)), recipe.max_queries, recipe.max_documents)
        texts = [document.content for document in judged.documents]
        channel = LexicalChannel().fit(texts)
        return cls(judged, channel.query(judged.questions), channel.document(texts))

    @property
    def name(self) -> str:
        return self.judged.collection.name

    def ndcg(self, run: Run) -> float:
        return measure(self.judged.collection.qrels, run)["nDCG@10"]

    def search(self, queries: SparseRows, documents: SparseRows) -> float:
        """nDCG@10 of an exact search."""
        names = [query.id for query in self.judged.collection.queries]
        return self.ndcg(exact_run(names, queries, self.judged.ids, documents))


class LayerStates(NamedTuple):
    """The states of one layer."""

    training: TextStates
    heldout: TextStates
    queries: list[TextStates]
    documents: list[TextStates]


class Study:
    """The runs of a recipe, those in the output folder included."""

    def __init__(self, recipe: StudyRecipe, output: Path) -> None:
        if not (recipe.sae.model and recipe.sae.data.corpora and recipe.sae.data.max_texts and recipe.collections):
            raise InputError("set sae.model, sae.data.corpora, sae.data.max_texts and collections")
        if not (recipe.layers and recipe.widths and recipe.ks):
            raise InputError("every stage needs a choice: set layers, widths and ks")
        self.recipe = recipe
        self.output = output
        output.mkdir(parents=True, exist_ok=True)
        self._check_same()
        self.splits = [Split.read(name, recipe) for name in recipe.collections]
        self.states = study_states(recipe, self.splits)
        path = output / "runs.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.runs: dict[Choice, Result] = {}
        for run in map(json.loads, lines):
            self.runs[Choice(run["layer"], run["width"], run["k"])] = run

    def run(self, choice: Choice) -> Result:
        """Train and measure one SAE, unless that is done."""
        if choice not in self.runs:
            started = time.monotonic()
            sae = self._trained(choice)
            trained = time.monotonic()
            result = {**choice._asdict(), **self._measured(choice, sae)}
            result["train_seconds"] = round(trained - started)
            result["measure_seconds"] = round(time.monotonic() - trained)
            with (self.output / "runs.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            self.runs[choice] = result
        result = self.runs[choice]
        print(f"{choice.name}: nDCG@10 {score(result):.4f}, FVU {result['fvu']:.3f}", flush=True)
        return result

    def stage(self, choices: list[Choice]) -> Choice:
        """Run them all; the rule's winner."""
        runs = [self.run(choice) for choice in choices]
        fitting = [run for run in runs if run["folder_mb"] <= self.recipe.folder_limit_mb]
        if not fitting:
            raise InputError(f"no model folder is within {self.recipe.folder_limit_mb} MB; add a smaller width")
        enough = max(map(score, fitting)) - self.recipe.tie
        return min(Choice(run["layer"], run["width"], run["k"]) for run in fitting if score(run) >= enough)

    def baselines(self) -> dict[str, dict[str, float]]:
        """nDCG@10 of BM25 over words and of the backbone's own sentence embedding, per collection and mean."""
        path = self.output / "baselines.json"
        if not path.exists():
            embedder = load_embedder(self.recipe.sae.model)
            bm25, dense = {}, {}
            for split in self.splits:
                bm25[split.name] = split.search(split.query_words, split.document_words)
                judged = split.judged
                run = dense_run(embedder, judged.documents, judged.collection.queries, progress=True)
                dense[split.name] = split.ndcg(run)
            write_text(path, json.dumps({"bm25": _with_mean(bm25), "dense": _with_mean(dense)}, indent=2))
        found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _trained(self, choice: Choice) -> SparseAutoencoder:
        training = replace(self.recipe.sae.training, n_latents=choice.width, k=choice.k)
        states = self.states[choice.layer].training
        return train_on_states(self.recipe.sae, states, choice.layer, training, self.output / choice.name)

    def _measured(self, choice: Choice, sae: SparseAutoencoder) -> Result:
        states = self.states[choice.layer]
        log = (self.output / choice.name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(log[-1])
        ks = sorted({max(1, round(choice.k * share)) for share in self.recipe.inference_shares}, reverse=True)
        queries = [pooled_rows(sae, one, ks) for one in states.queries]
        documents = [pooled_rows(sae, one, ks) for one in states.documents]
        return {
            **reconstruct(sae, states.heldout)._asdict(),
            "train_fvu": last["fvu"],
            "train_dead_share": last["dead_share"],
            "train_tokens_per_s": last["tokens_per_s"],
            "folder_mb": folder_mb(choice.width, sae.config.d_model),
            "retrieval": [
                {"k": k, **self._retrieval([rows[i] for rows in queries], [rows[i] for rows in documents])}
                for i, k in enumerate(ks)
            ],
        }

    def _retrieval(self, queries: list[SparseRows], documents: list[SparseRows]) -> Result:
        """nDCG@10 of concepts, alone and with words, from the collections' pooled rows."""
        settings = self.recipe.settings
        weighting = LatentWeighting.fit(documents, self.recipe.weighting)
        concepts, with_words, active = {}, {}, []
        for split, asked, stored in zip(self.splits, queries, documents):
            asked = weighting.query(asked).top_k(settings.query_top_k)
            stored = weighting.document(stored).top_k(settings.document_top_k)
            concepts[split.name] = split.search(asked, stored)
            with_words[split.name] = split.search(
                asked.beside(split.query_words.scale(settings.word_scale)), stored.beside(split.document_words)
            )
            active.append((float(asked.lengths.mean()), float(stored.lengths.mean())))
        return {
            "active_query": sum(query for query, _ in active) / len(active),
            "active_document": sum(document for _, document in active) / len(active),
            "concepts": _with_mean(concepts),
            "with_words": _with_mean(with_words),
        }

    def _check_same(self) -> None:
        """The folder's runs must come from the same recipe, whatever the stages are."""
        stages = ("layers", "widths", "ks", "tie", "folder_limit_mb")
        mine = {name: value for name, value in asdict(self.recipe).items() if name not in stages}
        path = self.output / "recipe.json"
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) != mine:
            raise InputError(f"{self.output}: holds runs of another recipe; choose another --output")
        write_text(path, json.dumps(mine, indent=2))


def score(run: Result) -> float:
    """Mean nDCG@10 of concepts alone, at the better number of latents per token."""
    return max(float(one["concepts"]["mean"]) for one in run["retrieval"])


def folder_mb(width: int, d_model: int) -> float:
    """Million bytes of a model folder: float16 weights, float32 biases, int64 document frequencies; the rest is less
    than 0.01."""
    return width * (2 * d_model + 4 + 8) / 1e6


def study_states(recipe: StudyRecipe, splits: list[Split]) -> dict[int, LayerStates]:
    """Every layer's states of the training texts, the held-out ones, and the splits' queries and documents."""
    sae = recipe.sae
    backbone = Backbone.load(sae.model, dtype=sae.states.dtype)

    def searched(texts: list[str], side: Side) -> dict[int, TextStates]:
        return text_states(backbone, recipe.layers, texts, recipe.settings, side, sae.states.token_budget)

    training, heldout = (
        training_states(sae, backbone, recipe.layers, texts) for texts in sae_texts(sae.data, recipe.heldout_texts)
    )
    queries = [searched(one.judged.questions, "query") for one in splits]
    documents = [searched([document.content for document in one.judged.documents], "document") for one in splits]
    return {
        layer: LayerStates(
            training[layer], heldout[layer], [one[layer] for one in queries], [one[layer] for one in documents]
        )
        for layer in recipe.layers
    }


def sae_texts(data: TextData, heldout: int) -> tuple[list[str], list[str]]:
    """The training texts; and up to so many that follow them in reading order and are not among them."""
    assert data.max_texts is not None
    texts = read_texts(replace(data, max_texts=data.max_texts + heldout))
    training = list(islice(texts, data.max_texts))
    seen = set(training)
    found = [text for text in texts if text not in seen]
    if not found:
        raise InputError(f"the corpora have no texts after the first {data.max_texts}; lower sae.data.max_texts")
    return training, found


def stages(recipe: StudyRecipe, decide: Callable[[list[Choice]], Choice]) -> list[Choice]:
    """The winner of each stage; a stage starts from the winner of the one before."""
    start = recipe.sae.training
    first = decide([Choice(layer, start.n_latents, start.k) for layer in recipe.layers])
    second = decide([first._replace(width=width) for width in recipe.widths])
    return [first, second, decide([second._replace(k=k) for k in recipe.ks])]


def _with_mean(figures: dict[str, float]) -> dict[str, float]:
    return {**figures, "mean": sum(figures.values()) / len(figures)}
