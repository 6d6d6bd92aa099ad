"""Every reader of saelex with a tiny file or folder that it reads, for damage to be done to it."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tests.encoder.backbone.e5_blobs import tiny_blob
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import tiny_checkpoint
from tests.sae.formats.library_builders import BUILDERS

from saelex.concepts.concept import Concept, Evidence, Example
from saelex.concepts.published import read_exports
from saelex.concepts.store import ConceptStore
from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.corpus.trec.runs import read_run
from saelex.corpus.trec.topics import read_topics
from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.e5_blob import write_folder
from saelex.encoder.backbone.low_rank import LowRankUpdate
from saelex.encoder.dense.embedder import load_embedder
from saelex.encoder.encoder import Encoder
from saelex.encoder.weighting import LatentWeighting
from saelex.encoder.words.channel import LexicalChannel
from saelex.reading.json_object import read_json_value
from saelex.reading.tokenizer_file import read_tokenizer
from saelex.recipe import load_recipe
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.model_card import known_metrics, model_card
from saelex.sae.training.checkpoints import Checkpoints
from saelex.training.examples.lines import LineFile
from saelex.training.mining.table import read_facts, read_table, schema, write_tables
from saelex.training.mntp.recipe import MntpRecipe
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.sae.recipe import SaeRecipe
from saelex.vectors import SparseRows

RECIPES = Path(__file__).parents[2] / "recipes"
TEXT = "the wing creates lift"


@dataclass(frozen=True)
class Reader:
    """One way in.

    make: writes what is read into an empty folder, and returns the path that `read` is given.
    read: reads it whole, and uses it so far that what is read later is read, too.
    share: how many inputs it gets beside the others'.
    seal: after the damage, makes what only compares hashes agree with it, so that what comes behind is reached.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    share: float = 1.0
    seal: Callable[[Path], None] = lambda folder: None


