"""Attacks on who is who: certificates, codes, tokens, names, places."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable
from pathlib import Path

from fleet_stage import ANSWERED_S, Ending, Stage, ending_of
from sample_values import offer_of

from cloud_train.errors import UnknownDeviceError
from cloud_train.fleet import members
from cloud_train.fleet.authority import create_authority
from cloud_train.fleet.office import open_office
from cloud_train.store.tables import BUNDLE_HOURS
from edge.errors import EdgeloopError
from edge.identity import request
from edge.identity.types import Identity
from edge.sync.types import CONFIDENCE_BINS
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

SQL = "'; DROP TABLE members; --"


def checked_in(stage: Stage, own: Identity, name: str | None = None, **told: object) -> Ending:
    """A check-in under whatever name."""
    with stage.channel(own) as channel:
        said = wire.CheckInRequest(device_id=name or own.device_id, software="x", **told)
        return ending_of(lambda: stubs.FleetStub(channel).CheckIn(said, timeout=ANSWERED_S))


def check_in_in_anothers_name(stage: Stage) -> Ending:
    return checked_in(stage, stage.attacker(), "victim")


def no_certificate(stage: Stage) -> Ending:
    with stage.stranger(stage.fleet.info.target) as channel:
        return ending_of(lambda: stubs.FleetStub(channel).CheckIn(wire.CheckInRequest(), timeout=ANSWERED_S))


def no_certificate_at_the_door_for_enrolment(stage: Stage) -> Ending:
    said = wire.CheckInRequest(device_id="victim", software="x")
    with stage.stranger() as channel:
        return ending_of(lambda: stubs.FleetStub(channel).CheckIn(said, timeout=ANSWERED_S))


def token_of_a_person_instead_of_a_certificate(stage: Stage) -> Ending:
    said = wire.CheckInRequest(device_id="victim", software="x")
    shown = (("authorization", f"Bearer {stage.admin}"),)
    with stage.stranger() as channel:
        return ending_of(lambda: stubs.FleetStub(channel).CheckIn(said, timeout=ANSWERED_S, metadata=shown))


def forged(stage: Stage, authority: Path, *, now: float | None = None, days: float = 1.0) -> Identity:
    """A certificate for `victim` by the authority of a folder."""
    key, signs = request.new_key(), create_authority(authority, "edgeloop fleet", time.time())
    issued = signs.issue_device(request.signing_request(key), "victim", now or time.time(), days=days)
    own = stage.attacker()
    return dataclasses.replace(own, key_pem=key.decode(), certificate_pem=issued.certificate_pem.decode())


def certificate_of_a_foreign_authority(stage: Stage) -> Ending:
    own = forged(stage, stage.homes / "foreign-ca")
    stage.from_here()
    return checked_in(stage, own, "victim")


def certificate_that_one_made_oneself(stage: Stage) -> Ending:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key_pem = request.new_key()
    key = serialization.load_pem_private_key(key_pem, password=None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "victim")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    own = dataclasses.replace(stage.attacker(), key_pem=key_pem.decode(), certificate_pem=pem.decode())
    stage.from_here()
    return checked_in(stage, own, "victim")


def expired_certificate(stage: Stage) -> Ending:
    own = forged(stage, stage.fleet.store / "ca", now=time.time() - 7200, days=1 / 24)
    stage.from_here()
    return checked_in(stage, own, "victim")


def certificate_that_the_fleet_never_recorded(stage: Stage) -> Ending:
    """Somebody had the authority's key for a moment."""
    own = forged(stage, stage.fleet.store / "ca")
    stage.from_here()
    return checked_in(stage, own, "victim")


def revoked(stage: Stage) -> Identity:
    own = stage.attacker()
    members.revoke(stage.fleet.members, stage.fleet.by(), own.device_id)
    stage.from_here()
    return own


def revoked_device_checks_in(stage: Stage) -> Ending:
    return checked_in(stage, revoked(stage))


