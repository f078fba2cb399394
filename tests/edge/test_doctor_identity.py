"""What the doctor says of a device's identity."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from doctor_subjects import make_subject

from edge.doctor.identity import examine_identity
from edge.doctor.types import State
from edge.identity.store import IdentityStore
from edge.identity.types import Identity

DAY_S = 86_400.0
BEGIN = 1_700_000_000.0
IDENTITY = Identity(
    device_id="till-7",
    key_pem="a secret key",
    certificate_pem="c",
    authority_pem="a",
    server="fleet:7443",
    not_before=BEGIN,
    not_after=BEGIN + 90 * DAY_S,
)


@pytest.mark.parametrize(
    ("day", "state", "words"),
    [
        (10, State.OK, ("till-7", "good until 2024-02-12")),
        (59, State.OK, ("good until",)),
        (61, State.WARN, ("should have been renewed", "let the agent reach its server")),
        (91, State.FAIL, ("expired on 2024-02-12", "--replace")),
        (-1, State.FAIL, ("its clock has not reached", "set the clock")),
    ],
)
def test_how_long_a_certificate_lasts_is_said(tmp_path: Path, day: float, state: State, words: tuple[str, ...]) -> None:
    subject = make_subject(tmp_path, now=BEGIN + day * DAY_S)
    IdentityStore(subject.settings.home).write(IDENTITY)
    (found,) = examine_identity(subject)
    assert found.state is state
    for word in words:
        assert word in f"{found.detail} {found.fix}"
    assert "secret" not in f"{found.detail} {found.fix}"


def test_a_brought_certificate_is_somebody_elses_to_renew(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, now=BEGIN + 80 * DAY_S)
    IdentityStore(subject.settings.home).write(dataclasses.replace(IDENTITY, is_brought=True))
    (found,) = examine_identity(subject)
    assert (found.state, found.fix) == (State.WARN, "bring the next one")


def test_a_device_that_was_never_enrolled_has_none(tmp_path: Path) -> None:
    (found,) = examine_identity(make_subject(tmp_path))
    assert (found.state, "never enrolled" in found.detail) == (State.SKIPPED, True)


def test_a_damaged_identity_is_told_without_its_key(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    IdentityStore(subject.settings.home).write(IDENTITY)
    file = subject.settings.home / "identity" / "identity.json"
    file.write_bytes(file.read_bytes()[:-9])
    (found,) = examine_identity(subject)
    assert found.state is State.FAIL
    assert "is damaged" in found.detail
    assert "--replace" in found.fix
    assert "secret" not in f"{found.detail} {found.fix}"
