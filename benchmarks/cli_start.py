"""`edgeloop device --help` against a bare command line of click's.

python -m benchmarks.cli_start [--runs 30]
"""

from __future__ import annotations

import click

from benchmarks.cold_start import SCRIPTS
from benchmarks.installed import installed_python
from benchmarks.once import OneShot, run_in_turn, times_as_long
from benchmarks.table import Row, show

MOST = 2.0
EDGE, BARE = "edgeloop", "bare click"
TITLE = "command line: edgeloop device --help"


def measure(*, runs: int) -> list[Row]:
    """The one row."""
    python = installed_python()
    edge = (python.parent / "edgeloop", "device", "--help")
    bare = (python, SCRIPTS / "bare_click.py", "device", "--help")
    found = run_in_turn([OneShot(name=EDGE, command=edge, runs=runs), OneShot(name=BARE, command=bare, runs=runs)])
    slower = times_as_long(found[EDGE], found[BARE])
    return [
        Row(
            what="edgeloop device --help",
            figures=f"{found[EDGE].median_ms:.0f} against {found[BARE].median_ms:.0f} ms: {slower:.2f}",
            target=f"≤ {MOST:.0f} times",
            met=slower <= MOST,
        )
    ]


@click.command()
@click.option("--runs", default=30, show_default=True, help="Starts of each.")
def main(runs: int) -> None:
    """Prints the table."""
    show(TITLE, measure(runs=runs))


if __name__ == "__main__":
    main()
