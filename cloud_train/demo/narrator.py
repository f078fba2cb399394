"""What the demo says in the terminal while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.retrain.plan import RetrainResult
from edge.jsonvalue import Json

if TYPE_CHECKING:
    from rich.console import Console

    from cloud_train.demo.steps import Prepared

NUM_STEPS = 8
MOST_SKIPPED = 20


class Narrator:
    """Numbers the steps and prints one line for each thing that happened.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self._began = time.monotonic()

    def step(self, title: str) -> None:
        """A new step begins."""
        self._number += 1
        elapsed = time.monotonic() - self._began
        self._console.print(f"[bold]\\[{self._number}/{NUM_STEPS}][/bold] {title} [dim]({elapsed:.0f} s so far)[/dim]")

    def prepared(self, prepared: Prepared) -> None:
        """The data stands."""
        for line in prepared.skipped[:MOST_SKIPPED]:
            self._line(f"skipped {line}")
        if prepared.skipped or prepared.num_duplicates:
            self._line(f"{len(prepared.skipped)} files skipped, {prepared.num_duplicates} exact duplicates left out")
        unknown = ", ".join(prepared.unknown) or "nothing"
        self._line(f"{len(prepared.field)} pictures in the field; version 1 does not know: {unknown}")

    def retrained(self, name: str, result: RetrainResult) -> None:
        """A bundle stands."""
        self._line(f"{name}: bundle {result.bundle_digest[:12]} in {Path(result.bundle).name}; gate {result.gate}")
        for reason in result.gate_reasons:
            self._line(f"  {reason}")

    def labelled(self, num_labels: int, status: Json) -> None:
        """The kept samples have labels."""
        kept = status.get("kept") if isinstance(status, dict) else None
        self._line(f"the device kept {kept} pictures; {num_labels} arrived and have a label")

    def _line(self, text: str) -> None:
        self._console.print(f"      {text}", markup=False, highlight=False)
