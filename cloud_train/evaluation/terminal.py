"""The end of one turn of the loop in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloud_train.evaluation.plots import artifacts_of
from cloud_train.evaluation.story import LoopStory, StreamFacts
from cloud_train.evaluation.wording import accuracy_rows, control_verdict, percent, summary

if TYPE_CHECKING:
    from rich.table import Table


def terminal_table(story: LoopStory) -> Table:
    """The figures of every version, for `rich.print`."""
    from rich.table import Table
    from rich.text import Text

    said = Text(f"{summary(story)}\n{control_verdict(story)}")
    made = Table(title=Text(story.title), caption=said, caption_justify="left")
    made.add_column("")
    for name, _ in story.versions:
        made.add_column(name, justify="right")
    for row in (*accuracy_rows(story), *_size_rows(story)):
        made.add_row(*(Text(cell) for cell in row))
    made.add_section()
    for row in _stream_rows(story.stream):
        made.add_row(*(Text(cell) for cell in row))
    return made


def _size_rows(story: LoopStory) -> Iterator[tuple[str, ...]]:
    """Two rows a kind of recipe: the size of its file, and what it cost. Versions may differ in their ranges."""
    by_version = [{_kind(one.recipe): one for one in artifacts_of(facts)} for _, facts in story.versions]
    for recipe in dict.fromkeys(recipe for made in by_version for recipe in made):
        found = [made.get(recipe) for made in by_version]
        yield (f"{recipe}: size, kB", *(f"{one.size_bytes / 1e3:,.0f}" if one else "" for one in found))
        drops = (f"{one.drop_points:+.2f} ({one.verdict.value})" if one else "" for one in found)
        yield (f"{recipe}: drop, points", *drops)


def _kind(recipe: str) -> str:
    return "static int8" if recipe.startswith("static_wi8_ai8") else recipe


def _stream_rows(stream: StreamFacts) -> Iterator[tuple[str, str]]:
    """What passed before the device; the first version judged it."""
    yield "frames kept", f"{stream.kept:,} of {stream.judged:,} ({percent(stream.kept, stream.judged)})"
    seen, sent = stream.bytes_seen / 1e6, stream.bytes_uploaded / 1e6
    share = percent(stream.bytes_uploaded, stream.bytes_seen)
    yield "uploaded", f"{sent:.2f} of {seen:.2f} MB ({share})"
    yield "frames dropped", f"{stream.dropped:,} of {stream.captured:,}"
