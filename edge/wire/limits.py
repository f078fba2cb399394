"""What may cross the wire: sizes, texts, numbers. Pure checks, the same on both sides. Page: docs/formats/wire.md.

A value is checked before it becomes a message and after it was read from one, so nothing is sent that the other side
must refuse, and nothing is believed that was not checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from edge.errors import FormatError
from edge.outbox.base import SampleMetadata
from edge.sync.types import (
    CONFIDENCE_BINS,
    BundleHour,
    Chunk,
    DeviceStatus,
    Directive,
    Enrolment,
    OfferReply,
    Receipt,
    SampleOffer,
)
from edge.types import Feedback, FeedbackKind

CHUNK_BYTES = 256 * 1024
"""Size of the pieces that payloads and files travel in."""
WINDOW = 8
"""Samples that may be under way without a receipt; a server commits at the latest when so many wait."""
WINDOW_TOGETHER = 32
"""The same where the server reads several in one message."""
MAX_TOGETHER = 64
"""Pieces, or receipts, in one message."""
MAX_CHUNK_BYTES = 1024 * 1024
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_PAYLOAD_BYTES = 32 * 1024 * 1024
MAX_OFFERS = 256
MAX_TEXT = 512
"""Characters of a name, a label, a source."""
MAX_REASON = 1000
"""Characters of a text that only people read; longer ones are cut before they are sent."""
MAX_COUNT = 2**53
MAX_HOURS = 32
"""Statistics of so many bundles and hours in one check-in."""
MAX_CLASSES = 64
MAX_REJECTED = 64
MAX_PEM_BYTES = 64 * 1024
MAX_CHECK_IN_BYTES = 4096
"""What a device sends at a check-in; a server takes more."""
MAX_WAIT_S = 7 * 86_400.0
KEEPALIVE_S = 30.0
"""A silent connection is probed this often; servers must allow it."""
LAST_MOMENT = 253_402_300_799.0
"""The end of the year 9999 in seconds since the epoch."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RUN = re.compile(r"[0-9a-f]{8}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


def check_digest(value: str, where: str, *, empty: bool = False) -> None:
    """64 lower-case hex digits; nothing at all where `empty` allows it."""
    if not (_DIGEST.fullmatch(value) or (empty and not value)):
        raise FormatError(f"{where}: {value[:80]!r} is not a SHA-256 in hex")


def check_text(value: str, where: str, *, empty: bool = False, at_most: int = MAX_TEXT) -> None:
    """Valid Unicode without NUL, within its length, and something, unless `empty`."""
    if not value and not empty:
        raise FormatError(f"{where}: must not be empty")
    if len(value) > at_most:
        raise FormatError(f"{where}: {len(value)} characters, at most {at_most} are allowed")
    if "\x00" in value or not (value.isascii() or _SURROGATE.search(value) is None):
        raise FormatError(f"{where}: holds a character that cannot be sent")


def check_number(value: float, where: str, *, low: float, high: float) -> None:
    """A finite number in [low, high]."""
    if not math.isfinite(value) or not low <= value <= high:
        raise FormatError(f"{where}: {value} is not between {low:g} and {high:g}")


def check_count(value: int, where: str, *, low: int = 0, high: int = MAX_COUNT) -> None:
    """A whole number in [low, high]."""
    if not low <= value <= high:
        raise FormatError(f"{where}: {value} is not between {low} and {high}")


def check_metadata(value: SampleMetadata, where: str = "metadata") -> None:
    """Every field of what a device knew.

    Raises:
        FormatError: Names the field, as do all checks here.
    """
    check_text(value.device_id, f"{where}.device_id")
    check_number(value.captured_at, f"{where}.captured_at", low=0.0, high=LAST_MOMENT)
    check_text(value.source, f"{where}.source", empty=True)
    check_text(value.prediction_id, f"{where}.prediction_id")
    check_digest(value.bundle_digest, f"{where}.bundle_digest")
    check_text(value.label, f"{where}.label", empty=True)
    check_number(value.confidence, f"{where}.confidence", low=0.0, high=1.0)
    check_number(value.margin, f"{where}.margin", low=0.0, high=1.0)
    check_number(value.value, f"{where}.value", low=0.0, high=1.0)


