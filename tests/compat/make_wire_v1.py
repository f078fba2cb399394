"""Writes tests/compat/wire_v1.json: one message of every kind, as bytes in hex, as the first edgeloop sent them.

Run once; never again: the file stands for devices and servers out there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_values import make_sample, offer_of

from edge.sync.types import Chunk, DeviceStatus, Directive, OfferReply, Receipt, ReceiptStatus
from edge.types import Feedback, FeedbackKind
from edge.wire import convert

HERE = Path(__file__).resolve().parent
OFFER = offer_of(make_sample(1))
REPLY = OfferReply(
    missing=("a" * 64,), known=("b" * 64,), refused={"c" * 64: "too large"}, partial={"a" * 64: 17}, retry_after_s=1.5
)
CHUNK = Chunk(digest=OFFER.digest, offset=0, data=make_sample(1).payload, last=True, offer=OFFER)
RECEIPT = Receipt(digest=OFFER.digest, status=ReceiptStatus.REFUSED, reason="not a picture")
FEEDBACK = Feedback(kind=FeedbackKind.CORRECTED, label="Grüntee", who="Ada", at=1_700_000_000.5)
STATUS = DeviceStatus(
    device_id="kiosk-1",
    software="edgeloop 0.1.0",
    bundle_digest="d" * 64,
    bundle_version=3,
    outbox_pending=4,
    frames=100,
    accepted=70,
    confirmed=20,
    unknown=10,
    kept=15,
    latency_p50_ms=12.5,
    last_error="no connection",
)
DIRECTIVE = Directive(channel="stable", bundle_digest="e" * 64, check_in_s=30.0)

VALUES: dict[str, tuple[object, ...]] = {
    "sample_metadata": (OFFER.metadata,),
    "sample_offer": (OFFER,),
    "offer_request": ((OFFER,),),
    "offer_response": (REPLY,),
    "chunk": (CHUNK,),
    "push_receipt": (RECEIPT,),
    "feedback": (FEEDBACK,),
    "annotate_request": (OFFER.digest, FEEDBACK),
    "annotate_response": (),
    "check_in_request": (STATUS,),
    "check_in_response": (DIRECTIVE,),
    "fetch_request": ("metadata/1.root.json", 5),
    "fetch_chunk": (b"\x00\xff",),
}


def to_message(name: str) -> Callable[..., object]:
    return getattr(convert, f"{name}_to_message")


def main() -> None:
    messages = {name: to_message(name)(*value) for name, value in VALUES.items()}
    written = {name: message.SerializeToString(deterministic=True).hex() for name, message in messages.items()}
    (HERE / "wire_v1.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
