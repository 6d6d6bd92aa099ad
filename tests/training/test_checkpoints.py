"""Runs go on from whole checkpoints, in folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from saelex.errors import InputError
from saelex.training.checkpoints import last_checkpoint
from saelex.training.mining.work import work_folder
from saelex.training.mntp.folder import Workspace


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "none") is None
    for step, whole in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"")
        if whole:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_a_users_folder_that_is_called_like_a_work_folder_is_refused_and_stays(tmp_path: Path) -> None:
    for name in (".model.training", "mined.parquet.parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("one")
    with pytest.raises(InputError, match="holds something else"):
        Workspace(tmp_path / "model", {}).check(resume=True)
    with pytest.raises(InputError, match="holds something else"):
        work_folder(tmp_path / "mined.parquet", {})
    assert len(list(tmp_path.rglob("thesis.txt"))) == 2
