"""Steps of a `transformers` trainer as progress."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from saelex.progress import progress_bar


class StepBar(TrainerCallback):  # type: ignore[misc]
    """Counts steps with the last loss, on stderr of the main process; see `saelex.progress`."""

    def __init__(self, title: str, wanted: bool) -> None:
        self._title = title
        self._wanted = wanted
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """From the step at which the run stands."""
        shown = self._wanted and state.is_world_process_zero
        self._bar = progress_bar(
            total=state.max_steps, initial=state.global_step, desc=self._title, unit="step", shown=shown
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """One more."""
        self._bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **others: Any) -> None:
        """The loss, where it is logged."""
        if logs and "loss" in logs:
            self._bar.set_postfix_str(f"loss {logs['loss']:.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave the terminal to others."""
        self._bar.close()