def _file(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    return make


# ---- collections ----------------------------------------------------------------------------------------------------

_CORPUS = "\n".join(
    json.dumps({"_id": f"d{i}", "title": f"t {i}", "text": TEXT, "metadata": {"year": i, "tags": ["a"]}})
    for i in range(3)
)
_QUERIES = '{"_id": "q1", "text": "wing"}\n{"_id": "q2", "text": "lift"}\n'
_QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t0\n"
_TREC_QRELS = "q1 0 d1 1\nq2 0 d2 -2\n"
_RUN = "q1 Q0 d1 1 12.5 saelex\nq1 Q0 d2 2 11 saelex\nq2 Q0 d1 1 3e-2 saelex\n"
_TOPICS = (
    "<top>\n<num> Number: 301\n<title> wing lift\n<desc> Description:\nhow\n</top>\n\n"
    "<top>\n<num> 302\n<title> b\n</top>\n"
)
_EXPLANATIONS = "".join(
    json.dumps({"modelId": "m", "layer": "1-res", "index": str(i), "description": TEXT, "explanationModelName": "gpt"})
    + "\n"
    for i in range(3)
)
_TOPICS_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<topics><topic number="1"><title>wing</title></topic></topics>\n'


def _all(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda path: list(read(path))


def _lines(path: Path) -> list[str]:
    return [line.text for line in LineFile(path).lines()]


_COLLECTIONS = [
    Reader("corpus.jsonl", _file("corpus.jsonl", _CORPUS), _all(read_corpus), 30),
    Reader("corpus.tsv", _file("corpus.tsv", "d1\ttitle\twing\nd2\t\tlift\n"), _all(read_corpus), 30),
    Reader(
        "corpus.jsonl.gz", _file("corpus.jsonl.gz", gzip.compress(_CORPUS.encode(), mtime=0)), _all(read_corpus), 10
    ),
    Reader("queries.jsonl", _file("queries.jsonl", _QUERIES), _all(read_queries), 20),
    Reader("queries.tsv", _file("queries.tsv", "q1\twing\nq2\tlift\n"), _all(read_queries), 20),
    Reader("qrels.tsv", _file("qrels.tsv", _QRELS), read_qrels, 20),
    Reader("qrels.trec", _file("qrels.txt", _TREC_QRELS), read_qrels, 20),
    Reader("run", _file("run.trec", _RUN), read_run, 30),
    Reader("topics", _file("topics.txt", _TOPICS), _all(read_topics), 20),
    Reader("topics.xml", _file("topics.xml", _TOPICS_XML), _all(read_topics), 20),
    Reader("published labels", _file("e.jsonl", _EXPLANATIONS), lambda path: read_exports(path, "m/1-res", 9), 10),
    Reader("training lines", _file("train.jsonl", _QUERIES), _lines, 10),
]


# ---- recipes --------------------------------------------------------------------------------------------------------


def _recipe(name: str, recipe: type) -> Callable[[Path], Any]:
    return lambda path: load_recipe(recipe, path)


_RECIPES = [
    Reader(f"recipe {name}", _file("recipe.yaml", (RECIPES / name).read_bytes()), _recipe(name, kind), 1)
    for name, kind in (
        ("default/minilm.yaml", RetrievalRecipe),
        ("sae/minilm.yaml", SaeRecipe),
        ("mntp/minilm.yaml", MntpRecipe),
    )
]


# ---- SAEs -----------------------------------------------------------------------------------------------------------


def _read_sae(path: Path) -> Any:
    sae = SparseAutoencoder.load(path)
    latents = sae.encode(torch.ones(2, sae.config.d_model).to(sae.W_enc.dtype))
    sae.check_belongs("some/model", None, sae.config.d_model) if sae.config.model_name is None else None
    model_card(sae.parts, "name", metrics=known_metrics(path if path.is_dir() else path.parent))
    return repr(sae), latents


_SAES = [
    Reader(f"SAE {number} {builder.name}", lambda folder, builder=builder: builder.write(folder), _read_sae, 6)
    for number, builder in enumerate(BUILDERS)
]


def _make_report(folder: Path) -> Path:
    metrics = {"l0": 3.0, "fvu": 0.2, "explained_variance": 0.8, "dead": 0.1}
    report = {"saes": [{"metrics": metrics, "loss": {"recovered": 0.9}}]}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "metrics.jsonl").write_text('{"step": 1, "fvu": 0.5}\n{"step": 2, "fvu": 0.25}\n')
    return folder


def _make_sae_checkpoint(folder: Path) -> Path:
    run = Checkpoints(folder / "run", {"k": 3})
    run.begin(False)
    run.write(5, {"W": torch.ones(2, 2)}, {"seen": 4})
    run.record(5, {"step": 5, "loss": 0.5})
    return folder / "run"


_TRAINED = [
    Reader("SAE report", _make_report, known_metrics, 5),
    Reader("SAE checkpoint", _make_sae_checkpoint, lambda path: Checkpoints(path, {"k": 3}).latest(), 5),
]


# ---- models ---------------------------------------------------------------------------------------------------------


def _encode(path: Path) -> Any:
    encoder = Encoder.load(path, device="cpu")
    return (
        encoder.encode_query(TEXT),
        encoder.encode_document([TEXT, ""]),
        encoder.fingerprint,
        encoder.decode(encoder.encode_query(TEXT), 3),
    )


def _make_saelex(folder: Path) -> Path:
    encoder = tiny_encoder(folder / "source", layer=0)
    encoder.labels = {1: "wing", 2: "lift"}
    encoder.weighting = LatentWeighting.fit([encoder.encode_document([TEXT, "a river bank"], top_k=None)])
    encoder.save_pretrained(folder / "model")
    return folder / "model"


def _seal_saelex(folder: Path) -> None:
    """The hashes of saelex_config.json as the files are now."""
    path = folder / "model" / "saelex_config.json"
    if not path.is_file():
        return
    try:
        config = json.loads(path.read_bytes())
        for section, name in (("head", "head"), ("backbone", "backbone/model"), ("weighting", "weighting")):
            file = folder / "model" / f"{name}.safetensors"
            if file.is_file() and config.get(section):
                config[section]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        path.write_text(json.dumps(config))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return


def _make_splade(folder: Path) -> Path:
    tiny_checkpoint("bert", folder / "splade", language_model=True, num_hidden_layers=1)
    return folder / "splade"


def _make_sentence_transformers(folder: Path) -> Path:
    tiny_checkpoint("bert", folder / "st", language_model=True, num_hidden_layers=1)
    root = folder / "st"
    types = ("sparse_encoder.models.MLMTransformer", "sparse_encoder.models.SpladePooling")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
        for i, (path, kind) in enumerate(zip(("", "1_SpladePooling"), types))
    ]
    (root / "1_SpladePooling").mkdir()
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": None}
    for name, content in (
        ("modules.json", modules),
        ("1_SpladePooling/config.json", pooling),
        ("sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False}),
        (
            "config_sentence_transformers.json",
            {"prompts": {"query": "q: ", "document": ""}, "similarity_fn_name": "dot"},
        ),
    ):
        (root / name).write_text(json.dumps(content))
    return root


def _make_doc_only(folder: Path) -> Path:
    root = _make_splade(folder)
    words = read_tokenizer(root / "tokenizer.json").get_vocab()
    (root / "idf.json").write_text(json.dumps(dict.fromkeys(list(words)[:40], 1.5)))
    return root


def _make_pickled(folder: Path) -> Path:
    root = tiny_checkpoint("bert", folder / "bin", num_hidden_layers=1)
    from safetensors.torch import load_file

    tensors = load_file(root / "model.safetensors")
    (root / "model.safetensors").unlink()
    torch.save(tensors, root / "pytorch_model.bin")
    return root


def _make_sharded(folder: Path) -> Path:
    root = tiny_checkpoint("bert", folder / "sharded", num_hidden_layers=1)
    from safetensors.torch import load_file

    tensors = load_file(root / "model.safetensors")
    (root / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, root / file)
    (root / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return root


def _make_dense(folder: Path) -> Path:
    root = tiny_checkpoint("bert", folder / "dense", num_hidden_layers=1)
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{name}", "path": path} for name, path in places.items()]
    (root / "modules.json").write_text(json.dumps(modules))
    (root / "1_Pooling").mkdir()
    (root / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (root / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    return root


def _backbone(path: Path) -> Any:
    backbone = Backbone.load(path)
    ids = torch.tensor([[2, 5, 3]])
    return backbone(ids), backbone.identity(), backbone.max_length


def _whole_backbone(path: Path) -> Any:
    return _backbone(path), Backbone.load(path).tokenizer(TEXT)


def _blob(path: Path) -> Any:
    folder = path.parent / "written out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_folder(path, folder)
    return _backbone(folder), read_tokenizer(folder / "tokenizer.json").encode(TEXT)


def _make_type(model_type: str) -> Callable[[Path], Path]:
    return lambda folder: tiny_checkpoint(model_type, folder / model_type)


def _make_update(folder: Path) -> Path:
    LowRankUpdate({"encoder.layer.0.attention.self.query": (torch.ones(2, 4), torch.ones(4, 2))}).save(
        folder / "u.safetensors"
    )
    return folder / "u.safetensors"


def _make_weighting(folder: Path) -> Path:
    LatentWeighting.fit([SparseRows.from_dense(np.eye(4))]).save(folder)
    return folder


def _make_adapter(folder: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    root = tiny_checkpoint("bert", folder / "base", num_hidden_layers=1)
    backbone = Backbone.load(root)
    adapted = get_peft_model(backbone.model, LoraConfig(r=2, target_modules=["query"]))
    adapted.save_pretrained(folder / "adapter")
    return folder / "adapter"


_MODELS = [
    Reader("saelex folder", _make_saelex, _encode, 4),
    Reader("saelex folder, hashes agreeing", _make_saelex, _encode, 4, _seal_saelex),
    Reader("SPLADE folder", _make_splade, _encode, 4),
    Reader("SparseEncoder folder", _make_sentence_transformers, _encode, 4),
    Reader("doc-only folder", _make_doc_only, _encode, 2),
    Reader("sentence embedding", _make_dense, lambda path: load_embedder(path).embed([TEXT], "document"), 3),
    Reader("pickled backbone", _make_pickled, _backbone, 4),
    Reader("sharded backbone", _make_sharded, _backbone, 4),
    *(
        Reader(f"{name} backbone", _make_type(name), _whole_backbone, 0.15)
        for name in ("distilbert", "llama", "modernbert", "gemma2")
    ),
    Reader("E5S1 blob", lambda folder: tiny_blob().write(folder / "blob.bin"), _blob, 10),
    Reader("low-rank update", _make_update, LowRankUpdate.load, 10),
    Reader("weighting", _make_weighting, lambda path: LatentWeighting.load(path).idf_share(), 10),
    Reader("peft adapter", _make_adapter, lambda path: Backbone.load(path.parent / "base", adapter=path), 0.3),
]


# ---- vectors, words, concepts, mining -------------------------------------------------------------------------------


def _make_rows(folder: Path) -> Path:
    SparseRows.build([0, 2, 3], [1, 3, 2], [0.5, 1.0, 2.0], 5, [0, 1, 2]).save(folder / "rows")
    return folder / "rows"


def _rows(path: Path) -> Any:
    rows = SparseRows.load(path)
    return rows.top_k(1).to_dense() if rows.n_latents < 1000 else rows.top_k(1)


def _make_words(folder: Path) -> Path:
    state = LexicalChannel().fit(["wings create lift", "river banks"]).to_state()
    (folder / "words.json").write_text(json.dumps({**state, "stop_words": {"en": state["stop_words"]["en"][:3]}}))
    return folder / "words.json"


def _words(path: Path) -> Any:
    return LexicalChannel.from_state(read_json_value(path), ["wings"]).count([TEXT], grow=False)


def _make_concepts(folder: Path) -> Path:
    concepts = [
        Concept(i, label, (Evidence("wing", 3.5),), (Example("d1", TEXT, "wing", 1.5),), 0.1, 0.5)
        for i, label in ((1, "wing · lift"), (4, "river"))
    ]
    ConceptStore.write(folder / "concepts.sqlite", concepts, fingerprint="f").close()
    return folder / "concepts.sqlite"


def _concepts(path: Path) -> Any:
    with ConceptStore.open(path) as store:
        return len(store), list(store), store.label(1), store.examples(4), store.find("wing"), store.resolve("river")


def _make_mined(folder: Path) -> Path:
    import pyarrow as pa

    of = schema(facts={"command": "mine", "collection": {"name": "c"}})
    row = {"query_id": "q", "document_id": "d", "relevant": True, "rank": 1, "miner": "m", "score": 0.5}
    write_tables(folder / "mined.parquet", of, [pa.Table.from_pylist([row], schema=schema())])
    return folder / "mined.parquet"


_OTHERS = [
    Reader("sparse rows", _make_rows, _rows, 10),
    Reader(
        "sparse rows, JSON lines",
        _file("rows.jsonl", '{"id": "a", "vector": {"1": 2.5}}\n'),
        lambda path: SparseRows.read_jsonl(path, 4),
        20,
    ),
    Reader("words of an index", _make_words, _words, 10),
    Reader("concepts", _make_concepts, _concepts, 6),
    Reader("mined negatives", _make_mined, lambda path: (read_facts(path), read_table(path)), 6),
]

READERS = [*_COLLECTIONS, *_RECIPES, *_SAES, *_TRAINED, *_MODELS, *_OTHERS]
