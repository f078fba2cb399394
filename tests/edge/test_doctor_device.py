"""What the doctor makes of a device's own things: outbox, bundle, runtimes, trust, server, source, kiosk."""

import contextlib
import http.server
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from device_world import RepositoryRoad, copy_tree, process_environment, publish, root_file
from doctor_subjects import check_form, lay_bundle, make_subject, only
from loopback_server import ServerState, loopback_server, start_server
from network_camera import CameraScript, http_camera
from sample_values import make_sample

from edge import jsonvalue
from edge.bundle.manifest import Verdict
from edge.doctor import server as server_check
from edge.doctor import spawn
from edge.doctor.bundle import examine_bundle
from edge.doctor.command import examine_device
from edge.doctor.examine import CHECKS, examine
from edge.doctor.kiosk import examine_kiosk
from edge.doctor.limited import run_check
from edge.doctor.outbox import examine_outbox
from edge.doctor.report import doctor_lines, exit_code, to_json
from edge.doctor.runtimes import examine_runtimes
from edge.doctor.secrets import secret_names, without_login
from edge.doctor.server import examine_server
from edge.doctor.source import examine_source
from edge.doctor.trust import examine_trust
from edge.doctor.types import Check, Finding, State
from edge.errors import UsageError
from edge.home import DeviceHome
from edge.outbox.database import PAGE_BYTES
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.update.selftest import hardware_fingerprint
from edge.update.trust import TrustStore

NOW = 1_800_000_000.0
DAY = 86_400.0
TOKEN = "kiosk-token-0123456789"  # noqa: S105


# Outbox.


def test_an_outbox_is_read_and_not_changed(tmp_path):
    subject = make_subject(tmp_path)
    assert only(examine_outbox(subject)).state is State.OK
    with contextlib.closing(SqliteOutbox(subject.home.outbox)) as outbox:
        outbox.put(make_sample(1), now=1.0)
        outbox.put(make_sample(2), now=2.0)
        outbox.park(make_sample(2).digest, reason="no")
    before = {path: path.read_bytes() for path in subject.settings.home.iterdir()}
    found = only(examine_outbox(subject))
    assert (found.state, found.detail.startswith("1 waiting, 1 parked, ")) == (State.OK, True)
    assert {path: path.read_bytes() for path in subject.settings.home.iterdir()} == before


def test_an_outbox_whose_process_was_killed(tmp_path):
    """What is in its log counts too."""
    subject = make_subject(tmp_path)
    script = (
        "from edge.outbox.sqlite import SqliteOutbox; from sample_values import make_sample; import os, sys, pathlib;"
    )
    script += "outbox = SqliteOutbox(pathlib.Path(sys.argv[1])); outbox.put(make_sample(1), now=1.0); os._exit(9)"
    command = [sys.executable, "-c", script, str(subject.home.outbox)]
    assert subprocess.run(command, env=process_environment(), timeout=60).returncode == 9
    found = only(examine_outbox(subject))
    assert (found.state, found.detail.startswith("1 waiting, 0 parked, ")) == (State.OK, True)


def test_an_outbox_is_read_while_an_agent_writes(tmp_path):
    subject = make_subject(tmp_path, is_running=True)
    with contextlib.closing(SqliteOutbox(subject.home.outbox)) as outbox:
        outbox.put(make_sample(1), now=1.0)
        assert only(examine_outbox(subject)).detail.startswith("1 waiting")
        outbox.put(make_sample(2), now=2.0)


def test_a_damaged_outbox(tmp_path):
    subject = make_subject(tmp_path)
    with contextlib.closing(SqliteOutbox(subject.home.outbox)) as outbox:
        for number in range(8):
            outbox.put(make_sample(number, size_bytes=40_000), now=float(number))
    data = bytearray(subject.home.outbox.read_bytes())
    data[2 * PAGE_BYTES :] = bytes([0xAA]) * (len(data) - 2 * PAGE_BYTES)
    subject.home.outbox.write_bytes(bytes(data))
    found = only(examine_outbox(subject))
    assert (found.state, "it is damaged" in found.detail) == (State.FAIL, True)
    assert found.fix.startswith("start the agent")
    assert subject.home.outbox.read_bytes() == bytes(data)