def revoked_device_offers(stage: Stage) -> Ending:
    own = revoked(stage)
    with stage.channel(own) as channel:
        asked = convert.offer_request_to_message((offer_of(stage.sample(own.device_id)),))
        return ending_of(lambda: stubs.SamplesStub(channel).Offer(asked, timeout=ANSWERED_S))


def revoked_device_fetches(stage: Stage) -> Ending:
    return fetched(stage, "metadata/timestamp.json", own=revoked(stage))


def revoked_device_renews(stage: Stage) -> Ending:
    asked = wire.RenewRequest(csr_pem=request.signing_request(request.new_key()))
    with stage.channel(revoked(stage)) as channel:
        return ending_of(lambda: stubs.FleetStub(channel).Renew(asked, timeout=ANSWERED_S))


def revoked_device_with_a_push_under_way(stage: Stage) -> Ending:
    from pushing import OpenPush, pieces

    own = stage.attacker()
    with stage.channel(own) as channel:
        stream = OpenPush(stubs.SamplesStub(channel))
        stream.send(*pieces(stage.sample(own.device_id)))
        stream.receipt()
        members.revoke(stage.fleet.members, stage.fleet.by(), own.device_id)
        stage.from_here()
        stream.send(*pieces(stage.sample(own.device_id)))
        return ending_of(lambda: stream.receipt())


def enrolled(stage: Stage, code: str, name: str = "", csr_pem: bytes | None = None) -> Ending:
    """A try to get in."""
    asked = wire.EnrollRequest(code=code, csr_pem=csr_pem or request.signing_request(request.new_key()))
    asked.device_id = name
    with stage.stranger() as channel:
        return ending_of(lambda: stubs.FleetStub(channel).Enroll(asked, timeout=ANSWERED_S))


def good_code(stage: Stage, device_id: str = "", **told: object) -> str:
    code = stage.fleet.code(device_id, **told)
    stage.from_here()
    return code


def used_code(stage: Stage) -> Ending:
    code = stage.fleet.code()
    assert enrolled(stage, code).status == "OK"
    stage.from_here()
    return enrolled(stage, code)


def unknown_code(stage: Stage) -> Ending:
    return enrolled(stage, "AAAA-BBBB-CCCC-DDDD")


def expired_code(stage: Stage) -> Ending:
    code = good_code(stage, hours=0.05 / 3600)
    time.sleep(0.1)
    return enrolled(stage, code)


def name_of_a_device_that_is_there(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage), "victim")


def code_for_another_device(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage, "till-of-somebody"), "mallory")


def name_that_climbs(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage), "../../ca/ca.pem")


def name_that_is_sql(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage), SQL)


def name_with_a_nul(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage), "till\x00-1")


def name_of_ten_thousand_letters(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage), "x" * 10_000)


def name_that_hides_itself(stage: Stage) -> Ending:
    return enrolled(stage, good_code(stage), "..")


def code_that_is_sql(stage: Stage) -> Ending:
    return enrolled(stage, "' OR 1=1; --")


def request_that_is_none(stage: Stage) -> Ending:
    nonsense = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    return enrolled(stage, good_code(stage), csr_pem=nonsense)


def fetched(stage: Stage, path: str, *, own: Identity | None = None) -> Ending:
    """A published file, or whatever lies there."""
    with stage.channel(own or stage.attacker()) as channel:
        stub = stubs.UpdatesStub(channel)
        return ending_of(lambda: list(stub.Fetch(wire.FetchRequest(path=path), timeout=ANSWERED_S)))


def fetching(name: str, path: str) -> Callable[[Stage], Ending]:
    """An attack that fetches a path."""

    def attack(stage: Stage) -> Ending:
        return fetched(stage, path)

    attack.__name__ = f"fetch_of_{name}"
    return attack


def offset_below_zero(stage: Stage) -> Ending:
    with stage.channel(stage.attacker()) as channel:
        asked = wire.FetchRequest(path="metadata/timestamp.json", offset=2**64 - 1)
        return ending_of(lambda: list(stubs.UpdatesStub(channel).Fetch(asked, timeout=ANSWERED_S)))


