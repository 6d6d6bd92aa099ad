"""An index and its encoder are found wherever the process stands and wherever they are moved together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_encoders import tiny_encoder

from saelex.corpus.reading import read_corpus, read_qrels, read_queries
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError
from saelex.index.index import Index
from saelex.index.inverted import InvertedIndex
from saelex.sae.activations import ReLU
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.vectors import SparseRows


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a model and a corpus, in which the process stands."""
    home = tmp_path / "home"
    tiny_encoder(tmp_path / "checkpoint").save_pretrained(home / "models" / "mini")
    (home / "corpus.jsonl").write_text(
        '{"_id": "a", "text": "lift of a wing"}\n{"_id": "b", "text": "rain on a river"}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    return home


def ids(index: Index) -> list[str]:
    return [hit.document.id for hit in index.search("wing lift")]


@pytest.mark.parametrize("source", ["models/mini", "./models/../models/mini", "~/models/mini"])
def test_an_index_opens_from_another_working_folder(source: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.create("index", Encoder.load(source, device="cpu")) as index:
        index.add(read_corpus("corpus.jsonl"))
        found = ids(index)
        monkeypatch.chdir("/")
        assert ids(index) == found  # an open one, too
    with Index.open(home / "index") as index:
        assert ids(index) == found
    with Index.open("~/index") as index:
        assert ids(index) == found


def test_a_folder_that_holds_both_can_be_moved(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.create("indexes/one", Encoder.load("models/mini", device="cpu")) as index:
        index.add(read_corpus("corpus.jsonl"))
        found = ids(index)
    monkeypatch.chdir("/")
    home.rename(tmp_path / "moved")
    with Index.open(tmp_path / "moved" / "indexes" / "one") as index:
        assert ids(index) == found
    shutil.rmtree(tmp_path / "moved" / "models")
    with Index.open(tmp_path / "moved" / "indexes" / "one") as index, pytest.raises(InputError, match="no model"):
        index.encoder  # noqa: B018


def test_an_edited_encoder_is_refused_in_one_line(home: Path) -> None:
    with Index.create("index", Encoder.load("models/mini", device="cpu")) as index:
        index.add(read_corpus("corpus.jsonl"))
    encoder = Encoder.load("models/mini", device="cpu")
    encoder.head.pooling = "sum"
    encoder.save_pretrained("models/mini")
    with Index.open("index") as index, pytest.raises(MismatchError, match="index the documents anew") as error:
        ids(index)
    assert "\n" not in str(error.value)


def test_a_name_in_the_box_stays_a_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "saelex-minilm").mkdir()
    encoder = Encoder.load("models/mini", device="cpu")
    encoder.name = "saelex-minilm"
    with Index.create("index", encoder) as index:
        assert index.settings["encoder"] == "saelex-minilm" and index.settings["encoder_from_here"] is None


def test_home_is_expanded_wherever_a_path_enters(home: Path) -> None:
    (home / "qrels.tsv").write_text("q\ta\t1\n")
    (home / "queries.jsonl").write_text('{"_id": "q", "text": "wing"}\n')
    assert [document.id for document in read_corpus("~/corpus.jsonl")] == ["a", "b"]
    assert [query.id for query in read_queries("~/queries.jsonl")] == ["q"]
    assert read_qrels("~/qrels.tsv") == {"q": {"a": 1}}
    rows = SparseRows.from_dicts([{1: 2.0}], 4)
    rows.save("~/rows")
    rows.write_jsonl("~/rows.jsonl", ["a"])
    assert len(SparseRows.load("~/rows")) == len(SparseRows.read_jsonl("~/rows.jsonl", 4)[1]) == 1
    with InvertedIndex.create("~/inverted", n_latents=4) as inverted:
        inverted.add(["a"], rows)
    with InvertedIndex.open("~/inverted") as inverted:
        assert len(inverted) == 1
    with Index.at("~/index", Encoder.load("~/models/mini", device="cpu")) as index:
        index.add(read_corpus("~/corpus.jsonl"))
    with Index.at("~/index") as index:
        assert len(index) == 2
    sae = SparseAutoencoder(
        torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), ReLU(), SaeConfig(d_model=4, n_latents=4)
    )
    sae.save("~/sae")
    assert SparseAutoencoder.load("~/sae").config.n_latents == 4
    assert not (home / "~").exists()
