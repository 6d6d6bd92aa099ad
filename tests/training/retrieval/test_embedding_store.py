import json

import numpy as np
import pytest

from saelex.errors import InputError
from saelex.training.retrieval.embedding_store import EmbeddingStore

MAKER = {"digest": "one"}


def rows(*texts):
    return np.array([[len(text), text.count("a"), 3.0] for text in texts], np.float32)


def test_what_is_kept_is_found_again_by_text_and_side(tmp_path):
    store = EmbeddingStore(tmp_path / "kept", MAKER)
    assert store.missing(["a", "bb", "a"], "query") == ["a", "bb"]
    store.add(["a", "bb"], "query", rows("a", "bb"))
    store.add(["ccc"], "document", rows("ccc"))
    again = EmbeddingStore(tmp_path / "kept", MAKER)
    for one in (store, again):
        assert one.missing(["bb", "a", "d"], "query") == ["d"]
        assert one.missing(["a", "ccc"], "document") == ["a"]
        expected = rows("bb", "a", "bb")
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = one.take(["bb", "a", "bb"], "query")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_text_without_a_row_is_an_error(tmp_path):
    store = EmbeddingStore(tmp_path, MAKER)
    with pytest.raises(InputError, match="no embedding of the query 'a'"):
        store.take(["a"], "query")
    store.add(["a"], "query", rows("a"))
    with pytest.raises(InputError, match="no embedding of the document 'a'"):
        store.take(["a"], "document")


def test_another_embedders_folder_and_a_strangers_are_refused(tmp_path):
    EmbeddingStore(tmp_path / "kept", MAKER).add(["a"], "query", rows("a"))
    with pytest.raises(InputError, match=r"another embedder.*data\.embeddings"):
        EmbeddingStore(tmp_path / "kept", {"digest": "two"})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("one")
    with pytest.raises(InputError, match="holds something else"):
        EmbeddingStore(tmp_path / "own", MAKER)


def test_rows_without_a_direction_are_refused(tmp_path):
    store = EmbeddingStore(tmp_path, MAKER)
    for bad in (0.0, np.nan, np.inf):
        with pytest.raises(InputError, match="no direction"):
            store.add(["a"], "query", np.full((1, 3), bad, np.float32))
    assert store.missing(["a"], "query") == ["a"]


def test_damage_is_told_by_its_file(tmp_path):
    store = EmbeddingStore(tmp_path, MAKER)
    store.add(["a", "b"], "query", rows("a", "b"))
    (part,) = tmp_path.glob("*.safetensors")
    whole = part.read_bytes()
    part.write_bytes(whole[:-4])
    with pytest.raises(InputError, match=part.name):
        EmbeddingStore(tmp_path, MAKER)
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["others"] = header.pop("rows")
    text = json.dumps(header).encode()
    part.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + size :])
    with pytest.raises(InputError, match=f"{part.name}: holds no embeddings"):
        EmbeddingStore(tmp_path, MAKER)
