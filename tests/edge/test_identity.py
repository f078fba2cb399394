"""An identity on the disk, in the settings, and on the agent's way out."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import pytest
from enrolled_fleet import EnrolledFleet, enrolled_fleet
from sample_values import make_picture_sample
from test_link import PlannedUpdates

from cloud_train.fleet import members
from edge.errors import RefusedError, RoadError, UsageError
from edge.following import open_following
from edge.identity import enroll, request
from edge.identity.command import as_enrolled, client_identity, renewal_for
from edge.identity.settings import settings_for
from edge.identity.store import IdentityStore
from edge.identity.types import EnrolmentFile, Identity
from edge.link import Link, LinkParts
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import Enrolment
from edge.telemetry import Telemetry
from edge.update.slots import Slots

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
TOLD = EnrolmentFile(
    server="localhost:7443", enroll_server="localhost:7444", authority_pem=CERTIFICATE.format("ours"), code="A-CODE"
)


@pytest.fixture
def identity() -> Identity:
    return Identity(
        device_id="till-1",
        key_pem="k",
        certificate_pem="c",
        authority_pem="a",
        server="fleet:7443",
        channel="beta",
        not_before=1.0,
        not_after=2.0,
    )


class Office:
    """The other side of an enrolment, in memory: notes the keys it sees, and may lose its answers."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answers_lost = 0
        self.refusal = ""

    def enroll(self, code: str, device_id: str, csr_pem: bytes) -> Enrolment:
        from cryptography import x509

        self.requests.append(x509.load_pem_x509_csr(csr_pem).public_key().public_numbers())
        if self.refusal:
            raise RefusedError(self.refusal)
        if self.answers_lost:
            self.answers_lost -= 1
            raise RoadError("the answer was lost")
        certificate = self_signed(device_id or "given")
        return Enrolment(
            device_id=device_id or "given",
            certificate_pem=certificate,
            authority_pem=CERTIFICATE.format("new").encode(),
        )


def self_signed(name: str) -> bytes:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def no_root(file: Path) -> None:
    raise AssertionError("there is no root")


def no_key(text: str) -> None:
    raise AssertionError("there is no fleet key")


def test_the_key_of_encrypted_models_comes_with_the_enrolment_file(tmp_path: Path) -> None:
    kept: list[str] = []
    told = dataclasses.replace(TOLD, fleet_key="ab" * 32)
    assert "abab" not in repr(told)
    enroll.enroll(tmp_path, told, Office(), install_root=no_root, install_key=kept.append)
    assert kept == ["ab" * 32]


def test_an_identity_comes_back_as_it_was_written(tmp_path: Path, identity: Identity) -> None:
    store = IdentityStore(tmp_path)
    assert store.read() is None
    store.write(identity)
    assert IdentityStore(tmp_path).read() == identity


def test_a_lost_answer_is_asked_for_again_with_the_same_key(tmp_path: Path) -> None:
    office = Office()
    office.answers_lost = 2
    for _ in range(2):
        with pytest.raises(RoadError):
            enroll.enroll(tmp_path, TOLD, office, install_root=no_root, install_key=no_key)
        assert IdentityStore(tmp_path).read() is None
    made, is_new = enroll.enroll(tmp_path, TOLD, office, install_root=no_root, install_key=no_key)
    assert (made.device_id, is_new) == ("given", True)
    assert len(office.requests) == 3
    assert len(set(office.requests)) == 1
    assert made.authority_pem == CERTIFICATE.format("ours") + CERTIFICATE.format("new")
    assert enroll.enroll(tmp_path, TOLD, office, install_root=no_root, install_key=no_key) == (made, False)
    assert len(office.requests) == 3


def test_replacing_makes_another_key_and_a_refusal_leaves_the_old_one(tmp_path: Path) -> None:
    office = Office()
    first, _ = enroll.enroll(tmp_path, TOLD, office, install_root=no_root, install_key=no_key)
    office.refusal = "this enrolment code is not good"
    with pytest.raises(RefusedError):
        enroll.enroll(tmp_path, TOLD, office, install_root=no_root, install_key=no_key, replace=True)
    assert IdentityStore(tmp_path).read() == first
    office.refusal = ""
    second, is_new = enroll.enroll(tmp_path, TOLD, office, install_root=no_root, install_key=no_key, replace=True)
    assert is_new
    assert second.key_pem != first.key_pem


def test_a_home_that_trusts_other_releases_is_not_enrolled(tmp_path: Path) -> None:
    office = Office()

    def another(file: Path) -> None:
        assert file.read_text() == "{}"
        raise UsageError("this device already trusts another root")

    with pytest.raises(UsageError):
        enroll.enroll(
            tmp_path, dataclasses.replace(TOLD, root_json="{}"), office, install_root=another, install_key=no_key
        )
    assert office.requests == []
    assert IdentityStore(tmp_path).read() is None


