"""Values to messages and back: the only reader and writer of message fields, on the device and on the server.

Each message has `<message>_to_message` and `<message>_from_message`, named after it in snake case; those named in the
plural put several values into one message. All check with `edge.wire.limits`; what does not pass is a `FormatError`
that names the field.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from edge.errors import FormatError
from edge.outbox.base import SampleMetadata
from edge.sync.types import (
    BundleHour,
    Chunk,
    DeviceStatus,
    Directive,
    Enrolment,
    OfferReply,
    Receipt,
    ReceiptStatus,
    SampleOffer,
)
from edge.types import Feedback, FeedbackKind, KeepReason, Outcome
from edge.wire import limits

if TYPE_CHECKING:
    from edge.wire.v1 import edgeloop_pb2 as wire

E = TypeVar("E", bound=enum.Enum)


def sample_metadata_to_message(value: SampleMetadata) -> wire.SampleMetadata:
    """What the device knew, as a message."""
    limits.check_metadata(value)
    return _metadata_message(value)


def sample_metadata_from_message(message: wire.SampleMetadata, where: str = "metadata") -> SampleMetadata:
    """What the device knew, checked."""
    value = _metadata(message, where)
    limits.check_metadata(value, where)
    return value


def sample_offer_to_message(value: SampleOffer) -> wire.SampleOffer:
    """One offer, as a message."""
    limits.check_offer(value)
    return _offer_message(value)


def sample_offer_from_message(message: wire.SampleOffer, where: str = "offer") -> SampleOffer:
    """One offer, checked."""
    value = _offer(message, where)
    limits.check_offer(value, where)
    return value


def offer_request_to_message(values: tuple[SampleOffer, ...]) -> wire.OfferRequest:
    """A round of offers, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_offers(values)
    return wire.OfferRequest(offers=[_offer_message(value) for value in values])


def offer_request_from_message(message: wire.OfferRequest) -> tuple[SampleOffer, ...]:
    """A round of offers, checked; their number before anything else."""
    limits.check_count(len(message.offers), "offers", high=limits.MAX_OFFERS)
    values = tuple(_offer(offer, f"offers[{index}]") for index, offer in enumerate(message.offers))
    limits.check_offers(values)
    return values


def offer_response_to_message(value: OfferReply) -> wire.OfferResponse:
    """What the server wants, as a message; reasons are cut to what may be sent."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    message = wire.OfferResponse(
        missing=value.missing,
        known=value.known,
        refused={digest: limits.shortened(reason) for digest, reason in value.refused.items()},
        partial=value.partial,
        retry_after_s=value.retry_after_s,
        together=value.together,
    )
    offer_response_from_message(message)
    return message


def offer_response_from_message(message: wire.OfferResponse) -> OfferReply:
    """What the server wants, checked."""
    value = OfferReply(
        missing=tuple(message.missing),
        known=tuple(message.known),
        refused=dict(message.refused),
        partial=dict(message.partial),
        retry_after_s=message.retry_after_s,
        together=message.together,
    )
    limits.check_reply(value)
    return value


def chunk_to_message(value: Chunk) -> wire.Chunk:
    """A piece of a payload, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_chunk(value)
    offer = None if value.offer is None else _offer_message(value.offer)
    return wire.Chunk(digest=value.digest, offset=value.offset, data=value.data, last=value.last, offer=offer)


def chunk_from_message(message: wire.Chunk) -> Chunk:
    """A piece of a payload, checked; whether it fits to the piece before is the receiver's to know."""
    offer = _offer(message.offer, "chunk.offer") if message.HasField("offer") else None
    value = Chunk(digest=message.digest, offset=message.offset, data=message.data, last=message.last, offer=offer)
    limits.check_chunk(value)
    return value


def chunks_to_message(values: Sequence[Chunk]) -> wire.Chunk:
    """Pieces that follow each other in one message; at least one."""
    limits.check_count(len(values), "chunks", low=1, high=limits.MAX_TOGETHER)
    message = chunk_to_message(values[0])
    message.more.extend(map(chunk_to_message, values[1:]))
    return message