def hour(**told: object) -> wire.BundleHour:
    plain = {"bundle_digest": "ab" * 32, "hour": int(time.time() // 3600), "run": "0" * 8}
    return wire.BundleHour(**{**plain, "confidence": [0] * CONFIDENCE_BINS, **told})


def check_in_that_rejected_too_much(stage: Stage) -> Ending:
    return checked_in(stage, stage.attacker(), rejected=["ab" * 32] * (limits.MAX_REJECTED + 1))


def check_in_with_a_thousand_hours(stage: Stage) -> Ending:
    """Of a newer device, perhaps; no more is read than one check-in may say."""
    own, present = stage.attacker(), int(time.time() // 3600)
    ending = checked_in(stage, own, hours=[hour(run=f"{number:08x}", hour=present) for number in range(1000)])
    taken = stage.fleet.database.read(BUNDLE_HOURS.select().where(BUNDLE_HOURS.c.device_id == own.device_id))
    return dataclasses.replace(ending, words=f"{len(taken)} taken")


def check_in_of_eight_megabytes(stage: Stage) -> Ending:
    return checked_in(stage, stage.attacker(), last_error="x" * (8 << 20))


def hours_from_the_future(stage: Stage) -> Ending:
    """What is said of the device is taken, its hours are not."""
    own = stage.attacker()
    assert checked_in(stage, own).status == "OK"
    stage.from_here()
    ahead = int(time.time() // 3600) + 24 * 365 * 3
    ending = checked_in(stage, own, hours=[hour(hour=ahead, frames=10**9)])
    with stage.http(stage.viewer) as program:
        said = program.get(f"/api/v1/devices/{own.device_id}").text
    return dataclasses.replace(ending, words=said)


def posted(stage: Stage, token: str, path: str, body: object) -> Ending:
    """An act over the API."""
    with stage.http(token) as program:
        return ending_of(lambda: program.post(f"/api/v1/devices/{path}", json=body))


def wrong_bearer_token(stage: Stage) -> Ending:
    return posted(stage, "x" * 43, "victim/revoke", {"reason": "mine now"})


def code_of_a_device_as_a_token(stage: Stage) -> Ending:
    return posted(stage, good_code(stage), "victim/revoke", {"reason": "mine now"})


def viewer_who_holds_a_device(stage: Stage) -> Ending:
    return posted(stage, stage.viewer, "victim/hold", {"held": True})


def viewer_who_revokes_a_device(stage: Stage) -> Ending:
    return posted(stage, stage.viewer, "victim/revoke", {"reason": "mine now"})


def label_that_is_sql(stage: Stage) -> Ending:
    return posted(stage, stage.admin, "victim/labels", {"labels": {"store": SQL}})


def label_name_that_climbs(stage: Stage) -> Ending:
    return posted(stage, stage.admin, "victim/labels", {"labels": {"../../ca": "1"}})


def device_in_the_address_that_is_sql(stage: Stage) -> Ending:
    return posted(stage, stage.admin, "%27%3B%20DROP%20TABLE%20members%3B%20--/hold", {"held": True})


def device_in_the_address_that_climbs(stage: Stage) -> Ending:
    return posted(stage, stage.admin, "..%2f..%2fca/hold", {"held": True})


def at_the_command_line(stage: Stage, act: Callable[..., object]) -> Ending:
    """An act as `edgeloop fleet` does it."""
    office = open_office(stage.fleet.store)
    try:
        act(office)
    except EdgeloopError as error:
        kind = "not found" if isinstance(error, UnknownDeviceError) else "usage"
        return Ending(status=kind, words=str(error))
    finally:
        office.close()
    return Ending(status="OK")


def device_on_the_command_line_that_is_sql(stage: Stage) -> Ending:
    return at_the_command_line(stage, lambda office: office.revoke(SQL))


def label_on_the_command_line_that_is_sql(stage: Stage) -> Ending:
    return at_the_command_line(stage, lambda office: office.label("victim", (f"store={SQL}",), ()))


def new_device_on_the_command_line_that_climbs(stage: Stage) -> Ending:
    return at_the_command_line(stage, lambda office: office.register("../../ca/ca.pem", None, ()))
