"""`edgeloop serve`, `publish` and `label` as a person runs them."""

from __future__ import annotations

import datetime
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pushing import Road, offer_of, pieces
from sample_values import make_picture_sample, sample_of
from serving import Finished, ServerProcess, edgeloop

from cloud_train.review.labels import settled_labels
from cloud_train.store.sql import open_meta_store
from edge.bundle.reader import open_bundle


@pytest.fixture
def server(store: Path) -> Iterator[ServerProcess]:
    with ServerProcess(store) as running:
        yield running


def settled(store: Path) -> dict[str, str]:
    meta = open_meta_store(store / "meta.sqlite")
    try:
        return settled_labels(meta)
    finally:
        meta.close()


def test_serve_says_where_it_is_and_leaves_nothing_behind(server: ServerProcess, store: Path) -> None:
    assert json.loads((store / "server.json").read_bytes()) == server.info
    assert server.info["pid"] == server.process.pid
    with Road(server.target, store) as road:
        assert road.offer(make_picture_sample(1)).missing
        code, seconds, said = server.stop()
    assert (code, said) == (0, "")
    assert seconds < 5
    assert not (store / "server.json").exists()


def test_a_stop_in_the_middle_of_a_push_ends_within_five_seconds(server: ServerProcess, store: Path) -> None:
    whole, broken = make_picture_sample(1), make_picture_sample(2)
    with Road(server.target, store) as road:
        stream = road.open_push()
        stream.send(*pieces(whole), *pieces(broken)[:1])
        stream.receipt()
        code, seconds, said = server.stop(signal.SIGINT)
    assert (code, said) == (0, "")
    assert seconds < 5
    assert not (store / "server.json").exists()
    with ServerProcess(store) as again, Road(again.target, store) as road:
        assert road.offer(whole, broken).known == (whole.digest,)


def test_a_stale_server_file_is_replaced(store: Path) -> None:
    with ServerProcess(store) as first:
        first.stop(signal.SIGKILL)
        assert (store / "server.json").exists()
    with ServerProcess(store) as second:
        assert json.loads((store / "server.json").read_bytes())["pid"] == second.process.pid


def test_settings_come_from_the_environment_too(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_ingest import STATUS

    monkeypatch.setenv("EDGELOOP_SERVE_CHECK_IN_S", "11.5")
    monkeypatch.setenv("EDGELOOP_SERVE_CHANNEL", "beta")
    with ServerProcess(store, "--channel", "gamma") as server, Road(server.target, store) as road:
        directive = road.check_in(STATUS)
    assert (directive.channel, directive.check_in_s) == ("gamma", 11.5)


def test_serve_speaks_tls_with_a_certificate_of_its_owner(store: Path, tmp_path: Path) -> None:
    import grpc

    from edge.identity.command import client_identity
    from edge.sync.grpc_transport import GrpcTransport

    cert, key = self_signed(tmp_path)
    with ServerProcess(store, "--tls-cert", cert, "--tls-key", key) as server:
        target, door = (f"localhost:{server.info[name]}" for name in ("port", "enroll_port"))
        code = edgeloop("fleet", "enroll", "--store", store).stdout.strip()
        told = ("--server", target, "--enroll-server", door, "--tls-ca", cert, "--code", code)
        assert edgeloop("device", "enroll", "--home", tmp_path / "home", *told).returncode == 0
        road = GrpcTransport(target, identity=client_identity(tmp_path / "home"))
        assert road.offer((offer_of(make_picture_sample(1)),)).missing == (make_picture_sample(1).digest,)
        road.close()
        with grpc.insecure_channel(server.target) as plain, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(plain).result(timeout=1)


def self_signed(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_publish_offers_a_bundle_and_renews_it(
    store: Path, tmp_path: Path, make_bundle: Callable[..., Path], run_here: Callable[..., Finished]
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    digest = open_bundle(bundle).digest
    run = run_here("publish", bundle, "--store", store, "--channel", "beta", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "channel": "beta",
        "bundle_digest": digest,
        "name": "tiny",
        "version": 1,
        "metadata_version": 2,
    }
    again = run_here("publish", bundle, "--store", store, "--channel", "beta")
    assert (again.returncode, again.stdout) == (0, f"channel beta offers tiny version 1 ({digest[:12]})\n")
    renewed = run_here("publish", "renew", "--store", store)
    assert (renewed.returncode, renewed.stdout) == (0, "renewed timestamp\n")
    said = run.stdout + run.stderr + again.stdout + again.stderr + renewed.stderr
    assert "PRIVATE" not in said


@pytest.mark.parametrize(
    "arguments", [("publish", "--help"), ("publish", "renew", "--help"), ("serve", "--help"), ("label", "--help")]
)
def test_every_command_explains_itself(arguments: tuple[str, ...], run_here: Callable[..., Finished]) -> None:
    run = run_here(*arguments)
    assert run.returncode == 0
    assert f"edgeloop {arguments[0]} " in run.stdout.splitlines()[0]
    assert "--store" in run.stdout


def test_a_person_sees_what_waits_and_answers(
    server: ServerProcess, store: Path, run_here: Callable[..., Finished]
) -> None:
    dull, sharp = make_picture_sample(1, value=0.2), make_picture_sample(2, value=0.8)
    with Road(server.target, store) as road:
        road.push_samples([dull, sharp])
    listed = run_here("label", "--store", store, "--list", "--json")
    assert [task["record"]["digest"] for task in json.loads(listed.stdout)] == [sharp.digest, dull.digest]
    shown = run_here("label", "--store", store, "--list", "--limit", "1")
    assert shown.stdout.startswith(f"{sharp.digest}  Früchtetee 0.50  confirm  low_confidence")
    answered = run_here("label", "--server", server.target, sharp.digest, "Hagebutte", "--who", "ann")
    assert (answered.returncode, answered.stdout) == (0, f"{sharp.digest[:12]}: Hagebutte, says ann\n")
    none = run_here("label", "--store", store, dull.digest, "--none-of-these", "--who", "ann", "--json")
    assert json.loads(none.stdout)["feedback"]["kind"] == "none_of_these"
    assert settled(store) == {sharp.digest: "Hagebutte"}
    empty = run_here("label", "--store", store, "--list")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "nothing waits\n")


def test_a_folder_answers_what_it_knows_and_says_that_no_person_looked(
    server: ServerProcess, store: Path, tmp_path: Path, run_here: Callable[..., Finished]
) -> None:
    samples = [make_picture_sample(number) for number in range(4)]
    with Road(server.target, store) as road:
        road.push_samples(samples)
    pictures = tmp_path / "pictures"
    for sample, name in zip(samples[:3], ("red", "blue", "red"), strict=True):
        (pictures / name).mkdir(parents=True, exist_ok=True)
        (pictures / name / f"{sample.digest}.png").write_bytes(sample.payload)
    (pictures / "red" / "other.png").write_bytes(sample_of(b"another").payload)
    run = run_here("label", "--store", store, "--server", server.target, "--from-folder", pictures)
    assert run.returncode == 0, run.stderr
    assert (
        run.stdout
        == f"3 samples answered by the labels of {pictures} (as dataset:pictures, no person looked); 1 still wait\n"
    )
    assert settled(store) == {samples[0].digest: "red", samples[1].digest: "blue", samples[2].digest: "red"}
    again = run_here("label", "--store", store, "--from-folder", pictures, "--json")
    assert json.loads(again.stdout) == {"answered": 0, "waiting": 1, "who": "dataset:pictures"}