def chunks_from_message(message: wire.Chunk) -> Iterator[Chunk]:
    """The pieces of a message in their order, each checked when its turn comes."""
    limits.check_count(len(message.more) + 1, "chunks", high=limits.MAX_TOGETHER)
    yield chunk_from_message(message)
    for piece in message.more:
        if piece.more:
            raise FormatError("chunk.more: a chunk that follows another carries none of its own")
        yield chunk_from_message(piece)


def push_receipt_to_message(value: Receipt) -> wire.PushReceipt:
    """The server's word, as a message; the reason is cut to what may be sent."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_digest(value.digest, "receipt.digest")
    reason = limits.shortened(value.reason) if value.reason else ""
    return wire.PushReceipt(digest=value.digest, status=value.status.value, reason=reason)


def push_receipt_from_message(message: wire.PushReceipt) -> Receipt:
    """The server's word, checked."""
    status = _enum(ReceiptStatus, message.status, "receipt.status")
    value = Receipt(digest=message.digest, status=status, reason=message.reason)
    limits.check_receipt(value)
    return value


def push_receipts_to_message(values: Sequence[Receipt]) -> wire.PushReceipt:
    """Receipts in one message; at least one."""
    limits.check_count(len(values), "receipts", low=1, high=limits.MAX_TOGETHER)
    message = push_receipt_to_message(values[0])
    message.more.extend(map(push_receipt_to_message, values[1:]))
    return message


def push_receipts_from_message(message: wire.PushReceipt) -> tuple[Receipt, ...]:
    """The receipts of a message, checked."""
    limits.check_count(len(message.more) + 1, "receipts", high=limits.MAX_TOGETHER)
    return (push_receipt_from_message(message), *map(push_receipt_from_message, message.more))


def feedback_to_message(value: Feedback) -> wire.Feedback:
    """A person's answer, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_feedback(value)
    return wire.Feedback(kind=value.kind.value, label=value.label, who=value.who, at=value.at)


def feedback_from_message(message: wire.Feedback) -> Feedback:
    """A person's answer, checked."""
    kind = _enum(FeedbackKind, message.kind, "feedback.kind")
    value = Feedback(kind=kind, label=message.label, who=message.who, at=message.at)
    limits.check_feedback(value)
    return value


def annotate_request_to_message(digest: str, feedback: Feedback) -> wire.AnnotateRequest:
    """A person's answer about one sample, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_digest(digest, "digest")
    return wire.AnnotateRequest(digest=digest, feedback=feedback_to_message(feedback))


def annotate_request_from_message(message: wire.AnnotateRequest) -> tuple[str, Feedback]:
    """The sample's digest and the answer, checked."""
    limits.check_digest(message.digest, "digest")
    return message.digest, feedback_from_message(message.feedback)


def annotate_response_to_message() -> wire.AnnotateResponse:
    """Done; there is nothing to say."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    return wire.AnnotateResponse()


def check_in_request_to_message(value: DeviceStatus) -> wire.CheckInRequest:
    """A device's health, as a message; a long `last_error` is cut."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    try:
        message = wire.CheckInRequest(
            device_id=value.device_id,
            software=value.software,
            bundle_digest=value.bundle_digest,
            bundle_version=value.bundle_version,
            outbox_pending=value.outbox_pending,
            frames=value.frames,
            accepted=value.accepted,
            confirmed=value.confirmed,
            unknown=value.unknown,
            kept=value.kept,
            latency_p50_ms=value.latency_p50_ms,
            last_error=limits.shortened(value.last_error),
            outbox_bytes=value.outbox_bytes,
            outbox_parked=value.outbox_parked,
            starts=value.starts,
            unclean_starts=value.unclean_starts,
            on_trial=value.on_trial,
            rejected=value.rejected,
            clock=value.clock,
            platform=value.platform,
            hours=[_hour_message(hour) for hour in value.hours],
        )
    except ValueError as cause:
        raise FormatError(f"status: {cause}") from cause
    check_in_request_from_message(message)
    return message


