"""Values survive the wire unchanged; whatever else comes over it is refused by the name of its field."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_values import make_metadata, make_sample, offer_of

from edge.errors import FormatError
from edge.outbox.base import SampleMetadata
from edge.sync.types import Chunk, DeviceStatus, Directive, OfferReply, Receipt, ReceiptStatus, SampleOffer
from edge.types import Feedback, FeedbackKind, KeepReason, Outcome
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire

VALID = {
    "".join(word.capitalize() for word in name.split("_")): bytes.fromhex(text)
    for version in ("wire_v1.json", "wire_v2.json")
    for name, text in json.loads((Path(__file__).parents[1] / "compat" / version).read_text()).items()
}
DIGEST = "0123456789abcdef" * 4
OTHER = "f" * 64

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=40)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
shares = st.floats(0.0, 1.0)
moments = st.floats(0.0, limits.LAST_MOMENT)
counts = st.integers(0, limits.MAX_COUNT)
metadata_values = st.builds(
    SampleMetadata,
    device_id=texts,
    captured_at=moments,
    source=texts | st.just(""),
    prediction_id=texts,
    bundle_digest=digests,
    label=texts,
    confidence=shares,
    margin=shares,
    outcome=st.sampled_from(Outcome),
    reason=st.sampled_from(KeepReason),
    value=shares,
)
offers = st.builds(
    SampleOffer, digest=digests, size_bytes=st.integers(1, limits.MAX_PAYLOAD_BYTES), metadata=metadata_values
)
statuses = st.builds(
    DeviceStatus,
    device_id=texts,
    software=texts,
    bundle_digest=digests | st.just(""),
    bundle_version=counts,
    outbox_pending=counts,
    frames=counts,
    accepted=counts,
    confirmed=counts,
    unknown=counts,
    kept=counts,
    latency_p50_ms=st.floats(0.0, 1e6),
    last_error=st.just("no connection"),
)
answers = st.builds(
    Feedback,
    kind=st.sampled_from([FeedbackKind.CONFIRMED, FeedbackKind.CORRECTED]),
    label=texts,
    who=texts,
    at=moments,
)


@given(metadata_values)
def test_metadata_survives(value: SampleMetadata) -> None:
    assert convert.sample_metadata_from_message(convert.sample_metadata_to_message(value)) == value


@given(st.lists(offers, max_size=5, unique_by=lambda offer: offer.digest).map(tuple))
def test_offers_survive(values: tuple[SampleOffer, ...]) -> None:
    assert convert.offer_request_from_message(convert.offer_request_to_message(values)) == values


@given(st.lists(digests, max_size=6, unique=True), st.floats(0.0, 100.0), st.data())
def test_replies_survive(names: list[str], retry_after_s: float, data: st.DataObject) -> None:
    third = len(names) // 3
    missing = tuple(names[:third])
    value = OfferReply(
        missing=missing,
        known=tuple(names[third : 2 * third]),
        refused={name: data.draw(st.sampled_from(["", "too large"])) for name in names[2 * third :]},
        partial={name: data.draw(st.integers(0, limits.MAX_PAYLOAD_BYTES)) for name in missing},
        retry_after_s=retry_after_s,
    )
    assert convert.offer_response_from_message(convert.offer_response_to_message(value)) == value


@given(offers, st.integers(0, 1000), st.binary(min_size=1, max_size=100), st.booleans(), st.booleans())
def test_chunks_survive(offer: SampleOffer, offset: int, data: bytes, last: bool, first: bool) -> None:
    value = Chunk(digest=offer.digest, offset=offset, data=data, last=last, offer=offer if first else None)
    assert convert.chunk_from_message(convert.chunk_to_message(value)) == value


@given(statuses)
def test_statuses_survive(value: DeviceStatus) -> None:
    assert convert.check_in_request_from_message(convert.check_in_request_to_message(value)) == value


@given(digests, answers)
def test_answers_survive(digest: str, value: Feedback) -> None:
    message = convert.annotate_request_to_message(digest, value)
    assert convert.annotate_request_from_message(message) == (digest, value)


def messages_and_readers() -> list[tuple[type, Callable[[object], object]]]:
    names = [name.removesuffix("_from_message") for name in dir(convert) if name.endswith("_from_message")]
    classes = ["".join(word.capitalize() for word in name.removesuffix("s").split("_")) for name in names]
    readers = [getattr(convert, f"{name}_from_message") for name in names]
    return [(getattr(wire, cls), reader) for cls, reader in zip(classes, readers, strict=True)]


@pytest.mark.parametrize(("message", "read"), messages_and_readers(), ids=lambda item: getattr(item, "__name__", ""))
@settings(max_examples=80)
@given(data=st.data())
def test_damage_gives_a_value_or_a_format_error_and_nothing_else(
    message: type, read: Callable[[object], object], data: st.DataObject
) -> None:
    from google.protobuf.message import DecodeError

    sent = bytearray(VALID[message.DESCRIPTOR.name])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(sent) - 1))
        sent[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        sent = sent or bytearray(b"?")
    try:
        received = message.FromString(bytes(sent))
    except DecodeError:
        return
    with contextlib.suppress(FormatError):
        value = read(received)
        if isinstance(value, Iterator):
            list(value)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("device_id", ""),
        ("device_id", "x" * (limits.MAX_TEXT + 1)),
        ("device_id", "nul\x00"),
        ("captured_at", math.nan),
        ("captured_at", math.inf),
        ("captured_at", -1.0),
        ("captured_at", 1e13),
        ("source", "x" * (limits.MAX_TEXT + 1)),
        ("prediction_id", ""),
        ("bundle_digest", ""),
        ("bundle_digest", "AB" * 32),
        ("bundle_digest", "ab" * 31),
        ("bundle_digest", "ab" * 32 + "\n"),
        ("label", "a\0b"),
        ("confidence", 1.5),
        ("confidence", -0.1),
        ("margin", math.nan),
        ("value", math.inf),
        ("outcome", "maybe"),
        ("outcome", ""),
        ("reason", "for fun"),
    ],
)
def test_wrong_metadata_names_its_field(field: str, wrong: object) -> None:
    message = convert.offer_request_to_message((offer_of(make_sample(1)), offer_of(make_sample(2))))
    setattr(message.offers[1].metadata, field, wrong)
    with pytest.raises(FormatError, match=re.escape(f"offers[1].metadata.{field}")):
        convert.offer_request_from_message(message)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"digest": "x"}, "offer.digest"),
        ({"size_bytes": 0}, "offer.size_bytes"),
        ({"size_bytes": limits.MAX_PAYLOAD_BYTES + 1}, "offer.size_bytes"),
        ({"metadata": make_metadata(source="bad\udc80")}, "offer.metadata.source"),
        ({"metadata": make_metadata(confidence=2.0)}, "offer.metadata.confidence"),
    ],
)
def test_a_wrong_offer_is_not_even_sent(change: dict[str, object], named: str) -> None:
    with pytest.raises(FormatError, match=f"^{re.escape(named)}"):
        convert.sample_offer_to_message(dataclasses.replace(offer_of(make_sample(1)), **change))


def test_too_many_offers_are_refused_before_they_are_read() -> None:
    message = wire.OfferRequest(offers=[wire.SampleOffer()] * (limits.MAX_OFFERS + 1))
    with pytest.raises(FormatError, match=r"^offers: 257 is not between 0 and 256"):
        convert.offer_request_from_message(message)


def test_a_digest_is_offered_once() -> None:
    offer = offer_of(make_sample(1))
    with pytest.raises(FormatError, match=f"offers: {offer.digest} is there twice"):
        convert.offer_request_to_message((offer, offer))


def test_the_largest_offer_fits_into_a_message() -> None:
    widest = dict.fromkeys(("device_id", "source", "prediction_id", "label"), "\U0001f600" * limits.MAX_TEXT)
    offer = offer_of(make_sample(1, **widest))
    all_of_them = [convert.sample_offer_to_message(offer)] * limits.MAX_OFFERS
    assert wire.OfferRequest(offers=all_of_them).ByteSize() < limits.MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ({"missing": [DIGEST], "known": [DIGEST]}, "reply: .* twice"),
        ({"missing": ["short"]}, "reply.missing"),
        ({"known": [""]}, "reply.known"),
        ({"refused": {"x": ""}}, "reply.refused"),
        ({"refused": {DIGEST: "x" * 1001}}, "reply.refused"),
        ({"partial": {DIGEST: 1}}, "reply.partial"),
        ({"missing": [DIGEST], "partial": {DIGEST: limits.MAX_PAYLOAD_BYTES + 1}}, "reply.partial"),
        ({"retry_after_s": math.nan}, "reply.retry_after_s"),
        ({"retry_after_s": -1.0}, "reply.retry_after_s"),
        ({"retry_after_s": 1e9}, "reply.retry_after_s"),
        ({"missing": [f"{number:064x}" for number in range(257)]}, "reply: 257"),
    ],
)
def test_a_wrong_reply_names_its_field(reply: dict[str, object], named: str) -> None:
    with pytest.raises(FormatError, match=rf"^{named}"):
        convert.offer_response_from_message(wire.OfferResponse(**reply))


@pytest.mark.parametrize(
    ("chunk", "named"),
    [
        ({"digest": "x"}, "chunk.digest"),
        ({"data": b""}, "chunk.data"),
        ({"data": b"x" * (limits.MAX_CHUNK_BYTES + 1)}, "chunk.data"),
        ({"offset": limits.MAX_PAYLOAD_BYTES}, "chunk.offset"),
        ({"offset": 2**64 - 1}, "chunk.offset"),
        ({"offer": wire.SampleOffer(digest=DIGEST)}, "chunk.offer"),
    ],
)
def test_a_wrong_chunk_names_its_field(chunk: dict[str, object], named: str) -> None:
    message = wire.Chunk(**{"digest": DIGEST, "offset": 0, "data": b"x", "last": False, **chunk})
    with pytest.raises(FormatError, match=rf"^{named}"):
        convert.chunk_from_message(message)


def test_pieces_that_travel_together_survive_in_their_order() -> None:
    values = [Chunk(digest=DIGEST, offset=number, data=b"x", last=False) for number in range(limits.MAX_TOGETHER)]
    message = wire.Chunk.FromString(convert.chunks_to_message(values).SerializeToString())
    assert list(convert.chunks_from_message(message)) == values
    assert list(convert.chunks_from_message(convert.chunk_to_message(values[0]))) == values[:1]
    receipts = tuple(Receipt(digest=f"{number:064x}", status=ReceiptStatus.STORED) for number in range(3))
    assert convert.push_receipts_from_message(convert.push_receipts_to_message(receipts)) == receipts


def test_too_many_pieces_or_pieces_within_pieces_are_refused() -> None:
    value = Chunk(digest=DIGEST, offset=0, data=b"x", last=False)
    message = convert.chunk_to_message(value)
    with pytest.raises(FormatError, match=r"^chunks: 65 is not between 1 and 64"):
        convert.chunks_to_message([value] * (limits.MAX_TOGETHER + 1))
    many = wire.Chunk(digest=DIGEST, data=b"x", more=[message] * limits.MAX_TOGETHER)
    with pytest.raises(FormatError, match=r"^chunks: 65 is not"):
        next(convert.chunks_from_message(many))
    nested = wire.Chunk(digest=DIGEST, data=b"x", more=[wire.Chunk(digest=DIGEST, data=b"x", more=[message])])
    pieces = convert.chunks_from_message(nested)
    assert next(pieces) == value
    with pytest.raises(FormatError, match=r"chunk\.more"):
        next(pieces)
    receipts = wire.PushReceipt(digest=DIGEST, status="stored", more=[wire.PushReceipt()] * limits.MAX_TOGETHER)
    with pytest.raises(FormatError, match=r"^receipts: 65 is not"):
        convert.push_receipts_from_message(receipts)


def test_an_offer_of_another_sample_is_refused() -> None:
    offer = convert.sample_offer_to_message(offer_of(make_sample(1)))
    with pytest.raises(FormatError, match=r"chunk\.offer\.digest"):
        convert.chunk_from_message(wire.Chunk(digest=OTHER, data=b"x", offer=offer))


def test_an_empty_last_chunk_ends_what_was_there_already() -> None:
    value = Chunk(digest=DIGEST, offset=100, data=b"", last=True)
    assert convert.chunk_from_message(convert.chunk_to_message(value)) == value


@pytest.mark.parametrize(
    ("feedback", "named"),
    [
        ({"kind": "perhaps"}, "feedback.kind"),
        ({"label": ""}, "feedback.label"),
        ({"kind": "none_of_these"}, "feedback.label"),
        ({"who": ""}, "feedback.who"),
        ({"at": math.nan}, "feedback.at"),
    ],
)
def test_wrong_feedback_names_its_field(feedback: dict[str, object], named: str) -> None:
    message = wire.Feedback(**{"kind": "corrected", "label": "tea", "who": "Ada", "at": 1.0, **feedback})
    with pytest.raises(FormatError, match=rf"^{named}"):
        convert.feedback_from_message(message)


def test_none_of_these_has_no_label() -> None:
    value = Feedback(kind=FeedbackKind.NONE_OF_THESE, label="", who="Ada", at=1.0)
    assert convert.feedback_from_message(convert.feedback_to_message(value)) == value


@pytest.mark.parametrize(
    ("message", "read", "named"),
    [
        (wire.PushReceipt(digest=DIGEST, status="lost"), convert.push_receipt_from_message, "receipt.status"),
        (wire.PushReceipt(digest="", status="stored"), convert.push_receipt_from_message, "receipt.digest"),
        (wire.AnnotateRequest(digest="x"), convert.annotate_request_from_message, "digest"),
        (wire.AnnotateRequest(digest=DIGEST), convert.annotate_request_from_message, "feedback.kind"),
        (wire.CheckInRequest(software="s"), convert.check_in_request_from_message, "status.device_id"),
        (wire.CheckInResponse(channel=""), convert.check_in_response_from_message, "directive.channel"),
        (wire.CheckInResponse(channel="a", check_in_s=math.nan), convert.check_in_response_from_message, "directive"),
    ],
)
def test_other_wrong_messages_name_their_field(message: object, read: Callable[[object], object], named: str) -> None:
    with pytest.raises(FormatError, match=rf"^{named}"):
        read(message)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../keys/root",
        "metadata/../keys",
        "metadata//1.json",
        "a/",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\nb",
    ],
)
def test_a_path_that_climbs_or_hides_is_refused(path: str) -> None:
    with pytest.raises(FormatError, match=r"^path"):
        convert.fetch_request_from_message(wire.FetchRequest(path=path))


@pytest.mark.parametrize(
    "path", ["metadata/1.root.json", "targets/channel/stable/manifest.json", f"files/sha256/{DIGEST}"]
)
def test_the_published_paths_pass(path: str) -> None:
    assert convert.fetch_request_from_message(convert.fetch_request_to_message(path, 7)) == (path, 7)


def test_long_texts_for_people_are_cut_and_not_refused() -> None:
    receipt = Receipt(digest=DIGEST, status=ReceiptStatus.REFUSED, reason="no\n " * 2000)
    read = convert.push_receipt_from_message(convert.push_receipt_to_message(receipt))
    assert len(read.reason) == limits.MAX_REASON
    assert read.reason.startswith("no no no")
    status = DeviceStatus(
        device_id="d", software="s", bundle_digest="", bundle_version=0, outbox_pending=0, frames=0, accepted=0,
        confirmed=0, unknown=0, kept=0, latency_p50_ms=0.0, last_error="bad \udc80 \x00 name " * 500,
    )  # fmt: skip
    assert len(convert.check_in_request_from_message(convert.check_in_request_to_message(status)).last_error) == 1000


@pytest.mark.parametrize("wrong", [{"frames": -1}, {"frames": 2**70}, {"latency_p50_ms": math.nan}])
def test_a_wrong_status_is_not_even_sent(wrong: dict[str, object]) -> None:
    status = DeviceStatus(
        device_id="d", software="s", bundle_digest="", bundle_version=0, outbox_pending=0, frames=0, accepted=0,
        confirmed=0, unknown=0, kept=0, latency_p50_ms=0.0,
    )  # fmt: skip
    with pytest.raises(FormatError, match=r"^status"):
        convert.check_in_request_to_message(dataclasses.replace(status, **wrong))


def test_a_directive_survives() -> None:
    value = Directive(channel="stable", bundle_digest="", check_in_s=30.0)
    assert convert.check_in_response_from_message(convert.check_in_response_to_message(value)) == value


def test_a_fetched_piece_is_no_larger_than_allowed() -> None:
    with pytest.raises(FormatError, match=r"^data"):
        convert.fetch_chunk_from_message(wire.FetchChunk(data=b"x" * (limits.MAX_CHUNK_BYTES + 1)))
