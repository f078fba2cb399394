"""Writes tests/compat/wire_v2.json: the messages of the fleet, as bytes in hex, as first sent.

Run once; never again: the file stands for devices and servers out there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_values import make_sample, offer_of

from edge.sync.types import BundleHour, DeviceStatus, Directive, Enrolment
from edge.wire import convert

HERE = Path(__file__).resolve().parent
OFFER = offer_of(make_sample(1))
HOUR = BundleHour(
    bundle_digest="d" * 64,
    hour=472_222,
    run="0123abcd",
    frames=100,
    accepted=70,
    confirmed=20,
    unknown=10,
    failed=2,
    kept=15,
    confidence=tuple(range(20)),
    classes={"Grüntee": 60, "": 40},
    latency_p50_ms=12.5,
    latency_p90_ms=20.5,
    latency_p99_ms=41.0,
    outbox_depth=300,
)
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
    outbox_bytes=40_000,
    outbox_parked=1,
    starts=12,
    unclean_starts=3,
    on_trial=True,
    rejected=("e" * 64, "f" * 64),
    clock=1_700_000_000.25,
    platform="aarch64 linux",
    hours=(HOUR,),
)
DIRECTIVE = Directive(channel="stable", bundle_digest="e" * 64, check_in_s=30.0, update_windows="22:00-06:00")
REQUEST_PEM = b"-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"
CERTIFICATE_PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
ENROLMENT = Enrolment(device_id="kiosk-1", certificate_pem=CERTIFICATE_PEM, authority_pem=CERTIFICATE_PEM * 2)

VALUES: dict[str, tuple[object, ...]] = {
    "bundle_hour": (HOUR,),
    "check_in_request": (STATUS,),
    "check_in_response": (DIRECTIVE,),
    "put_request": (OFFER, make_sample(1).payload),
    "enroll_request": ("one-time code", "kiosk-1", REQUEST_PEM),
    "enroll_response": (ENROLMENT,),
    "renew_request": (REQUEST_PEM,),
}


def to_message(name: str) -> Callable[..., object]:
    return getattr(convert, f"{name}_to_message")


def main() -> None:
    messages = {name: to_message(name)(*value) for name, value in VALUES.items()}
    written = {name: message.SerializeToString(deterministic=True).hex() for name, message in messages.items()}
    (HERE / "wire_v2.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
