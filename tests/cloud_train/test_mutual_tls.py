"""Who gets in: real devices on a real server that speaks mutual TLS."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from enrolled_fleet import EnrolledFleet, a_status, enrolled_fleet, until
from sample_values import make_picture_sample

from cloud_train.fleet import members
from cloud_train.fleet.authority import create_authority
from cloud_train.fleet_types import AuditEntry
from cloud_train.ingest.server import running_server
from cloud_train.store.location import write_location
from cloud_train.store.members import MemberChange
from edge.errors import RefusedError, RoadError, UsageError
from edge.identity import request
from edge.identity.command import credentials_of
from edge.outbox.sqlite import SqliteOutbox
from edge.sync.credentials import ClientIdentity
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import Receipt
from edge.sync.uploader import drain
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnrolledFleet]:
    with enrolled_fleet(tmp_path_factory.mktemp("fleet") / "store") as running:
        yield running


def code_of(error: BaseException) -> grpc.StatusCode:
    cause = error.__cause__
    assert isinstance(cause, grpc.RpcError)
    return cause.code()


def test_a_device_that_enrolled_checks_in_under_its_own_name(fleet: EnrolledFleet, tmp_path: Path) -> None:
    identity = fleet.enrol(tmp_path, "till-1", labels={"store": "17"})
    with fleet.road(identity) as road:
        assert road.check_in(a_status("till-1")).channel == "stable"
    member = fleet.members.member("till-1")
    assert member is not None
    assert (member.labels, member.revoked_at) == ({"store": "17"}, None)
    assert "enrol.admitted" in fleet.actions("device:till-1")


def test_a_device_may_choose_a_name_or_get_one(fleet: EnrolledFleet, tmp_path: Path) -> None:
    assert fleet.enrol(tmp_path / "a").device_id.startswith("device-")


def test_what_was_kept_before_the_enrolment_is_sent_under_the_new_name(fleet: EnrolledFleet, tmp_path: Path) -> None:
    identity = fleet.enrol(tmp_path, "till-2")
    sample = make_picture_sample(1, device_id="device")
    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.sqlite")) as outbox, fleet.road(identity) as road:
        outbox.put(sample, now=time.time())
        assert drain(outbox, road, now=time.time).sent == 1
    rows = fleet.audit.about(f"sample:{sample.digest}")
    assert [row.who for row in rows] == ["device:till-2"]


def test_nobody_without_a_certificate_gets_further_than_the_door(fleet: EnrolledFleet) -> None:
    authority = fleet.authority
    road = GrpcTransport(fleet.info.target, authority_pem=authority, timeout_s=5)
    with contextlib.closing(road), pytest.raises(RoadError):
        road.check_in(a_status("till-1"))
    with contextlib.closing(GrpcTransport(fleet.enroll_target, authority_pem=authority, timeout_s=5)) as road:
        for call in (
            lambda: road.check_in(a_status("till-1")),
            lambda: road.offer(()),
            lambda: road.renew(request.signing_request(request.new_key())),
            lambda: list(road.push(iter([(make_picture_sample(2), 0)]))),
            lambda: list(road.fetch("metadata/timestamp.json", offset=0)),
        ):
            with pytest.raises(RefusedError, match="needs the certificate of a device") as caught:
                call()
            assert code_of(caught.value) is grpc.StatusCode.UNAUTHENTICATED


def test_the_door_for_enrolment_says_whether_the_server_is_well(fleet: EnrolledFleet) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    credentials = grpc.ssl_channel_credentials(fleet.authority)
    with grpc.secure_channel(fleet.enroll_target, credentials) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_plaintext_is_not_understood(fleet: EnrolledFleet) -> None:
    with contextlib.closing(GrpcTransport(fleet.info.target, timeout_s=5)) as road, pytest.raises(RoadError):
        road.check_in(a_status("till-1"))


def stranger(folder: Path, fleet: EnrolledFleet, *, days: float = 1.0, now: float | None = None) -> ClientIdentity:
    """A certificate for `till-1` by an authority of somebody else."""
    authority = create_authority(folder, "somebody else", time.time())
    key = request.new_key()
    issued = authority.issue_device(request.signing_request(key), "till-1", now or time.time(), days=days)
    return ClientIdentity(
        device_id="till-1", key_pem=key, certificate_pem=issued.certificate_pem, authority_pem=fleet.authority
    )


def test_a_certificate_of_another_authority_is_turned_away(fleet: EnrolledFleet, tmp_path: Path) -> None:
    other = stranger(tmp_path / "ca", fleet)
    road = GrpcTransport(fleet.info.target, identity=other, timeout_s=5)
    with contextlib.closing(road), pytest.raises(RoadError):
        road.check_in(a_status("till-1"))


def test_a_certificate_that_the_fleet_never_recorded_is_refused(fleet: EnrolledFleet, tmp_path: Path) -> None:
    """Even one that its own authority signed: the record counts, not the signature alone."""
    key = request.new_key()
    authority = create_authority(fleet.store / "ca", "edgeloop fleet", time.time())
    issued = authority.issue_device(request.signing_request(key), "till-1", time.time())
    own = ClientIdentity(
        device_id="till-1", key_pem=key, certificate_pem=issued.certificate_pem, authority_pem=fleet.authority
    )
    road = GrpcTransport(fleet.info.target, identity=own, timeout_s=5)
    with contextlib.closing(road), pytest.raises(RefusedError, match="speaks for no device") as caught:
        road.check_in(a_status("till-1"))
    assert code_of(caught.value) is grpc.StatusCode.UNAUTHENTICATED


def test_an_expired_certificate_is_turned_away_at_the_handshake(fleet: EnrolledFleet, tmp_path: Path) -> None:
    fleet.enrol(tmp_path, "till-3")
    key = request.new_key()
    authority = create_authority(fleet.store / "ca", "edgeloop fleet", time.time())
    issued = authority.issue_device(request.signing_request(key), "till-3", time.time() - 7200, days=1 / 24)
    own = ClientIdentity(
        device_id="till-3", key_pem=key, certificate_pem=issued.certificate_pem, authority_pem=fleet.authority
    )
    road = GrpcTransport(fleet.info.target, identity=own, timeout_s=5)
    with contextlib.closing(road), pytest.raises(RoadError):
        road.check_in(a_status("till-3"))


def test_a_connection_does_not_outlast_its_certificate(tmp_path: Path) -> None:
    with enrolled_fleet(tmp_path / "store", certificate_days=6 / 86_400) as fleet:
        identity = fleet.enrol(tmp_path / "home", "till-1")
        with fleet.road(identity) as road:
            road.check_in(a_status("till-1"))
            time.sleep(max(0.0, identity.not_after - time.time()) + 0.1)
            with pytest.raises((RefusedError, RoadError), match="expired"):
                road.check_in(a_status("till-1"))


def test_a_device_cannot_speak_for_another(fleet: EnrolledFleet, tmp_path: Path) -> None:
    """The transport always gives its own name, so this speaks below it."""
    identity = fleet.enrol(tmp_path, "till-4")
    credentials = grpc.ssl_channel_credentials(
        identity.authority_pem.encode(), identity.key_pem.encode(), identity.certificate_pem.encode()
    )
    with grpc.secure_channel(fleet.info.target, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
        stubs.FleetStub(channel).CheckIn(wire.CheckInRequest(device_id="till-1", software="x"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_revoked_device_is_refused_from_the_next_call_on_and_may_come_back(
    fleet: EnrolledFleet, tmp_path: Path
) -> None:
    identity = fleet.enrol(tmp_path, "till-5")
    with fleet.road(identity) as road:
        road.check_in(a_status("till-5"))
        members.revoke(fleet.members, fleet.by(), "till-5")
        for call in (
            lambda: road.check_in(a_status("till-5")),
            lambda: road.offer(()),
            lambda: road.renew(request.signing_request(request.new_key())),
            lambda: list(road.fetch("metadata/timestamp.json", offset=0)),
        ):
            with pytest.raises(RefusedError, match="'till-5' was revoked") as caught:
                call()
            assert code_of(caught.value) is grpc.StatusCode.PERMISSION_DENIED
        members.readmit(fleet.members, fleet.by(), "till-5")
        road.check_in(a_status("till-5"))
    assert fleet.actions("device:till-5")[:2] == ["device.readmitted", "device.revoked"]


def test_a_push_under_way_is_cut_and_nothing_is_lost(fleet: EnrolledFleet, tmp_path: Path) -> None:
    """No sample of a revoked device gets a receipt; it keeps them all, and they arrive once it is let in again."""
    identity = fleet.enrol(tmp_path, "till-6")
    samples = [make_picture_sample(number, device_id="till-6") for number in range(40, 52)]
    gate, sent = threading.Event(), []

    def slowly() -> Iterator[tuple[object, int]]:
        for number, sample in enumerate(samples):
            if number == 4:
                until(lambda: len(sent) == 4)
                members.revoke(fleet.members, fleet.by(), "till-6")
            if number == 8:
                gate.wait(20)
            yield sample, 0

    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.sqlite")) as outbox:
        for sample in samples:
            outbox.put(sample, now=time.time())
        with fleet.road(identity) as road:
            with pytest.raises(RefusedError, match=r"revoked|shut out"):
                take_receipts(road.push(slowly()), sent)
            gate.set()
            assert sorted(set(sent)) == sorted(sample.digest for sample in samples[:4])
            with pytest.raises(RefusedError, match="revoked"):
                drain(outbox, road, now=time.time)
            stats = outbox.stats()
            assert (stats.pending, stats.parked, stats.sent) == (12, 0, 0)
            members.readmit(fleet.members, fleet.by(), "till-6")
            result = drain(outbox, road, now=time.time)
    assert (result.sent, result.known, result.refused) == (8, 4, 0)


def take_receipts(receipts: Iterator[Receipt], into: list[str]) -> None:
    for receipt in receipts:
        into.append(receipt.digest)


def test_a_push_on_which_nothing_moves_is_cut_too(fleet: EnrolledFleet, tmp_path: Path) -> None:
    identity = fleet.enrol(tmp_path, "till-7")
    begun, ended = threading.Event(), threading.Event()

    def silent() -> Iterator[tuple[object, int]]:
        yield make_picture_sample(60, device_id="till-7"), 0
        begun.set()
        ended.wait(20)

    with fleet.road(identity) as road:
        receipts = road.push(silent())
        next(receipts)
        begun.wait(10)
        members.revoke(fleet.members, fleet.by(), "till-7")
        with pytest.raises(RefusedError, match="'till-7' was revoked"):
            next(receipts)
        ended.set()


def test_a_device_that_enrols_anew_ends_its_older_certificate(fleet: EnrolledFleet, tmp_path: Path) -> None:
    old = fleet.enrol(tmp_path / "old", "till-8")
    fleet.members.change(
        "till-8",
        MemberChange(pinned="ab" * 32),
        AuditEntry(at=time.time(), who="person:admin", action="device.pinned", subject="device:till-8"),
    )
    new = fleet.enrol(tmp_path / "new", "till-8")
    with fleet.road(old) as road, pytest.raises(RefusedError, match="was revoked"):
        road.check_in(a_status("till-8"))
    with fleet.road(new) as road:
        road.check_in(a_status("till-8"))
    member = fleet.members.member("till-8")
    assert member is not None
    assert member.pinned == "ab" * 32, "what people decided stays"


def test_a_certificate_that_its_owner_brought_speaks_for_the_device(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "theirs", "a customer", time.time())
    key = request.new_key()
    issued = authority.issue_device(request.signing_request(key), "whatever-they-say", time.time())
    client_ca = tmp_path / "theirs" / "ca.pem"
    with enrolled_fleet(tmp_path / "store", client_ca=client_ca) as fleet:
        own = ClientIdentity(
            device_id="pump-1", key_pem=key, certificate_pem=issued.certificate_pem, authority_pem=fleet.authority
        )
        with contextlib.closing(GrpcTransport(fleet.info.target, identity=own)) as road:
            with pytest.raises(RefusedError, match="speaks for no device"):
                road.check_in(a_status("pump-1"))
            members.register(fleet.members, fleet.by(), "pump-1", certificate_pem=issued.certificate_pem, labels={})
            road.check_in(a_status("pump-1"))


def test_a_server_restarted_on_its_store_knows_its_devices(tmp_path: Path) -> None:
    with enrolled_fleet(tmp_path / "store") as fleet:
        identity = fleet.enrol(tmp_path / "home", "till-1")
    with enrolled_fleet(tmp_path / "store") as fleet, fleet.road(identity) as road:
        road.check_in(a_status("till-1"))


def test_two_servers_of_one_fleet_refuse_a_revoked_device_alike(tmp_path: Path) -> None:
    """The second has the database by URL and the authority as a folder that nobody writes to."""
    with enrolled_fleet(tmp_path / "store") as fleet:
        write_location(tmp_path / "second", database=f"sqlite:///{tmp_path / 'store' / 'meta.sqlite'}")
        secret = tmp_path / "secret"
        shutil.copytree(fleet.store / "ca", secret)
        secret.chmod(0o500)
        identity = fleet.enrol(tmp_path / "home", "till-1")
        with running_server(tmp_path / "second", plaintext=False, ca=secret) as other:
            road = GrpcTransport(other.target, identity=credentials_of(identity))
            with contextlib.closing(road):
                road.check_in(a_status("till-1"))
                receipts = road.push(one_then_silence("till-1"))
                next(receipts)
                members.revoke(fleet.members, fleet.by(), "till-1")
                with pytest.raises(RefusedError, match="was revoked"):
                    road.check_in(a_status("till-1"))
                with pytest.raises(RefusedError, match="was revoked"):
                    next(receipts)


def one_then_silence(device_id: str) -> Iterator[tuple[object, int]]:
    yield make_picture_sample(77, device_id=device_id), 0
    time.sleep(8)


def test_http_off_this_machine_speaks_tls_with_the_servers_certificate(tmp_path: Path) -> None:
    everywhere = "0.0.0.0:0"
    with enrolled_fleet(tmp_path / "store", http_listen=everywhere) as fleet:
        context = ssl.create_default_context(cadata=fleet.authority.decode())
        address = f"localhost:{fleet.info.http_port}/healthz"
        assert httpx.get(f"https://{address}", verify=context).text == "ok\n"
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{address}")
    with enrolled_fleet(tmp_path / "store", http_listen="127.0.0.1:0") as fleet:
        assert httpx.get(f"http://127.0.0.1:{fleet.info.http_port}/healthz").text == "ok\n"
    refused = running_server(tmp_path / "store", http_listen=everywhere)
    with pytest.raises(UsageError, match=r"refusing to serve HTTP on 0\.0\.0\.0:0 without TLS"):
        refused.__enter__()
