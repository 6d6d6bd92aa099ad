from tests.training.sae.toys import corpus

from saelex.training.text_reading import read_texts
from saelex.training.text_settings import TextData


def test_corpora_are_read_in_turns_without_the_excluded(tmp_path):
    first = corpus(tmp_path / "a.jsonl", ["a1", "a2", " ", "a3"])
    second = corpus(tmp_path / "b.jsonl", ["b1", "test  passage"])
    held_out = corpus(tmp_path / "c.jsonl", ["test passage"])
    assert list(read_texts(TextData([first, second], [held_out]))) == ["a1", "b1", "a2", "a3"]
    assert list(read_texts(TextData([first, second], max_texts=3))) == ["a1", "b1", "a2"]