def test_a_brought_certificate_must_be_for_its_key(tmp_path: Path) -> None:
    told = dataclasses.replace(TOLD, device_id="pump-1")
    with pytest.raises(UsageError, match="not for this private key"):
        enroll.bring(tmp_path, told, request.new_key(), self_signed("pump-1"), install_root=no_root)
    with pytest.raises(UsageError, match="needs a name"):
        enroll.bring(tmp_path, TOLD, request.new_key(), self_signed("pump-1"), install_root=no_root)
    for key, certificate in ((b"x", self_signed("a")), (request.new_key(), b"x")):
        with pytest.raises(UsageError, match="cannot be read"):
            enroll.bring(tmp_path, told, key, certificate, install_root=no_root)
    assert not (tmp_path / "identity").exists()


def test_what_nobody_said_otherwise_comes_from_the_identity(tmp_path: Path, identity: Identity) -> None:
    found = settings_for(identity, AgentSettings(home=tmp_path))
    assert (found.device_id, found.server, found.channel) == ("till-1", "fleet:7443", "")
    IdentityStore(tmp_path / "enrolled").write(identity)
    assert open_following(AgentSettings(home=tmp_path / "enrolled")).channel == "beta"
    told = AgentSettings(home=tmp_path, device_id="till-1", server="other:1", channel="gamma")
    assert settings_for(identity, told) == told
    with pytest.raises(UsageError, match="enrolled as 'till-1', not as 'till-2'"):
        settings_for(identity, AgentSettings(home=tmp_path, device_id="till-2"))
    assert as_enrolled(AgentSettings(home=tmp_path)).device_id == "device", "a home that was never enrolled"
    assert client_identity(tmp_path) is None


def test_certificates_are_joined_each_once() -> None:
    one, two = CERTIFICATE.format("one"), CERTIFICATE.format("two")
    assert enroll.joined(one, f"words\n{two}\n\n{one}", "") == one + two
    assert enroll.joined("nothing") == ""


@pytest.fixture
def fleet(tmp_path: Path) -> object:
    with enrolled_fleet(tmp_path / "store") as running:
        yield running


class EnrolledLink:
    """The link of an enrolled device with a full outbox; the test holds its wall clock."""

    def __init__(self, fleet: EnrolledFleet, home: Path, stack: contextlib.ExitStack) -> None:
        self.identity = fleet.enrol(home, "till-1")
        self.now = time.time()
        self.said: list[str] = []
        self.outbox = stack.enter_context(contextlib.closing(SqliteOutbox(home / "outbox.sqlite")))
        settings = as_enrolled(AgentSettings(home=home, call_timeout_s=5.0))
        road = GrpcTransport(settings.server, identity=client_identity(home), timeout_s=5)
        stack.enter_context(contextlib.closing(road))
        slots = Slots(home)
        self.link = Link(
            LinkParts(
                settings=settings,
                outbox=self.outbox,
                transport=road,
                slots=slots,
                updater=PlannedUpdates(slots),
                following=open_following(settings),
                telemetry=Telemetry(),
                prepare=lambda: None,
                say=self.said.append,
                clock=lambda: self.now,
                jitter=lambda: 0.5,
                renewal=renewal_for(settings, road, say=self.said.append, jitter=0.5),
            )
        )

    def put(self, number: int) -> None:
        self.outbox.put(make_picture_sample(number, device_id="till-1"), now=self.now)


def test_the_link_renews_without_a_person_and_goes_on_sending(fleet: EnrolledFleet, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        device = EnrolledLink(fleet, tmp_path / "home", stack)
        device.put(1)
        device.link.step()
        device.now = device.identity.not_before + 0.7 * (device.identity.not_after - device.identity.not_before)
        device.put(2)
        device.link.step()
        assert device.said == []
        assert device.outbox.stats().sent == 2
    assert len(fleet.members.certificates("till-1")) == 2


def test_a_revoked_device_says_so_once_goes_on_and_loses_nothing(fleet: EnrolledFleet, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        device = EnrolledLink(fleet, tmp_path / "home", stack)
        device.put(1)
        members.revoke(fleet.members, fleet.by(), "till-1")
        for _ in range(3):
            assert device.link.step() > 0
        assert len(device.said) == 1
        assert "device 'till-1' was revoked" in device.said[0]
        stats = device.outbox.stats()
        assert (stats.pending, stats.parked) == (1, 0)
        members.readmit(fleet.members, fleet.by(), "till-1")
        device.link.step()
        assert device.outbox.stats().sent == 1
