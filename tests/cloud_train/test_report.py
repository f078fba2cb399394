from __future__ import annotations

import dataclasses
import functools
import io
from pathlib import Path

import pytest
from page_reading import assert_self_contained, data_of, read_page
from PIL import Image
from report_values import LABELS, made_kept, made_story
from rich.console import Console

from cloud_train.evaluation import plots
from cloud_train.evaluation.report import report_html, terminal_table, write_report
from cloud_train.evaluation.story import VersionFacts
from cloud_train.evaluation.wording import control_verdict, summary
from cloud_train.types import Interval
from edge.errors import StorageError

STORY = made_story()
NASTY = ("<script>alert(1)</script>", "a & b \"quoted\" 'single'", "$\\frac{1}{2", "พระเครื่อง", "x" * 80)


@functools.cache
def _page() -> str:
    return report_html(STORY)


def test_nothing_is_ever_fetched() -> None:
    found = read_page(_page())
    assert_self_contained(found, _page())
    pictures = [address for address in found.addresses if address.startswith("data:image/jpeg")]
    assert pictures
    assert all(Image.open(io.BytesIO(data_of(address))).size == (200, 200) for address in pictures)


def test_every_picture_says_what_it_shows() -> None:
    assert all(read_page(_page()).alternatives)


def test_the_figures_are_in_it() -> None:
    words = " ".join(read_page(_page()).words)
    v1, v2 = STORY.v1.report, STORY.v2.report
    for figure in (
        f"{v1.accuracy.value:.1f} ({v1.accuracy.lower:.1f} to {v1.accuracy.upper:.1f})",
        f"{v2.macro_f1:.1f}",
        f"{STORY.gain.value:+.1f} [{STORY.gain.lower:+.1f}, {STORY.gain.upper:+.1f}]",
        "27.6 %",
        "1.50 MB",
        "static_wi8_ai8 was tried and failed: paired drop 3.9 points",
        STORY.command,
        STORY.hardware,
        STORY.answers,
        "jam, mint",
        STORY.chain[-1][1],
        "Version 2 passed.",
    ):
        assert figure in words


def test_the_gallery_shows_at_most_two_dozen() -> None:
    found = read_page(_page())
    assert sum(address.startswith("data:image/jpeg") for address in found.addresses) == 24
    assert "24 of 171 samples" in " ".join(found.words)


def test_the_same_story_gives_the_same_bytes() -> None:
    assert report_html(made_story()) == _page()


def test_names_of_any_kind_are_text() -> None:
    labels = (*LABELS[:3], *NASTY)
    story = made_story(labels=labels, title=NASTY[0], command=NASTY[1], chain=((NASTY[0], NASTY[1]),))
    html = report_html(story)
    assert "<script" not in html
    words = " ".join(read_page(html).words)
    for name in NASTY:
        assert name in words


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(value=3.0, lower=0.5, upper=5.0), "taught more than random ones"),
        (Interval(value=-3.0, lower=-5.0, upper=-0.5), "taught less than random ones"),
        (Interval(value=1.0, lower=-2.0, upper=4.0), "cannot be told from drawing at random"),
    ],
)
def test_the_control_is_told_whichever_way_it_falls(gain: Interval, words: str) -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(terminal_table(dataclasses.replace(STORY, gain_over_control=gain)))
    assert words in console.file.getvalue()


def test_page_and_terminal_say_the_same() -> None:
    words = " ".join(read_page(_page()).words)
    assert summary(STORY) in words
    assert control_verdict(STORY) in words


def test_a_bare_story_still_makes_a_page() -> None:
    bare = dataclasses.replace(
        made_story(control=False),
        unknown_classes=(),
        gate=None,
        kept=(),
        chain=(),
        steps=(),
        v1=VersionFacts(report=STORY.v1.report, num_train=310),
        v2=VersionFacts(report=STORY.v2.report, num_train=452),
        stream=dataclasses.replace(
            STORY.stream,
            captured=0,
            answered=0,
            accepted=0,
            confirmed=0,
            unknown=0,
            kept=0,
            bytes_seen=0,
            bytes_uploaded=0,
        ),
    )
    words = " ".join(read_page(report_html(bare)).words)
    assert "No control with randomly drawn samples was trained" in words
    assert "Gate" not in words
    Console(file=io.StringIO()).print(terminal_table(bare))


def test_a_picture_that_cannot_be_shown_leaves_a_blank() -> None:
    broken = dataclasses.replace(made_kept(1)[0], picture=b"words")
    html = report_html(dataclasses.replace(STORY, kept=(broken,)))
    assert "no picture" in " ".join(read_page(html).words)


def test_eighty_classes_are_cut_and_said_to_be() -> None:
    labels = tuple(f"class {number:02d}" for number in range(81))
    html = report_html(made_story(labels=labels))
    assert "The 40 of 81 classes that changed most." in html
    assert len(html) < 2_000_000


def test_the_file_is_written_whole(tmp_path: Path, durable_points: list[str]) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(STORY, path)
    assert path.read_text() == _page()
    assert durable_points == ["report:before", "report:written", "report:after"]
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*report\.html"):
        write_report(STORY, tmp_path / "report.html")


def test_the_terminal_table() -> None:
    console = Console(width=140, file=io.StringIO())
    console.print(terminal_table(STORY))
    shown = console.file.getvalue()
    v2 = STORY.v2.report.accuracy
    assert f"{v2.value:.1f} ({v2.lower:.1f} to {v2.upper:.1f})" in shown
    assert "v2' (random)" in shown
    assert "171 of 619 (27.6 %)" in shown
    assert "+0.60 (pass)" in shown


def test_markup_in_names_is_not_obeyed_in_the_terminal() -> None:
    console = Console(width=140, file=io.StringIO())
    console.print(terminal_table(dataclasses.replace(STORY, title="[bold]x[/bold] [/]")))
    assert "[bold]x[/bold] [/]" in console.file.getvalue()


def test_decision_shares_add_up() -> None:
    shares = plots.decision_shares(STORY.v1.report.pictures)
    assert sum(shares) == pytest.approx(100)
    right = sum(one.outcome == "accept" and one.predicted == one.truth for one in STORY.v1.report.pictures)
    assert shares[0] == pytest.approx(100 * right / 320)
    assert plots.decision_shares(()) == (0, 0, 0, 0)