def check_offer(value: SampleOffer, where: str = "offer") -> None:
    """A digest, a size that a server takes, sound metadata."""
    check_digest(value.digest, f"{where}.digest")
    check_count(value.size_bytes, f"{where}.size_bytes", low=1, high=MAX_PAYLOAD_BYTES)
    check_metadata(value.metadata, f"{where}.metadata")


def check_offers(values: tuple[SampleOffer, ...], where: str = "offers") -> None:
    """At most `MAX_OFFERS`, no digest twice, each one sound."""
    check_count(len(values), where, high=MAX_OFFERS)
    for index, offer in enumerate(values):
        check_offer(offer, f"{where}[{index}]")
    _check_once((offer.digest for offer in values), where)


def check_reply(value: OfferReply) -> None:
    """No digest in two of missing, known and refused; a partial only of what is missing."""
    check_count(len(value.missing) + len(value.known) + len(value.refused), "reply", high=MAX_OFFERS)
    for where, digests in (("missing", value.missing), ("known", value.known), ("refused", tuple(value.refused))):
        for digest in digests:
            check_digest(digest, f"reply.{where}")
    _check_once((*value.missing, *value.known, *value.refused), "reply")
    for reason in value.refused.values():
        check_text(reason, "reply.refused", empty=True, at_most=MAX_REASON)
    for digest, offset in value.partial.items():
        if digest not in value.missing:
            raise FormatError(f"reply.partial: {digest[:80]!r} is not missing")
        check_count(offset, f"reply.partial[{digest}]", high=MAX_PAYLOAD_BYTES)
    check_number(value.retry_after_s, "reply.retry_after_s", low=0.0, high=MAX_WAIT_S)


def check_chunk(value: Chunk) -> None:
    """A piece inside the largest payload; only the last may be empty; an offer must be of the same digest."""
    check_digest(value.digest, "chunk.digest")
    check_count(len(value.data), "chunk.data", low=0 if value.last else 1, high=MAX_CHUNK_BYTES)
    check_count(value.offset, "chunk.offset", high=MAX_PAYLOAD_BYTES - len(value.data))
    if value.offer is None:
        return
    check_offer(value.offer, "chunk.offer")
    if value.offer.digest != value.digest:
        raise FormatError(f"chunk.offer.digest: {value.offer.digest} is not the chunk's {value.digest}")


def check_receipt(value: Receipt) -> None:
    """A digest and a reason of sensible length."""
    check_digest(value.digest, "receipt.digest")
    check_text(value.reason, "receipt.reason", empty=True, at_most=MAX_REASON)


def check_feedback(value: Feedback) -> None:
    """Who said what, when: a label exactly when a known class is meant."""
    none_of_these = value.kind is FeedbackKind.NONE_OF_THESE
    check_text(value.label, "feedback.label", empty=none_of_these, at_most=0 if none_of_these else MAX_TEXT)
    check_text(value.who, "feedback.who")
    check_number(value.at, "feedback.at", low=0.0, high=LAST_MOMENT)


