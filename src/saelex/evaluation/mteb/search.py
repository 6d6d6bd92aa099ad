"""mteb's search protocol on an encoder and an index of ours."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from saelex.corpus.documents import Run
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import DEFAULT, TopKChoice
from saelex.encoder.words.channel import LexicalSettings
from saelex.errors import InputError, MismatchError
from saelex.evaluation.mteb.description import describe
from saelex.evaluation.mteb.texts import Corpus, check_task, query_texts, untie
from saelex.index.index import Index
from saelex.index.run import search_all
from saelex.progress import progress_bar

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta
    from typing_extensions import Never

logger = logging.getLogger(__name__)

_MTEB_BATCH = 32  # the batch size that mteb asks for where the user asks for none


class SaelexSearch:
    """An encoder as a model for `mteb.evaluate`: an mteb `SearchProtocol`, and no encoder of dense vectors.

    Every corpus goes into an index of ours in a temporary folder, which is removed after the search. Queries are
    encoded as queries and documents as documents, by the encoder's own prompts, lengths and Top-K; prompts that mteb
    has for instruction-tuned models are not used. Title and text are joined as everywhere here (`Document.content`) and
    ties are broken by the project's rule, so that mteb measures what `saelex evaluate` measures.

    words: match exact words beside concepts: True, False, or their language, as in `LexicalSettings`; True is English.
    name: "organisation/model", under which mteb keeps results; None: the hub id, or "saelex/" and the folder's name.

    Of mteb's `encode_kwargs`, `batch_size` scales the encoder's token budget (mteb's own 32 is the budget itself, 16 is
    half of it) and `show_progress_bar` is followed. Only retrieval and reranking of text can be evaluated so: mteb
    raises TypeError for other kinds of tasks, and the methods here InputError for what mteb lets through.
    """

    def __init__(self, encoder: Encoder, *, words: bool | str = True, name: str | None = None) -> None:
        _lexical(words)  # an unknown language is said here
        self.encoder = encoder
        self.words = words
        self.name = name
        self._meta: ModelMeta | None = None
        self._index: Index | None = None
        self._blank: set[str] = set()
        self._held = ExitStack()

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb knows of the model, and by which it keeps results: of the encoder as it is now.

        mteb sets it for a model that it has loaded itself. Raises InputError where mteb is not installed.
        """
        return self._meta or describe(self.encoder, name=self.name, words=self.words, loader=load_search)

    @mteb_model_meta.setter
    def mteb_model_meta(self, meta: ModelMeta) -> None:
        self._meta = meta

    def __repr__(self) -> str:
        # mteb's refusals quote it
        return f"SaelexSearch({self.encoder.name}: sparse vectors in an index, for retrieval and reranking tasks only)"

    # ---- the protocol -----------------------------------------------------------------------------------------------

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Index a corpus, a `datasets.Dataset` with id, text and perhaps title, in place of what was indexed before.

        Raises InputError for a task, a column or an encode argument that cannot be, and for ids that come twice.
        """
        check_task(task_metadata)
        self.close()
        documents = Corpus(corpus, task_metadata.name)
        with ExitStack() as stack, self._options(encode_kwargs) as progress:
            scratch = stack.enter_context(TemporaryDirectory(prefix="saelex-mteb-"))
            # words are indexed whether they count or not, as in `saelex evaluate`, so that both have equal integers
            lexical = replace(_lexical(self.words), scale=self.encoder.settings.word_scale)
            index = stack.enter_context(Index.create(Path(scratch) / "index", self.encoder, words=lexical))
            index.add(documents, progress=progress)
            self._index, self._blank, self._held = index, documents.blank, stack.pop_all()

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> Run:
        """The `top_k` best documents of every query, with scores that never tie; the index is removed then.

        queries: a `datasets.Dataset` with id, text and perhaps instruction; a blank one finds nothing.
        top_ranked: of a reranking task, the only documents that are scored, per query; those that share nothing with
        their query score 0. None: the whole corpus is searched, and only documents with a score above 0 are found.

        Raises InputError where nothing is indexed, for a document to be ranked that is not in the corpus, and as
        `index` does.
        """
        if self._index is None:
            raise InputError("mteb: no corpus is indexed; call index() before every search()")
        try:
            with self._options(encode_kwargs) as progress:
                texts = query_texts(queries, task_metadata.name)
                if top_ranked is None:
                    title = "search" if progress else ""
                    run = search_all(self._index, texts, top_k, words=bool(self.words), title=title)
                else:
                    run = self._reranked(self._index, texts, top_ranked, progress)
        finally:
            self.close()
        return {query: untie(scores, top_k) for query, scores in run.items()}

    def encode(self, *args: Any, **kwargs: Any) -> Never:
        """Raises InputError: scores come from the index, and there are no dense vectors to fall back to."""
        raise InputError(f"{self!r}: it gives mteb no embeddings; choose tasks of retrieval or reranking")

    def close(self) -> None:
        """Remove the index, if there is one."""
        self._index = None
        self._held.close()

    # ---- inside -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _options(self, encode_kwargs: Mapping[str, Any]) -> Iterator[bool]:
        """mteb's encode arguments, in force inside the block; gives whether to show progress."""
        size, precision = encode_kwargs.get("batch_size", _MTEB_BATCH), encode_kwargs.get("precision")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"mteb: batch_size is a whole number from 1 up, not {size!r}")
        if precision not in (None, "float32"):
            raise InputError(f"mteb: precision {precision!r} is of dense vectors; leave it out, the index has integers")
        own = self.encoder.batch_tokens
        self.encoder.batch_tokens = max(1, own * size // _MTEB_BATCH)
        try:
            yield bool(encode_kwargs.get("show_progress_bar", True))
        finally:
            self.encoder.batch_tokens = own

    def _reranked(
        self, index: Index, texts: Mapping[str, str], top_ranked: Mapping[str, Sequence[str]], progress: bool
    ) -> Run:
        """Dot products with the documents' vectors as stored; a document's score is that of its best passage."""
        rows = index.query_vectors(list(texts.values()), words=bool(self.words))
        run: Run = {query: dict.fromkeys(map(str, top_ranked.get(query, ())), 0.0) for query in texts}
        lonely = [query for query, scores in run.items() if not scores]
        if lonely:
            logger.warning("%d queries come without documents to rerank, %r among them", len(lonely), lonely[0])
        asking: dict[str, list[int]] = defaultdict(list)  # document -> numbers of the queries that rank it
        for number, scores in enumerate(run.values()):
            for document in scores:
                asking[document].append(number)
        missing = asking.keys() - self._blank
        by_number = list(run.values())
        with progress_bar(total=index.n_passages, desc="rerank", unit="passage", shown=progress) as bar:
            for ids, _, passages, *_ in index.stored():
                missing -= set(ids)
                bar.update(len(ids))
                wanted = sorted({number for name in ids for number in asking.get(name, ())})
                if not wanted:
                    continue
                # words join with every commit, so that earlier passages have fewer columns
                products = rows[wanted].dot(replace(passages, n_latents=rows.n_latents))  # [wanted, passages]
                row_of = {number: row for row, number in enumerate(wanted)}
                for column, name in enumerate(ids):
                    for number in asking.get(name, ()):
                        score = float(products[row_of[number], column])
                        by_number[number][name] = max(by_number[number][name], score)
        if missing:
            raise InputError(f"mteb: {min(missing)!r} is to be reranked but is not in the corpus")
        return run


def _lexical(words: bool | str) -> LexicalSettings:
    """Words are indexed whether they count or not, as in `saelex evaluate`, so that both have equal integers."""
    return LexicalSettings() if isinstance(words, bool) else LexicalSettings(words)


def register(encoder: Encoder, *, name: str | None = None, words: bool | str = True) -> ModelMeta:
    """Make a model known to mteb for this process: `mteb.get_model(name)` then loads it anew from where it came.

    Arguments as in `SaelexSearch`. Returns what mteb keeps of it, which `mteb.evaluate` takes as a model too. Raises
    InputError where mteb is not installed, and for an unknown language.
    """
    meta = SaelexSearch(encoder, words=words, name=name).mteb_model_meta
    from mteb.models.model_implementations import MODEL_REGISTRY

    MODEL_REGISTRY[meta.name] = meta
    return meta


def load_search(
    name: str,
    revision: str | None = None,
    *,
    source: str,
    device: str | None = None,
    dtype: str | None = None,
    words: bool | str = True,
    query_top_k: TopKChoice = DEFAULT,
    document_top_k: TopKChoice = DEFAULT,
    word_scale: float | None = None,
) -> SaelexSearch:
    """The loader that mteb calls for a model of ours, with the `loader_kwargs` and `experiment_kwargs` of its meta.

    source: what `Encoder.load` takes. revision: the fingerprint that the encoder must have. dtype: of the backbone, as
    torch calls it. The others stand in place of the encoder's settings.

    Raises MismatchError for an encoder of another fingerprint, and as `Encoder.load` does.
    """
    encoder = Encoder.load(source, device=device, dtype=dtype)
    own = encoder.settings
    encoder.settings = replace(
        own,
        query_top_k=own.top_k("query", query_top_k),
        document_top_k=own.top_k("document", document_top_k),
        word_scale=own.word_scale if word_scale is None else word_scale,
    )
    if revision is not None and encoder.fingerprint != revision:
        raise MismatchError(
            f"mteb: {source} has the fingerprint {encoder.fingerprint[:12]}, not {revision[:12]}; "
            "register it anew under this name"
        )
    return SaelexSearch(encoder, words=words, name=name)
