"""Who may call the kiosk API, and what its pages may load."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kiosk_desk import SmallDesk, caller, serving_kiosk
from tiny_bundles import build_bundle, picture_bytes

from edge.kiosk.gate import FirstLines, is_open, refuse_strangers
from edge.kiosk.options import KioskOptions
from edge.kiosk.refusals import RequestError

TOKEN = "a-token-that-is-long-enough"  # noqa: S105 - of a test
RED = base64.b64encode(picture_bytes("red")).decode()
DATA = ("/health", "/metrics", "/live", "/live.jpg", "/labels")
PAGES = ("/", "/docs", "/openapi.json", "/page/style.css", "/page/kiosk.js", "/page/icon.svg", "/docs/docs.js")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def kiosk(bundle: Path) -> Iterator[tuple[SmallDesk, httpx.Client]]:
    with serving_kiosk(bundle) as (desk, server), caller(server) as client:
        yield desk, client


@pytest.fixture(scope="module")
def locked(bundle: Path) -> Iterator[httpx.Client]:
    with serving_kiosk(bundle, token=TOKEN) as (_, server), caller(server) as client:
        yield client


def status_of(options: KioskOptions, *, method: str = "GET", path: str = "/health", **headers: str) -> int:
    given = {"host": "127.0.0.1:8765", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        refuse_strangers(FirstLines(method=method, path=path, headers=given), options)
    except RequestError as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("[::1]:8765", 200),
        ("[::1]", 200),
        ("localhost:8765", 200),
        ("LOCALHOST", 200),
        ("192.168.1.5:8765", 200),  # an address cannot be rebound
        ("kiosk.local:8765", 200),  # it was named
        ("evil.example", 421),
        ("evil.example:8765", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 421),
        ("", 421),
        ("127.0.0.1, evil.example", 421),
        ("2130706433", 421),
        ("[::1", 200),
        ("[evil.example]:80", 421),
    ],
)
def test_a_name_that_may_have_been_rebound_is_refused(host: str, status: int) -> None:
    assert status_of(KioskOptions(names=("kiosk.local",)), host=host) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8765"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"origin": "http://127.0.0.1:8765"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),  # another port of this very machine
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://127.0.0.1:8765.evil.example"}, 403),
        ({"sec_fetch_site": "same-origin", "origin": "http://evil.example"}, 403),
        ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8765"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_ask(headers: dict[str, str], status: int) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert status_of(KioskOptions(), method=method, path="/predict", **headers) == status


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer  {TOKEN} ", 200),
        ("", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN.upper()}", 401),
        ("Bearer ä", 401),
    ],
)
def test_the_token_opens_the_door_and_nothing_else_does(shown: str, status: int) -> None:
    for path in DATA:
        assert status_of(KioskOptions(token=TOKEN), path=path, authorization=shown) == status
    for path in PAGES:
        assert status_of(KioskOptions(token=TOKEN), path=path, authorization=shown) == 200


@pytest.mark.parametrize("path", [*DATA, "/predict", "/feedback", "/docsx", "/pagex", "//", "/openapi.json/x"])
def test_only_the_pages_are_open(path: str) -> None:
    assert not is_open(path)


def test_over_http_a_foreign_host_is_refused(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    for path in ("/", "/live", "/live.jpg", "/docs"):
        reply = kiosk[1].get(path, headers={"host": "evil.example"})
        assert reply.status_code == 421
        assert reply.json()["success"] is False
        assert "evil" not in reply.text


def test_over_http_a_foreign_site_is_refused(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = kiosk
    before = desk.counts().frames_seen
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        reply = client.post("/predict", json={"image": RED}, headers=headers)
        assert reply.status_code == 403
        assert "other sites" in reply.json()["error_message"]
    assert desk.counts().frames_seen == before
    assert client.post("/predict", json={"image": RED}, headers={"origin": str(client.base_url).rstrip("/")}).is_success


def test_no_reply_lets_another_site_read_it(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    desk, client = kiosk
    desk.watch(picture_bytes("red"))
    for path in (*DATA, *PAGES, "/nowhere"):
        headers = client.get(path, headers={"origin": "http://evil.example"}).headers
        assert not [name for name in headers if name.startswith("access-control-")]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        assert "set-cookie" not in headers


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_its_own_files_and_runs_nothing_written_into_it(
    kiosk: tuple[SmallDesk, httpx.Client], path: str
) -> None:
    reply = kiosk[1].get(path)
    policy = dict(rule.strip().partition(" ")[::2] for rule in reply.headers["content-security-policy"].split(";"))
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", reply.text)
    assert len(addresses) > 2
    for address in addresses:
        assert address.startswith("/"), address
        assert not address.startswith("//"), address
        assert kiosk[1].get(address).status_code == 200
    for tag in re.findall(r"<script[^>]*>[^<]*", reply.text):
        assert re.fullmatch(r"<script [^>]*src=\"[^\"]+\"[^>]*>", tag.strip()), "a script is written into the page"
    assert not re.search(r"\son\w+=|style=|<style|javascript:", reply.text)
    assert not re.search(r"https?://", reply.text)


def test_our_own_scripts_and_styles_name_no_foreign_address(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    for name in ("page/kiosk.js", "page/device.js", "page/drawing.js", "page/style.css", "docs/docs.js"):
        text = kiosk[1].get(f"/{name}").raise_for_status().text
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert "@import" not in text
        assert "url(" not in text
        assert "innerHTML" not in text
        assert "eval(" not in text


def test_the_description_of_the_api_names_no_foreign_address(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    document = kiosk[1].get("/openapi.json").json()
    assert "servers" not in document
    assert not re.search(r"https?://", json.dumps(document))


def test_a_token_is_asked_for_over_http(locked: httpx.Client) -> None:
    for path in DATA:
        reply = locked.get(path)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == 'Bearer realm="edgeloop"'
        assert "kiosk_token" in reply.json()["error_message"]
    assert locked.post("/predict", json={"image": RED}).status_code == 401
    shown = {"authorization": f"Bearer {TOKEN}"}
    assert locked.post("/predict", json={"image": RED}, headers=shown).status_code == 200
    for path in PAGES:
        assert locked.get(path).status_code == 200
    document = locked.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_guessing_the_token_is_slow(bundle: Path) -> None:
    with serving_kiosk(bundle, token=TOKEN, per_minute=1) as (_, server), caller(server) as client:
        statuses = [
            client.get("/health", headers={"authorization": f"Bearer {at:020d}"}).status_code for at in range(15)
        ]
        assert statuses[:10] == [401] * 10
        assert statuses[-1] == 429


def test_the_token_is_in_no_log_and_no_audit(bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    audit = tmp_path / "kiosk-audit.jsonl"
    with serving_kiosk(bundle, token=TOKEN, audit=audit) as (desk, server), caller(server) as client:
        desk.fails = RuntimeError("broken")
        for shown in (TOKEN, f"wrong-{TOKEN}"):
            client.post("/predict", json={"image": RED}, headers={"authorization": f"Bearer {shown}"})
    assert "POST /predict failed" in caplog.text
    assert TOKEN not in caplog.text
    assert [json.loads(line)["status"] for line in audit.read_text().splitlines()] == [500, 401]
    assert TOKEN not in audit.read_text()


def test_only_this_machine_reaches_it(kiosk: tuple[SmallDesk, httpx.Client]) -> None:
    port = kiosk[1].base_url.port
    assert port is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address of ours would
        except OSError:
            pytest.skip("no network interface but the loopback")
        ours = probe.getsockname()[0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ours, port), timeout=5)


def test_without_the_loopback_it_answers_by_address_and_token(bundle: Path) -> None:
    with serving_kiosk(bundle, host="0.0.0.0", token=TOKEN) as (_, server), caller(server) as client:  # noqa: S104
        assert server.address == f"http://127.0.0.1:{server.port}/"
        assert client.get("/health").status_code == 401
        assert client.get("/health", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
