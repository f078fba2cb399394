"""The console as `edgeloop serve` has it: beside the probes, over TLS off this machine, with drift and comparisons."""

from __future__ import annotations

import re
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from console_server import NO_TLS

from benchmarks.fleet_comparison import add_comparison
from benchmarks.fleet_store import NEW, OLD, OLDER, fill_fleet
from cloud_train.fleet.members import By
from cloud_train.fleet.people import People
from cloud_train.fleet_types import Role
from cloud_train.ingest.server import running_server
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.opened import Store, open_store
from cloud_train.store.people import SqlPeopleStore

PROBES = {"/healthz": "ok", "/readyz": "ready", "/metrics": "# HELP"}
DEVICES, PILOTS = 200, 60


@dataclass
class Served:
    folder: Path
    address: str
    token: str

    def program(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"{self.address}/api/v1", headers=headers, trust_env=False, verify=NO_TLS)

    @contextmanager
    def person(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.address, trust_env=False, verify=NO_TLS) as client:
            assert client.post("/sign-in", data={"token": self.token}).status_code == 303
            yield client


def add_admin(store: Store) -> str:
    people = People(SqlPeopleStore(store.database), SqlAuditLog(store.database))
    by = By(who="person:test", now=time.time())
    return people.add("anna", Role.ADMIN, by, random_bytes=secrets.token_bytes)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, now = tmp_path_factory.mktemp("served") / "store", time.time()
    with open_store(folder) as store:
        fill_fleet(store.database, devices=DEVICES, with_hours=DEVICES, hours=60, now=now)
        add_comparison(store.database, rollout_id=2, devices=PILOTS, now=now)
        token = add_admin(store)
    with running_server(folder, http_listen="127.0.0.1:0") as info:
        yield Served(folder=folder, address=f"http://127.0.0.1:{info.http_port}", token=token)


@pytest.mark.parametrize("path", PROBES)
def test_probes_answer_to_anybody_by_any_name(served: Served, path: str) -> None:
    for headers in ({}, {"host": "10.1.2.3:7480"}, {"host": "pod-17.cluster.local"}):
        reply = httpx.get(served.address + path, headers=headers, trust_env=False, verify=NO_TLS)
        assert reply.status_code == 200
        assert reply.text.startswith(PROBES[path])
        assert "location" not in reply.headers


def test_everything_else_is_for_people_who_are_signed_in(served: Served) -> None:
    with httpx.Client(base_url=served.address, trust_env=False, verify=NO_TLS) as client:
        for path in ("/", "/devices", "/rollouts/2", "/audit", "/devices/kiosk-00000"):
            assert client.get(path).headers["location"].startswith("/sign-in"), path
        for path in ("/api/v1/drift", "/api/v1/overview"):
            assert client.get(path).status_code == 401, path


def test_off_this_machine_it_speaks_tls_with_the_fleet_s_authority(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with open_store(folder) as store:
        token = add_admin(store)
    options = {"plaintext": False, "http_listen": "0.0.0.0:0", "host": "localhost"}
    with running_server(folder, enroll_listen="127.0.0.1:0", **options) as info:
        with open_store(folder, must_exist=True) as store:
            trusted = store.layout.authority / "ca.pem"
        address = f"https://localhost:{info.http_port}"
        with httpx.Client(base_url=address, verify=ssl.create_default_context(cafile=trusted), trust_env=False) as ours:
            assert ours.get("/readyz").text == "ready\n"
            reply = ours.post("/sign-in", data={"token": token})
            assert reply.headers["set-cookie"].startswith("__Host-edgeloop_session=")
            assert "Secure" in reply.headers["set-cookie"]
            assert ours.get("/").headers["strict-transport-security"]
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{address}/readyz", verify=ssl.create_default_context(), trust_env=False)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{info.http_port}/readyz", trust_env=False, verify=NO_TLS)


def test_drift_of_the_bundles_that_devices_run(served: Served) -> None:
    with served.program() as client:
        said = client.get("/drift").json()
    bundles = {one["bundle_digest"]: one for one in said["bundles"]}
    assert list(bundles) == [OLD, NEW, OLDER]
    old = bundles[OLD]
    assert old["against"] == "its own first days in the field"
    assert {side["by"]: side["mark"] for side in old["sides"]} == {"classes": "same", "confidence": "same"}
    assert bundles[OLDER] == {"bundle_digest": OLDER, "devices": 0, "hours": 24, "against": "", "sides": []}
    with served.person() as client:
        page = until_gathered(client)
    assert page.count("nothing to compare with yet") == 2
    assert len(re.findall(r'<span class="mark same">same</span>', page)) == 2


def until_gathered(client: httpx.Client) -> str:
    """The page of the fleet, once the server has gathered what it shows behind it."""
    for _ in range(200):
        page = client.get("/").text
        if "It is being gathered" not in page:
            return page
        time.sleep(0.05)
    raise AssertionError("it was never gathered")


def test_a_comparison_and_its_page(served: Served) -> None:
    with served.program() as client:
        said = client.get("/rollouts/2").json()
    differences = {one["name"]: one for one in said["differences"]}
    assert said["rollout"]["kind"] == "ab"
    assert said["devices"] == PILOTS
    assert {name for name, one in differences.items() if one["is_clear"]} == {
        "accepted",
        "to be confirmed",
        "right, of answered samples",
    }
    assert differences["accepted"]["gap"].startswith("+")
    assert differences["to be confirmed"]["gap"].startswith("-")
    with served.person() as client:
        page = client.get("/rollouts/2").text
    assert "<h1>A/B comparison 2</h1>" in page
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th>(.*?)</tr>', page, re.DOTALL)
    shown = {name: re.findall(r"<td[^>]*>([^<]*)</td>", cells) for name, cells in rows}
    for name, one in differences.items():
        assert shown[name] == [one["a"], one["b"], one["gap"], "clear" if one["is_clear"] else ""]
    for note in said["notes"]:
        assert note in page
    assert 'action="/rollouts/2/finish"' in page
    assert "every device gets bundle A" in page


def test_a_comparison_is_ended_on_its_page(served: Served) -> None:
    with served.person() as client:
        page = client.get("/rollouts/2").text
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
        assert found is not None
        data = {"form_token": found[1], "reason": "B is better"}
        assert client.post("/rollouts/2/finish", data=data).headers["location"] == "/rollouts/2"
        page = client.get("/rollouts/2").text
    assert '<span class="mark done">done</span>' in page
    assert "B is better" in page
    assert "B against A, since it began" in page
