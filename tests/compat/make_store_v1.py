"""Writes tests/compat/store_v1.sqlite, a meta store of schema 0001 with samples, answers, devices and releases.

Run once, by the edgeloop that had this schema (in a checkout of that time); never again: the file stands for stores out
there. What lies in it is told by `tests/compat/store_v1.json`, which is written beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_values import make_metadata, make_sample

from cloud_train.store.sql import open_meta_store
from cloud_train.types import DeviceRecord, Label, SampleRecord
from edge import jsonvalue
from edge.types import FeedbackKind, KeepReason, Outcome
from edge.update.types import Release

HERE = Path(__file__).resolve().parent


def records() -> tuple[SampleRecord, ...]:
    """One of each outcome and reason, with texts and numbers at their ends."""
    return tuple(
        SampleRecord(
            digest=make_sample(number).digest,
            size_bytes=2**40 + number,
            received_at=1_700_000_000.125 + number,
            metadata=make_metadata(
                device_id=f"kiosk-{number % 3}",
                label="" if outcome is Outcome.UNKNOWN else "Früchtetee 🫖 '\"",
                source="" if number == 0 else f"camera/{number}.jpg",
                confidence=1 / 3,
                value=number / 16,
                outcome=outcome,
                reason=reason,
            ),
        )
        for number, (outcome, reason) in enumerate((outcome, reason) for outcome in Outcome for reason in KeepReason)
    )


def labels() -> tuple[Label, ...]:
    """Answers of every kind, two of them about one sample."""
    return tuple(
        Label(
            digest=make_sample(number // 2).digest,
            kind=kind,
            label="" if kind is FeedbackKind.NONE_OF_THESE else "Pfefferminztee",
            who="ann",
            at=1_700_000_100.5 + number,
        )
        for number, kind in enumerate(FeedbackKind)
    )


def devices() -> tuple[DeviceRecord, ...]:
    """One that has a bundle and one that has none."""
    return (
        DeviceRecord(
            device_id="kiosk-0",
            last_seen=1_700_000_200.75,
            bundle_digest="ab" * 32,
            bundle_version=7,
            frames=2**40,
            last_error="",
        ),
        DeviceRecord(
            device_id="kiosk-1",
            last_seen=1_700_000_201.0,
            bundle_digest="",
            bundle_version=0,
            frames=0,
            last_error="camera: no such device",
        ),
    )


def releases() -> tuple[Release, ...]:
    """Two of a channel."""
    first = Release(channel="stable", bundle_digest="1" * 64, name="shelf", version=1, metadata_version=2)
    return (first, Release(channel="stable", bundle_digest="2" * 64, name="shelf", version=2, metadata_version=3))


def main() -> None:
    """Writes both files."""
    path = HERE / "store_v1.sqlite"
    path.unlink(missing_ok=True)
    store = open_meta_store(path)
    store.add_samples(records())
    for label in labels():
        store.add_label(label)
    for device in devices():
        store.record_device(device)
    for number, release in enumerate(releases()):
        store.add_release(release, now=1_700_000_300.0 + number)
    store.close()
    (HERE / "store_v1.sqlite.lock").unlink(missing_ok=True)
    everything = {"samples": records(), "labels": labels(), "devices": devices(), "releases": releases()}
    (HERE / "store_v1.json").write_bytes(jsonvalue.pretty_bytes(everything))


if __name__ == "__main__":
    main()