def check_status(value: DeviceStatus) -> None:
    """Names within length, counts from 0, a finite latency."""
    check_text(value.device_id, "status.device_id")
    check_text(value.software, "status.software")
    check_digest(value.bundle_digest, "status.bundle_digest", empty=True)
    for name in ("bundle_version", "outbox_pending", "frames", "accepted", "confirmed", "unknown", "kept"):
        check_count(getattr(value, name), f"status.{name}")
    check_number(value.latency_p50_ms, "status.latency_p50_ms", low=0.0, high=MAX_WAIT_S * 1000)
    check_text(value.last_error, "status.last_error", empty=True, at_most=MAX_REASON)
    for name in ("outbox_bytes", "outbox_parked", "starts", "unclean_starts"):
        check_count(getattr(value, name), f"status.{name}")
    check_count(len(value.rejected), "status.rejected", high=MAX_REJECTED)
    for digest in value.rejected:
        check_digest(digest, "status.rejected")
    check_number(value.clock, "status.clock", low=0.0, high=LAST_MOMENT)
    check_text(value.platform, "status.platform", empty=True)
    check_count(len(value.hours), "status.hours", high=MAX_HOURS)
    for index, hour in enumerate(value.hours):
        check_hour(hour, f"status.hours[{index}]")


def check_hour(value: BundleHour, where: str = "hour") -> None:
    """A bundle, an hour, counts from 0, a histogram of the right size, not too many labels."""
    check_digest(value.bundle_digest, f"{where}.bundle_digest")
    check_count(value.hour, f"{where}.hour", high=int(LAST_MOMENT // 3600))
    if not _RUN.fullmatch(value.run):
        raise FormatError(f"{where}.run: {value.run[:80]!r} is not 8 hex digits")
    for name in ("frames", "accepted", "confirmed", "unknown", "failed", "kept", "outbox_depth"):
        check_count(getattr(value, name), f"{where}.{name}")
    if len(value.confidence) != CONFIDENCE_BINS:
        raise FormatError(f"{where}.confidence: {len(value.confidence)} bins, {CONFIDENCE_BINS} are expected")
    for count in value.confidence:
        check_count(count, f"{where}.confidence")
    check_count(len(value.classes), f"{where}.classes", high=MAX_CLASSES)
    for label, count in value.classes.items():
        check_text(label, f"{where}.classes", empty=True)
        check_count(count, f"{where}.classes[{label!r}]")
    for name in ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms"):
        check_number(getattr(value, name), f"{where}.{name}", low=0.0, high=MAX_WAIT_S * 1000)


def check_device_id(value: str, where: str = "device_id", *, empty: bool = False) -> None:
    """1 to 64 letters, digits, '.', '_' or '-'; nothing at all where `empty` allows it."""
    if not (_DEVICE_ID.fullmatch(value) or (empty and not value)):
        raise FormatError(f"{where}: {value[:80]!r} is not 1 to 64 letters, digits, '.', '_' or '-'")


def check_pem(value: bytes, where: str) -> None:
    """Something that calls itself PEM, not too long."""
    check_count(len(value), where, low=1, high=MAX_PEM_BYTES)
    if b"-----BEGIN " not in value:
        raise FormatError(f"{where}: is not PEM")


def check_enrolment(value: Enrolment) -> None:
    """A device's name and two PEM texts."""
    check_device_id(value.device_id, "enrolment.device_id")
    check_pem(value.certificate_pem, "enrolment.certificate_pem")
    check_pem(value.authority_pem, "enrolment.authority_pem")


def check_directive(value: Directive) -> None:
    """A channel, a digest or none, and when to come back."""
    check_text(value.channel, "directive.channel")
    check_digest(value.bundle_digest, "directive.bundle_digest", empty=True)
    check_number(value.check_in_s, "directive.check_in_s", low=0.0, high=MAX_WAIT_S)
    check_text(value.update_windows, "directive.update_windows", empty=True)


def check_path(value: str, where: str = "path") -> None:
    """A relative path of plain names: nothing that climbs, nothing hidden."""
    check_text(value, where)
    if not _PATH.fullmatch(value):
        raise FormatError(f"{where}: {value!r} is not a plain relative path")


def shortened(text: str) -> str:
    """A text for people, in one line, cut to `MAX_REASON` and made sendable."""
    line = " ".join(text.split()).replace("\x00", "").encode(errors="replace").decode()
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


def _check_once(digests: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for digest in digests:
        if digest in seen:
            raise FormatError(f"{where}: {digest} is there twice")
        seen.add(digest)