@pytest.mark.parametrize("content", ["garbage", "another database"])
def test_a_file_that_is_no_outbox(tmp_path, content):
    subject = make_subject(tmp_path)
    if content == "garbage":
        subject.home.outbox.write_bytes(b"no database at all, and long enough to be taken for a header " * 20)
    else:
        with contextlib.closing(sqlite3.connect(subject.home.outbox)) as db:
            db.execute("CREATE TABLE other (x)")
    found = only(examine_outbox(subject))
    assert (found.state, bool(found.fix)) == (State.FAIL, True)


def test_damaged_files_that_were_set_aside(tmp_path):
    subject = make_subject(tmp_path)
    subject.home.outbox.with_name("outbox.sqlite.damaged-20261127").write_bytes(b"x")
    _, found = examine_outbox(subject)
    check_form(found)
    assert (found.name, found.state) == ("outbox damage", State.WARN)
    assert found.detail == "1 damaged file set aside: outbox.sqlite.damaged-20261127"


def test_a_full_outbox(tmp_path):
    subject = make_subject(tmp_path, outbox_max_entries=1)
    with contextlib.closing(SqliteOutbox(subject.home.outbox)) as outbox:
        outbox.put(make_sample(1), now=1.0)
    found = only(examine_outbox(subject))
    assert (found.state, "full, the least valuable goes" in found.detail) == (State.WARN, True)


# Bundle and runtimes.


def test_a_bundle_that_is_well(tmp_path, tiny_bundle):
    subject = make_subject(tmp_path)
    lay_bundle(subject.settings.home, tiny_bundle)
    bundle, golden = examine_bundle(subject)
    assert (bundle.state, golden.state) == (State.OK, State.OK)
    assert bundle.detail.startswith("tiny version 1 (")
    assert golden.detail.startswith("they pass: tiny_fp32.tflite with cpu in ")
    _, golden = examine_bundle(make_subject(tmp_path, artifact="onnx"))
    assert "tiny_fp32.onnx with cpu" in golden.detail


def test_a_bundle_is_not_run_beside_an_agent(tmp_path, tiny_bundle):
    subject = make_subject(tmp_path, is_running=True)
    lay_bundle(subject.settings.home, tiny_bundle, tested_on=hardware_fingerprint())
    _, golden = examine_bundle(subject)
    assert golden.state is State.SKIPPED
    assert golden.detail == "an agent is at work; they passed here when it was installed"


def test_no_bundle_yet(tmp_path):
    found = only(examine_bundle(make_subject(tmp_path)))
    assert (found.state, "--allow-unsigned" in found.fix) == (State.FAIL, True)
    assert only(examine_bundle(make_subject(tmp_path, server="h:1"))).state is State.OK


def test_a_bundle_with_a_damaged_file(tmp_path, tiny_bundle):
    subject = make_subject(tmp_path)
    lay_bundle(subject.settings.home, tiny_bundle)
    model = subject.settings.home / "bundles" / "a" / "tiny_fp32.tflite"
    model.write_bytes(model.read_bytes()[:-4] + b"oops")
    found = only(examine_bundle(subject))
    assert (found.state, "its SHA-256 is not the manifest's" in found.detail) == (State.FAIL, True)
    assert found.fix.startswith("start the agent")


def test_another_bundle_than_the_slot_says(tmp_path, make_bundle):
    subject = make_subject(tmp_path)
    lay_bundle(subject.settings.home, make_bundle(tmp_path / "one"))
    copy_tree(make_bundle(tmp_path / "two", flavour=1), subject.settings.home / "bundles" / "a")
    assert "slots.json says" in only(examine_bundle(subject)).detail


def test_a_damaged_slot_file(tmp_path):
    subject = make_subject(tmp_path)
    (subject.settings.home / "slots.json").write_text("{")
    found = only(examine_bundle(subject))
    assert (found.state, found.fix) == (State.FAIL, "delete it, and the device installs its bundle anew")


