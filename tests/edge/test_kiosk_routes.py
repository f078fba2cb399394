"""Every route of the kiosk API, over HTTP, with a real engine behind it."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kiosk_desk import SmallDesk, caller, serving_kiosk
from PIL import Image
from pipeline_bundles import COLOURS, DETECT, YELLOW, build_pipeline, squares
from prometheus_client.parser import text_string_to_metric_families
from tiny_bundles import build_bundle, picture_bytes

import edge
from edge.kiosk.desk import Watching
from edge.telemetry import Topic
from edge.types import FeedbackKind

SHELF = squares((1, 1, COLOURS["red"]), (5, 6, COLOURS["blue"]), (3, 4, COLOURS["blue"]), (6, 1, YELLOW))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "tiny": build_bundle(folder / "tiny"),
        "pipeline": build_pipeline(folder / "pipeline"),
        "bare": build_pipeline(folder / "bare", stages=(DETECT,)),
    }


@pytest.fixture
def tiny(bundles: dict[str, Path]) -> Iterator[tuple[SmallDesk, httpx.Client]]:
    with serving_kiosk(bundles["tiny"]) as (desk, server), caller(server) as client:
        yield desk, client


@pytest.fixture
def pipeline(bundles: dict[str, Path]) -> Iterator[tuple[SmallDesk, httpx.Client]]:
    with serving_kiosk(bundles["pipeline"]) as (desk, server), caller(server) as client:
        yield desk, client


def asked(picture: bytes, **options: object) -> dict[str, object]:
    return {"image": base64.b64encode(picture).decode(), **options}


def numbers(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Every sample of `/metrics`: name and label values, in the order of their names."""
    families = text_string_to_metric_families(client.get("/metrics").raise_for_status().text)
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in families
        for one in family.samples
    }


