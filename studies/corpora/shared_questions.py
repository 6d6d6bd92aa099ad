"""The documents of one collection that answer questions which another has too, by their ids.

    python -m studies.corpora.shared_questions squad-it xquad/en --output squad-it-xquad.jsonl

A translated collection keeps its questions' ids: squad-it's paragraphs that XQuAD has in twelve languages are left out
of training by `exclude: [squad-it-xquad.jsonl]`, though no text of theirs equals one of XQuAD's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from saelex.corpus.opening import named_split, read_collection
from studies.corpora.texts import write


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("collection", help="FOLDER[:SPLIT]")
    arguments.add_argument("other", help="FOLDER[:SPLIT]")
    arguments.add_argument("--output", type=Path, required=True)
    options = arguments.parse_args()
    collection, other = (read_collection(*named_split(name)) for name in (options.collection, options.other))
    shared = collection.qrels.keys() & other.qrels.keys()
    answers = {document for query in shared for document in collection.qrels[query]}
    documents = [document for document in collection.documents() if document.id in answers]
    write(options.output, ({"_id": one.id, "title": one.title, "text": one.text} for one in documents))
    print(f"{len(documents):,} of the documents answer {len(shared):,} questions that {options.other} has too")


if __name__ == "__main__":
    main()
