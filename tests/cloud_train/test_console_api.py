"""The fleet's API and pages over real HTTP: who may do what, what is refused, what is left in the audit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from console_server import KEY, NO_TLS, Clock, add_people, make_app, serving, small_store

from benchmarks.fleet_store import NEW, OLD, OLDER, device_name, fill_fleet
from cloud_train.api.session import COOKIE, LASTS_S, make_cookie, read_cookie
from cloud_train.fleet.members import By
from cloud_train.fleet.people import People
from cloud_train.fleet_types import Person, Role
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import Database
from cloud_train.store.people import SqlPeopleStore
from cloud_train.store.tables import AUDIT, DEVICES, MEMBERS, ROLLOUTS

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@dataclass
class Console:
    address: str
    database: Database
    tokens: dict[Role, str]
    clock: Clock

    def program(self, role: Role | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return httpx.Client(base_url=self.address, headers=headers, trust_env=False, verify=NO_TLS)

    @contextmanager
    def person(self, role: Role) -> Iterator[httpx.Client]:
        with self.program(None) as client:
            assert client.post("/sign-in", data={"token": self.tokens[role]}).status_code == 303
            yield client

    def audit(self, subject: str) -> list[tuple[str, str]]:
        rows = self.database.read(AUDIT.select().where(AUDIT.c.subject == subject).order_by(AUDIT.c.id))
        return [(row["who"], row["action"]) for row in rows]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with ExitStack() as stack:
        database = stack.enter_context(small_store(tmp_path_factory.mktemp("console")))
        clock = Clock()
        fill_fleet(database, devices=130, with_hours=13, hours=48, now=clock.now)
        tokens = add_people(database, now=clock.now)
        address = stack.enter_context(serving(make_app(database, clock=clock, hosts=("fleet.example.org",))))
        yield Console(address=address, database=database, tokens=tokens, clock=clock)


def form_token(client: httpx.Client) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/rollouts").text)
    assert found, "no form on the page"
    return found[1]


DEVICE = f"/api/v1/devices/{device_name(3)}"
READS = [
    "/api/v1/overview",
    "/api/v1/drift",
    "/api/v1/devices",
    DEVICE,
    "/api/v1/rollouts",
    "/api/v1/rollouts/1",
    "/api/v1/audit",
    "/api/v1/me",
]
ACTS = [
    (f"{DEVICE}/pin", {"bundle_digest": OLDER}, Role.OPERATOR),
    (f"{DEVICE}/hold", {"held": True}, Role.OPERATOR),
    (f"{DEVICE}/labels", {"labels": {"store": "5"}}, Role.OPERATOR),
    (f"{DEVICE}/revoke", {"reason": "stolen"}, Role.ADMIN),
    (f"{DEVICE}/readmit", {}, Role.ADMIN),
    ("/api/v1/rollouts/1/pause", {"reason": "lunch"}, Role.OPERATOR),
    ("/api/v1/rollouts/1/resume", {}, Role.OPERATOR),
    ("/api/v1/rollouts/1/halt", {}, Role.OPERATOR),
    ("/api/v1/rollouts/1/advance", {}, Role.OPERATOR),
    ("/api/v1/rollouts/1/rollback", {}, Role.OPERATOR),
    ("/api/v1/rollouts/1/finish", {}, Role.OPERATOR),
]


def is_error(reply: httpx.Response) -> bool:
    said = reply.json()
    assert said["success"] is False
    assert "\n" not in said["error_message"]
    return bool(said["error_message"])


@pytest.mark.parametrize("path", READS)
def test_every_role_reads_and_nobody_else(console: Console, path: str) -> None:
    for role in Role:
        with console.program(role) as client:
            reply = client.get(path)
            assert (reply.status_code, reply.json()["success"]) == (200, True)
    with console.program(None) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            reply = client.get(path, headers=headers)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"].startswith("Bearer")
            assert is_error(reply)


@pytest.mark.parametrize(("path", "body", "least"), ACTS, ids=[path.rsplit("/", 1)[1] for path, _, _ in ACTS])
def test_what_changes_something_needs_its_role(console: Console, path: str, body: dict, least: Role) -> None:
    for role in (None, *Role):
        with console.program(role) as client:
            reply = client.post(path, json=body)
        if role is None:
            assert reply.status_code == 401
        elif not role.covers(least):
            assert reply.status_code == 403
            assert least.value in reply.json()["error_message"]
        else:
            assert reply.status_code in (200, 409), reply.text


def test_a_cookie_is_no_token_for_programs(console: Console) -> None:
    with console.person(Role.ADMIN) as client:
        assert client.get("/devices").status_code == 200
        assert client.get("/api/v1/devices").status_code == 401
        assert client.post(f"{DEVICE}/hold", json={"held": True}).status_code == 401


def test_acts_do_what_they_say_and_are_in_the_audit(console: Console) -> None:
    name = device_name(20)
    with console.program(Role.ADMIN) as client:
        path = f"/api/v1/devices/{name}"
        assert client.post(f"{path}/pin", json={"bundle_digest": OLD}).json()["pinned"] == OLD
        assert client.post(f"{path}/hold", json={"held": True}).json()["held"] is True
        labels = {"store": "1", "floor": "2"}
        assert client.post(f"{path}/labels", json={"labels": labels}).json()["labels"] == labels
        assert client.post(f"{path}/revoke", json={"reason": "stolen"}).json()["revoked_at"] == console.clock.now
        found = client.get(path).json()
        assert found["device"]["health"] == "revoked"
        assert (found["device"]["pinned"], found["device"]["held"], found["device"]["labels"]) == (OLD, True, labels)
        assert found["history"][0]["detail"] == {"reason": "stolen"}
        assert client.post(f"{path}/readmit", json={}).json()["revoked_at"] is None
        assert client.post(f"{path}/pin", json={"bundle_digest": ""}).json()["pinned"] == ""
    done = ["device.pinned", "device.held", "device.labelled", "device.revoked", "device.readmitted", "device.pinned"]
    assert console.audit(f"device:{name}")[1:] == [("person:admin", action) for action in done]


def test_an_act_that_is_refused_is_not_in_the_audit(console: Console) -> None:
    name = device_name(21)
    before = console.audit(f"device:{name}")
    with console.program(Role.OPERATOR) as client:
        path = f"/api/v1/devices/{name}"
        assert client.post(f"{path}/revoke", json={}).status_code == 403
        assert client.post(f"{path}/pin", json={"bundle_digest": "f" * 64}).status_code == 409
        assert client.post(f"{path}/labels", json={"labels": {"Bad Key": "x"}}).status_code == 422
        assert client.post("/api/v1/devices/nobody/hold", json={"held": True}).status_code == 404
    assert console.audit(f"device:{name}") == before
    assert console.audit("device:nobody") == []


def test_a_rollout_is_moved(tmp_path: Path) -> None:
    with small_store(tmp_path) as database:
        clock = Clock()
        fill_fleet(database, devices=40, with_hours=4, hours=3, now=clock.now)
        tokens = add_people(database, now=clock.now)
        headers = {"Authorization": f"Bearer {tokens[Role.OPERATOR]}"}
        with serving(make_app(database, clock=clock)) as address:
            client = httpx.Client(
                base_url=f"{address}/api/v1/rollouts", headers=headers, trust_env=False, verify=NO_TLS
            )
            states = []
            for act in ("pause", "resume", "advance", "halt", "halt", "rollback", "advance"):
                reply = client.post(f"/1/{act}", json={"reason": f"because {act}"})
                state = reply.json()["rollout"] if reply.status_code == 200 else {"state": 409, "ring": -1}
                states.append((reply.status_code, state["state"], state["ring"]))
            assert states == [
                (200, "paused", 1),
                (200, "running", 1),
                (200, "running", 2),
                (200, "halted", 2),
                (409, 409, -1),
                (200, "rolled_back", 2),
                (409, 409, -1),
            ]
            shown = client.get("/1").json()
            assert (shown["rollout"]["state"], shown["rollout"]["reason"]) == ("rolled_back", "because rollback")
            assert [ring["is_reached"] for ring in shown["rings"]] == [True, True, True, False]
            assert client.get("/2").status_code == 404
            assert client.post("/2/halt", json={}).status_code == 404
        rows = database.read(AUDIT.select().where(AUDIT.c.subject == "rollout:1").order_by(AUDIT.c.id))
        assert {row["who"] for row in rows} == {"person:operator"}
        done = ("pause", "resume", "advance", "halt", "rollback")
        assert [row["detail"]["reason"] for row in rows] == [f"because {a}" for a in done]


def test_pages_of_devices_by_their_key(console: Console) -> None:
    with console.program(Role.VIEWER) as client:
        names, after = [], ""
        while True:
            said = client.get("/api/v1/devices", params={"size": 50, "after": after, "sort": "-outbox"}).json()
            names += [device["device_id"] for device in said["devices"]]
            after = said["next"]
            if not after:
                break
        assert sorted(names) == [device_name(number) for number in range(130)]
        assert said["total"] == 130


BAD = [
    "/api/v1/devices?sort=colour",
    "/api/v1/devices?health=ill",
    "/api/v1/devices?label=%00",
    "/api/v1/devices?label=a+b%3Dc",
    "/api/v1/devices?bundle=XYZ",
    "/api/v1/devices?size=0",
    "/api/v1/devices?size=100000",
    "/api/v1/devices?after=!!!",
    "/api/v1/devices?after=AAAA",
    "/api/v1/devices?after=WzEsMl0=",
    "/api/v1/devices?after=WyJhIiwiYiJd&sort=outbox",
    "/api/v1/devices?after=W05hTiwiYSJd&sort=outbox",
    "/api/v1/devices?after=WzFlNDAwLCJhIl0=&sort=outbox",
    "/api/v1/devices?after=W10=",
    "/api/v1/devices?text=" + "a" * 101,
    "/api/v1/rollouts/0",
    "/api/v1/rollouts/x",
    "/api/v1/rollouts/99999999999999999999",
    "/api/v1/audit?before=0",
    "/api/v1/audit?before=99999999999999999999999",
    "/api/v1/audit?action=DROP+TABLE",
]


@pytest.mark.parametrize("path", BAD)
def test_a_bad_address_is_one_clear_line(console: Console, path: str) -> None:
    with console.program(Role.VIEWER) as client:
        reply = client.get(path)
        assert reply.status_code == 422
        assert is_error(reply)
    with console.person(Role.VIEWER) as client:
        page = client.get(path.replace("/api/v1", ""))
        if "size=" not in path:
            assert page.status_code == 422
            assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{DEVICE}/pin", {"bundle_digest": "short"}),
        (f"{DEVICE}/pin", {}),
        (f"{DEVICE}/hold", {"held": "yes"}),
        (f"{DEVICE}/hold", {"held": True, "more": 1}),
        (f"{DEVICE}/labels", {"labels": {"a": "x" * 81}}),
        (f"{DEVICE}/labels", {"labels": {"a\nb\x1b": "x"}}),
        (f"{DEVICE}/labels", {"labels": {f"k{number}": "v" for number in range(33)}}),
        (f"{DEVICE}/revoke", {"reason": "x" * 501}),
        (f"{DEVICE}/revoke", {"reason": "two\nlines"}),
        ("/api/v1/rollouts/1/explode", {}),
    ],
)
def test_a_bad_body_is_one_clear_line(console: Console, path: str, body: dict) -> None:
    with console.program(Role.ADMIN) as client:
        reply = client.post(path, json=body)
    assert reply.status_code == 422
    assert is_error(reply)


def test_bodies_have_a_limit_whatever_they_declare(console: Console) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    with console.program(Role.ADMIN) as client:
        assert client.post(f"{DEVICE}/hold", content=b"x" * 70_000).status_code == 413
        assert client.post(f"{DEVICE}/hold", content=drip()).status_code == 413
        assert client.get("/api/v1/devices?text=" + "a" * 5000).status_code == 414
        assert client.get("/api/v1/me").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("localhost", 200),
        ("fleet.example.org", 200),
        ("FLEET.example.org:7480", 200),
        ("evil.example.org", 421),
        ("127.0.0.1.evil.example.org", 421),
    ],
)
def test_only_names_of_ours_are_served(console: Console, host: str, status: int) -> None:
    with console.program(None) as client:
        assert client.get("/sign-in", headers={"host": host}).status_code == status
        assert client.get("/readyz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.org"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_may_not_post(console: Console, headers: dict[str, str]) -> None:
    with console.person(Role.ADMIN) as client:
        data = {"form_token": form_token(client), "held": "yes"}
        reply = client.post(f"/devices/{device_name(5)}/hold", data=data, headers=headers)
        assert reply.status_code == 403
        own = {"origin": console.address, "sec-fetch-site": "same-origin"}
        assert client.post(f"/devices/{device_name(5)}/hold", data=data, headers=own).status_code == 303


def test_every_reply_has_its_headers(console: Console) -> None:
    with console.person(Role.ADMIN) as client:
        for path in (
            "/",
            "/devices",
            "/nope",
            "/console/style.css",
            "/favicon.ico",
            "/api/v1/me",
            "/sign-in",
            "/api/x",
        ):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"], path
            assert headers["cache-control"] == "no-store" or path.endswith((".css", ".ico")), path
            assert "strict-transport-security" not in headers


PAGES = ["/", "/devices", f"/devices/{device_name(3)}", "/rollouts", "/rollouts/1", "/audit"]
FORMS = [
    (f"/devices/{device_name(6)}/pin", {"bundle_digest": OLD}, Role.OPERATOR),
    (f"/devices/{device_name(6)}/hold", {"held": "yes"}, Role.OPERATOR),
    (f"/devices/{device_name(6)}/labels", {"labels": "store=1, floor=2\nroom=3"}, Role.OPERATOR),
    (f"/devices/{device_name(6)}/revoke", {"reason": "lost"}, Role.ADMIN),
    (f"/devices/{device_name(6)}/readmit", {}, Role.ADMIN),
    ("/rollouts/1/halt", {}, Role.OPERATOR),
]


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_people_who_are_signed_in(console: Console, path: str) -> None:
    with console.program(None) as client:
        reply = client.get(f"{path}?text=a")
        assert reply.status_code == 303
        assert reply.headers["location"].startswith("/sign-in?next=%2F")
    with console.program(Role.ADMIN) as client:  # a token of a program is no session
        assert client.get(path).status_code == 303
    for role in Role:
        with console.person(role) as client:
            page = client.get(path)
            assert page.status_code == 200
            assert f"{role.value} ({role.value})" in page.text
            assert "<script" not in page.text
            assert " style=" not in page.text
            assert "http://" not in page.text.replace("http://www.w3.org", "")


@pytest.mark.parametrize(("path", "data", "least"), FORMS, ids=[path.rsplit("/", 1)[1] for path, _, _ in FORMS])
def test_forms_need_their_role_and_their_session(console: Console, path: str, data: dict, least: Role) -> None:
    for role in Role:
        with console.person(role) as client, console.person(role) as other:
            for wrong in ({}, {"form_token": "0" * 64}, {"form_token": form_token(other)}):
                assert client.post(path, data={**data, **wrong}).status_code == 403
            reply = client.post(path, data={**data, "form_token": form_token(client)})
            assert reply.status_code in ((303, 409) if role.covers(least) else (403,)), reply.text
            shown = client.get(path.rsplit("/", 1)[0]).text
            assert (f'action="{path}"' in shown) <= role.covers(least)
    with console.program(None) as client:
        assert client.post(path, data=data).headers["location"] == "/sign-in?next=%2F"


def test_a_viewer_sees_no_buttons(console: Console) -> None:
    for role in (Role.VIEWER, Role.LABELLER):
        with console.person(role) as client:
            for path in PAGES:
                assert re.findall(r'<form method="post" action="([^"]*)"', client.get(path).text) == ["/sign-out"]


def test_the_cookie_is_kept_from_scripts_and_sites(console: Console) -> None:
    with console.program(None) as client:
        reply = client.post("/sign-in", data={"token": console.tokens[Role.VIEWER], "next": "/devices?text=a"})
    assert reply.headers["location"] == "/devices?text=a"
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert console.tokens[Role.VIEWER] not in cookie


def test_over_tls_the_cookie_is_kept_to_it(console: Console) -> None:
    app = make_app(console.database, is_tls=True)
    with serving(app) as address, httpx.Client(base_url=address, trust_env=False, verify=NO_TLS) as client:
        reply = client.post("/sign-in", data={"token": console.tokens[Role.VIEWER]})
    assert reply.headers["set-cookie"].startswith("__Host-edgeloop_session=")
    assert "Secure" in reply.headers["set-cookie"]
    assert reply.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example.org", "//evil.example.org", "/\\evil.example.org", "javascript:alert(1)", "/a\nb", "/\tx"],
)
def test_signing_in_leads_nowhere_else(console: Console, wanted: str) -> None:
    with console.program(None) as client:
        reply = client.post("/sign-in", data={"token": console.tokens[Role.VIEWER], "next": wanted})
        assert (reply.status_code, reply.headers["location"]) == (303, "/")
        assert "evil" not in client.get("/sign-in", params={"next": wanted}).text


@pytest.mark.parametrize("token", ["", "wrong", "x" * 512, "'; drop table people; --"])
def test_a_wrong_token_signs_nobody_in(console: Console, token: str) -> None:
    with console.program(None) as client:
        reply = client.post("/sign-in", data={"token": token})
    assert reply.status_code == 401
    assert "set-cookie" not in reply.headers
    assert "not known" in reply.text


def test_a_session_ends(console: Console) -> None:
    with console.person(Role.VIEWER) as client:
        now = console.clock.now
        try:
            console.clock.now = now + LASTS_S - 1
            assert client.get("/devices").status_code == 200
            console.clock.now = now + LASTS_S
            assert client.get("/devices").status_code == 303
        finally:
            console.clock.now = now


def test_signing_out_takes_the_cookie_away(console: Console) -> None:
    with console.person(Role.VIEWER) as client:
        assert client.post("/sign-out", data={}).status_code == 403
        assert client.post("/sign-out", data={"form_token": form_token(client)}).status_code == 303
        assert client.get("/devices").status_code == 303


def test_forged_cookies_are_none(console: Console) -> None:
    token = console.tokens[Role.ADMIN]
    with console.person(Role.ADMIN) as client:
        good = client.cookies[COOKIE]
    said, _, signature = good.partition(".")
    nobody = Person(name="admin", role=Role.ADMIN, token_hash="0" * 64, made_at=0.0)
    with console.person(Role.VIEWER) as client:
        other = client.cookies[COOKIE].partition(".")[2]
    forged = [
        "",
        ".",
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        f"{said}.{other}",
        f"{said}.",
        signature,
        token,
        "é.é",
        "A" * 5000,
        make_cookie(nobody, key=KEY, nonce="0" * 32, now=console.clock.now),
        make_cookie(nobody, key=b"x" * 32, nonce="0" * 32, now=console.clock.now),
        *(
            make_cookie(replace(nobody, name=name), key=b"x" * 32, nonce="0" * 32, now=console.clock.now)
            for name in ("\x00", "\ud800", "' or 1=1 --")
        ),
    ]
    with console.program(None) as client:
        for cookie in forged:
            headers = {"cookie": f"{COOKIE}={cookie}".encode()}
            assert client.get("/devices", headers=headers).status_code == 303, cookie
        assert client.get("/devices", headers={"cookie": f"{COOKIE}={good}"}).status_code == 200
    assert read_cookie("e30=.x") is None


def test_a_revoked_person_is_out_at_once(console: Console) -> None:
    people = People(SqlPeopleStore(console.database), SqlAuditLog(console.database))
    by = By(who="person:test", now=console.clock.now)
    token = people.add("guest", Role.ADMIN, by, random_bytes=lambda size: b"g" * size)
    with console.program(None) as client:
        client.post("/sign-in", data={"token": token})
        assert client.get("/devices").status_code == 200
        people.revoke("guest", by)
        assert client.get("/devices").status_code == 303
        assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_what_devices_and_people_write_is_text(console: Console) -> None:
    name = "<b>device&'\""
    plain = {"channel": HOSTILE, "enrolled_at": 1.0, "revoked_at": None, "pinned": HOSTILE, "held": True}
    labels = {HOSTILE: HOSTILE, "a b": "\N{RIGHT-TO-LEFT OVERRIDE}"}
    console.database.write(MEMBERS, [{**plain, "device_id": name, "labels": labels, "update_windows": HOSTILE}])
    status = {"last_seen": console.clock.now, "bundle_digest": HOSTILE, "bundle_version": 1, "frames": 1}
    more = {"software": HOSTILE, "platform": HOSTILE, "rejected": [HOSTILE], "last_error": HOSTILE}
    console.database.write(DEVICES, [{"device_id": name, **status, **more}])
    detail = {HOSTILE: HOSTILE}
    entry = {"at": 1e300, "who": HOSTILE, "action": HOSTILE, "subject": f"device:{name}", "detail": detail}
    console.database.write(AUDIT, [entry, {**entry, "at": -5.0, "subject": HOSTILE}])
    rollout = console.database.read(ROLLOUTS.select())[0]
    console.database.write(
        ROLLOUTS, [{**rollout, "rollout_id": 77, "reason": HOSTILE, "made_by": HOSTILE, "channel": "x"}]
    )
    path = "/devices/%3Cb%3Edevice%26%27%22"
    with console.person(Role.ADMIN) as client:
        asked = {"text": HOSTILE, "label": HOSTILE}
        for page in (
            client.get("/devices", params={"text": "<b>"}),
            client.get("/devices", params=asked),
            client.get(path),
            client.get("/audit"),
            client.get("/audit", params={"subject": HOSTILE}),
            client.get("/"),
            client.get("/rollouts/77"),
            client.get(f"/{HOSTILE}"),
            client.get("/sign-in", params={"next": f"/{HOSTILE}"}),
        ):
            assert page.headers["content-type"].startswith("text/html")
            assert "<script" not in page.text
            assert "<img" not in page.text
            assert "<b>" not in page.text
            assert "onerror=alert(2)>" not in page.text
        assert "&lt;script&gt;" in client.get(path).text


def test_too_many_wrong_tokens_and_requests_are_slowed_down(tmp_path: Path) -> None:
    with small_store(tmp_path) as database:
        tokens = add_people(database, now=0.0)
        strict = make_app(database, per_minute=60, sign_ins_per_minute=10)
        with serving(strict) as address, httpx.Client(base_url=address, trust_env=False, verify=NO_TLS) as client:
            tried = [client.post("/sign-in", data={"token": f"wrong{number}"}) for number in range(15)]
            assert {reply.status_code for reply in tried} == {401, 429}
            assert int(tried[-1].headers["retry-after"]) >= 1
            assert client.get("/sign-in").status_code == 200
        with serving(make_app(database, per_minute=60)) as address:
            headers = {"Authorization": f"Bearer {tokens[Role.ADMIN]}"}
            with httpx.Client(base_url=address, headers=headers, trust_env=False, verify=NO_TLS) as client:
                replies = [client.post("/api/v1/rollouts/9/halt", json={}) for _ in range(15)]
                assert [reply.status_code for reply in replies].count(404) >= 10
                assert replies[-1].status_code == 429


def test_a_database_that_is_away_is_said_without_its_insides(tmp_path: Path) -> None:
    with small_store(tmp_path) as database:
        tokens = add_people(database, now=0.0)
        with serving(make_app(database)) as address:
            with database.connect(writes=True) as connection:
                connection.exec_driver_sql("ALTER TABLE devices RENAME TO gone")
            headers = {"Authorization": f"Bearer {tokens[Role.VIEWER]}"}
            reply = httpx.get(f"{address}/api/v1/devices", headers=headers, trust_env=False, verify=NO_TLS)
            assert reply.status_code == 503
            assert "gone" not in reply.text
            assert "SELECT" not in reply.text


def test_figures_of_a_rollout(console: Console) -> None:
    with console.program(Role.VIEWER) as client:
        shown = client.get("/api/v1/rollouts/1").json()
    rings = shown["rings"]
    assert [ring["percent"] for ring in rings] == [1.0, 10.0, 50.0, 100.0]
    assert [ring["devices"] for ring in rings] == sorted(ring["devices"] for ring in rings)
    assert rings[-1]["devices"] == shown["devices"]
    free = [
        row
        for row in console.database.read(MEMBERS.select())
        if not (row["pinned"] or row["held"] or row["revoked_at"])
    ]
    runs = {row["device_id"] for row in console.database.read(DEVICES.select()) if row["bundle_digest"] == NEW}
    assert 0 < rings[-1]["on_new"] <= len(runs & {row["device_id"] for row in free}) + 3
    assert {figure["name"] for figure in shown["figures"]} >= {"Frames", "Accepted", "Unknown"}
    assert shown["checks"]