def test_a_bundle_without_a_proof(tmp_path, make_bundle):
    subject = make_subject(tmp_path)
    lay_bundle(subject.settings.home, make_bundle(tmp_path / "imported", verdict=Verdict.NONE))
    bundle, _ = examine_bundle(subject)
    check_form(bundle)
    assert (bundle.state, bundle.detail.endswith("whole, but not proven")) == (State.WARN, True)


def test_golden_vectors_that_fail_here(tmp_path, make_bundle):
    """The vectors of a bundle with other weights."""
    subject = make_subject(tmp_path)
    folder, other = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "other", flavour=500)
    from tiny_bundles import bundle_fields, write_manifest

    (folder / "golden.json").write_bytes((other / "golden.json").read_bytes())
    write_manifest(folder, bundle_fields() | {"golden_file": "golden.json"})
    lay_bundle(subject.settings.home, folder)
    _, golden = examine_bundle(subject)
    check_form(golden)
    assert (golden.state, "golden vector" in golden.detail) == (State.FAIL, True)
    assert golden.fix == "this bundle does not run right on this device; stay on the one before"


def test_every_runtime_and_delegate_computes(tmp_path):
    found = examine_runtimes(make_subject(tmp_path))
    assert [one.name for one in found if one.state is State.OK] == [
        "runtime tflite, cpu",
        "runtime tflite, builtin",
        "runtime onnx, cpu",
    ]


@pytest.mark.parametrize(
    ("script", "words", "fix"),
    [
        ("kill -ILL $$", "the process was ended by SIGILL", "does not fit this processor"),
        ("echo boom >&2; exit 3", "the process ended with status 3: boom", "does not fit this processor"),
        ("echo no json", "the process ended with status 0", "does not fit this processor"),
        ("sleep 60", "not done after 0.5 s", "does not fit this processor"),
        ('echo \'{"ok": false, "detail": "probe.tflite: broken", "fix": ""}\'', "broken", "--force-reinstall"),
    ],
)
def test_a_runtime_that_ends_its_process(tmp_path, monkeypatch, script, words, fix):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(spawn.sys, "executable", str(python))
    monkeypatch.setattr("edge.doctor.runtimes.PROBE_LIMIT_S", 0.5)
    found = {one.name: one for one in examine_runtimes(make_subject(tmp_path))}
    for one in found.values():
        check_form(one)
    assert found["runtime tflite, cpu"].state is State.FAIL
    assert found["runtime tflite, builtin"].state is State.WARN
    assert words in found["runtime tflite, cpu"].detail
    assert fix in found["runtime tflite, cpu"].fix


def test_no_process_can_be_started(tmp_path, monkeypatch):
    monkeypatch.setattr(spawn.sys, "executable", str(tmp_path / "nothing"))
    outcome = spawn.run_child("probe", "tflite", "cpu", limit_s=5)
    assert (outcome.ok, outcome.detail) == (False, "no process could be started: no such file or directory")


# Trust.


@pytest.fixture(scope="module")
def published(tmp_path_factory, make_bundle):
    """A store, and a home that has verified its release, at NOW."""
    folder = tmp_path_factory.mktemp("doctor-trust")
    publish(folder / "store", make_bundle(folder / "bundle"), now=NOW)
    trust = TrustStore(folder / "home", RepositoryRoad(folder / "store"), channel="stable")
    trust.install_root(root_file(folder / "store"))
    trust.refresh(NOW)
    return folder


@pytest.mark.parametrize(
    ("days", "root", "release"),
    [(1, State.OK, State.OK), (91, State.OK, State.WARN), (360, State.WARN, State.WARN), (366, State.FAIL, State.WARN)],
)
def test_what_has_expired(tmp_path, published, days, root, release):
    copy_tree(published / "home", tmp_path / "home")
    findings = examine_trust(make_subject(tmp_path, now=NOW + days * DAY, server="h:1"))
    for one in findings:
        check_form(one)
    assert [one.state for one in findings] == [root, release]
    assert ("edgeloop publish renew" in findings[0].fix) == (root is not State.OK)
    assert ("takes nothing new" in findings[1].detail) == (release is not State.OK)


