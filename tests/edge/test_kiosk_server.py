"""The server as the agent uses it: started, stopped, in the way of nobody."""

from __future__ import annotations

import importlib.util
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from kiosk_desk import SmallDesk, caller, serving_kiosk
from tiny_bundles import build_bundle

from edge.errors import MissingExtraError, UsageError
from edge.kiosk.options import KioskOptions
from edge.kiosk.server import KioskServer, listening_socket


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def test_port_zero_takes_a_free_one_and_says_which(bundle: Path) -> None:
    with serving_kiosk(bundle) as (_, one), serving_kiosk(bundle) as (_, other):
        assert 0 < one.port != other.port > 0
        assert one.address == f"http://127.0.0.1:{one.port}/"
        for server in (one, other):
            with caller(server) as client:
                assert client.get("/health").json()["ready"] is True


def test_it_answers_on_ipv6_too(bundle: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with serving_kiosk(bundle, host="::1") as (_, server), caller(server) as client:
        assert server.address == f"http://[::1]:{server.port}/"
        assert client.get("/health").status_code == 200


def test_a_port_in_use_is_one_line_that_names_it(bundle: Path) -> None:
    desk = SmallDesk(None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = KioskServer(desk, KioskOptions(port=port))
        with pytest.raises(UsageError) as caught:
            server.start()
        server.stop()
    assert caught.value.message == f"the kiosk cannot listen on 127.0.0.1:{port}: another program has the port"
    assert "kiosk_port" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "told"), [("192.0.2.1", "no such address on this machine"), ("no-such-name.invalid", "no such address")]
)
def test_an_address_of_another_machine_is_refused(host: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        listening_socket(host, 0)


def test_it_can_be_started_again_on_the_same_port(bundle: Path) -> None:
    with serving_kiosk(bundle) as (_, server):
        port = server.port
        with caller(server) as client:
            client.get("/health")
    with serving_kiosk(bundle, port=port) as (_, server), caller(server) as client:
        assert client.get("/health").status_code == 200


def test_stop_frees_the_port_ends_the_threads_and_may_be_called_twice(bundle: Path) -> None:
    with serving_kiosk(bundle) as (_, server):
        with caller(server) as client:
            client.get("/health")
        port = server.port
        server.stop()
        server.stop()
        with pytest.raises(httpx.ConnectError), caller(server) as client:
            client.get("/health")
        socket.create_server(("127.0.0.1", port)).close()
    for thread in threading.enumerate():
        if thread.name.startswith("edgeloop-kiosk"):
            thread.join(5)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgeloop-kiosk")]


def test_a_server_that_never_started_can_be_stopped() -> None:
    KioskServer(SmallDesk(None), KioskOptions(port=0)).stop()


def test_signals_stay_the_agents(bundle: Path) -> None:
    def ours(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with serving_kiosk(bundle) as (_, server), caller(server) as client:
            client.get("/health")
            assert signal.getsignal(signal.SIGTERM) is ours
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_says_nothing_and_sets_no_logger_up(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving_kiosk(bundle) as (_, server), caller(server) as client:
        before = list(logging.getLogger().handlers), list(logging.getLogger("uvicorn").handlers)
        for path in ("/health", "/nowhere", "/"):
            client.get(path)
        with socket.create_connection(("127.0.0.1", server.port)) as broken:
            broken.sendall(b"nonsense\r\n\r\n")
            broken.recv(1000)
        assert (list(logging.getLogger().handlers), list(logging.getLogger("uvicorn").handlers)) == before
    told = capfd.readouterr()
    assert "uvicorn" not in (told.out + told.err).lower()
    assert "GET /" not in told.out + told.err


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else found(name))
    with pytest.raises(MissingExtraError) as caught:
        KioskServer(SmallDesk(None), KioskOptions(port=0))
    assert str(caught.value) == 'fastapi is not installed (pip install "edgeloop[kiosk]")'


@pytest.mark.parametrize(
    "module", ["edge", "edge.agent", "edge.cli", "edge.kiosk.desk", "edge.kiosk.options", "edge.kiosk.server"]
)
def test_importing_it_loads_no_web_framework(module: str, repository: Path) -> None:
    script = f"import json, sys, {module}\nprint(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=repository, timeout=60
    )
    heavy = {"fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client", "python_multipart"}
    assert not heavy & set(json.loads(done.stdout))


def test_the_contract_needs_pydantic_alone(repository: Path) -> None:
    script = "import json, sys, edge.kiosk.schemas\nprint(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=repository, timeout=60
    )
    assert not {"fastapi", "starlette", "uvicorn", "numpy", "PIL"} & set(json.loads(done.stdout))
