"""What the description of the API says is what it does, for requests that nobody thought of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from kiosk_desk import SmallDesk, caller, serving_kiosk
from pipeline_bundles import build_pipeline, squares
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from edge.kiosk.app import make_app
from edge.kiosk.audit import Audit
from edge.kiosk.options import KioskOptions

TOKEN = "a-token-that-is-long-enough"  # noqa: S105 - of a test
# Not among them: that every body of the right form is answered. A text in base64 is a string of the right form, and
# still no picture.
CHECKS = [
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
_HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallDesk, httpx.Client]]:
    bundle = build_pipeline(tmp_path_factory.mktemp("bundles") / "pipeline")
    options = {"token": TOKEN, "per_minute": 10_000_000, "max_picture_bytes": 100_000, "max_remembered": 4}
    with serving_kiosk(bundle, **options) as (desk, server), caller(server) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        desk.watch(squares())
        client.get("/live")
        yield desk, client


def described() -> schemathesis.BaseSchema:
    """The description of the API, made without a server: the tests are named after its routes."""
    desk, options = SmallDesk(None), KioskOptions(token=TOKEN)
    nobody = ThreadPoolExecutor(1)
    app = make_app(desk, options, audit=Audit(None, max_bytes=1000), clerks=nobody, answerers=nobody)
    schema = schemathesis.openapi.from_dict(app.description())
    schema.config.update(base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"})
    return schema


SCHEMA = described()


def has_list(case: schemathesis.Case) -> bool:
    """Whether a form was made of a list: of one value it is, as it travels, that value, and of none it is not there."""
    return isinstance(case.body, dict) and any(isinstance(value, list) for value in case.body.values())


def check(case: schemathesis.Case, client: httpx.Client) -> None:
    with requests.Session() as session:
        session.trust_env = False
        reply = case.call(base_url=str(client.base_url).rstrip("/"), session=session)
    # 500 is declared, so that callers know its body; it must all the same never come.
    assert reply.status_code != 500, reply.text
    case.validate_response(
        reply, checks=[one for one in CHECKS if not (one is negative_data_rejection and has_list(case))]
    )
    if reply.headers["content-type"] == ["application/json"] and reply.status_code >= 400:
        said = reply.json()
        assert said["success"] is False
        assert said["error_message"]
        assert "\n" not in said["error_message"]


@SCHEMA.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=_HEALTH)
def test_it_does_what_it_says(case: schemathesis.Case, kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    check(case, kiosk[1])


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=600, deadline=None, suppress_health_check=_HEALTH)
def test_it_does_what_it_says_for_many_requests(case: schemathesis.Case, kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    check(case, kiosk[1])


def test_it_still_answers_afterwards(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    deadline = time.monotonic() + 20
    while kiosk[0].inside:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert kiosk[1].post("/predict/file", files={"file": ("a.png", squares())}).status_code == 200


def test_every_route_and_status_of_ours_is_described(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    paths = kiosk[1].get("/openapi.json").json()["paths"]
    posts = {"/predict", "/predict/file", "/recognize", "/feedback"}
    gets = {"/health", "/metrics", "/live", "/live.jpg", "/labels"}
    assert {path: set(methods) for path, methods in paths.items()} == {
        **{path: {"post"} for path in posts},
        **{path: {"get"} for path in gets},
    }
    for path in posts:
        assert {"401", "403", "408", "413", "415", "421", "422", "429", "500", "503", "507"} <= set(
            paths[path]["post"]["responses"]
        )
    for path in gets:
        assert {"401", "421", "429", "500"} <= set(paths[path]["get"]["responses"])
