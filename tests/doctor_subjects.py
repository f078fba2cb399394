"""Devices to be examined: their home, and what their kernel says, in folders of a test."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from edge import jsonvalue
from edge.bundle.reader import open_bundle
from edge.doctor.types import Finding, State, Subject
from edge.settings import AgentSettings
from edge.update.types import Slot, SlotState

MEMINFO = "MemTotal:        3885396 kB\nMemFree:          901000 kB\nMemAvailable:    {kilobytes} kB\n"


def make_subject(
    folder: Path, *, now: float | None = None, offline: bool = False, is_running: bool = False, **settings: object
) -> Subject:
    """A device whose home is `folder/home` and whose `/proc`, `/sys` and `/run` are looked for in `folder/root`."""
    home = settings.pop("home", folder / "home")
    (folder / "home").mkdir(exist_ok=True)
    return Subject(
        settings=AgentSettings(home=home, **settings),
        offline=offline,
        is_running=is_running,
        now=time.time() if now is None else now,
        root=folder / "root",
    )


def kernel_says(folder: Path, path: str, text: str) -> None:
    """Writes a file of the system."""
    file = folder / "root" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def lay_bundle(home: Path, bundle: Path, *, tested_on: str = "") -> None:
    """Puts a bundle folder into slot a as it is, without any of the tests that an installation makes."""
    shutil.copytree(bundle, home / "bundles" / "a")
    opened = open_bundle(bundle)
    slot = Slot(bundle_digest=opened.digest, version=opened.manifest.version, tested_on=tested_on)
    state = SlotState(slots={"a": slot, "b": Slot()}, active="a")
    (home / "slots.json").write_bytes(jsonvalue.pretty_bytes(state))


def only(findings: tuple[Finding, ...]) -> Finding:
    """The one finding; it is one line, and says what to do exactly where something is wrong."""
    (found,) = findings
    check_form(found)
    return found


def check_form(found: Finding) -> None:
    """What holds of every finding."""
    assert found.detail, found
    assert not {"\n", "\r"} & set(found.detail + found.fix), found
    assert bool(found.fix) or found.state not in (State.WARN, State.FAIL), found
    assert not found.fix or found.state is not State.OK, found
