"""`edgeloop fleet …` and `edgeloop device enroll` as people run them, and what they are told when it is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Finished, ServerProcess, edgeloop

from edge import jsonvalue
from edge.identity.store import IdentityStore
from edge.identity.types import EnrolmentFile

Run = Callable[..., Finished]
DIGEST = "ab" * 32


def test_the_whole_way_of_a_device_with_real_processes(tmp_path: Path) -> None:
    store, home, out = tmp_path / "store", tmp_path / "home", tmp_path / "codes"
    assert edgeloop("fleet", "init", "--store", store, "--host", "localhost").returncode == 0
    with ServerProcess(store, "--tls") as server:
        target, door = (f"localhost:{server.info[name]}" for name in ("port", "enroll_port"))
        made = edgeloop(
            "fleet", "enroll", "--store", store, "--device-id", "till-7", "--label", "store=17", "--channel", "beta",
            "--out", out, "--server", target, "--enroll-server", door,
        )  # fmt: skip
        assert made.stdout == f"wrote {out / 'till-7.enrol.json'}\n"
        assert (out / "till-7.enrol.json").stat().st_mode & 0o777 == 0o600
        enrolled = edgeloop("device", "enroll", out / "till-7.enrol.json", "--home", home)
        assert enrolled.stdout == "enrolled as till-7\n", enrolled.stderr
        again = edgeloop("device", "enroll", out / "till-7.enrol.json", "--home", home)
        assert again.stdout == "already enrolled as till-7\n"
        doctor = edgeloop("device", "doctor", "--home", home)
        assert f"{target} answers (TLS)" in doctor.stdout
        assert "till-7, its certificate is good until" in doctor.stdout
        assert edgeloop("fleet", "revoke", "--store", store, "till-7").returncode == 0
        doctor = edgeloop("device", "doctor", "--home", home)
        assert "'till-7' was revoked" in doctor.stdout
        stolen = edgeloop("device", "enroll", out / "till-7.enrol.json", "--home", tmp_path / "thief")
        assert stolen.returncode == 1
        assert "this enrolment code is not good" in stolen.stderr
        assert not (tmp_path / "thief" / "identity" / "identity.json").exists()
    identity = IdentityStore(home).read()
    assert identity is not None
    assert (identity.channel, identity.server) == ("beta", target)


@pytest.fixture
def store(tmp_path: Path, run_here: Run) -> Path:
    folder = tmp_path / "store"
    assert run_here("fleet", "register", "--store", folder, "--device-id", "till-1").returncode == 0
    return folder


def line(run_here: Run, store: Path) -> str:
    return run_here("fleet", "list", "--store", store).stdout.strip()


def test_what_people_decide_is_written_down(store: Path, run_here: Run) -> None:
    for words in (
        ("label", "till-1", "store=17", "city=Kiel"),
        ("label", "till-1", "--remove", "city"),
        ("channel", "till-1", "beta"),
        ("pin", "till-1", DIGEST),
        ("hold", "till-1"),
        ("windows", "till-1", "22:00-06:00"),
        ("revoke", "till-1"),
    ):
        done = run_here("fleet", words[0], "--store", store, *words[1:])
        assert (done.returncode, done.stderr) == (0, "")
    found = line(run_here, store)
    assert found.startswith(f"till-1 channel=beta store=17 pinned={DIGEST[:12]} held windows=22:00-06:00 REVOKED ")
    for words in (
        ("readmit", "till-1"),
        ("hold", "till-1", "--off"),
        ("pin", "till-1", "--off"),
        ("windows", "till-1", ""),
        ("channel", "till-1", ""),
    ):
        assert run_here("fleet", words[0], "--store", store, *words[1:]).returncode == 0
    assert line(run_here, store) == "till-1 channel=(server) store=17"
    shown = json.loads(run_here("fleet", "show", "--store", store, "till-1", "--json").stdout)
    assert [entry["action"] for entry in reversed(shown["audit"])] == [
        "device.registered", "device.labelled", "device.labelled", "device.channel", "device.pinned", "device.held",
        "device.windows", "device.revoked", "device.readmitted", "device.released", "device.pinned", "device.windows",
        "device.channel",
    ]  # fmt: skip
    assert all(entry["who"].startswith("person:") for entry in shown["audit"])


def test_devices_are_listed_by_channel_and_label(store: Path, run_here: Run) -> None:
    run_here("fleet", "register", "--store", store, "--device-id", "till-2", "--label", "store=17")
    run_here("fleet", "channel", "--store", store, "till-1", "beta")
    assert run_here("fleet", "list", "--store", store, "--channel", "beta").stdout.split()[0] == "till-1"
    assert run_here("fleet", "list", "--store", store, "--label", "store=17").stdout.split()[0] == "till-2"
    found = [json.loads(row) for row in run_here("fleet", "list", "--store", store, "--json").stdout.splitlines()]
    assert [row["device_id"] for row in found] == ["till-1", "till-2"]


def test_codes_are_printed_once_and_nowhere_else(store: Path, run_here: Run) -> None:
    codes = run_here("fleet", "enroll", "--store", store, "--count", 3).stdout.split()
    assert len(set(codes)) == 3
    as_json = json.loads(run_here("fleet", "enroll", "--store", store, "--device-id", "x", "--json").stdout)
    assert as_json[0]["device_id"] == "x"
    database = (
        (store / "meta.sqlite").read_bytes() + (store / "meta.sqlite-wal").read_bytes()
        if (store / "meta.sqlite-wal").exists()
        else (store / "meta.sqlite").read_bytes()
    )
    assert not [code for code in (*codes, as_json[0]["code"]) if code.encode() in database]


def test_people_are_added_listed_and_taken_away(store: Path, run_here: Run) -> None:
    token = run_here("fleet", "people", "add", "anna", "--store", store, "--role", "operator").stdout.strip()
    assert token.startswith("edgeloop_")
    assert run_here("fleet", "people", "list", "--store", store).stdout == "anna operator\n"
    assert run_here("fleet", "people", "revoke", "anna", "--store", store).returncode == 0
    rows = run_here("fleet", "people", "list", "--store", store, "--json").stdout
    assert json.loads(rows) == {"name": "anna", "role": "operator", "revoked": True}


BAD = [
    (("fleet", "show", "nobody"), 1, "no device 'nobody' in this fleet"),
    (("fleet", "revoke", "nobody"), 1, "no device 'nobody' in this fleet"),
    (("fleet", "label", "till-1", "a=b c"), 2, "cannot be the value of label 'a'"),
    (("fleet", "label", "till-1", "ab"), 2, "'ab' is no label"),
    (("fleet", "label", "till-1", "a=1", "a=2"), 2, "is there twice"),
    (("fleet", "channel", "till-1", "../x"), 2, "'../x' is no channel"),
    (("fleet", "pin", "till-1", "abc"), 1, "is not a SHA-256 in hex"),
    (("fleet", "pin", "till-1"), 2, "which bundle?"),
    (("fleet", "pin", "till-1", DIGEST, "--off"), 2, "which bundle?"),
    (("fleet", "windows", "till-1", "late"), 2, "late"),
    (("fleet", "register", "--device-id", "../../etc"), 1, "device_id"),
    (("fleet", "register", "--device-id", "x", "--certificate", "none.pem"), 2, "cannot read none.pem"),
    (("fleet", "enroll", "--out", "codes"), 2, "enrolment files name the server"),
    (("fleet", "enroll", "--out", "codes", "--server", "localhost"), 2, "is not a server address"),
    (("fleet", "enroll", "--out", "codes", "--server", "localhost:1"), 1, "no certificate authority in"),
    (("fleet", "enroll", "--expires-hours", "0"), 2, "cannot last 0 hours"),
    (("fleet", "init", "--host", "a b"), 2, "'a b' is no host name"),
    (("fleet", "people", "add", "a b", "--role", "admin"), 2, "cannot be the name of a person"),
    (("fleet", "people", "revoke", "nobody"), 1, "nobody called 'nobody'"),
]


@pytest.mark.parametrize(("words", "code", "said"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_bad_input_is_told_in_one_line(
    store: Path, run_here: Run, words: tuple[str, ...], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    before = line(run_here, store)
    run = run_here(*words, "--store", store)
    assert (run.returncode, run.stdout) == (code, ""), run.stderr
    assert run.stderr.startswith("edgeloop: error: ")
    assert run.stderr.count("\n") == 1
    assert said in run.stderr
    assert line(run_here, store) == before
    assert not (store.parent / "codes").exists()


def an_enrolment_file(folder: Path, **changes: object) -> Path:
    told = {
        "server": "localhost:1",
        "enroll_server": "localhost:2",
        "authority_pem": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
        "code": "7K3M-SECRET",
        **changes,
    }
    file = folder / "x.enrol.json"
    file.write_bytes(jsonvalue.pretty_bytes(EnrolmentFile(**told)))
    return file


BAD_ENROLMENTS = [
    (lambda folder: (), "which fleet?"),
    (lambda folder: (folder / "none.json",), "cannot read"),
    (lambda folder: (written(folder, b"{}"),), "is no enrolment file"),
    (lambda folder: (written(folder, b"7K3M-SECRET"),), "is no enrolment file"),
    (lambda folder: (an_enrolment_file(folder, format=2),), "newer edgeloop"),
    (lambda folder: (an_enrolment_file(folder, authority_pem="x"),), "is no enrolment file"),
    (lambda folder: (an_enrolment_file(folder, server="x"), "--key", folder / "k.pem"), "needs its key"),
    (lambda folder: ("--server", "x", "--tls-ca", written(folder, b"x"), "--code", "7K3M-SECRET"), "not a server"),
]


def written(folder: Path, data: bytes) -> Path:
    file = folder / "odd.enrol.json"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(("make", "said"), BAD_ENROLMENTS, ids=[case[1] for case in BAD_ENROLMENTS])
def test_an_enrolment_that_makes_no_sense_leaves_nothing_behind(
    tmp_path: Path, run_here: Run, make: Callable[[Path], tuple[object, ...]], said: str
) -> None:
    run = run_here("device", "enroll", *make(tmp_path), "--home", tmp_path / "home")
    assert run.returncode == 2, run.stderr
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert "SECRET" not in run.stderr
    assert not (tmp_path / "home").exists()