def test_no_root(tmp_path, published):
    assert only(examine_trust(make_subject(tmp_path))).state is State.SKIPPED
    found = only(examine_trust(make_subject(tmp_path, server="h:1")))
    assert (found.state, "1.root.json" in found.fix) == (State.FAIL, True)
    told = make_subject(tmp_path, server="h:1", root=root_file(published / "store"))
    assert only(examine_trust(told)).detail.endswith("is installed at the first start")
    lost = make_subject(tmp_path, server="h:1", root=tmp_path / "nowhere.json")
    assert only(examine_trust(lost)).state is State.FAIL


def test_a_root_and_no_release_yet(tmp_path, published):
    subject = make_subject(tmp_path, now=NOW, server="h:1")
    TrustStore(subject.settings.home, None, channel="stable").install_root(root_file(published / "store"))
    root, release = examine_trust(subject)
    assert (root.state, release.state) == (State.OK, State.WARN)
    assert release.fix.startswith("connect the device")


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"signed": {"version": 1, "expires": "whenever"}}', b"[]"])
def test_a_damaged_root(tmp_path, content):
    subject = make_subject(tmp_path, now=NOW, server="h:1")
    (subject.settings.home / "tuf").mkdir()
    (subject.settings.home / "tuf" / "root.json").write_bytes(content)
    root, _ = examine_trust(subject)
    check_form(root)
    assert (root.state, "cannot be read" in root.detail) == (State.FAIL, True)


# Server.


@pytest.fixture
def silent_port():
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_answers(tmp_path):
    with loopback_server() as running:
        empty = only(examine_server(make_subject(tmp_path, server=running.target)))
        running.state.files["metadata/timestamp.json"] = b"{}"
        found = only(examine_server(make_subject(tmp_path, server=running.target)))
        assert running.state.statuses == [], "the doctor must not report for the device"
    assert (empty.state, "nothing is published there yet" in empty.detail) == (State.OK, True)
    assert found.detail == f"{running.target} answers (plaintext on this machine)"


def test_no_server_and_offline(tmp_path):
    assert only(examine_server(make_subject(tmp_path))).state is State.SKIPPED
    found = only(examine_server(make_subject(tmp_path, server="127.0.0.1:1", offline=True)))
    assert (found.state, "--offline" in found.detail) == (State.SKIPPED, True)


def test_a_dead_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = only(examine_server(make_subject(tmp_path, server=f"127.0.0.1:{port}")))
    assert (found.state, found.detail) == (State.FAIL, f"127.0.0.1:{port}: TCP: connection refused")
    assert found.fix.startswith("check that the server runs")


def test_a_name_that_nobody_knows(tmp_path, write_certificate_file):
    _, authority = write_certificate_file("127.0.0.1")
    found = only(examine_server(make_subject(tmp_path, server="no-such-host.invalid:443", tls_ca=authority)))
    assert (found.state, ": name: " in found.detail) == (State.FAIL, True)
    assert "DNS" in found.fix


def test_a_port_that_never_answers(tmp_path, silent_port, monkeypatch):
    monkeypatch.setattr(server_check, "_STEP_LIMIT_S", 0.5)
    found = only(examine_server(make_subject(tmp_path, server=f"127.0.0.1:{silent_port}")))
    assert (found.state, ": call: " in found.detail) == (State.FAIL, True)
    assert bool(found.fix)


def test_tls_with_a_port_that_never_answers(tmp_path, silent_port, monkeypatch, write_certificate_file):
    monkeypatch.setattr(server_check, "_STEP_LIMIT_S", 0.5)
    _, authority = write_certificate_file("127.0.0.1")
    found = only(examine_server(make_subject(tmp_path, server=f"127.0.0.1:{silent_port}", tls_ca=authority)))
    assert (found.state, ": TLS: " in found.detail) == (State.FAIL, True)


