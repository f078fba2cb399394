"""What every `FleetStore` and `PeopleStore` promises."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_train.errors import UnknownDeviceError, UnknownPersonError
from cloud_train.fleet_types import AuditEntry, CertificateRecord, EnrolmentCode, Member, Person, Role
from cloud_train.store.admission import Admission, Verdict
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import Database, open_database
from cloud_train.store.members import FleetStore, MemberChange, SqlFleetStore
from cloud_train.store.people import PeopleStore, SqlPeopleStore
from edge.errors import UsageError


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "meta.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def database(where: Path | str) -> Iterator[Database]:
    with contextlib.closing(open_database(where)) as opened:
        yield opened


@pytest.fixture
def fleet(database: Database) -> FleetStore:
    return SqlFleetStore(database)


@pytest.fixture
def people(database: Database) -> PeopleStore:
    return SqlPeopleStore(database)


def entry(at: float = 50.0, action: str = "test.done") -> AuditEntry:
    return AuditEntry(at=at, who="person:ann", action=action, subject="fleet")


def code(number: int = 1, **changes: object) -> EnrolmentCode:
    plain = EnrolmentCode(code_hash=f"{number:064x}", made_by="person:ann", made_at=10.0, expires_at=100.0)
    return dataclasses.replace(plain, **changes)


def certificate(number: int, device_id: str = "a", **changes: object) -> CertificateRecord:
    record = CertificateRecord(fingerprint=f"{number:064x}", device_id=device_id, issued_at=number, not_after=1000.0)
    return dataclasses.replace(record, **changes)


def admission(number: int = 1, device_id: str = "a", *, key: str = "k1", now: float = 50.0, cert: int = 1) -> Admission:
    return Admission(
        code_hash=f"{number:064x}", key_hash=key, device_id=device_id, certificate=certificate(cert, device_id), now=now
    )


def actions(database: Database) -> list[str]:
    return [row.action for row in reversed(SqlAuditLog(database).newest())]


def test_a_code_lets_one_device_in_with_what_it_gives(fleet: FleetStore, database: Database) -> None:
    fleet.add_codes((code(device_id="a", labels={"store": "17"}, channel="beta"),), entry())
    assert fleet.admit(admission(), entry(action="enrol.admitted")) is Verdict.ADMITTED
    assert fleet.member("a") == Member(device_id="a", labels={"store": "17"}, channel="beta", enrolled_at=50.0)
    used = fleet.code(f"{1:064x}")
    assert used is not None
    assert (used.used_at, used.used_by, used.used_key) == (50.0, "a", "k1")
    assert fleet.certificates("a") == (certificate(1),)
    speaker = fleet.speaker(f"{1:064x}")
    assert speaker is not None
    assert (speaker.device_id, speaker.not_after, speaker.is_shut_out) == ("a", 1000.0, False)
    assert actions(database) == ["test.done", "enrol.admitted"]


REFUSALS = {
    "an unknown code": (None, admission(), Verdict.UNKNOWN_CODE),
    "an expired code": (code(), admission(now=100.0), Verdict.EXPIRED_CODE),
    "a code for another name": (code(device_id="b"), admission(), Verdict.OTHER_NAME),
    "a used code and another key": (
        code(used_at=20.0, used_by="a", used_key="other"),
        admission(),
        Verdict.USED_CODE,
    ),
    "a used code and another name": (
        code(used_at=20.0, used_by="c", used_key="k1"),
        admission(),
        Verdict.USED_CODE,
    ),
    "a used code whose member has gone": (
        code(used_at=20.0, used_by="a", used_key="k1"),
        admission(),
        Verdict.REVOKED,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_lets_nobody_in_changes_nothing(fleet: FleetStore, database: Database, name: str) -> None:
    known, asked, verdict = REFUSALS[name]
    fleet.add_codes((known,) if known else (), entry())
    assert fleet.admit(asked, entry(action="enrol.admitted")) is verdict
    assert (fleet.members(), fleet.certificates("a"), fleet.speaker(f"{1:064x}")) == ((), (), None)
    assert fleet.code(f"{1:064x}") == known
    assert actions(database) == ["test.done"]


def test_a_code_without_a_name_takes_nobodys(fleet: FleetStore) -> None:
    fleet.register(None, Member(device_id="a"), entry())
    fleet.add_codes((code(),), entry())
    assert fleet.admit(admission(), entry()) is Verdict.NAME_TAKEN
    assert fleet.admit(admission(device_id="b"), entry()) is Verdict.ADMITTED, "the code stays good"


def test_the_same_key_may_use_its_code_again_while_it_lasts(fleet: FleetStore) -> None:
    fleet.add_codes((code(),), entry())
    fleet.admit(admission(), entry())
    assert fleet.admit(admission(cert=2, now=99.0), entry()) is Verdict.ADMITTED
    assert fleet.admit(admission(cert=3, now=100.0), entry()) is Verdict.EXPIRED_CODE
    assert [one.revoked_at for one in fleet.certificates("a")] == [None, None]


def test_a_code_for_a_member_changes_its_key_and_keeps_what_people_decided(fleet: FleetStore) -> None:
    fleet.add_codes((code(1, device_id="a", labels={"x": "1"}), code(2, device_id="a", labels={"y": "2"})), entry())
    fleet.admit(admission(1), entry())
    fleet.change("a", MemberChange(pinned="ab" * 32, held=True, channel="beta"), entry())
    assert fleet.admit(admission(2, key="k2", cert=2, now=60.0), entry()) is Verdict.ADMITTED
    member = fleet.member("a")
    assert member is not None
    assert (member.labels, member.pinned, member.held, member.channel) == (
        {"x": "1", "y": "2"},
        "ab" * 32,
        True,
        "beta",
    )
    assert [one.revoked_at for one in fleet.certificates("a")] == [None, 60.0]
    assert fleet.shut_out((f"{1:064x}", f"{2:064x}", f"{9:064x}")) == {f"{1:064x}", f"{9:064x}"}
    assert fleet.admit(admission(1, cert=3), entry()) is Verdict.EXPIRED_CODE, "the older key does not come back"


def test_revoking_shuts_out_certificates_and_codes_until_somebody_readmits(fleet: FleetStore) -> None:
    fleet.add_codes((code(1, device_id="a"), code(2, device_id="a"), code(3)), entry())
    fleet.admit(admission(1), entry())
    fleet.revoke("a", entry(at=55.0))
    member = fleet.member("a")
    assert member is not None
    assert member.revoked_at == 55.0
    speaker = fleet.speaker(f"{1:064x}")
    assert speaker is not None
    assert speaker.is_shut_out
    assert fleet.shut_out([f"{1:064x}"]) == {f"{1:064x}"}
    assert fleet.admit(admission(1, cert=2, now=56.0), entry()) is Verdict.EXPIRED_CODE
    assert fleet.admit(admission(2, cert=2, now=56.0), entry()) is Verdict.EXPIRED_CODE
    assert fleet.add_certificate(certificate(4), entry()) is False
    assert len(fleet.certificates("a")) == 1
    fleet.readmit("a", entry(at=57.0))
    assert fleet.shut_out([f"{1:064x}"]) == frozenset()
    assert fleet.add_certificate(certificate(4), entry()) is True


def test_a_code_that_was_made_after_the_revocation_lets_in_again(fleet: FleetStore) -> None:
    fleet.register(certificate(1), Member(device_id="a"), entry())
    fleet.revoke("a", entry(at=55.0))
    fleet.add_codes((code(3, device_id="a"),), entry())
    assert fleet.admit(admission(3, key="k3", cert=3, now=60.0), entry()) is Verdict.ADMITTED
    assert fleet.shut_out([f"{1:064x}", f"{3:064x}"]) == {f"{1:064x}"}


def test_of_many_that_use_a_code_at_once_one_gets_in(fleet: FleetStore, where: Path | str) -> None:
    fleet.add_codes((code(),), entry())

    def use(number: int) -> Verdict:
        with contextlib.closing(open_database(where)) as own:
            return SqlFleetStore(own).admit(admission(device_id=f"d{number}", key=f"k{number}", cert=number), entry())

    with ThreadPoolExecutor(6) as pool:
        verdicts = list(pool.map(use, range(1, 7)))
    assert sorted(verdicts, key=lambda one: one.value) == [Verdict.ADMITTED, *[Verdict.USED_CODE] * 5]
    assert len(fleet.members()) == 1


def test_changes_touch_only_what_they_name(fleet: FleetStore) -> None:
    fleet.register(None, Member(device_id="a", labels={"x": "1"}, channel="beta", enrolled_at=1.0), entry())
    assert fleet.change("a", MemberChange(held=True), entry()).held
    assert fleet.change("a", MemberChange(pinned="cd" * 32), entry()).held
    assert fleet.change("a", MemberChange(held=False, labels={}), entry()) == Member(
        device_id="a", channel="beta", enrolled_at=1.0, pinned="cd" * 32
    )
    assert fleet.change("a", MemberChange(), entry()).channel == "beta"
    assert fleet.change("a", MemberChange(update_windows="22:00-06:00"), entry()).update_windows == "22:00-06:00"


def test_a_device_that_nobody_let_in_cannot_be_changed(fleet: FleetStore, database: Database) -> None:
    for act in (
        lambda: fleet.change("nobody", MemberChange(held=True), entry()),
        lambda: fleet.revoke("nobody", entry()),
        lambda: fleet.readmit("nobody", entry()),
    ):
        with pytest.raises(UnknownDeviceError, match="nobody"):
            act()
    assert actions(database) == [], "what did not happen is not written down"


def test_members_come_by_name_and_by_channel(fleet: FleetStore) -> None:
    for name, channel in (("b", "x"), ("a", "x"), ("c", "")):
        fleet.register(None, Member(device_id=name, channel=channel), entry())
    assert [one.device_id for one in fleet.members()] == ["a", "b", "c"]
    assert [one.device_id for one in fleet.members(channel="x")] == ["a", "b"]
    assert [one.device_id for one in fleet.members(channel="")] == ["c"]


def test_a_brought_certificate_speaks_for_one_device_alone(fleet: FleetStore) -> None:
    fleet.register(certificate(1), Member(device_id="a"), entry())
    fleet.register(certificate(2), Member(device_id="a", labels={"lost": "yes"}), entry())
    member = fleet.member("a")
    assert member is not None
    assert member.labels == {}, "somebody who is there stays as they are"
    assert len(fleet.certificates("a")) == 2
    with pytest.raises(UsageError, match="speaks for 'a'"):
        fleet.register(certificate(1, "b"), Member(device_id="b"), entry())
    assert fleet.member("b") is None


def test_many_certificates_are_looked_up_together(fleet: FleetStore) -> None:
    for number in range(3):
        fleet.register(certificate(number, f"d{number}"), Member(device_id=f"d{number}"), entry())
    asked = [f"{number:064x}" for number in range(1200)]
    assert fleet.shut_out(asked) == frozenset(asked[3:])


SECOND = "t2"


def person(name: str = "ann", token: str = "t1", role: Role = Role.OPERATOR) -> Person:  # noqa: S107
    return Person(name=name, role=role, token_hash=token.ljust(64, "0"), made_at=5.0)


def test_people_are_found_by_their_token(people: PeopleStore) -> None:
    people.add(person(), entry())
    people.add(person("bob", "t2", Role.VIEWER), entry())
    assert people.by_token("t2".ljust(64, "0")) == person("bob", "t2", Role.VIEWER)
    assert people.by_token("t3".ljust(64, "0")) is None
    assert [one.name for one in people.all()] == ["ann", "bob"]


def test_a_name_has_one_token_and_a_new_one_after_the_old_was_revoked(people: PeopleStore, database: Database) -> None:
    people.add(person(), entry())
    with pytest.raises(UsageError, match="'ann' has a token already"):
        people.add(person(token=SECOND), entry())
    people.revoke("ann", entry(at=70.0))
    found = people.by_token("t1".ljust(64, "0"))
    assert found is not None
    assert found.revoked_at == 70.0
    for name in ("ann", "nobody"):
        with pytest.raises(UnknownPersonError, match=name):
            people.revoke(name, entry())
    people.add(person(token=SECOND, role=Role.ADMIN), entry())
    assert people.by_token("t1".ljust(64, "0")) is None
    assert people.all() == (person(token=SECOND, role=Role.ADMIN),)
    assert len(actions(database)) == 3


def test_what_was_written_is_there_after_reopening(fleet: FleetStore, where: Path | str) -> None:
    fleet.add_codes((code(labels={"größe": "x"}),), entry())
    fleet.admit(admission(), entry())
    with contextlib.closing(open_database(where)) as again:
        assert SqlFleetStore(again).member("a") == fleet.member("a")
