"""Who asked for what and when: the audit log of the kiosk."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kiosk_desk import caller, serving_kiosk
from tiny_bundles import build_bundle, picture_bytes

from edge.kiosk.audit import Audit, AuditLine, Said

RED = base64.b64encode(picture_bytes("red")).decode()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def line(number: int = 0) -> AuditLine:
    return AuditLine(at=float(number), client="127.0.0.1", route="/predict", status=200, took_ms=1.0, said=Said())


def test_a_line_for_everyone_who_asked_or_said_something(bundle: Path, tmp_path: Path) -> None:
    audit = tmp_path / "kiosk-audit.jsonl"
    with serving_kiosk(bundle, audit=audit) as (_, server), caller(server) as client:
        said = client.post("/predict", json={"image": RED}).json()
        client.post("/predict/file", files={"file": ("my holiday.png", picture_bytes("grey"))})
        client.post("/recognize", json={"image": RED})
        client.post("/predict", json={"image": "no"})
        word = {"prediction_id": said["prediction_id"], "kind": "corrected", "label": "crimson", "who": "Anna\n"}
        client.post("/feedback", json=word)
        client.post("/feedback", json={**word, "prediction_id": f"{'0' * 12}-{'0' * 12}"})
        client.post("/predict", json={"image": RED}, headers={"origin": "http://evil.example"})
        # What only looks leaves no line.
        for path in ("/", "/live", "/health", "/metrics", "/nowhere"):
            client.get(path)
        client.post("/nowhere", json={})
        found = lines_of(audit)
    assert [(one["route"], one["status"]) for one in found] == [
        ("/predict", 200),
        ("/predict/file", 200),
        ("/recognize", 409),
        ("/predict", 422),
        ("/feedback", 200),
        ("/feedback", 404),
        ("/predict", 403),
    ]
    first = found[0]
    assert set(first) == {
        *("at", "client", "route", "status", "took_ms"),
        *("prediction_id", "predicted_class", "outcome", "confidence", "kind", "label", "who"),
    }
    assert first["at"] == pytest.approx(time.time(), abs=60)
    assert first["client"] == "127.0.0.1"
    assert first["took_ms"] > 0  # type: ignore[operator]
    assert first["prediction_id"] == said["prediction_id"]
    assert (first["predicted_class"], first["outcome"]) == ("red", "accept")
    assert first["confidence"] == pytest.approx(said["confidence"], abs=1e-6)
    assert (found[1]["predicted_class"], found[1]["outcome"]) == ("", "unknown")
    assert (found[4]["kind"], found[4]["label"], found[4]["who"]) == ("corrected", "crimson", "Anna\n")
    assert (found[5]["kind"], found[5]["who"]) == ("corrected", "Anna\n")
    text = audit.read_text()
    assert RED[:40] not in text
    assert "holiday" not in text


def test_a_line_is_there_before_the_reply(bundle: Path, tmp_path: Path) -> None:
    audit = tmp_path / "kiosk-audit.jsonl"
    with serving_kiosk(bundle, audit=audit) as (_, server), caller(server) as client:
        for number in range(1, 20):
            client.post("/predict", json={"image": RED})
            assert len(lines_of(audit)) == number


def test_a_flood_that_is_refused_does_not_wash_it_away(bundle: Path, tmp_path: Path) -> None:
    audit = tmp_path / "kiosk-audit.jsonl"
    with serving_kiosk(bundle, audit=audit, per_minute=1) as (_, server), caller(server) as client:
        statuses = [client.post("/predict", json={"image": RED}).status_code for _ in range(20)]
    assert statuses.count(429) == 19
    assert [one["status"] for one in lines_of(audit)] == [200]


def test_two_files_of_bounded_size(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "kiosk-audit.jsonl", max_bytes=2000)
    for number in range(200):
        assert audit.write(line(number))
    audit.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["kiosk-audit.1.jsonl", "kiosk-audit.jsonl"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    newest = [one["at"] for path in (tmp_path / names[0], tmp_path / names[1]) for one in lines_of(path)]
    assert newest == [float(number) for number in range(200 - len(newest), 200)]


def test_it_goes_on_in_the_file_of_the_process_before(tmp_path: Path) -> None:
    for number in range(3):
        audit = Audit(tmp_path / "kiosk-audit.jsonl", max_bytes=2000)
        assert audit.write(line(number))
        audit.close()
        audit.close()
    assert [one["at"] for one in lines_of(tmp_path / "kiosk-audit.jsonl")] == [0.0, 1.0, 2.0]


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    assert Audit(None, max_bytes=1000).write(line())


def test_a_folder_that_is_not_there_costs_the_line_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    audit = tmp_path / "later" / "kiosk-audit.jsonl"
    with serving_kiosk(bundle, audit=audit) as (_, server), caller(server) as client:
        assert client.post("/predict", json={"image": RED}).status_code == 200
        assert "edgeloop_kiosk_audit_failed_total 1.0" in client.get("/metrics").text
        audit.parent.mkdir()
        assert client.post("/predict", json={"image": RED}).status_code == 200
        assert "edgeloop_kiosk_audit_failed_total 1.0" in client.get("/metrics").text
    assert len(lines_of(audit)) == 1


def test_a_rotation_that_fails_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kiosk-audit.jsonl"
    aside = tmp_path / "kiosk-audit.1.jsonl"
    (aside / "in the way").mkdir(parents=True)
    audit = Audit(path, max_bytes=1000)
    written = [audit.write(line(number)) for number in range(20)]
    assert written[0] is True
    assert written[-1] is False
    (aside / "in the way").rmdir()
    aside.rmdir()
    assert audit.write(line(99)) is True
    audit.close()
    assert [one["at"] for one in lines_of(path)] == [99.0]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(1024))


@pytest.mark.faults
def test_a_full_disk_stops_the_log_and_not_the_answers(bundle: Path, full_disk: Path) -> None:
    audit = full_disk / "kiosk-audit.jsonl"
    with serving_kiosk(bundle, audit=audit) as (_, server), caller(server) as client:
        assert client.post("/predict", json={"image": RED}).status_code == 200
        filler = full_disk / "filler"
        fill(filler)
        for _ in range(300):
            assert client.post("/predict", json={"image": RED}).status_code == 200
        lost = float(client.get("/metrics").text.split("\nedgeloop_kiosk_audit_failed_total ")[1].split("\n")[0])
        assert lost > 200
        filler.unlink()
        assert client.post("/predict", json={"image": RED}).status_code == 200
        found = [json.loads(one) for one in audit.read_text().splitlines() if one.endswith("}")]
        assert found[-1]["status"] == 200
        assert len(found) >= 2
