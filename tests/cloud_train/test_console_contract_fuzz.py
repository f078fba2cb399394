"""What the description of the fleet's API says is what it does, for requests that nobody thought of."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from console_server import add_people, make_app, serving, small_store
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from benchmarks.fleet_store import fill_fleet
from cloud_train.fleet_types import Role

# Who may do what is in test_console_api.py, as a table.
CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
_HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with small_store(tmp_path_factory.mktemp("fuzz")) as database:
        fill_fleet(database, devices=30, with_hours=3, hours=3, now=time.time())
        tokens = add_people(database, now=time.time())
        with serving(make_app(database)) as address:
            yield address, tokens[Role.ADMIN]


def described() -> schemathesis.BaseSchema:
    """The description, made without a server: the tests are named after its routes."""
    with tempfile.TemporaryDirectory() as folder, small_store(Path(folder)) as database:
        schema = schemathesis.openapi.from_dict(make_app(database).openapi())
    schema.config.update(base_url="http://127.0.0.1")
    return schema


SCHEMA = described()


def check(case: schemathesis.Case, address: str, token: str) -> None:
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        reply = case.call(base_url=address, session=session)
    assert reply.status_code != 500, reply.text
    case.validate_response(reply, checks=CHECKS)
    if reply.status_code >= 400:
        said = reply.json()
        assert said["success"] is False
        assert said["error_message"]
        assert "\n" not in said["error_message"]


@SCHEMA.parametrize()
@settings(max_examples=3, deadline=None, suppress_health_check=_HEALTH)
def test_it_does_what_it_says(case: schemathesis.Case, console: tuple[str, str]) -> None:
    check(case, *console)


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=300, deadline=None, suppress_health_check=_HEALTH)
def test_it_does_what_it_says_for_many_requests(case: schemathesis.Case, console: tuple[str, str]) -> None:
    check(case, *console)


def test_every_route_is_described(console: tuple[str, str]) -> None:
    document = requests.get(f"{console[0]}/api/v1/openapi.json", timeout=10).json()
    paths = {path: set(methods) for path, methods in document["paths"].items()}
    devices, rollouts = "/api/v1/devices", "/api/v1/rollouts"
    gets = {
        "/api/v1/overview",
        "/api/v1/drift",
        "/api/v1/audit",
        "/api/v1/me",
        devices,
        f"{devices}/{{device_id}}",
        rollouts,
    }
    acts = ("pin", "hold", "labels", "revoke", "readmit")
    assert paths == {
        **{key: {"get"} for key in sorted(gets | {f"{rollouts}/{{rollout_id}}"})},
        **{f"{devices}/{{device_id}}/{act}": {"post"} for act in acts},
        f"{rollouts}/{{rollout_id}}/{{act}}": {"post"},
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"401", "421", "422", "429", "500", "503"} <= set(operation["responses"])