def check_in_request_from_message(message: wire.CheckInRequest) -> DeviceStatus:
    """A device's health, checked."""
    value = DeviceStatus(
        device_id=message.device_id,
        software=message.software,
        bundle_digest=message.bundle_digest,
        bundle_version=message.bundle_version,
        outbox_pending=message.outbox_pending,
        frames=message.frames,
        accepted=message.accepted,
        confirmed=message.confirmed,
        unknown=message.unknown,
        kept=message.kept,
        latency_p50_ms=message.latency_p50_ms,
        last_error=message.last_error,
        outbox_bytes=message.outbox_bytes,
        outbox_parked=message.outbox_parked,
        starts=message.starts,
        unclean_starts=message.unclean_starts,
        on_trial=message.on_trial,
        rejected=tuple(message.rejected),
        clock=message.clock,
        platform=message.platform,
        hours=tuple(_hour(hour) for hour in message.hours[: limits.MAX_HOURS]),
    )
    limits.check_status(value)
    return value


def check_in_size(value: DeviceStatus) -> int:
    """Bytes of a device's health on the wire."""
    return check_in_request_to_message(value).ByteSize()


def hour_size(value: BundleHour) -> int:
    """Bytes that an hour adds to a check-in: the message, its tag and its length."""
    return bundle_hour_to_message(value).ByteSize() + 5


def bundle_hour_to_message(value: BundleHour) -> wire.BundleHour:
    """Statistics of one hour, as a message."""
    limits.check_hour(value)
    return _hour_message(value)


def bundle_hour_from_message(message: wire.BundleHour, where: str = "hour") -> BundleHour:
    """Statistics of one hour, checked."""
    value = _hour(message)
    limits.check_hour(value, where)
    return value


def check_in_response_to_message(value: Directive) -> wire.CheckInResponse:
    """What a device shall do, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_directive(value)
    return wire.CheckInResponse(
        channel=value.channel,
        bundle_digest=value.bundle_digest,
        check_in_s=value.check_in_s,
        update_windows=value.update_windows,
    )


def check_in_response_from_message(message: wire.CheckInResponse) -> Directive:
    """What a device shall do, checked."""
    value = Directive(
        channel=message.channel,
        bundle_digest=message.bundle_digest,
        check_in_s=message.check_in_s,
        update_windows=message.update_windows,
    )
    limits.check_directive(value)
    return value


def put_request_to_message(sample: SampleOffer, data: bytes) -> wire.PutRequest:
    """One small sample whole, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_offer(sample)
    return wire.PutRequest(offer=_offer_message(sample), data=data)


def put_request_from_message(message: wire.PutRequest) -> tuple[SampleOffer, bytes]:
    """One small sample whole, checked; whether the bytes are what was offered is the receiver's to know."""
    return sample_offer_from_message(message.offer), message.data


def enroll_request_to_message(code: str, device_id: str, csr_pem: bytes) -> wire.EnrollRequest:
    """A code and a certificate signing request, as a message; the name may be left to the fleet."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    _check_enroll(code, device_id, csr_pem)
    return wire.EnrollRequest(code=code, device_id=device_id, csr_pem=csr_pem)


def enroll_request_from_message(message: wire.EnrollRequest) -> tuple[str, str, bytes]:
    """Code, name (may be empty) and certificate signing request, checked."""
    _check_enroll(message.code, message.device_id, message.csr_pem)
    return message.code, message.device_id, message.csr_pem


def renew_request_to_message(csr_pem: bytes) -> wire.RenewRequest:
    """A certificate signing request, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_pem(csr_pem, "csr_pem")
    return wire.RenewRequest(csr_pem=csr_pem)


def renew_request_from_message(message: wire.RenewRequest) -> bytes:
    """A certificate signing request, checked for its size and form alone."""
    limits.check_pem(message.csr_pem, "csr_pem")
    return message.csr_pem


