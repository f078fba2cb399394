"""Markdown tables of figures with their targets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        what: What was measured.
        figures: The figures, ready to print.
        target: What the figure shall be, in words; empty where it is only reported.
        met: Whether it is; None where there is no target, or no figure.
        note: The reason of a figure that is missing.
    """

    what: str
    figures: str
    target: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `missed: …`, or the note."""
        if self.met is None:
            return self.note or "reported"
        return "met" if self.met else f"missed{': ' + self.note if self.note else ''}"


def show(title: str, rows: list[Row]) -> None:
    """Prints a table under its title."""
    print(f"\n{title}\n")
    print("| what | figures | target | |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.figures} | {row.target or 'none'} | {row.verdict} |")
