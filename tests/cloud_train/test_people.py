"""Tokens of people, and that nothing secret is ever read where it should not be."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from enrolled_fleet import a_status, enrolled_fleet

from cloud_train.fleet.attempts import Attempts
from cloud_train.fleet.members import By
from cloud_train.fleet.people import People
from cloud_train.fleet_types import Role
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import Database, open_database
from cloud_train.store.people import SqlPeopleStore
from edge.errors import EdgeloopError, RefusedError, RoadError, UsageError
from edge.identity.command import enroll_device
from edge.identity.store import IdentityStore

NOW = 1_700_000_000.0
BY = By(who="person:root", now=NOW)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(open_database(tmp_path / "meta.sqlite")) as opened:
        yield opened


@pytest.fixture
def people(database: Database) -> People:
    return People(SqlPeopleStore(database), SqlAuditLog(database), attempts=Attempts(at_once=3, refill_s=10))


def add(people: People, name: str = "anna", role: Role = Role.OPERATOR) -> str:
    return people.add(name, role, BY, random_bytes=secrets.token_bytes)


def test_a_token_says_who_somebody_is_until_it_is_revoked(people: People, database: Database) -> None:
    token, other = add(people), add(people, "bob", Role.VIEWER)
    found = people.authenticate(token, now=NOW)
    assert found is not None
    assert (found.name, found.role) == ("anna", Role.OPERATOR)
    people.revoke("anna", By(who="person:root", now=NOW + 1))
    assert people.authenticate(token, now=NOW + 2, peer="192.0.2.7") is None
    assert people.authenticate(other, now=NOW + 2) is not None
    rows = SqlAuditLog(database).newest(action="people.refused")
    assert [(row.who, row.subject, row.detail) for row in rows] == [
        ("peer:192.0.2.7", "person:anna", {"reason": "revoked"})
    ]
    assert [row.action for row in reversed(SqlAuditLog(database).about("person:anna"))] == [
        "people.added",
        "people.revoked",
        "people.refused",
    ]


@pytest.mark.parametrize("token", ["", "edgeloop_", "x" * 100_000, "ä\udce4", "'; drop table people; --", "\x00"])
def test_whatever_else_comes_as_a_token_is_nobodys(people: People, token: str) -> None:
    add(people)
    assert people.authenticate(token, now=NOW) is None


def test_a_token_differs_from_another_in_any_character(people: People) -> None:
    token = add(people)
    for position in (0, 9, 40, 72):
        wrong = token[:position] + ("0" if token[position] != "0" else "1") + token[position + 1 :]
        assert people.authenticate(wrong, now=NOW, peer=f"10.0.0.{position}") is None
    assert people.authenticate(token + "0", now=NOW, peer="10.0.1.1") is None
    assert people.authenticate(token[:-1], now=NOW, peer="10.0.1.2") is None


def test_an_address_that_is_wrong_too_often_waits(people: People) -> None:
    token = add(people)
    for _ in range(3):
        assert people.authenticate("wrong", now=NOW, peer="192.0.2.7:1") is None
    with pytest.raises(RoadError, match="too many failed attempts"):
        people.authenticate(token, now=NOW, peer="192.0.2.7:2")
    assert people.authenticate(token, now=NOW, peer="192.0.2.8:1") is not None
    assert people.authenticate(token, now=NOW + 10, peer="192.0.2.7:2") is not None


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a'; drop", "x" * 65, "a\nb", "ann\x00"])
def test_names_that_are_none_are_refused(people: People, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a person"):
        add(people, name)
    assert people.all() == ()


def test_nothing_secret_is_in_the_database_in_logs_in_errors_or_in_what_is_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Codes, tokens and keys, each used rightly and wrongly; then everything that was written anywhere is searched."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    with enrolled_fleet(tmp_path / "store") as fleet:
        token = fleet.people.add("anna", Role.ADMIN, fleet.by(), random_bytes=secrets.token_bytes)
        told, spare = fleet.file("till-1"), fleet.file("till-2")
        identity, _ = enroll_device(tmp_path / "home", told)
        for failing in (
            lambda: enroll_device(tmp_path / "again", told),
            lambda: enroll_device(tmp_path / "odd", spare.__class__(**{**fields(spare), "device_id": "till-9"})),
            lambda: fleet.people.authenticate(token[:-1] + "x", now=NOW),
        ):
            try:
                failing()
            except EdgeloopError as error:
                said += [str(error), repr(error), repr(error.__cause__)]
        with fleet.road(identity) as road:
            road.check_in(a_status("till-1"))
        fleet.members.revoke("till-1", fleet.audit.newest()[0])
        with fleet.road(identity) as road, pytest.raises(RefusedError) as caught:
            road.check_in(a_status("till-1"))
        said += [str(caught.value), repr(caught.value.__cause__)]
        said += [repr(value) for value in (told, spare, identity, *fleet.people.all(), fleet.members.members())]
        said += [repr(row) for row in fleet.audit.newest()]
        said += [repr(fleet.members.code(row["code_hash"])) for row in codes(tmp_path / "store")]
    printed = capfd.readouterr()
    said += [caplog.text, printed.out, printed.err, dump(tmp_path / "store" / "meta.sqlite")]
    everything = "\n".join(said)
    ca_key = (tmp_path / "store" / "ca" / "ca.key.pem").read_text()
    hidden = [told.code, spare.code, token, *lines_of(identity.key_pem), *lines_of(ca_key)]
    hidden += [code.replace("-", "") for code in (told.code, spare.code)] + ["PRIVATE KEY"]
    assert [word for word in hidden if word in everything] == []
    assert "till-1" in everything, "the search looks where something is"


def test_a_damaged_identity_shows_none_of_its_key(tmp_path: Path) -> None:
    with enrolled_fleet(tmp_path / "store") as fleet:
        identity = fleet.enrol(tmp_path / "home", "till-1")
    file = tmp_path / "home" / "identity" / "identity.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    for damaged in (file.read_bytes()[:-20], file.read_bytes().replace(b'"device_id"', b'"x"')):
        file.write_bytes(damaged)
        with pytest.raises(EdgeloopError, match="is damaged") as caught:
            IdentityStore(tmp_path / "home").read()
        text = f"{caught.value!r} {caught.value.__cause__!r}"
        assert not [line for line in lines_of(identity.key_pem) if line in text]


def lines_of(pem: str) -> list[str]:
    """The lines of a key that are its own."""
    return [line for line in pem.splitlines() if len(line) > 20 and "-----" not in line]


def fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def codes(store: Path) -> list[sqlite3.Row]:
    with contextlib.closing(sqlite3.connect(store / "meta.sqlite")) as meta:
        meta.row_factory = sqlite3.Row
        return meta.execute("SELECT code_hash FROM enrolment_codes").fetchall()


def dump(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as meta:
        return "\n".join(meta.iterdump())
