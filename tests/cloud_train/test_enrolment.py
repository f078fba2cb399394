"""Codes, wrong codes and names: what `Enroll` and `Renew` decide, without a wire."""

from __future__ import annotations

import contextlib
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_train.errors import ForbiddenError, UnknownCallerError
from cloud_train.fleet import members
from cloud_train.fleet.attempts import Attempts, site_of
from cloud_train.fleet.authority import create_authority
from cloud_train.fleet.codes import CODE_BITS, hash_of_code, new_code, new_token
from cloud_train.fleet.enrolment import MAX_RENEWALS, Enrolments
from cloud_train.fleet.members import By
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import open_database
from cloud_train.store.members import SqlFleetStore
from edge.errors import FormatError, RoadError, UsageError
from edge.identity import request

NOW = 1_700_000_000.0
PEER = "ipv4:192.0.2.7:4711"
BY = By(who="person:ann", now=NOW)


class Bench:
    """A fleet on a disk, without a server."""

    def __init__(self, folder: Path) -> None:
        self.database = open_database(folder / "meta.sqlite")
        self.fleet = SqlFleetStore(self.database)
        self.audit = SqlAuditLog(self.database)
        authority = create_authority(folder / "ca", "a fleet", NOW)
        self.enrolments = Enrolments(self.fleet, self.audit, authority, new_name=lambda: "device-1")
        self.csr = request.signing_request(request.new_key())

    def code(self, **told: object) -> str:
        return members.make_codes(self.fleet, BY, random_bytes=secrets.token_bytes, **told)[0].code

    def enroll(self, code: str, wished: str = "", *, csr: bytes | None = None, now: float = NOW + 1, peer: str = PEER):
        return self.enrolments.enroll(code, wished, csr or self.csr, peer=peer, now=now)

    def refusals(self) -> list[tuple[str, str]]:
        return [(row.who, row.detail["reason"]) for row in reversed(self.audit.newest(action="enrol.refused"))]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with contextlib.closing(made.database):
        yield made


def another_csr() -> bytes:
    return request.signing_request(request.new_key())


def test_a_code_is_long_and_can_be_read_aloud() -> None:
    codes = {new_code(secrets.token_bytes) for _ in range(200)}
    assert len(codes) == 200
    assert CODE_BITS >= 128
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}", code) for code in codes)


@given(st.binary(min_size=18, max_size=18))
def test_a_code_may_be_written_down_in_many_ways(chance: bytes) -> None:
    code = new_code(lambda size: chance[:size])
    careless = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert hash_of_code(careless) == hash_of_code(f"  {code}\n") == hash_of_code(code)


@given(st.binary(min_size=18, max_size=18), st.integers(min_value=0, max_value=139))
def test_every_bit_of_a_code_counts(chance: bytes, bit: int) -> None:
    other = (int.from_bytes(chance) ^ (1 << (143 - bit))).to_bytes(18)
    assert new_code(lambda size: chance) != new_code(lambda size: other)


@given(st.text(max_size=400))
def test_whatever_is_given_as_a_code_has_a_hash(text: str) -> None:
    assert re.fullmatch("[0-9a-f]{64}", hash_of_code(text))


def test_a_token_shows_what_it_is() -> None:
    assert re.fullmatch("edgeloop_[0-9a-f]{64}", new_token(secrets.token_bytes))


def test_unknown_expired_and_used_codes_get_one_answer_and_the_audit_says_which(bench: Bench) -> None:
    used, expired = bench.code(), bench.code(hours=1)
    bench.enroll(used, "a")
    answers = set()
    for code, now in ((used, NOW + 2), ("WRONG", NOW + 3), (expired, NOW + 3601)):
        with pytest.raises(UnknownCallerError) as caught:
            bench.enroll(code, csr=another_csr(), now=now)
        answers.add(str(caught.value))
    assert len(answers) == 1
    assert bench.refusals() == [
        (f"peer:{PEER}", "used code"),
        (f"peer:{PEER}", "unknown code"),
        (f"peer:{PEER}", "expired code"),
    ]


def test_a_lost_answer_does_not_burn_the_code(bench: Bench) -> None:
    code = bench.code()
    first, second = bench.enroll(code), bench.enroll(code)
    assert first.device_id == second.device_id == "device-1"
    assert first.certificate_pem != second.certificate_pem


def test_a_name_that_cannot_be_had_leaves_the_code_good(bench: Bench) -> None:
    members.register(bench.fleet, BY, "taken", labels={})
    free, named = bench.code(), bench.code(device_id="till-1")
    with pytest.raises(ForbiddenError, match="'taken' is taken"):
        bench.enroll(free, "taken")
    with pytest.raises(ForbiddenError, match="another device than 'till-2'"):
        bench.enroll(named, "till-2")
    assert bench.enroll(free, "free").device_id == "free"
    assert bench.enroll(named, csr=another_csr()).device_id == "till-1"


@pytest.mark.parametrize("name", ["../x", ".", "..", "-x", "a b", "a;drop", "x" * 65, "a/b", "ä"])
def test_names_that_could_be_paths_or_words_of_another_language_are_refused(bench: Bench, name: str) -> None:
    with pytest.raises(FormatError, match="device_id"):
        bench.enroll(bench.code(), name)
    with pytest.raises(FormatError, match="device_id"):
        bench.code(device_id=name)
    with pytest.raises(FormatError, match="device_id"):
        members.register(bench.fleet, BY, name, labels={})
    assert bench.fleet.members() == ()


