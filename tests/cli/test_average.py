from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from tests.encoder.tiny_encoders import tiny_encoder

from saelex.cli.average import average
from saelex.encoder.encoder import Encoder
from saelex.errors import InputError, MismatchError

Average = Callable[..., None]


@pytest.fixture
def saelex_average() -> Average:
    """`saelex average` alone; errors are raised."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(average)
    return lambda *arguments: app([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs whose heads have learned something else."""
    folder = tmp_path_factory.mktemp("runs")
    encoder = tiny_encoder(folder / "bert")
    for step in (1, 2):
        with torch.no_grad():
            encoder.head.weight += step
        encoder.save_pretrained(folder / f"run{step}", include_backbone=False)
    return [folder / "run1", folder / "run2"]


@pytest.mark.parametrize(("options", "step"), [([], 2.0), (["--weights", "1,3"], 2.5), (["--no-half"], 2.0)])
def test_the_mean_of_runs_is_saved(
    options: list[str],
    step: float,
    saelex_average: Average,
    runs: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saelex_average(*runs, "-o", tmp_path / "mean", *options)
    assert "the mean of 2 runs" in capsys.readouterr().out
    # the first run's head is 1 above the untrained one, the second's 1 + 2
    untrained = Encoder.load(runs[0], device="cpu").head.weight - 1
    half = "--no-half" not in options
    found = Encoder.load(tmp_path / "mean", device="cpu").head.weight
    torch.testing.assert_close(found, untrained + step, rtol=1e-3 if half else 0, atol=1e-6)
    assert found.equal(found.half().float()) == half
    assert (tmp_path / "mean" / "backbone").is_dir()


def test_errors_are_clear_and_leave_nothing(saelex_average: Average, runs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "mean"
    for arguments, message in (
        ((*runs, "--weights", "1,x"), "one number for each run"),
        ((*runs, "--weights", "1,2,3"), "one positive weight for each of the 2"),
        ((runs[0],), "two or more"),
        ((runs[0], tmp_path / "nowhere"), "no model"),
    ):
        with pytest.raises(InputError, match=message):
            saelex_average(*arguments, "-o", output)
    with pytest.raises(InputError, match="is one of the runs"):
        saelex_average(*runs, "-o", runs[0])
    other = Encoder.load(runs[1], device="cpu")
    other.head.pooling = "sum"
    other.save_pretrained(tmp_path / "other", include_backbone=False)
    with pytest.raises(MismatchError, match=r"head\.pooling"):
        saelex_average(runs[0], tmp_path / "other", "-o", output)
    assert not output.exists()
