"""The attacks on a fleet's server as one table: a clear status, a line in the audit, no effect, and the server goes on.

Attacks on a device are tables of their own; `ELSEWHERE` names them, and the last test keeps the list whole.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import flood_attacks as flood
import identity_attacks as identity
import pytest
import sample_attacks as sample
from fleet_stage import SETTINGS, Attack, Stage, open_stage
from identity_attacks import fetching
from pushing import pieces
from sample_attacks import pushed

from edge.identity import request
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

CORE = "gRPC ends it before anything of ours runs"
TLS = "TLS ends it before anything of ours runs"
HARMLESS = "nothing is wrong with it"
TYPED = "who types it at the server itself is told, and nobody else came near"

TABLE = (
    # What is sent
    Attack(item="replayed chunks", play=sample.replayed_chunks, status="stored", unheard=HARMLESS),
    Attack(
        item="reordered chunks",
        play=sample.reordered_chunks,
        status="refused",
        words="offset 800 where 400 comes next",
        audit="sample.refused",
    ),
    Attack(
        item="reordered chunks",
        play=sample.overlapping_chunks,
        status="refused",
        words="offset 600 where 700 comes next",
        audit="sample.refused",
    ),
    Attack(
        item="reordered chunks",
        play=sample.chunks_of_two_samples_mixed,
        status="refused",
        words="its first piece carries no offer",
        audit="sample.refused",
    ),
    Attack(
        item="reordered chunks",
        play=sample.first_chunk_without_its_offer,
        status="refused",
        words="its first piece carries no offer",
        audit="sample.refused",
    ),
    Attack(
        item="reordered chunks",
        play=sample.offset_beyond_everything,
        status="INVALID_ARGUMENT",
        words="chunk.offset: 18446744073709551615 is not between",
        audit="call.refused",
    ),
    Attack(item="truncated chunks", play=sample.truncated_stream, status="OK", unheard=HARMLESS),
    Attack(
        item="truncated chunks",
        play=sample.truncated_sample_that_says_it_is_whole,
        status="refused",
        words="ends after 1400 of ",
        audit="sample.refused",
    ),
    Attack(item="truncated chunks", play=sample.a_hundred_uploads_that_never_end, status="OK", unheard=HARMLESS),
    Attack(
        item="a lying digest",
        play=sample.lying_digest,
        status="refused",
        words="the payload does not match its digest",
        audit="sample.refused",
    ),
    Attack(
        item="a lying digest",
        play=sample.digest_of_what_is_known,
        status="refused",
        words="the payload does not match its digest",
        audit="sample.refused",
    ),
    Attack(
        item="path injection in names",
        play=sample.digest_that_is_a_path,
        status="INVALID_ARGUMENT",
        words="is not a SHA-256 in hex",
        audit="call.refused",
    ),
    Attack(
        item="a lying size",
        play=sample.size_that_says_more,
        status="refused",
        words="ends after ",
        audit="sample.refused",
    ),
    Attack(
        item="a lying size",
        play=sample.size_that_says_less,
        status="refused",
        words="bytes that were offered",
        audit="sample.refused",
    ),
    Attack(
        item="a lying size",
        play=sample.size_of_four_gigabytes,
        status="INVALID_ARGUMENT",
        words="size_bytes: 4294967296 is not between 1 and",
        audit="call.refused",
    ),
    Attack(
        item="a lying size",
        play=sample.size_below_zero,
        status="INVALID_ARGUMENT",
        words="size_bytes: 18446744073709551615 is not between 1 and",
        audit="call.refused",
    ),
    Attack(
        item="no picture",
        play=sample.not_a_picture,
        status="refused",
        words="not a JPEG, PNG or WebP picture",
        audit="sample.refused",
    ),
    Attack(
        item="no picture",
        play=sample.script_that_calls_itself_a_picture,
        status="refused",
        words="the picture's header is damaged",
        audit="sample.refused",
    ),
    Attack(
        item="a picture bomb",
        play=sample.picture_bomb,
        status="refused",
        words="more than 64000000 pixels",
        audit="sample.refused",
    ),
    Attack(
        item="a 4 GB message",
        play=sample.message_of_four_gigabytes,
        status="RESOURCE_EXHAUSTED",
        words="larger than max",
        unheard=CORE,
    ),
    Attack(
        item="a 4 GB message",
        play=sample.message_of_32_megabytes,
        status="RESOURCE_EXHAUSTED",
        words="larger than max",
        unheard=CORE,
    ),
    Attack(
        item="absurd numbers",
        play=sample.more_chunks_in_a_message_than_any_device_sends,
        status="INVALID_ARGUMENT",
        words="chunks: 30001 is not between 0 and 64",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.chunks_within_chunks_within_chunks,
        status="INVALID_ARGUMENT",
        words="chunk.more: a chunk that follows another carries none of its own",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.too_many_offers,
        status="INVALID_ARGUMENT",
        words="offers: 257 is not between 0 and 256",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.confidence_that_is_no_number,
        status="INVALID_ARGUMENT",
        words="confidence: nan is not between 0 and 1",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.value_without_end,
        status="INVALID_ARGUMENT",
        words="value: inf is not between 0 and 1",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.captured_in_the_year_10000,
        status="INVALID_ARGUMENT",
        words="captured_at: 253402387199.0 is not between",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.captured_before_the_epoch,
        status="INVALID_ARGUMENT",
        words="captured_at: -1.0 is not between",
        audit="call.refused",
    ),
    Attack(
        item="SQL injection in names",
        play=sample.label_with_a_nul,
        status="INVALID_ARGUMENT",
        words="label: holds a character that cannot be sent",
        audit="call.refused",
    ),
    Attack(
        item="absurd numbers",
        play=sample.label_of_a_megabyte,
        status="INVALID_ARGUMENT",
        words="label: 1000000 characters, at most 512 are allowed",
        audit="call.refused",
    ),
    *(
        Attack(
            item="no message",
            play=play,
            status="INVALID_ARGUMENT",
            audit="call.refused",
        )
        for play in (sample.text_that_is_not_utf8, sample.bytes_that_are_no_message)
    ),
    Attack(
        item="an oversized check-in",
        play=identity.check_in_that_rejected_too_much,
        status="INVALID_ARGUMENT",
        words="status.rejected: 65 is not between 0 and 64",
        audit="call.refused",
    ),
    Attack(
        item="an oversized check-in",
        play=identity.check_in_with_a_thousand_hours,
        status="OK",
        words="32 taken",
        unheard=HARMLESS,
        may_leave=("bundle_hours", "devices"),
    ),
    Attack(
        item="an oversized check-in",
        play=identity.check_in_of_eight_megabytes,
        status="RESOURCE_EXHAUSTED",
        words="larger than max",
        unheard=CORE,
    ),
    Attack(
        item="clock wrong by years",
        play=identity.hours_from_the_future,
        status="OK",
        words="1 hours of statistics were not taken: they are too old, in the future, or make no sense",
        unheard="it is said in the device's own row, which people see",
    ),
    # In whose name
    *(
        Attack(
            item="another device's identity",
            play=play,
            status="PERMISSION_DENIED",
            words="speaks for 'victim' (use your own name)",
            audit="sample.forbidden",
        )
        for play in (
            sample.offer_in_anothers_name,
            sample.push_in_anothers_name,
            sample.put_in_anothers_name,
            sample.push_that_changes_its_name_midway,
            sample.anothers_sample_behind_one_of_its_own,
        )
    ),
    Attack(
        item="another device's identity",
        play=identity.check_in_in_anothers_name,
        status="PERMISSION_DENIED",
        words="speaks for 'victim' (use your own name)",
        audit="call.refused",
    ),
    Attack(
        item="another device's identity",
        play=sample.answer_about_anothers_sample,
        status="PERMISSION_DENIED",
        words="speaks for 'victim'",
        audit="sample.forbidden",
    ),
    Attack(
        item="another device's identity",
        play=sample.answer_about_no_sample,
        status="FAILED_PRECONDITION",
        words="no sample eeee",
        audit="call.refused",
    ),
    Attack(item="no certificate", play=identity.no_certificate, status="UNAVAILABLE", unheard=TLS),
    Attack(
        item="no certificate",
        play=identity.no_certificate_at_the_door_for_enrolment,
        status="UNAUTHENTICATED",
        words="this call needs the certificate of a device",
        audit="call.refused",
    ),
    Attack(
        item="a wrong token",
        play=identity.token_of_a_person_instead_of_a_certificate,
        status="UNAUTHENTICATED",
        words="this call needs the certificate of a device",
        audit="call.refused",
    ),
    Attack(
        item="a forged certificate",
        play=identity.certificate_of_a_foreign_authority,
        status="UNAVAILABLE",
        unheard=TLS,
    ),
    Attack(
        item="a forged certificate", play=identity.certificate_that_one_made_oneself, status="UNAVAILABLE", unheard=TLS
    ),
    Attack(item="a forged certificate", play=identity.expired_certificate, status="UNAVAILABLE", unheard=TLS),
    Attack(
        item="a forged certificate",
        play=identity.certificate_that_the_fleet_never_recorded,
        status="UNAUTHENTICATED",
        words="this certificate speaks for no device of the fleet",
        audit="call.refused",
    ),
    *(
        Attack(
            item="a revoked device",
            play=play,
            status="PERMISSION_DENIED",
            words="was revoked (ask the fleet's keeper)",
            audit="call.refused",
        )
        for play in (
            identity.revoked_device_checks_in,
            identity.revoked_device_offers,
            identity.revoked_device_fetches,
            identity.revoked_device_renews,
        )
    ),
    Attack(
        item="a revoked device",
        play=identity.revoked_device_with_a_push_under_way,
        status="PERMISSION_DENIED",
        words="device 'mallory-",
        audit="call.refused",
        may_leave=("blobs",),  # a file without a row, which nobody sees; see `arrivals._commit`
    ),
    *(
        Attack(
            item="a wrong enrolment code",
            play=play,
            status="UNAUTHENTICATED",
            words="this enrolment code is not good",
            audit="enrol.refused",
        )
        for play in (identity.used_code, identity.unknown_code, identity.expired_code, identity.code_that_is_sql)
    ),
    Attack(
        item="a wrong enrolment code",
        play=identity.name_of_a_device_that_is_there,
        status="PERMISSION_DENIED",
        words="the name 'victim' is taken",
        audit="enrol.refused",
    ),
    Attack(
        item="a wrong enrolment code",
        play=identity.code_for_another_device,
        status="PERMISSION_DENIED",
        words="this code is for another device than 'mallory'",
        audit="enrol.refused",
    ),
    Attack(
        item="no message",
        play=identity.request_that_is_none,
        status="INVALID_ARGUMENT",
        words="csr_pem: is no certificate signing request",
        audit="call.refused",
    ),
    # Names that are more than names
    *(
        Attack(
            item=item,
            play=play,
            status="INVALID_ARGUMENT",
            words="device_id: ",
            audit="call.refused",
        )
        for item, play in (
            ("path injection in names", identity.name_that_climbs),
            ("path injection in names", identity.name_that_hides_itself),
            ("SQL injection in names", identity.name_that_is_sql),
            ("SQL injection in names", identity.name_with_a_nul),
            ("SQL injection in names", identity.name_of_ten_thousand_letters),
        )
    ),
    *(
        Attack(
            item="path injection in names",
            play=fetching(name, path),
            status="INVALID_ARGUMENT",
            words="is not a plain relative path",
            audit="call.refused",
        )
        for name, path in (
            ("a_path_that_climbs", "../keys/root.pem"),
            ("a_path_that_climbs_out_again", "metadata/../../keys/root.pem"),
            ("an_absolute_path", "/etc/passwd"),
            ("an_encoded_path", "%2e%2e/keys/root.pem"),
            ("an_encoded_slash", "metadata/..%2fkeys"),
            ("a_path_of_another_system", "metadata\\..\\keys"),
            ("a_double_slash", "metadata//etc/passwd"),
            ("a_hidden_file", "metadata/.htaccess"),
        )
    ),
    *(
        Attack(
            item="path injection in names",
            play=fetching(name, path),
            status="NOT_FOUND",
            words="no such file",
            unheard="a device that asks for what is not there, as it does every day for the next root",
        )
        for name, path in (
            ("the_keys", "keys/root.pem"),
            ("the_authority", "ca/ca.pem"),
            ("the_database", "meta.sqlite"),
            ("a_sample", "blobs/ab"),
        )
    ),
    Attack(
        item="absurd numbers",
        play=identity.offset_below_zero,
        status="INVALID_ARGUMENT",
        words="offset: 18446744073709551615 is not between",
        audit="call.refused",
    ),
    Attack(
        item="SQL injection in names",
        play=identity.label_that_is_sql,
        status="422",
        words="labels",
        audit="api.refused",
    ),
    Attack(
        item="path injection in names",
        play=identity.label_name_that_climbs,
        status="422",
        words="labels",
        audit="api.refused",
    ),
    Attack(
        item="SQL injection in names",
        play=identity.device_in_the_address_that_is_sql,
        status="404",
        words="no device",
        audit="api.refused",
    ),
    Attack(
        item="path injection in names",
        play=identity.device_in_the_address_that_climbs,
        status="404",
        audit="api.refused",
    ),
    Attack(
        item="SQL injection in names",
        play=identity.device_on_the_command_line_that_is_sql,
        status="not found",
        words="no device",
        unheard=TYPED,
    ),
    Attack(
        item="SQL injection in names",
        play=identity.label_on_the_command_line_that_is_sql,
        status="usage",
        words="cannot be the value of label 'store'",
        unheard=TYPED,
    ),
    Attack(
        item="path injection in names",
        play=identity.new_device_on_the_command_line_that_climbs,
        status="usage",
        words="is not 1 to 64 letters",
        unheard=TYPED,
    ),
    # People
    Attack(item="a wrong token", play=identity.wrong_bearer_token, status="401", words="token", audit="people.refused"),
    Attack(
        item="a wrong token",
        play=identity.code_of_a_device_as_a_token,
        status="401",
        words="token",
        audit="people.refused",
    ),
    Attack(
        item="a role that is not enough",
        play=identity.viewer_who_holds_a_device,
        status="403",
        words="viewer is viewer, this needs operator",
        audit="api.refused",
    ),
    Attack(
        item="a role that is not enough",
        play=identity.viewer_who_revokes_a_device,
        status="403",
        words="viewer is viewer, this needs admin",
        audit="api.refused",
    ),
    # Room and time
    Attack(item="a slow-loris client", play=flood.silent_connections, status="closed", unheard=CORE),
    Attack(item="a slow-loris client", play=flood.byte_after_byte, status="closed", unheard=TLS),
    Attack(item="a slow-loris client", play=flood.byte_after_byte_of_a_device, status="closed", unheard=CORE),
    Attack(
        item="a slow-loris client",
        play=flood.push_that_says_nothing,
        status="RESOURCE_EXHAUSTED",
        words="nothing came for 1 s",
        audit="call.refused",
    ),
    Attack(
        item="a slow-loris client",
        play=flood.push_that_trickles,
        status="ABORTED",
        words="the stream is older than 2.5 s",
        audit="call.refused",
    ),
    Attack(
        item="a flood of streams",
        play=flood.flood_of_streams,
        status="RESOURCE_EXHAUSTED",
        words="too many uploads at a time",
        audit="call.refused",
    ),
)

ELSEWHERE = {
    "expired metadata": ("edge/test_update_attacks.py", "indefinite_freeze"),
    "swapped metadata": ("edge/test_update_attacks.py", "swapped_roles"),
    "swapped channels": ("edge/test_update_attacks.py", "swapped_channels"),
    "rolled-back metadata": ("edge/test_update_attacks.py", "rolled_back_timestamp"),
    "rolled-back targets": ("edge/test_update_attacks.py", "rolled_back_targets"),
    "mixed-up metadata": ("edge/test_update_attacks.py", "mix_and_match"),
    "oversized metadata": ("edge/test_update_attacks.py", "endless_targets"),
    "ZIP slips in a bundle": ("edge/test_archive.py", "test_entry_that_does_not_belong"),
    "ZIP slips on a stick": ("edge/test_stick.py", "test_names_in_an_archive_lead_nowhere"),
    "clock years ahead": ("edge/test_update_attacks.py", "clock_years_ahead"),
    "clock years behind": ("edge/test_update_attacks.py", "clock_years_behind"),
    "a thousand devices reconnecting at once": ("cloud_train/test_fleet_reconnect.py", "test_a_fleet_comes_back"),
}

ISSUE = (
    *("replayed chunks", "reordered chunks", "truncated chunks", "a lying digest", "a 4 GB message"),
    *("another device's identity", "expired metadata", "swapped metadata", "rolled-back metadata"),
    *("mixed-up metadata", "oversized metadata", "a revoked device", "a slow-loris client"),
    *("a thousand devices reconnecting at once", "SQL injection in names", "path injection in names"),
    *("ZIP slips in a bundle", "clock wrong by years", "clock years ahead", "clock years behind"),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("attacked")) as opened:
        yield opened


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_an_attack_ends_clearly_and_changes_nothing(stage: Stage, row: Attack) -> None:
    played = stage.play(row)
    assert (played.ending.status, played.changed, played.is_served) == (row.status, (), True), played.ending.words
    assert row.words in played.ending.words
    assert len(played.ending.words.splitlines()) <= 1
    assert "Traceback" not in played.ending.words
    assert str(stage.fleet.store) not in played.ending.words, "the server's insides are nobody's business"
    assert played.partial_bytes <= SETTINGS["max_partial_bytes"]


@pytest.mark.parametrize("row", [row for row in TABLE if row.audit], ids=lambda row: row.name)
def test_an_attack_leaves_a_line_in_the_audit(stage: Stage, row: Attack) -> None:
    since = stage.play(row).since
    assert stage.heard(row.audit, since, patience_s=10.0)


def test_what_was_cut_off_goes_on_where_it_was(stage: Stage) -> None:
    own = stage.attacker()
    cut = stage.sample(own.device_id)
    assert pushed(stage, own, pieces(cut)[:2]).status == "OK"
    assert pushed(stage, own, pieces(cut, start=1400)).status == "stored"


def test_what_a_request_for_a_certificate_says_of_itself_counts_for_nothing(stage: Stage) -> None:
    """A device may ask to be an authority under any name; it gets the name of its code, and to speak is all it may."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(request.new_key(), password=None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "../../victim'; DROP TABLE members; --")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name)
    asked = asked.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    asked = asked.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem = asked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    with stage.stranger() as channel:
        told = wire.EnrollRequest(code=stage.fleet.code("mallory-csr"), csr_pem=pem)
        answer = stubs.FleetStub(channel).Enroll(told, timeout=20)
    got = x509.load_pem_x509_certificate(answer.certificate_pem)
    assert answer.device_id == "mallory-csr"
    assert got.subject.rfc4514_string() == "CN=mallory-csr"
    assert got.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert not got.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_the_server_is_as_it_was_after_all_of_them(stage: Stage) -> None:
    """No table is gone, no name of an attacker is a file, and who belongs still does."""
    names = {member.device_id for member in stage.fleet.members.members()}
    assert {"honest", "victim"} <= names
    assert all(name in ("honest", "victim") or name.startswith(("mallory-", "device-")) for name in names)
    assert [one.revoked_at for one in stage.fleet.members.members() if one.device_id == "victim"] == [None]
    assert stage.serves_honestly()


def test_every_row_says_what_is_heard_of_it() -> None:
    names = [row.name for row in TABLE]
    assert len(set(names)) == len(names)
    assert all(bool(row.audit) != bool(row.unheard) for row in TABLE)


@pytest.mark.parametrize("item", ISSUE)
def test_the_list_of_the_issue_is_whole(item: str) -> None:
    if item in {row.item for row in TABLE}:
        return
    file, name = ELSEWHERE[item]
    tree = ast.parse((Path(__file__).parents[1] / file).read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert name in defined
    if not name.startswith("test_"):
        tables = [node for node in tree.body if isinstance(node, ast.Assign)]
        assert any(name in {part.id for part in ast.walk(table) if isinstance(part, ast.Name)} for table in tables)
