"""docs/formats/http.md is true: its examples are executed, and every field, status and metric is on it."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kiosk_desk import caller, serving_kiosk
from pipeline_bundles import COLOURS, build_pipeline, squares
from pydantic import BaseModel
from tiny_bundles import build_bundle, picture_bytes

from edge.kiosk import schemas
from edge.kiosk.audit import AuditLine, Said
from edge.kiosk.options import KioskOptions

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats" / "http.md").read_text()
PICTURES = {"red": picture_bytes("red"), "shelf": squares((1, 1, COLOURS["red"]), (5, 6, COLOURS["blue"]))}
EXAMPLES = re.findall(r"```json (GET|POST) (\S+)(?: (pipeline))?\n(.*?)```\s+```json (\d+)\n(.*?)```", PAGE, re.DOTALL)
# What is another on every machine, in every run, or for every picture.
VOLATILE = re.compile(r"(processing_time_ms|prediction_id|_digest|age_s|at|captured_at)$")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, httpx.Client]]:
    folder = tmp_path_factory.mktemp("bundles")
    tiny, pipeline = serving_kiosk(build_bundle(folder / "tiny")), serving_kiosk(build_pipeline(folder / "pipeline"))
    with tiny as (_, one), pipeline as (_, other), caller(one) as first, caller(other) as second:
        yield {"": first, "pipeline": second}


def filled(body: str, client: httpx.Client) -> str:
    """An example with the picture and the id that it names."""
    for name, picture in PICTURES.items():
        encoded = base64.b64encode(picture).decode()
        body = body.replace(f"PICTURE {name}", encoded)
        if f"PREDICTION {name}" in body:
            known = client.post("/predict", json={"image": encoded}).json()["prediction_id"]
            body = body.replace(f"PREDICTION {name}", known)
    return body


def assert_like(found: object, written: object, where: str) -> None:
    """The same fields, texts and numbers, but for what is volatile."""
    assert type(found) is type(written), where
    if isinstance(written, dict):
        assert isinstance(found, dict)
        assert list(found) == list(written), where
        for name, value in written.items():
            assert_like(found[name], value, f"{where}.{name}")
    elif isinstance(written, list):
        assert isinstance(found, list)
        assert len(found) == len(written), where
        for at, value in enumerate(written):
            assert_like(found[at], value, f"{where}[{at}]")
    elif VOLATILE.search(where):
        assert bool(found) == bool(written), where
        assert len(str(found)) == len(str(written)) or not isinstance(found, str), where
    elif isinstance(written, float):
        assert found == pytest.approx(written, abs=4 if "box" in where else 0.02), where
    else:
        assert found == written, where


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example[0]} {example[1]} {example[4]}")
def test_an_example_is_what_it_answers(clients: dict[str, httpx.Client], example: tuple[str, ...]) -> None:
    method, path, kind, body, status, reply = example
    client = clients[kind]
    asked = filled(body, client)
    headers = {"content-type": "application/json"} if method == "POST" else {}
    answer = client.request(method, path, content=asked or None, headers=headers)
    assert answer.status_code == int(status), answer.text
    assert_like(answer.json(), json.loads(reply), "")


def test_there_are_examples_of_every_kind() -> None:
    assert {(path, status) for _, path, _, _, status, _ in EXAMPLES} >= {
        ("/predict", "200"),
        ("/recognize", "200"),
        ("/feedback", "200"),
        ("/feedback", "404"),
        ("/live", "200"),
        ("/predict", "422"),
    }
    assert len(re.findall(r"```json \d+", PAGE)) == len(EXAMPLES)


def test_the_command_for_a_shell_works(clients: dict[str, httpx.Client], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    (tmp_path / "shelf.jpg").write_bytes(PICTURES["red"])
    (line,) = re.findall(r"```sh\n(.*?)\n```", PAGE)
    words = shlex.split(line.replace("http://127.0.0.1:8765/", str(clients[""].base_url)))
    done = subprocess.run([*words, "-sS"], check=True, capture_output=True, text=True, cwd=tmp_path, timeout=30)
    assert json.loads(done.stdout)["predicted_class"] == "red"


def models() -> list[type[BaseModel]]:
    return [
        one
        for one in vars(schemas).values()
        if isinstance(one, type) and issubclass(one, BaseModel) and one.__module__ == schemas.__name__
    ]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_is_on_the_page(model: type[BaseModel]) -> None:
    missing = [name for name in model.model_fields if f"`{name}`" not in PAGE]
    assert missing == []
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} does not say what it is"


def test_every_status_is_on_the_page_and_no_other(clients: dict[str, httpx.Client]) -> None:
    written = {int(one) for one in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)}
    paths = clients[""].get("/openapi.json").json()["paths"]
    described = {int(code) for path in paths.values() for operation in path.values() for code in operation["responses"]}
    # These two come before there is a route to describe.
    assert written == (described - {200}) | {400, 405}


def test_every_route_is_on_the_page(clients: dict[str, httpx.Client]) -> None:
    for path, methods in clients[""].get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in PAGE


def test_every_metric_is_on_the_page(clients: dict[str, httpx.Client]) -> None:
    clients[""].get("/health")
    text = clients[""].get("/metrics").text
    names = set(re.findall(r"^# TYPE edgeloop_(\S+) ", text, re.MULTILINE))
    assert len(names) > 20
    missing = [name for name in names if f"`{name}`" not in PAGE and not name.endswith("_created")]
    assert missing == []


def test_every_field_of_the_audit_is_on_the_page() -> None:
    line = AuditLine(at=0.0, client="", route="", status=200, took_ms=0.0, said=Said())
    assert [name for name in line.fields() if f"`{name}`" not in PAGE] == []


def test_the_numbers_on_the_page_are_the_defaults() -> None:
    options = KioskOptions()
    for told in (
        f"the last {options.max_remembered} answers",
        f"({options.max_remembered_bytes // 1_000_000} MB\nof pictures each)",
        f"at most {options.screen_side} pixels",
        f"{options.per_minute} POST requests a minute",
        f"`max_picture_bytes` ({options.max_picture_bytes // 1_000_000} MB)",
        f"within {options.head_timeout_s:g} seconds",
        f"for {options.reply_timeout_s:g}, is closed",
        f"within {options.body_timeout_s:g} seconds",
        f"{options.audit_max_bytes // 1_000_000} MB each",
        f"may wait for {options.queue_timeout_s:g} seconds",
    ):
        assert told in PAGE, told