def test_a_picture_in_json(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = tiny
    reply = client.post("/predict", json=asked(picture_bytes("red")))
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    said = reply.json()
    assert desk.engine is not None
    direct = desk.engine.infer(picture_bytes("red"))
    assert said["success"] is True
    assert said["predicted_class"] == "red"
    assert said["confidence"] == pytest.approx(direct.decision.confidence)
    assert next(iter(said["probabilities"])) == "red"
    assert sum(said["probabilities"].values()) == pytest.approx(1.0, abs=1e-6)
    assert (said["outcome"], said["reason"]) == ("accept", "confident")
    assert said["model_version"] == "tiny 1"
    assert said["prediction_id"] == direct.prediction_id
    assert (said["picture_width"], said["picture_height"]) == (48, 40)
    assert (said["detections"], said["counts"], said["text"], said["error_message"]) == ([], {}, "", "")
    assert said["processing_time_ms"] > 0
    assert (said["kept"], said["sample_digest"]) == (False, "")


def test_a_picture_in_a_form_is_answered_like_one_in_json(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    _, client = tiny
    form = client.post("/predict/file", files={"file": ("a.png", picture_bytes("green"), "image/png")}).json()
    plain = client.post("/predict", json=asked(picture_bytes("green"))).json()
    assert form | {"processing_time_ms": 0} == plain | {"processing_time_ms": 0}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_kind_of_picture(tiny: tuple[SmallDesk, httpx.Client], kind: str) -> None:
    reply = tiny[1].post("/predict", json=asked(picture_bytes("blue", kind=kind)))
    assert reply.json()["predicted_class"] == "blue"


def test_what_is_not_recognised_is_not_named_and_kept(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = tiny
    said = client.post("/predict", json=asked(picture_bytes("grey"))).json()
    assert (said["success"], said["predicted_class"], said["outcome"]) == (True, "", "unknown")
    assert said["kept"] is True
    assert [entry.digest for entry in desk.outbox.entries()] == [said["sample_digest"]]


@pytest.mark.parametrize("way", ["json", "form"])
def test_a_threshold_makes_an_answer_not_recognised(tiny: tuple[SmallDesk, httpx.Client], way: str) -> None:
    _, client = tiny
    for threshold, named, outcome in ((0.5, "red", "accept"), (0.9999, "", "unknown")):
        if way == "json":
            reply = client.post("/predict", json=asked(picture_bytes("red"), confidence_threshold=threshold))
        else:
            reply = client.post(
                "/predict/file",
                files={"file": ("a.png", picture_bytes("red"))},
                data={"confidence_threshold": str(threshold)},
            )
        said = reply.json()
        assert (said["predicted_class"], said["outcome"]) == (named, outcome)
        assert said["confidence"] == pytest.approx(0.995, abs=0.01)
        assert said["probabilities"]["red"] == said["confidence"]
    assert said["reason"] == "not_recognised"


@pytest.mark.parametrize("way", ["json", "form"])
def test_how_many_classes_and_whether_their_probabilities(tiny: tuple[SmallDesk, httpx.Client], way: str) -> None:
    def ask(**options: object) -> dict[str, object]:
        if way == "json":
            return tiny[1].post("/predict", json=asked(picture_bytes("red"), **options)).json()
        words = {name: str(value).lower() for name, value in options.items()}
        return tiny[1].post("/predict/file", files={"file": ("a", picture_bytes("red"))}, data=words).json()

    assert list(ask(top_k=1)["probabilities"]) == ["red"]
    assert len(ask(top_k=1000)["probabilities"]) == 3
    without = ask(return_probabilities=False)
    assert (without["probabilities"], without["predicted_class"]) == ({}, "red")


def test_a_pipeline_finds_names_and_counts(pipeline: tuple[SmallDesk, httpx.Client]) -> None:
    _, client = pipeline
    replies = [
        client.post("/recognize", json=asked(SHELF)).json(),
        client.post("/recognize", files={"file": ("shelf.png", SHELF)}).json(),
        client.post("/predict", json=asked(SHELF)).json(),
    ]
    for said in replies:
        assert said | {"processing_time_ms": 0} == replies[0] | {"processing_time_ms": 0}
    said = replies[0]
    assert said["counts"] == {"blue": 2, "red": 1, "unknown": 1}
    assert list(said["counts"]) == ["blue", "red", "unknown"]
    assert len(said["detections"]) == 4
    first = next(thing for thing in said["detections"] if thing["predicted_class"] == "red")
    assert first["label"] == "thing"
    assert first["outcome"] == "accept"
    assert first["box"] == pytest.approx([40, 40, 80, 80], abs=4)
    assert first["answers"][0]["predicted_class"] == "red"
    assert (said["outcome"], said["predicted_class"]) == ("unknown", "")


def test_a_bare_detector_counts_what_it_finds(bundles: dict[str, Path]) -> None:
    with serving_kiosk(bundles["bare"]) as (_, server), caller(server) as client:
        said = client.post("/recognize", json=asked(SHELF)).json()
        assert said["counts"] == {"thing": 4}
        assert {thing["predicted_class"] for thing in said["detections"]} == {"thing"}
        assert said["detections"][0]["answers"] == []
        high = client.post("/recognize", json=asked(SHELF, confidence_threshold=1.0)).json()
        assert high["counts"] == {"unknown": 4}
        assert {thing["outcome"] for thing in high["detections"]} == {"unknown"}
        assert len(high["detections"]) == 4


def test_a_picture_without_anything_in_it(pipeline: tuple[SmallDesk, httpx.Client]) -> None:
    said = pipeline[1].post("/recognize", json=asked(squares())).json()
    assert (said["detections"], said["counts"], said["predicted_class"]) == ([], {}, "")
    assert said["reason"] == "nothing_found"


@pytest.mark.parametrize(
    ("kind", "label", "stored"),
    [
        ("confirmed", "", "red"),
        ("confirmed", "red", "red"),
        ("corrected", "crimson", "crimson"),
        ("none_of_these", "", ""),
    ],
)
def test_feedback_is_stored_with_its_sample(
    tiny: tuple[SmallDesk, httpx.Client], kind: str, label: str, stored: str
) -> None:
    desk, client = tiny
    said = client.post("/predict", json=asked(picture_bytes("red"))).json()
    word = {"prediction_id": said["prediction_id"], "kind": kind, "label": label, "who": "Anna"}
    reply = client.post("/feedback", json=word)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["success"], told["kind"], told["label"]) == (True, kind, stored)
    (digest, feedback), *others = desk.answers
    assert not others
    assert told["sample_digest"] == digest
    assert (feedback.kind, feedback.label, feedback.who) == (FeedbackKind(kind), stored, "Anna")
    assert feedback.at == pytest.approx(time.time(), abs=60)
    assert desk.outbox.payload(digest) == picture_bytes("red")


def test_feedback_about_a_frame_that_the_page_showed(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = tiny
    desk.watch(picture_bytes("green"))
    live = client.get("/live").json()
    word = {"prediction_id": live["answer"]["prediction_id"], "kind": "confirmed", "who": "Anna"}
    assert client.post("/feedback", json=word).json()["label"] == "green"


def test_frames_of_the_camera_do_not_push_out_what_was_asked(bundles: dict[str, Path]) -> None:
    with serving_kiosk(bundles["tiny"], max_remembered=2) as (desk, server), caller(server) as client:
        said = client.post("/predict", json=asked(picture_bytes("red"))).json()
        for shade in range(5):
            desk.watch(picture_bytes((shade, 200, 30)))
            client.get("/live")
        word = {"prediction_id": said["prediction_id"], "kind": "confirmed", "who": "Anna"}
        assert client.post("/feedback", json=word).status_code == 200


def test_live_before_a_bundle_without_a_source_and_with_one(bundles: dict[str, Path]) -> None:
    with serving_kiosk(None) as (desk, server), caller(server) as client:
        assert client.get("/live").json()["state"] == "no_bundle"
        assert client.get("/health").json()["ready"] is False
        assert client.get("/health").json()["bundle"] is None
        assert client.get("/labels").json()["labels"] == []
        assert ("edgeloop_frames_total", "accept") in numbers(client)
    with serving_kiosk(bundles["tiny"]) as (desk, server), caller(server) as client:
        assert client.get("/live").json()["state"] == "no_source"
        desk.watched = Watching(name="camera:0")
        live = client.get("/live").json()
        assert (live["state"], live["source"], live["answer"]) == ("waiting", "camera:0", None)
        desk.watch(picture_bytes("blue"))
        live = client.get("/live").json()
        assert (live["state"], live["source"]) == ("live", "camera:0")
        assert live["answer"]["predicted_class"] == "blue"
        assert 0 <= live["age_s"] < 60
        desk.watched = Watching(name="camera:0", lost="no frame for 10 s")
        live = client.get("/live").json()
        assert (live["state"], live["detail"]) == ("camera_gone", "no frame for 10 s")
        assert live["answer"]["predicted_class"] == "blue"


def test_the_picture_is_upright_and_no_larger_than_a_screen(bundles: dict[str, Path]) -> None:
    with serving_kiosk(bundles["tiny"], screen_side=200) as (desk, server), caller(server) as client:
        large = Image.new("RGB", (600, 300), (220, 20, 30))
        large.paste((20, 40, 230), (300, 0, 600, 300))
        exif = Image.Exif()
        exif[0x0112] = 6
        buffer = io.BytesIO()
        large.save(buffer, format="JPEG", exif=exif)
        desk.watch(buffer.getvalue())
        live = client.get("/live").json()["answer"]
        assert (live["picture_width"], live["picture_height"]) == (300, 600)
        shown = client.get("/live.jpg")
        assert shown.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(shown.content)) as picture:
            assert picture.size == (100, 200)
            assert picture.getpixel((50, 30)) == pytest.approx((220, 20, 30), abs=8)
            assert picture.getpixel((50, 170)) == pytest.approx((20, 40, 230), abs=8)
        desk.watch(picture_bytes("green"))
        older = client.get("/live.jpg", params={"prediction_id": live["prediction_id"]})
        assert older.content == shown.content
        assert client.get("/live.jpg").content != shown.content


def test_the_picture_of_an_answer_that_was_asked_for(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    said = tiny[1].post("/predict", json=asked(picture_bytes("red"))).json()
    shown = tiny[1].get("/live.jpg", params={"prediction_id": said["prediction_id"]})
    with Image.open(io.BytesIO(shown.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (48, 40))


def test_health_says_what_runs_and_what_waits(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = tiny
    client.post("/predict", json=asked(picture_bytes("grey")))
    desk.telemetry.trouble(Topic.ROAD, "the server cannot be reached")
    said = client.get("/health").json()
    assert (said["ready"], said["phase"], said["device_id"]) == (True, "running", "shelf-7")
    assert said["software"] == edge.__version__
    assert (said["bundle"]["name"], said["bundle"]["version"], said["bundle"]["task"]) == ("tiny", 1, "classify")
    assert desk.engine is not None
    assert said["bundle"]["digest"] == desk.engine.bundle.digest
    assert (said["outbox"]["pending"], said["outbox"]["pending_bytes"]) == (1, len(picture_bytes("grey")))
    assert said["last_error"] == "the server cannot be reached"


def test_the_labels_are_those_that_name_things(
    tiny: tuple[SmallDesk, httpx.Client], pipeline: tuple[SmallDesk, httpx.Client]
) -> None:
    assert tiny[1].get("/labels").json()["labels"] == ["red", "green", "blue"]
    assert pipeline[1].get("/labels").json()["labels"] == list(COLOURS)


def test_metrics_say_what_the_agent_and_the_api_have_counted(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = tiny
    for colour in ("red", "red", "grey"):
        client.post("/predict", json=asked(picture_bytes(colour)))
    client.post("/predict", json=asked(b"no picture"))
    client.get("/nowhere")
    desk.telemetry.add(frames_superseded=7, kept=1)
    found = numbers(client)
    assert found["edgeloop_frames_total", "accept"] == 2
    assert found["edgeloop_frames_total", "unknown"] == 1
    assert found["edgeloop_frames_total", "unreadable"] == 1
    assert found["edgeloop_skipped_total", "superseded"] == 7
    assert found["edgeloop_kept_total",] == 1
    assert found["edgeloop_outbox_pending",] == 1
    assert found["edgeloop_outbox_pending_bytes",] == len(picture_bytes("grey"))
    assert found["edgeloop_outbox_shed_total",] == 0
    assert found["edgeloop_answer_seconds", "0.5"] > 0
    assert found["edgeloop_kiosk_requests_total", "/predict", "200"] == 3
    assert found["edgeloop_kiosk_requests_total", "/predict", "422"] == 1
    assert found["edgeloop_kiosk_requests_total", "other", "404"] == 1
    assert found["edgeloop_kiosk_request_seconds_count", "/predict"] == 4
    assert found["edgeloop_kiosk_audit_failed_total",] == 0
    info = next(key for key in found if key[0] == "edgeloop_bundle_info")
    assert {"tiny", "1", "classify"} <= set(info)


def test_metrics_are_in_prometheus_own_words(tiny: tuple[SmallDesk, httpx.Client]) -> None:
    reply = tiny[1].get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE edgeloop_frames_total counter" in reply.text
    assert "# HELP edgeloop_kiosk_request_seconds " in reply.text
