"""`saelex score`: teachers' scores for mined negatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saelex.cli.mine import BM25, DropAbove, DropMargin, bm25_language, bm25_over
from saelex.cli.options import Language, check_models
from saelex.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from saelex.training.mining.teachers import Kind, Pairs, Score, Teacher


def score(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The BEIR folder that was mined.")],
    examples: Annotated[Path, typer.Argument(metavar="NEGATIVES.parquet", help="A file of `saelex mine`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.parquet", help="Where the scores go.")],
    teacher: Annotated[
        list[str],
        typer.Option(
            help=f"Cross-encoder, dense model or saelex encoder (hub id or folder), or {BM25}; repeatable: several are "
            "min-max normalised per query and averaged."
        ),
    ],
    cross: Annotated[
        bool | None,
        typer.Option("--cross/--dense", help="What the teachers are, where their files do not tell it."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W1,W2,...", help="Of the teachers in their mean; equal if not given.")
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Min-max per query with one teacher too.")] = False,
    scale: Annotated[
        float,
        typer.Option(
            help="Multiplies the result. A KL teacher is softmax(scores), nearly uniform for scores from 0 to 1: give "
            "cosines and normalised scores a scale of some 10 to 30."
        ),
    ] = 1.0,
    drop_above: DropAbove = None,
    drop_margin: DropMargin = None,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Write queries and passages too: a file that needs no folder.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs or texts that a model reads at once.")] = 32,
    language: Language = None,
) -> None:
    """Score mined pairs with teachers, and drop negatives that answer the query after all.

    A single teacher's scores stay as they are: logits of a cross-encoder, the similarity of a dense model (each text is
    encoded once), BM25. The filter sees scores before --scale. A run that was stopped goes on when the same command is
    given again.
    """
    check_models(teacher)
    from saelex.training.mining.aggregation import Aggregation
    from saelex.training.mining.false_negatives import FalseNegativeFilter
    from saelex.training.mining.names import short_names
    from saelex.training.mining.score import Scoring
    from saelex.training.mining.table import require_pyarrow

    require_pyarrow()
    aggregation = Aggregation(_read_weights(weights), normalise, scale)
    rule = FalseNegativeFilter(drop_above, drop_margin)
    kinds: dict[bool | None, Kind | None] = {None: None, True: "cross", False: "dense"}
    names = list(dict.fromkeys(teacher))
    spoken = bm25_language(language, names)
    teachers = [
        _teacher(model, name, folder, kinds[cross], batch_size, spoken)
        for model, name in zip(names, short_names(names))
    ]
    scoring = Scoring(folder, examples, teachers, aggregation, rule, with_text, progress=True)
    scored = scoring.run(output)
    done = f"{scored.rows:,} rows; {scored.dropped:,} dropped as false negatives"
    typer.echo(f"{output}: {done}" if scored.fresh else f"{output}: there already, {done}")


def _teacher(model: str, name: str, corpus: Path, kind: Kind | None, batch_size: int, language: str) -> Teacher:
    from saelex.training.mining.teachers import Teacher, model_teacher

    if model == BM25:
        from saelex.evaluation.baselines import bm25_facts

        return Teacher(name, {"kind": BM25, **bm25_facts(language)}, partial(_bm25, corpus, language))
    return model_teacher(model, name, kind=kind, batch_size=batch_size, progress=True)


@contextmanager
def _bm25(corpus: Path, language: str, pairs: Pairs, _: Path) -> Iterator[Score]:
    import numpy as np

    ranking = bm25_over(corpus, language)
    row_of = {name: row for row, name in enumerate(ranking.ids.tolist())}
    rows = np.array([row_of[name] for name in pairs.document_ids])  # [documents]

    def score(start: int, stop: int, done: Callable[[int], object]) -> NDArray[np.float32]:
        queries, firsts = np.unique(pairs.query[start:stop], return_index=True)
        documents = np.split(rows[pairs.document[start:stop]], firsts[1:])  # of each query
        found = ranking.scores([pairs.query_texts[query] for query in queries])
        of_query = []
        for scores, chosen in zip(found, documents):
            of_query.append(scores[chosen])
            done(len(chosen))
        return np.concatenate(of_query)

    yield score


def _read_weights(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(weight) for weight in text.split(","))
    except ValueError:
        raise InputError(f"--weights are numbers with commas between, as in 1,0.5, not {text!r}") from None