def enroll_response_to_message(value: Enrolment) -> wire.EnrollResponse:
    """What a device is given, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_enrolment(value)
    return wire.EnrollResponse(
        device_id=value.device_id, certificate_pem=value.certificate_pem, authority_pem=value.authority_pem
    )


def enroll_response_from_message(message: wire.EnrollResponse) -> Enrolment:
    """What a device is given, checked."""
    value = Enrolment(
        device_id=message.device_id, certificate_pem=message.certificate_pem, authority_pem=message.authority_pem
    )
    limits.check_enrolment(value)
    return value


def fetch_request_to_message(path: str, offset: int) -> wire.FetchRequest:
    """Which file, from where, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_path(path)
    limits.check_count(offset, "offset")
    return wire.FetchRequest(path=path, offset=offset)


def fetch_request_from_message(message: wire.FetchRequest) -> tuple[str, int]:
    """A plain relative path and an offset, checked."""
    limits.check_path(message.path)
    limits.check_count(message.offset, "offset")
    return message.path, message.offset


def fetch_chunk_to_message(data: bytes) -> wire.FetchChunk:
    """A piece of a file, as a message."""
    from edge.wire.v1 import edgeloop_pb2 as wire

    limits.check_count(len(data), "data", high=limits.MAX_CHUNK_BYTES)
    return wire.FetchChunk(data=data)


def fetch_chunk_from_message(message: wire.FetchChunk) -> bytes:
    """A piece of a file, checked."""
    limits.check_count(len(message.data), "data", high=limits.MAX_CHUNK_BYTES)
    return message.data


def _check_enroll(code: str, device_id: str, csr_pem: bytes) -> None:
    limits.check_text(code, "code")
    limits.check_device_id(device_id, empty=True)
    limits.check_pem(csr_pem, "csr_pem")


_HOUR_NUMBERS = ("bundle_digest", "hour", "run", "frames", "accepted", "confirmed", "unknown", "failed", "kept")
_HOUR_LAST = ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "outbox_depth")


def _hour_message(value: BundleHour) -> wire.BundleHour:
    from edge.wire.v1 import edgeloop_pb2 as wire

    plain = {name: getattr(value, name) for name in (*_HOUR_NUMBERS, *_HOUR_LAST)}
    return wire.BundleHour(**plain, confidence=value.confidence, classes=value.classes)


def _hour(message: wire.BundleHour) -> BundleHour:
    plain = {name: getattr(message, name) for name in (*_HOUR_NUMBERS, *_HOUR_LAST)}
    return BundleHour(**plain, confidence=tuple(message.confidence), classes=dict(message.classes))


def _metadata_message(value: SampleMetadata) -> wire.SampleMetadata:
    from edge.wire.v1 import edgeloop_pb2 as wire

    return wire.SampleMetadata(
        device_id=value.device_id,
        captured_at=value.captured_at,
        source=value.source,
        prediction_id=value.prediction_id,
        bundle_digest=value.bundle_digest,
        label=value.label,
        confidence=value.confidence,
        margin=value.margin,
        outcome=value.outcome.value,
        reason=value.reason.value,
        value=value.value,
    )


def _offer_message(value: SampleOffer) -> wire.SampleOffer:
    from edge.wire.v1 import edgeloop_pb2 as wire

    return wire.SampleOffer(
        digest=value.digest, size_bytes=value.size_bytes, metadata=_metadata_message(value.metadata)
    )


def _metadata(message: wire.SampleMetadata, where: str) -> SampleMetadata:
    return SampleMetadata(
        device_id=message.device_id,
        captured_at=message.captured_at,
        source=message.source,
        prediction_id=message.prediction_id,
        bundle_digest=message.bundle_digest,
        label=message.label,
        confidence=message.confidence,
        margin=message.margin,
        outcome=_enum(Outcome, message.outcome, f"{where}.outcome"),
        reason=_enum(KeepReason, message.reason, f"{where}.reason"),
        value=message.value,
    )


def _offer(message: wire.SampleOffer, where: str) -> SampleOffer:
    metadata = _metadata(message.metadata, f"{where}.metadata")
    return SampleOffer(digest=message.digest, size_bytes=message.size_bytes, metadata=metadata)


def _enum(kind: type[E], value: str, where: str) -> E:
    try:
        return kind(value)
    except ValueError as cause:
        known = ", ".join(str(member.value) for member in kind)
        raise FormatError(f"{where}: {value[:80]!r} is not one of {known}") from cause
