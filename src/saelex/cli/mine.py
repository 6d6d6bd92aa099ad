"""`saelex mine`: hard negatives for the queries of a training split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.options import Language, check_models, load_encoder, named_language, open_index
from saelex.errors import InputError
from saelex.files import expanded

if TYPE_CHECKING:
    from saelex.encoder.encoder import Encoder
    from saelex.evaluation.baselines import Bm25
    from saelex.index.index import Index
    from saelex.training.mining.mine import Miner, Search

BM25 = "bm25"
_OF_MODELS = ("saelex_config.json", "modules.json", "config.json")
_BATCH = 256  # queries searched together, between two steps of the progress bar

DropAbove = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Leave out negatives scored above SHARE x the query's lowest positive: 0.95. For cosines, BM25 and "
        "normalised scores.",
    ),
]
DropMargin = Annotated[
    float | None,
    typer.Option(metavar="M", help="Leave out negatives scored above the query's lowest positive - M. For logits."),
]


def mine(
    collection: Annotated[str, typer.Argument(metavar="FOLDER[:SPLIT]", help="BEIR folder; its split train.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.parquet", help="Where the negatives go.")],
    by: Annotated[
        list[str],
        typer.Option(
            metavar="MINER", help=f"{BM25}, an index, or a model (whose index is temporary); repeatable. bm25 if none."
        ),
    ] = [],  # noqa: B006
    depth: Annotated[int, typer.Option(help="Ranks that are looked at.")] = 100,
    keep: Annotated[int, typer.Option(help="Negatives per query and miner, best ranks first.")] = 30,
    random: Annotated[int, typer.Option(help="So many more, drawn from the ranks below those down to --depth.")] = 0,
    skip_top: Annotated[int, typer.Option(help="Leave out so many ranks at the top.")] = 0,
    known: Annotated[
        Path | None,
        typer.Option("--from", metavar="SCORES.parquet", help="Scores of an earlier run, to filter by and to keep."),
    ] = None,
    drop_above: DropAbove = None,
    drop_margin: DropMargin = None,
    seed: Annotated[int, typer.Option(help="Of --random.")] = 0,
    language: Language = None,
) -> None:
    """Find hard negatives: documents that rank high for a training query and do not answer it.

    A row per query, document and miner; relevant documents are there too, marked. An index is searched as `saelex
    search` does, with words where it has them; a model by concepts alone. A run that was stopped goes on when the same
    command is given again.
    """
    check_models(by)
    from saelex.corpus.opening import named_split
    from saelex.training.mining.false_negatives import FalseNegativeFilter
    from saelex.training.mining.known import KnownScores
    from saelex.training.mining.mine import Mining, MiningSettings
    from saelex.training.mining.names import short_names
    from saelex.training.mining.sources import MiningCollection
    from saelex.training.mining.table import require_pyarrow

    require_pyarrow()
    settings = MiningSettings(depth, keep, random, skip_top, seed)
    rule = FalseNegativeFilter(drop_above, drop_margin)
    folder, split = named_split(collection, "train")
    corpus = expanded(folder)
    read = MiningCollection.read(corpus, split)
    asked = list(dict.fromkeys(by)) or [BM25]
    spoken = bm25_language(language, asked)
    miners = [_miner(model, name, corpus, spoken) for model, name in zip(asked, short_names(asked))]
    scores = None if known is None else KnownScores.read(known)
    mining = Mining(read, miners, settings, scores, rule, progress=True)
    mined = mining.run(output)
    done = f"{mined.queries:,} queries, {mined.negatives:,} negatives"
    typer.echo(f"{output}: {done}" if mined.fresh else f"{output}: there already, {done}")


def _miner(model: str, name: str, corpus: Path, language: str) -> Miner:
    from saelex.training.mining.mine import Miner

    if model == BM25:
        from saelex.evaluation.baselines import bm25_facts

        return Miner(name, bm25_facts(language), partial(_bm25, corpus, language))
    if _is_index(expanded(model)):
        with open_index(expanded(model)) as index:
            return Miner(name, {"index": index.fingerprint, "documents": len(index)}, partial(_index, expanded(model)))
    encoder = load_encoder(model)
    return Miner(name, {"encoder": encoder.fingerprint}, partial(_model, encoder, corpus))


def _is_index(path: Path) -> bool:
    return path.is_dir() and not any((path / name).is_file() for name in _OF_MODELS)


def bm25_language(language: str | None, systems: Sequence[str]) -> str:
    """BM25's language. Raises InputError for an unknown one, and for one that is named where there is no BM25."""
    if language is not None and BM25 not in systems:
        raise InputError(f"--language is of {BM25}, which is not asked for; models and indexes have their own")
    return named_language(language)


def bm25_over(corpus: Path, language: str) -> Bm25:
    """BM25 over a folder's documents that have text."""
    from saelex.corpus.reading import read_corpus
    from saelex.evaluation.baselines import Bm25

    return Bm25([document for document in read_corpus(corpus) if document.content], language)


@contextmanager
def _bm25(corpus: Path, language: str, _: Path) -> Iterator[Search]:
    ranking = bm25_over(corpus, language)

    def search(queries: Sequence[str], depth: int) -> Iterator[Sequence[str]]:
        return (list(found) for found in ranking.best(queries, depth))

    yield search


@contextmanager
def _index(path: Path, _: Path) -> Iterator[Search]:
    with open_index(path) as index:
        yield partial(_hits, index)


@contextmanager
def _model(encoder: Encoder, corpus: Path, scratch: Path) -> Iterator[Search]:
    """An index of concepts alone, which goes on growing where an earlier run stopped."""
    from saelex.corpus.reading import read_corpus
    from saelex.index.index import Index

    # by id, so that ties are too: the index gives the document that was added first
    documents = sorted((one for one in read_corpus(corpus) if one.content), key=lambda one: one.id)
    with Index.at(scratch, encoder, words=False, forward=False) as index:
        index.add(documents, resume=True, progress=True)
        yield partial(_hits, index)


def _hits(index: Index, queries: Sequence[str], depth: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(queries), _BATCH):
        for hits in index.search_batch(queries[start : start + _BATCH], depth):
            yield [hit.id for hit in hits]
