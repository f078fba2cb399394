"""What conversion costs in accuracy, size, time and memory, beside what exporters do by default.

python -m benchmarks.conversion [--data ../shared/data] [--networks work/networks] [--quick] [--only ROW]…

Accuracy rows need the networks of `benchmarks.train_classifiers` and `benchmarks.train_detector`; one that is not
trained is a row that says so. What was measured is kept under `--work`, so that a run that was stopped goes on, and one
that is repeated only prints: a row is measured anew when its network, its pictures or the libraries change. Changed
code is not noticed; `--again` is for that. `--quick` shows that everything runs; its figures mean nothing.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks.all import machine
from benchmarks.conversion_candidates import STATIC
from benchmarks.conversion_cost import Costs, measure_costs
from benchmarks.conversion_outcome import Outcome, outcome_of
from benchmarks.conversion_subjects import FULL, QUICK, TRAINED, Effort, Subject
from benchmarks.conversion_tables import (
    accuracy_targets,
    agreement_targets,
    cost_rows,
    show_accuracy,
    show_agreement,
    vnni_flags,
)
from benchmarks.conversion_untrained import UNTRAINED, read_groceries
from benchmarks.table import Row, show
from converters.parity import one_thread
from edge import durable, jsonvalue
from edge.errors import EdgeloopError, FormatError

_COST = "cost-"
COSTLY = tuple(f"{_COST}{name}" for name in TRAINED)
ROWS = (*TRAINED, *UNTRAINED, *COSTLY)


class Bench:
    """One run over the rows.

    Args:
        data: Folder of the data sets.
        networks: Folder of the trained networks.
        work: Folder for results.
        effort: How much is measured.
    """

    def __init__(self, data: Path, networks: Path, work: Path, effort: Effort) -> None:
        self.data, self.networks, self.work, self.effort = data, networks, work, effort

    def accuracy(self, name: str) -> list[Row]:
        """A trained network, its table printed; what was aimed at."""
        outcome = self._outcome(TRAINED[name](self.data, self.networks, self.effort))
        show_accuracy(outcome)
        return accuracy_targets(outcome, is_mobile=name.startswith("mobilenetv2"))

    def agreement(self, name: str) -> list[Row]:
        """A network that learnt nothing."""
        outcome = self._outcome(UNTRAINED[name](read_groceries(self.data, self.effort)))
        show_agreement(outcome)
        return agreement_targets(outcome)

    def cost(self, name: str) -> list[Row]:
        """Two conversions of a trained network."""
        subject = TRAINED[name](self.data, self.networks, self.effort)  # says whether it is trained
        file = self.work / f"{_COST}{subject.name}.json"
        try:
            found = jsonvalue.load(Costs, file.read_bytes(), where=str(file))
        except (OSError, FormatError):
            found = measure_costs(name, self.data, self.networks, self.effort, self.work)
            durable.write_bytes(file, jsonvalue.pretty_bytes(found), point="benchmark")
        return cost_rows(found)

    def _outcome(self, subject: Subject) -> Outcome:
        with one_thread():
            return outcome_of(subject, self.effort, self.work, machine=machine, cache=self.work / "cache")


def run_rows(names: Sequence[str], run: Callable[[str], list[Row]]) -> list[Row]:
    """Measures rows; one that cannot be says why in its place."""
    found: list[Row] = []
    for name in names:
        began = time.monotonic()
        try:
            found += run(name)
        except EdgeloopError as error:
            found.append(Row(what=name, figures="none", note=f"not measured: {error}"))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def _chosen(all_rows: Sequence[str], only: Sequence[str], prefix: str = "") -> list[str]:
    return [name for name in all_rows if not only or f"{prefix}{name}" in only]


@click.command()
@click.option("--data", default=Path("../shared/data"), type=click.Path(path_type=Path), show_default=True)
@click.option("--networks", default=Path("work/networks"), type=click.Path(path_type=Path), show_default=True)
@click.option("--work", default=Path("work/conversion"), type=click.Path(path_type=Path), show_default=True)
@click.option("--quick", is_flag=True, help="Only see that all runs.")
@click.option("--again", is_flag=True, help="Measure also what is there.")
@click.option("--only", type=click.Choice(ROWS), multiple=True, help="These rows only.")
def main(data: Path, networks: Path, work: Path, quick: bool, again: bool, only: tuple[str, ...]) -> None:
    """Prints all tables."""
    work = work / ("quick" if quick else "full")
    if again:
        shutil.rmtree(work / "cache", ignore_errors=True)
        for name in only or ROWS:
            (work / f"{name}.json").unlink(missing_ok=True)
    bench = Bench(data, networks, work, QUICK if quick else FULL)
    flags = ", ".join(vnni_flags()) or "none: int8 is computed without VNNI"
    print(f"Conversion, {machine()}; instructions for int8: {flags}", flush=True)
    parts = (
        ("Accuracy: what was aimed at", _chosen(list(TRAINED), only), bench.accuracy),
        (f"Agreement only: size and speed of {STATIC}", _chosen(list(UNTRAINED), only), bench.agreement),
        ("Time and memory of a conversion", _chosen(list(TRAINED), only, _COST), bench.cost),
    )
    for title, names, run in parts:
        if names:
            show(title, run_rows(names, run))
            print(f"\n({machine()})", flush=True)


if __name__ == "__main__":
    main()
