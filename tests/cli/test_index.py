from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.cli.conftest import Saelex

from saelex.encoder.encoder import Encoder
from saelex.index.disk import lock
from saelex.index.disk.lock import writer_lock
from saelex.index.index import Index


def test_indexing_reports_what_it_did(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    result = saelex("index", corpus, tmp_path / "i", "--model", model)
    assert result.code == 0
    assert "4 documents; 4 added" in result.out and "concepts labelled" in result.out
    with Index.open(tmp_path / "i") as index:
        assert index.document("wing").metadata == {"year": 1950}
        assert index.concepts is not None


def test_settings_of_a_new_index(saelex: Saelex, corpus: Path, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "i"
    german = saelex("index", corpus, tmp_path / "german", "--model", model, "--language", "de", "--pruned")
    assert german.code == 0, german.err
    with Index.open(tmp_path / "german") as index:
        assert index.language == "de" and index.settings["pruned"]
    assert saelex("index", corpus, path, "--model", model, "--no-words", "--no-forward", "--no-labels").code == 0
    with Index.open(path) as index:
        assert index.settings["words"] is None and not index.settings["forward"]
        assert index.concepts is None


def test_an_existing_index_needs_resume_or_update(saelex: Saelex, index: Path, corpus: Path, tmp_path: Path) -> None:
    result = saelex("index", corpus, index)
    assert result.code == 2 and result.err.count("\n") == 1
    assert result.err.startswith("saelex: ") and "--resume" in result.err
    assert "0 added, 4 there already" in saelex("index", corpus, index, "--resume").out
    changed = tmp_path / "changed.tsv"
    changed.write_text("wing\tfeathers\nnew\tboundary layer\n")
    assert "with other content" in saelex("index", changed, index, "--resume").err
    assert "5 documents; 2 added (1 replaced)" in saelex("index", changed, index, "--update").out


def test_settings_that_an_existing_index_was_not_made_with(
    saelex: Saelex, index: Path, corpus: Path, model: Path, tmp_path: Path
) -> None:
    refused = saelex("index", corpus, index, "--resume", "--no-words")
    assert refused.code == 2 and "was created with words=True, not False" in refused.err
    assert saelex("index", corpus, index, "--resume", "--words", "--forward").code == 0
    bare = tmp_path / "bare"
    assert saelex("index", corpus, bare, "--model", model, "--no-forward").code == 0
    resumed = saelex("index", corpus, bare, "--resume")
    assert (resumed.code, resumed.err) == (0, "") and "0 added, 4 there already" in resumed.out
    other = saelex("index", corpus, index, "--resume", "--language", "de")
    assert other.code == 2 and "was created with language=en, not de" in other.err
    unknown = saelex("index", corpus, tmp_path / "new", "--model", model, "--language", "xx")
    assert unknown.code == 2 and "unknown language 'xx'" in unknown.err and not (tmp_path / "new").exists()
    labels = saelex("index", corpus, bare, "--resume", "--labels")
    assert labels.code == 2 and "leave out --labels" in labels.err


def test_a_malformed_line_is_named_and_leaves_nothing_behind(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"_id": "a", "text": "x"}\n{"_id": "b"\n')
    result = saelex("index", bad, tmp_path / "i", "--model", model)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"saelex: {bad}:2: not valid JSON") and result.err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_source_without_documents_makes_no_index(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    source = tmp_path / "none.jsonl"
    source.touch()
    result = saelex("index", source, tmp_path / "i", "--model", model)
    assert (result.code, result.out) == (2, "") and "holds no document" in result.err
    assert not (tmp_path / "i").exists()


def test_upkeep(saelex: Saelex, index: Path) -> None:
    assert "2 deleted, 2 documents left" in saelex("delete", index, "wing", "zip").out
    assert saelex("merge", index).out == f"{index}: merged\n"
    assert "2 documents in 2 rows, 1 segments" in saelex("check", index).out
    refused = saelex("delete", index, "bank", "wing")
    assert refused.code == 2 and "id 'wing' is not in the index; nothing was deleted" in refused.err
    assert "2 documents in" in saelex("check", index).out


def test_upkeep_by_the_flags_of_old(saelex: Saelex, index: Path) -> None:
    result = saelex("index", index, "--delete", "wing", "--delete", "zip", "--merge", "--check")
    assert result.code == 0, result.err
    assert "2 deleted, 2 documents left" in result.out and "2 documents in" in result.out
    assert "id 'wing' is not in the index" in saelex("index", index, "--delete", "wing").err
    assert "--merge" not in saelex("index", "--help").out


def test_check_finds_damage(saelex: Saelex, index: Path) -> None:
    victim = max((index / "segments").glob("*.segment"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    result = saelex("check", index)
    assert result.code == 2 and "damaged" in result.out + result.err


def test_fields_of_a_table_and_a_folder_of_files(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "papers.csv"
    table.write_text('doi,abstract,year\n1,"wings, and\nlift",1950\n2,drag,1951\n')
    named = ("--id-field", "doi", "--text-field", "abstract")
    result = saelex("index", table, tmp_path / "a", "--model", model, *named)
    assert result.code == 0 and "2 documents" in result.out
    assert "--id-field" in saelex("index", table, tmp_path / "b", "--model", model).err
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "one.md").write_text("# Wings\n\nof lift")
    assert "1 documents" in saelex("index", notes, tmp_path / "c", "--model", model).out


def test_standard_input(saelex: Saelex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"id": "a", "text": "wings"}\n')

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert "1 documents; 1 added" in saelex("index", "-", tmp_path / "i", "--model", model, "--no-labels").out


def test_arguments_that_make_no_sense(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    assert "SOURCE and INDEX" in saelex("index", index).err
    assert "choose one" in saelex("index", "a.tsv", index, "--resume", "--update").err
    assert "options are of a SOURCE" in saelex("index", index, "--check", "--no-words").err
    assert "leave out --no-forward" in saelex("index", index, tmp_path / "new", "--no-forward", "--labels").err
    assert "no such file" in saelex("index", tmp_path / "no.jsonl", tmp_path / "new").err
    assert not (tmp_path / "new").exists()


def test_a_terminated_index_keeps_what_is_encoded_and_goes_on(
    saelex: Saelex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = tmp_path / "c.tsv", tmp_path / "i"
    source.write_text("".join(f"d{i}\twing number {i}\n" for i in range(100)))
    plain, calls = Encoder.encode_document, []

    def stopped(encoder: Encoder, texts: Any, **options: Any) -> Any:
        calls.append(len(texts))
        if len(calls) == 3:  # after what tells how heavy weights are, and the first document
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(encoder, texts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode_document", stopped)
        result = saelex("index", source, path, "--model", model)
    assert result.code == 130 and result.out == ""
    assert result.err == "saelex: interrupted; the document before it is in the index; go on with resume\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert "100 documents; 99 added, 1 there already" in saelex("index", source, path, "--resume").out


def test_commands_that_write_wait_and_then_say_so_in_one_line(
    saelex: Saelex, index: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    for arguments in (
        ["index", corpus, index, "--resume", "--no-labels"],
        ["delete", index, "zip"],
        ["merge", index],
    ):
        slept.clear()
        with writer_lock(index):
            late = saelex(*arguments, "--wait", 1.5)
        assert (late.code, late.out, late.err.count("\n")) == (2, "", 1)
        assert "another process is writing to this index, still after 1.5 seconds" in late.err
        assert sum(slept) == pytest.approx(1.5)
        assert saelex(*arguments, "--wait", 1.5).code == 0
    assert saelex("merge", index, "--wait", -1).code == 2