@pytest.fixture
def write_certificate_file(tmp_path):
    """`(address, *, begins_in_days=-1) -> (key file, certificate file)`, self-signed."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def write(address, *, begins_in_days=-1):
        folder = tmp_path / f"certificate-{len(list(tmp_path.glob('certificate-*')))}"
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgeloop test")])
        begin = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=begins_in_days)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=30))
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        signed = builder.sign(key, hashes.SHA256())
        (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return folder / "key.pem", folder / "certificate.pem"

    return write


@pytest.mark.parametrize(
    ("case", "words", "fix"),
    [
        ("right", "answers (TLS)", ""),
        ("another authority", "self-signed certificate", "set tls_ca to the authority"),
        ("another name", "mismatch", "name the server as its certificate does"),
        ("not yet valid", "not yet valid", "check this device's clock"),
    ],
)
def test_tls(tmp_path, write_certificate_file, case, words, fix):
    address = "127.0.0.9" if case == "another name" else "127.0.0.1"
    pair = write_certificate_file(address, begins_in_days=2 if case == "not yet valid" else -1)
    _, other = write_certificate_file("127.0.0.1")
    running = start_server(ServerState(), key_and_certificate=pair)
    try:
        authority = other if case == "another authority" else pair[1]
        found = only(examine_server(make_subject(tmp_path, server=running.target, tls_ca=authority)))
    finally:
        running.stop()
    assert found.state is (State.OK if case == "right" else State.FAIL)
    assert words in found.detail, found
    assert found.fix.startswith(fix)
    assert case == "right" or ": TLS: " in found.detail


def test_tls_with_a_server_that_speaks_plaintext(tmp_path, write_certificate_file):
    _, authority = write_certificate_file("127.0.0.1")
    with loopback_server() as running:
        found = only(examine_server(make_subject(tmp_path, server=running.target, tls_ca=authority)))
    assert (found.state, ": TLS: " in found.detail) == (State.FAIL, True)


def test_plaintext_with_a_server_that_speaks_tls(tmp_path, write_certificate_file, monkeypatch):
    monkeypatch.setattr(server_check, "_STEP_LIMIT_S", 1.0)
    running = start_server(ServerState(), key_and_certificate=write_certificate_file("127.0.0.1"))
    try:
        found = only(examine_server(make_subject(tmp_path, server=running.target)))
    finally:
        running.stop()
    assert (found.state, "needs tls_ca" in found.fix) == (State.FAIL, True)


def test_plaintext_never_leaves_this_machine(tmp_path):
    (found,) = examine(AgentSettings(home=tmp_path, server="192.0.2.1:50051"), checks=checks_named("server"))
    check_form(found)
    assert (found.state, "plaintext" in found.detail) == (State.FAIL, True)


# Source and kiosk.


def test_a_folder_of_pictures(tmp_path, picture_bytes):
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert only(examine_source(make_subject(tmp_path, source=str(folder)))).state is State.FAIL
    (folder / "notes.txt").write_text("no picture")
    found = only(examine_source(make_subject(tmp_path, source=str(folder))))
    assert (found.state, "a picture of" in found.detail) == (State.OK, True)
    (folder / "a.png").write_bytes(picture_bytes("red"))
    assert only(examine_source(make_subject(tmp_path, source=str(folder)))).state is State.OK


def test_no_source(tmp_path):
    assert only(examine_source(make_subject(tmp_path))).detail == "none named"
    assert only(examine_source(make_subject(tmp_path, kiosk_port=8765))).detail == "none; pictures come from the kiosk"


def test_a_camera_that_an_agent_has(tmp_path):
    found = only(examine_source(make_subject(tmp_path, source="camera:0", is_running=True)))
    assert (found.state, found.detail) == (State.SKIPPED, "an agent is at work with camera:0")


def test_a_camera_that_is_not_there(tmp_path):
    found = only(examine_source(make_subject(tmp_path, source="/dev/video99")))
    assert (found.state, found.detail.startswith("/dev/video99: ")) == (State.FAIL, True)
    assert "group video" in found.fix


def test_a_camera_on_the_network(tmp_path):
    with http_camera(CameraScript()) as camera:
        found = only(examine_source(make_subject(tmp_path, source=address_of(camera))))
    assert (found.state, "a frame of " in found.detail) == (State.OK, True), found


def test_a_camera_that_is_stuck_and_its_password(tmp_path):
    with http_camera(CameraScript(is_mute=True)) as camera:
        where = address_of(camera).replace("http://", "http://admin:hunter22@")
        began = time.monotonic()
        settings = AgentSettings(home=tmp_path, source=where, silence_s=0.6)
        (found,) = examine(settings, checks=checks_named("source"))
    check_form(found)
    assert (found.state, "gave no frame for 0.6 s" in found.detail) == (State.FAIL, True), found
    assert "hunter22" not in json.dumps(to_json((found,)))
    assert time.monotonic() - began < 6
    assert "user and password" in found.fix


def address_of(camera):
    return f"http://127.0.0.1:{camera.port}{camera.script.path}"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_the_kiosk_port(tmp_path):
    assert only(examine_kiosk(make_subject(tmp_path))).state is State.SKIPPED
    port = free_port()
    assert only(examine_kiosk(make_subject(tmp_path, kiosk_port=port))).detail == f"port {port} on 127.0.0.1 is free"
    with socket.create_server(("127.0.0.1", port)):
        found = only(examine_kiosk(make_subject(tmp_path, kiosk_port=port)))
    assert (found.state, f"sport = :{port}" in found.fix) == (State.FAIL, True)
    elsewhere = make_subject(tmp_path, kiosk_port=port, kiosk_host="192.0.2.1", kiosk_token=TOKEN)
    found = only(examine_kiosk(elsewhere))
    assert (found.state, "an address of this machine" in found.fix) == (State.FAIL, True)


def test_a_kiosk_that_would_be_open_for_everyone(tmp_path):
    with pytest.raises(UsageError, match="for everyone"):
        examine_kiosk(make_subject(tmp_path, kiosk_port=8765, kiosk_host="0.0.0.0"))  # noqa: S104


def test_a_kiosk_that_runs(tmp_path):
    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        port = page.server_address[1]
        found = only(examine_kiosk(make_subject(tmp_path, kiosk_port=port, is_running=True)))
        page.shutdown()
    assert (found.state, found.detail) == (State.OK, f"http://127.0.0.1:{port}/ answers (status 200)")
    found = only(examine_kiosk(make_subject(tmp_path, kiosk_port=free_port(), is_running=True)))
    assert (found.state, "restart the agent" in found.fix) == (State.FAIL, True)


# The examination as a whole.


def checks_named(*names):
    return tuple(check for check in CHECKS if check.name in names)


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("cause", "detail", "fix"),
    [
        (UsageError("no folder x", hint="make it"), "no folder x", "make it"),
        (UsageError("no folder x"), "no folder x", "correct the settings"),
        (ValueError("two\nlines"), "the check itself failed: ValueError: two lines", "report it"),
        (SystemExit(3), "the check itself failed: SystemExit: 3", "report it"),
    ],
)
def test_a_check_that_goes_wrong_is_a_finding(tmp_path, cause, detail, fix):
    check = Check(name="odd", examine=lambda subject: fail(cause))
    (found,) = examine(AgentSettings(home=tmp_path), checks=(check,))
    check_form(found)
    assert (found.name, found.state, found.detail) == ("odd", State.FAIL, detail)
    assert found.fix.startswith(fix)


def test_a_check_that_hangs_is_given_up(tmp_path):
    release = threading.Event()
    check = Check(
        name="disk", examine=lambda subject: (release.wait(20), ())[1], limit_s=0.2, stuck_fix="check the cable"
    )
    began = time.monotonic()
    (found,) = run_check(check, make_subject(tmp_path))
    assert time.monotonic() - began < 5
    assert (found.state, found.detail, found.fix) == (State.FAIL, "no answer after 0.2 s", "check the cable")
    release.set()


def test_every_check_has_a_limit_and_they_end_in_time(tmp_path):
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(0 < check.limit_s <= 180 for check in CHECKS)


@pytest.mark.parametrize("is_running", [False, True])
def test_a_whole_device(tmp_path, published, tiny_bundle, picture_bytes, is_running):
    home = tmp_path / "home"
    copy_tree(published / "home", home)
    lay_bundle(home, tiny_bundle)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture_bytes("red"))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(loopback_server())
        if is_running:
            stack.enter_context(DeviceHome(folder=home).hold())
        settings = AgentSettings(
            home=home,
            server=server.target,
            source=str(tmp_path / "pictures"),
            kiosk_port=free_port(),
            kiosk_token=TOKEN,
        )
        findings = examine(settings, now=lambda: NOW + DAY)
    for one in findings:
        check_form(one)
    expected = [] if not is_running else ["kiosk"]  # nobody serves the page: it is the test that holds the home
    assert [one.name for one in findings if one.state is State.FAIL] == expected, findings
    assert {check.name for check in CHECKS} <= {one.name.partition(" ")[0] for one in findings} | {
        one.name for one in findings
    }
    assert findings[0].detail.startswith("running" if is_running else "not running")
    assert ("golden vectors", State.SKIPPED if is_running else State.OK) in [(one.name, one.state) for one in findings]
    assert TOKEN not in json.dumps(to_json(findings))


def test_nothing_of_a_home_is_changed(tmp_path, tiny_bundle):
    home = tmp_path / "home"
    home.mkdir()
    lay_bundle(home, tiny_bundle)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    examine(AgentSettings(home=home), offline=True)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    examine(AgentSettings(home=tmp_path / "none"), offline=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://admin:hunter22@camera/live",
        "rtsp://admin:hun%40ter22@camera/live",
        "http://camera/video?token=hunter22",
        "http://camera/user=admin&password=hunter22",
        "rtsp://admin:hunter22/x@camera/live",
    ],
)
def test_no_secret_is_told(tmp_path, source):
    settings = AgentSettings(home=tmp_path, source=source, kiosk_token=TOKEN, kiosk_port=8765)
    assert secret_names(settings) == {"source", "kiosk_token"}

    def tell_all(subject):
        words = f"cannot open {source} with {TOKEN}, password hun@ter22 or hunter22"
        return (Finding(name="all", state=State.FAIL, detail=words, fix=f"open {source}"),)

    told = json.dumps(to_json(examine(settings, checks=(Check(name="all", examine=tell_all),))))
    assert source not in told
    assert TOKEN not in told
    assert ":hun" not in told
    assert "=hunter22" not in told


def test_what_is_no_secret_stays(tmp_path):
    settings = AgentSettings(home=tmp_path, source="rtsp://camera:554/live", server="host:1")
    assert secret_names(settings) == frozenset()
    assert without_login("see http://127.0.0.1:8765/ and rtsp://camera/live") == (
        "see http://127.0.0.1:8765/ and rtsp://camera/live"
    )


def test_lines_for_people():
    findings = (
        Finding(name="clock", state=State.OK, detail="right"),
        Finding(name="disk room", state=State.WARN, detail="low", fix="free some space"),
        Finding(name="server", state=State.FAIL, detail="dead", fix="start it"),
        Finding(name="kiosk", state=State.SKIPPED, detail="no port"),
    )
    assert doctor_lines(findings) == [
        "ok    clock      right",
        "WARN  disk room  low",
        "                 -> free some space",
        "FAIL  server     dead",
        "                 -> start it",
        "-     kiosk      no port",
        "1 well, 1 failed, 1 to watch, 1 skipped",
    ]
    assert exit_code(findings) == 1
    assert exit_code(findings[:2]) == 0
    value = to_json(findings)
    assert value["healthy"] is False
    assert value["findings"][1] == {"name": "disk room", "state": "warn", "detail": "low", "fix": "free some space"}
    assert doctor_lines(()) == ["0 well"]


def test_the_command_function(tmp_path):
    settings = AgentSettings(home=tmp_path / "home", kiosk_token=TOKEN)
    lines, code = examine_device(settings, offline=True, as_json=True)
    value = jsonvalue.parse(lines[0].encode(), where="doctor")
    assert (len(lines), code) == (1, 1)
    assert {one["name"] for one in value["findings"] if one["state"] == "fail"} == {"bundle"}
    lines, code = examine_device(settings, offline=True, as_json=False)
    assert code == 1
    assert any(line.startswith("FAIL  bundle ") for line in lines)