def test_a_request_that_makes_no_sense_leaves_the_code_good(bench: Bench) -> None:
    code = bench.code()
    with pytest.raises(FormatError):
        bench.enroll(code, csr=b"-----BEGIN nothing")
    bench.enroll(code)


def test_an_address_that_is_wrong_too_often_waits_and_others_do_not(bench: Bench) -> None:
    good = bench.code()
    for _ in range(10):
        with pytest.raises(UnknownCallerError):
            bench.enroll("WRONG")
    with pytest.raises(RoadError, match="too many failed attempts") as caught:
        bench.enroll(good)
    assert caught.value.retry_after_s == pytest.approx(6.0)
    assert len(bench.refusals()) == 10, "who is made to wait fills no audit"
    assert bench.enroll(good, peer="ipv4:192.0.2.8:1").device_id == "device-1"
    bench.enroll(good, now=NOW + 8)


def test_failures_are_counted_by_address_and_forgiven_in_time() -> None:
    attempts = Attempts(at_once=2, refill_s=10)
    for _ in range(2):
        attempts.check("ipv4:192.0.2.1:1", 0.0)
        attempts.failed("ipv4:192.0.2.1:2", 0.0)
    with pytest.raises(RoadError):
        attempts.check("ipv4:192.0.2.1:3", 9.0)
    attempts.check("ipv4:192.0.2.1:3", 10.0)
    for number in range(5000):
        attempts.failed(f"ipv4:10.{number // 250}.{number % 250}.1:1", 20.0)
    assert len(attempts._failures) == 4096, "however many addresses there are"


@pytest.mark.parametrize(
    ("peer", "site"),
    [
        ("ipv4:192.0.2.7:4711", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:80", "192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4711", "2001:db8:1:2::"),
        ("ipv6:[2001:db8:1:2::9]:1", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("unix:/x", "unix:/x"),
        ("", ""),
    ],
)
def test_an_address_counts_without_its_port(peer: str, site: str) -> None:
    assert site_of(peer) == site


def test_renewal_keeps_the_name_and_has_an_end(bench: Bench) -> None:
    bench.enroll(bench.code(), "a")
    for number in range(MAX_RENEWALS - 1):
        assert bench.enrolments.renew("a", another_csr(), now=NOW + 2 + number).device_id == "a"
    with pytest.raises(RoadError, match="too many new certificates"):
        bench.enrolments.renew("a", another_csr(), now=NOW + 100)
    bench.enrolments.renew("a", another_csr(), now=NOW + 4000)


def test_who_is_revoked_between_the_door_and_the_desk_gets_no_certificate(bench: Bench) -> None:
    bench.enroll(bench.code(), "a")
    members.revoke(bench.fleet, By(who="person:ann", now=NOW + 2), "a")
    with pytest.raises(ForbiddenError, match="'a' was revoked"):
        bench.enrolments.renew("a", another_csr(), now=NOW + 3)
    assert len(bench.fleet.certificates("a")) == 1


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"hours": 0.0}, "cannot last 0 hours"),
        ({"hours": 1e9}, "cannot last"),
        ({"hours": float("nan")}, "cannot last"),
        ({"count": 0}, "cannot make 0 codes"),
        ({"count": 10_001}, "cannot make 10001 codes"),
        ({"channel": "../x"}, "is no channel"),
        ({"labels": {"A b": "1"}}, "name of a label"),
        ({"labels": {"a": "'; drop table members"}}, "value of label"),
        ({"labels": {f"l{number}": "1" for number in range(33)}}, "33 labels are too many"),
    ],
)
def test_codes_that_make_no_sense_are_not_made(bench: Bench, told: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bench.code(**told)
    assert bench.audit.newest() == ()


def test_many_codes_give_numbered_names(bench: Bench) -> None:
    made = members.make_codes(bench.fleet, BY, random_bytes=secrets.token_bytes, device_id="till", count=3)
    assert [one.record.device_id for one in made] == ["till-1", "till-2", "till-3"]
    assert len({one.code for one in made}) == 3


_USE = """
import sys, time
from pathlib import Path
from cloud_train.fleet.authority import open_authority
from cloud_train.fleet.enrolment import Enrolments
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import open_database
from cloud_train.store.members import SqlFleetStore
from edge.identity import request
folder, code = Path(sys.argv[1]), sys.argv[2]
database = open_database(folder / "meta.sqlite")
fleet, audit, authority = SqlFleetStore(database), SqlAuditLog(database), open_authority(folder / "ca")
enrolments = Enrolments(fleet, audit, authority, new_name=lambda: f"device-{sys.argv[3]}")
csr = request.signing_request(request.new_key())
print("ready", flush=True)
sys.stdin.readline()
try:
    print(enrolments.enroll(code, "", csr, peer="", now=float(sys.argv[4])).device_id)
except Exception as error:
    print(type(error).__name__)
"""


def test_of_two_processes_that_use_a_code_at_once_one_gets_in(bench: Bench, tmp_path: Path, repository: Path) -> None:
    code = bench.code()
    lines = [[sys.executable, "-c", _USE, tmp_path, code, str(number), str(NOW + 1)] for number in (1, 2)]
    running = [
        subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository)
        for line in lines
    ]
    assert [process.stdout.readline() for process in running] == ["ready\n", "ready\n"]
    with ThreadPoolExecutor(2) as pool:
        said = sorted(
            out.strip() for out, _ in pool.map(lambda process: process.communicate("go\n", timeout=60), running)
        )
    assert said[0] == "UnknownCallerError"
    assert said[1] in ("device-1", "device-2")
    assert len(bench.fleet.members()) == 1
