"""Every error of the kiosk API: its status, its line, and that it is the one body of every error."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from kiosk_desk import SmallDesk, caller, serving_kiosk
from pipeline_bundles import build_pipeline
from tiny_bundles import build_bundle, picture_bytes

from edge.errors import BackendError, RefusedError, StorageError

RED = picture_bytes("red")
IMAGE = base64.b64encode(RED).decode()
KNOWN = "known"  # stands for the prediction_id of an answer that was given
CONTRACT = {
    "success": False,
    "predicted_class": "",
    "confidence": 0.0,
    "probabilities": {},
    "detections": [],
    "counts": {},
    "processing_time_ms": 0.0,
    "model_version": "",
}
BOUNDARY = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallDesk, httpx.Client]]:
    bundle = build_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    with serving_kiosk(bundle, max_picture_bytes=20_000) as (desk, server), caller(server) as client:
        yield desk, client


def assert_error(reply: httpx.Response, status: int, told: str) -> None:
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json"), reply.text
    said = reply.json()
    assert {**said, "error_message": ""} == {**CONTRACT, "error_message": ""}
    message = said["error_message"]
    assert re.search(told, message), message
    assert "\n" not in message
    assert not re.search(r"Traceback|\.py\b|site-packages|/work|/tmp|/home|0x[0-9a-f]{6}|edge\.", message), message
    assert reply.headers["x-content-type-options"] == "nosniff"


def part(name: str, value: str | bytes, *, file: bool = False) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    filename = '; filename="a.png"' if file else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> dict[str, object]:
    return {"content": b"".join(parts) + end, "headers": {"content-type": BOUNDARY}}


def body(text: str | bytes, kind: str = "application/json") -> dict[str, object]:
    return {"content": text, "headers": {"content-type": kind}}


FILE = part("file", RED, file=True)
ROWS: list[tuple[str, str, dict[str, object], int, str]] = [
    # Bodies that are no JSON, or not what was asked for.
    ("POST", "/predict", body(""), 422, "the body is no JSON"),
    ("POST", "/predict", body("{"), 422, "the body is no JSON: EOF"),
    ("POST", "/predict", body(b"\xff\xfe"), 422, "the body is no JSON"),
    ("POST", "/predict", body("[" * 100_000), 413, "the body has more than"),
    ("POST", "/predict", body("[" * 10_000), 422, "the body is no JSON: recursion limit"),
    ("POST", "/predict", body("[]"), 422, "body: input should be an object"),
    ("POST", "/predict", body("null"), 422, "body: input should be an object"),
    ("POST", "/predict", {"json": {}}, 422, "image: field required"),
    ("POST", "/predict", {"json": {"image": IMAGE, "treshold": 1}}, 422, "treshold: extra inputs are not permitted"),
    (
        "POST",
        "/predict",
        {"json": {"image": IMAGE, "a\r\nb\x1b[2Jc": 1}},
        422,
        r"^a b \[2Jc: extra inputs are not permitted$",
    ),
    ("POST", "/predict", {"json": {"image": IMAGE, "k" * 5000: 1}}, 422, r"^k{79}…: extra inputs are not permitted$"),
    ("POST", "/predict", {"json": {"image": IMAGE, "\n": 1}}, 422, "^body: extra inputs are not permitted$"),
    ("GET", "/a%1Bb", {}, 404, "^there is no GET /a b; see /docs"),
    ("POST", "/predict", {"json": {"image": 5}}, 422, "image: input should be a valid string"),
    ("POST", "/predict", {"json": {"image": None}}, 422, "image: input should be a valid string"),
    ("POST", "/predict", {"json": {"image": ""}}, 422, "image: string should have at least 1 character"),
    ("POST", "/predict", body('{"image": "\\ud800"}'), 422, "the body is no JSON"),
    # Options.
    ("POST", "/predict", {"json": {"image": IMAGE, "top_k": 0}}, 422, "top_k: input should be greater than or equal"),
    ("POST", "/predict", {"json": {"image": IMAGE, "top_k": 1001}}, 422, "top_k: input should be less than or equal"),
    ("POST", "/predict", {"json": {"image": IMAGE, "top_k": 1.5}}, 422, "top_k: input should be a valid integer"),
    ("POST", "/predict", {"json": {"image": IMAGE, "top_k": "3"}}, 422, "top_k: input should be a valid integer"),
    ("POST", "/predict", {"json": {"image": IMAGE, "top_k": True}}, 422, "top_k: input should be a valid integer"),
    ("POST", "/predict", {"json": {"image": IMAGE, "confidence_threshold": 1.01}}, 422, "confidence_threshold: "),
    ("POST", "/predict", {"json": {"image": IMAGE, "confidence_threshold": -0.1}}, 422, "confidence_threshold: "),
    ("POST", "/predict", body(f'{{"image": "{IMAGE}", "confidence_threshold": NaN}}'), 422, "finite number|no JSON"),
    ("POST", "/predict", body(f'{{"image": "{IMAGE}", "confidence_threshold": 1e999}}'), 422, "finite|less than"),
    ("POST", "/predict", {"json": {"image": IMAGE, "confidence_threshold": "high"}}, 422, "valid number"),
    ("POST", "/predict", {"json": {"image": IMAGE, "return_probabilities": 1}}, 422, "valid boolean"),
    # Pictures.
    ("POST", "/predict", {"json": {"image": "!!!!"}}, 422, "image: not base64"),
    ("POST", "/predict", {"json": {"image": IMAGE[:-1]}}, 422, "image: not base64"),
    ("POST", "/predict", {"json": {"image": IMAGE + "\n"}}, 422, "image: not base64"),
    ("POST", "/predict", {"json": {"image": IMAGE + "===="}}, 422, "image: not base64"),
    ("POST", "/predict", {"json": {"image": "ÄÄÄÄ"}}, 422, "image: not base64"),
    ("POST", "/predict", {"json": {"image": "-_-_"}}, 422, "image: not base64"),
    ("POST", "/predict", {"json": {"image": f"data:image/png;base64,{IMAGE}"}}, 422, "image: send the base64 alone"),
    ("POST", "/predict", {"json": {"image": "AAAA"}}, 422, "not a JPEG, PNG or WebP picture"),
    ("POST", "/predict", {"json": {"image": base64.b64encode(RED[:60]).decode()}}, 422, "picture: "),
    ("POST", "/predict", {"json": {"image": base64.b64encode(bytes(20_001)).decode()}}, 413, "more than 20000 bytes"),
    ("POST", "/predict", {"json": {"image": "A" * 200_000}}, 413, "the body has more than"),
    # Types.
    ("POST", "/predict", body("{}", "text/plain"), 415, "must be application/json"),
    ("POST", "/predict", {"content": b"{}"}, 415, "must be application/json"),
    ("POST", "/predict", {"files": {"file": ("a.png", RED)}}, 415, "must be application/json"),
    ("POST", "/predict/file", {"json": {"image": IMAGE}}, 415, "must be multipart/form-data"),
    ("POST", "/recognize", body("x", "image/png"), 415, "must be application/json or multipart/form-data"),
    (
        "POST",
        "/predict",
        {"content": b"{}", "headers": {"content-type": "application/json", "content-encoding": "gzip"}},
        415,
        "compressed bodies are not read",
    ),
    # Forms.
    ("POST", "/predict/file", body("", "multipart/form-data"), 422, "names no boundary"),
    ("POST", "/predict/file", body("nothing", BOUNDARY), 422, "no form with the boundary"),
    ("POST", "/predict/file", body("", BOUNDARY), 422, "cut off|no form|no such field"),
    ("POST", "/predict/file", form(FILE, end=b""), 422, "cut off"),
    ("POST", "/predict/file", form(part("top_k", "2")), 422, "file: the form has no such field"),
    ("POST", "/predict/file", form(FILE, FILE), 422, "file: the form has this field twice"),
    ("POST", "/predict/file", form(FILE, part("top_k", "1"), part("top_k", "1")), 422, "top_k: the form has this"),
    ("POST", "/predict/file", form(FILE, part("top_k", "many")), 422, "top_k: input should be a valid integer"),
    ("POST", "/predict/file", form(FILE, part("top_k", "")), 422, "top_k: input should be a valid integer"),
    ("POST", "/predict/file", form(FILE, part("confidence_threshold", "NaN")), 422, "finite number"),
    ("POST", "/predict/file", form(FILE, part("return_probabilities", "0")), 422, "valid boolean"),
    ("POST", "/predict/file", form(FILE, part("top_k", "null")), 422, "valid integer"),
    ("POST", "/predict/file", form(FILE, part("top_k", "[" * 100_000)), 413, "the body has more than"),
    ("POST", "/predict/file", form(FILE, part("top_k", "[" * 10_000)), 422, "valid integer"),
    ("POST", "/predict/file", form(FILE, part("top_k", b"\xff")), 422, "valid integer"),
    ("POST", "/predict/file", form(FILE, part("return_probabilities", "perhaps")), 422, "valid boolean"),
    ("POST", "/predict/file", form(FILE, part("colour", "red")), 422, "colour: extra inputs are not permitted"),
    ("POST", "/predict/file", form(*[part(f"f{at}", "") for at in range(17)]), 422, "more than 16 fields"),
    ("POST", "/predict/file", form(part("file", b"", file=True)), 422, "the file is empty"),
    ("POST", "/predict/file", form(part("file", b"x" * 50, file=True)), 422, "not a JPEG, PNG or WebP"),
    ("POST", "/predict/file", form(part("file", b"x" * 20_001, file=True)), 413, "more than 20000 bytes"),
    ("POST", "/predict/file", form(part("file", b"x" * 200_000, file=True)), 413, "the body has more than"),
    ("POST", "/predict/file", form(b"--x\r\n\r\nno header\r\n"), 422, "a field of the form has no name"),
    ("POST", "/predict/file", form(b"--x\r\nbroken header\r\n\r\n\r\n"), 422, "no form with the boundary"),
    # A bundle that finds nothing.
    ("POST", "/recognize", {"json": {"image": IMAGE}}, 409, "finds no things in them; send the picture to /predict"),
    # Feedback.
    ("POST", "/feedback", {"json": {}}, 422, "prediction_id: field required"),
    ("POST", "/feedback", {"json": {"prediction_id": "x", "kind": "confirmed", "who": "a"}}, 422, "prediction_id: "),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": KNOWN, "kind": "right", "who": "a"}},
        422,
        "kind: input should be",
    ),
    ("POST", "/feedback", {"json": {"prediction_id": KNOWN, "kind": "confirmed"}}, 422, "who: field required"),
    ("POST", "/feedback", {"json": {"prediction_id": KNOWN, "kind": "confirmed", "who": ""}}, 422, "who: "),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": KNOWN, "kind": "corrected", "who": "a"}},
        422,
        "label: must not be",
    ),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": KNOWN, "kind": "confirmed", "label": "blue", "who": "a"}},
        422,
        "label: 'confirmed' means the answer's 'red'",
    ),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": KNOWN, "kind": "none_of_these", "label": "blue", "who": "a"}},
        422,
        "label: 4 characters, at most 0",
    ),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": KNOWN, "kind": "corrected", "label": "x" * 513, "who": "a"}},
        422,
        "label: string should have at most 512",
    ),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": KNOWN, "kind": "corrected", "label": "a\u0000b", "who": "a"}},
        422,
        "label: holds a character that cannot be sent",
    ),
    ("POST", "/feedback", body("x" * 20_000), 413, "more than 16384 bytes"),
    (
        "POST",
        "/feedback",
        {"json": {"prediction_id": f"{'0' * 12}-{'0' * 12}", "kind": "confirmed", "who": "a"}},
        404,
        "not remembered any more; send the picture again",
    ),
    # Addresses and methods.
    ("GET", "/nowhere", {}, 404, "there is no GET /nowhere; see /docs"),
    ("POST", "/predict/", {"json": {}}, 404, "there is no POST /predict/"),
    ("GET", "/page/../desk", {}, 404, "there is no GET"),
    ("GET", "/page/%2e%2e%2fdesk", {}, 404, "there is no GET"),
    ("GET", "/docs/redoc.standalone.js", {}, 404, "there is no GET"),
    ("GET", "/predict", {}, 405, "GET is not answered here; use POST"),
    ("DELETE", "/health", {}, 405, "DELETE is not answered here; use GET"),
    ("OPTIONS", "/predict", {}, 405, "OPTIONS is not answered here"),
    ("GET", "/live.jpg", {}, 404, "there is no such picture"),
    ("GET", "/live.jpg?prediction_id=1", {}, 422, "prediction_id: string should match pattern"),
    ("GET", f"/live.jpg?prediction_id={'0' * 12}-{'0' * 12}", {}, 404, "there is no such picture"),
]


@pytest.mark.parametrize(
    ("method", "path", "request_body", "status", "told"),
    ROWS,
    ids=[f"{at}-{row[1]}-{row[4]}" for at, row in enumerate(ROWS)],
)
def test_it_is_refused_with_one_clear_line(
    kiosk: tuple[SmallDesk, httpx.Client],
    method: str,
    path: str,
    request_body: dict[str, object],
    status: int,
    told: str,
) -> None:
    desk, client = kiosk
    known = client.post("/predict", json={"image": IMAGE}).json()["prediction_id"]
    before = len(desk.answers), len(desk.outbox.entries())
    given = dict(request_body)
    if isinstance(given.get("json"), dict) and given["json"].get("prediction_id") == KNOWN:
        given["json"] = given["json"] | {"prediction_id": known}
    assert_error(client.request(method, path, **given), status, told)  # type: ignore[arg-type]
    assert (len(desk.answers), len(desk.outbox.entries())) == before
    assert client.post("/predict", json={"image": IMAGE}).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            BackendError("/secret/place/model.tflite: the layer conv_2 failed"),
            500,
            "something went wrong in the device",
        ),
        (
            StorageError("cannot write /secret/outbox.sqlite: no space left"),
            507,
            "the device's disk is full or failing",
        ),
        (RefusedError("the picture may not be kept: it shows what is private"), 409, "may not be kept"),
        (RuntimeError("a secret"), 500, "something went wrong in the device program; its log says what"),
        (KeyError("a secret"), 500, "something went wrong in the device program"),
    ],
)
def test_what_fails_inside_is_told_without_internals(
    kiosk: tuple[SmallDesk, httpx.Client], error: Exception, status: int, told: str
) -> None:
    desk, client = kiosk
    desk.fails = error
    try:
        reply = client.post("/predict", json={"image": IMAGE})
    finally:
        desk.fails = None
    assert_error(reply, status, told)
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("error", "status"), [(StorageError("no space left"), 507), (RefusedError("may not be kept"), 409)]
)
def test_feedback_that_was_not_stored_is_no_success(
    kiosk: tuple[SmallDesk, httpx.Client], error: Exception, status: int
) -> None:
    desk, client = kiosk
    known = client.post("/predict", json={"image": IMAGE}).json()["prediction_id"]
    desk.fails = error
    try:
        reply = client.post("/feedback", json={"prediction_id": known, "kind": "confirmed", "who": "a"})
    finally:
        desk.fails = None
    assert_error(reply, status, "nothing was stored|may not be kept")
    assert client.post("/feedback", json={"prediction_id": known, "kind": "confirmed", "who": "a"}).status_code == 200


def test_there_is_nothing_to_confirm_about_an_unknown_thing(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    _, client = kiosk
    grey = base64.b64encode(picture_bytes("grey")).decode()
    known = client.post("/predict", json={"image": grey}).json()["prediction_id"]
    reply = client.post("/feedback", json={"prediction_id": known, "kind": "confirmed", "who": "a"})
    assert_error(reply, 409, "names no class to confirm")


@pytest.mark.parametrize("path", ["/predict", "/recognize"])
def test_before_the_first_bundle_it_says_to_wait(path: str) -> None:
    with serving_kiosk(None) as (_, server), caller(server) as client:
        reply = client.post(path, json={"image": IMAGE})
        assert_error(reply, 503, "no bundle to answer with yet; try again in 5 seconds")
        assert reply.headers["retry-after"] == "5"


def test_an_answer_that_was_pushed_out_is_not_remembered(tmp_path: Path) -> None:
    with serving_kiosk(build_pipeline(tmp_path / "b"), max_remembered=1) as (_, server), caller(server) as client:
        ids = [
            client.post("/predict", json={"image": base64.b64encode(picture_bytes(colour)).decode()}).json()[
                "prediction_id"
            ]
            for colour in ("red", "blue")
        ]
        reply = client.post("/feedback", json={"prediction_id": ids[0], "kind": "none_of_these", "who": "a"})
        assert_error(reply, 404, "not remembered any more")


def test_what_is_no_http_gets_the_same_body(
    kiosk: tuple[SmallDesk, httpx.Client], send_raw: Callable[..., bytes]
) -> None:
    head, _, content = send_raw(kiosk[1], b"\x16\x03\x01 this is TLS\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    said = json.loads(content)
    assert {**said, "error_message": ""} == {**CONTRACT, "error_message": ""}
    assert "no HTTP request" in said["error_message"]


@pytest.fixture
def send_raw() -> Callable[..., bytes]:
    import socket

    def send(client: httpx.Client, data: bytes) -> bytes:
        with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    return send
