"""What one caller may cost: sizes that are not declared, speed, numbers, patience; and what is left for the others."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from kiosk_desk import SmallDesk, caller, serving_kiosk
from tiny_bundles import build_bundle, picture_bytes

from edge.kiosk.patience import MOST_CONNECTIONS
from edge.kiosk.server import KioskServer

RED = base64.b64encode(picture_bytes("red")).decode()
ASK = json.dumps({"image": RED}).encode()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def connected(server: KioskServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def head(path: str = "/predict", **headers: str) -> bytes:
    lines = {"Host": "127.0.0.1", "Content-Type": "application/json", **headers}
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{told}\r\n".encode()


def read_reply(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and body of what comes until the other side closes."""
    data = b"".join(iter(lambda: connection.recv(65_536), b""))
    first, _, content = data.partition(b"\r\n\r\n")
    return int(first.split(b" ")[1]), json.loads(content)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


def sent_until_cut_off(connection: socket.socket, piece: bytes, *, most: int, pause_s: float = 0.0) -> int:
    """How often a piece could be sent before the other side hung up."""
    for number in range(most):
        try:
            connection.sendall(piece)
        except OSError:  # reset or broken pipe: which one is a matter of moments
            return number
        time.sleep(pause_s)
    return most


def chunks(piece: bytes, number: int, read: list[int]) -> Iterator[bytes]:
    for _ in range(number):
        read[0] += len(piece)
        yield piece


def test_a_body_without_a_declared_length_is_cut_off_while_it_comes(bundle: Path) -> None:
    with serving_kiosk(bundle, max_picture_bytes=100_000) as (_, server), caller(server) as client:
        read = [0]
        reply = client.post(
            "/predict", content=chunks(b"x" * 10_000, 40, read), headers={"content-type": "application/json"}
        )
        assert reply.status_code == 413
        assert "the body has more than" in reply.json()["error_message"]
        assert client.post("/predict", content=ASK, headers={"content-type": "application/json"}).status_code == 200


def test_a_body_without_end_is_not_read_for_ever(bundle: Path) -> None:
    with serving_kiosk(bundle, max_picture_bytes=100_000) as (desk, server), connected(server) as connection:
        connection.sendall(head(Transfer_Encoding="chunked"))
        piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        assert sent_until_cut_off(connection, piece, most=1500) < 1500
        assert desk.counts().frames_seen == 0


def test_a_declared_length_that_is_too_large_is_refused_before_a_byte_of_it(bundle: Path) -> None:
    with serving_kiosk(bundle, max_picture_bytes=100_000) as (_, server), connected(server) as connection:
        connection.sendall(head(Content_Length="50000000", Expect="100-continue"))
        status, said = read_reply(connection)
        assert (status, said["success"]) == (413, False)


def test_a_declared_length_that_lies_is_no_way_around(bundle: Path) -> None:
    with serving_kiosk(bundle) as (_, server), connected(server) as connection:
        connection.sendall(head(Content_Length="2") + b"{}" + b"x" * 1000)
        data = connection.recv(65_536)
        assert data.startswith(b"HTTP/1.1 422 ")


def test_a_form_over_the_limit_in_chunks(bundle: Path) -> None:
    with serving_kiosk(bundle, max_picture_bytes=100_000) as (_, server), caller(server) as client:
        start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        pieces = (start if at == 0 else b"x" * 10_000 for at in range(30))
        reply = client.post(
            "/predict/file", content=pieces, headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert reply.status_code == 413


def test_too_many_requests_are_told_when_to_come_back(bundle: Path) -> None:
    with serving_kiosk(bundle, per_minute=60) as (desk, server), caller(server) as client:
        replies = [client.post("/predict", json={"image": RED}) for _ in range(20)]
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) == {200, 429}
        assert statuses[:10] == [200] * 10
        refused = next(reply for reply in replies if reply.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error_message"] == "too many requests from this address; try again in 1 second"
        assert desk.counts().frames_seen == statuses.count(200)
        assert client.get("/health").status_code == 200, "looking has an allowance of its own"


def test_looking_too_often_is_refused_too(bundle: Path) -> None:
    with serving_kiosk(bundle, per_minute=1) as (_, server), caller(server) as client:
        statuses = [client.get("/health").status_code for _ in range(15)]
        assert (statuses[:10], statuses[-1]) == ([200] * 10, 429)


def test_few_at_once_a_short_queue_and_a_plain_no(bundle: Path) -> None:
    with serving_kiosk(bundle, workers=2, queue=3) as (desk, server), caller(server) as client:
        desk.gate.clear()
        with ThreadPoolExecutor(5) as pool:
            waiting = [pool.submit(client.post, "/predict", json={"image": RED}) for _ in range(5)]
            until(lambda: desk.inside == 2)
            until(lambda: under_way(server) == 5)
            refused = client.post("/predict", json={"image": RED})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "too many pictures are being answered for" in refused.json()["error_message"]
            assert client.get("/health").status_code == 200, "the loop goes on"
            assert client.get("/live").status_code == 200
            desk.gate.set()
            assert [one.result().status_code for one in waiting] == [200] * 5
        assert desk.most_inside == 2


def under_way(server: KioskServer) -> int:
    """Requests under way, as the server itself counts them."""
    assert server._server is not None
    return len(server._server.server_state.tasks)


def test_whoever_waits_too_long_is_told_so(bundle: Path) -> None:
    with serving_kiosk(bundle, workers=1, queue=4, queue_timeout_s=0.1) as (desk, server), caller(server) as client:
        desk.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, "/predict", json={"image": RED})
            until(lambda: desk.inside == 1)
            assert client.post("/predict", json={"image": RED}).status_code == 503
            desk.gate.set()
            assert first.result().status_code == 200
        assert client.post("/predict", json={"image": RED}).status_code == 200


def test_many_callers_at_once_all_get_their_own_answer(bundle: Path) -> None:
    with serving_kiosk(bundle, workers=2, queue=64, queue_timeout_s=30) as (_, server), caller(server) as client:
        colours = ["red", "green", "blue"] * 10

        def ask(colour: str) -> str:
            image = base64.b64encode(picture_bytes(colour)).decode()
            return str(client.post("/predict", json={"image": image}).json()["predicted_class"])

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(ask, colours)) == colours


def test_a_body_that_drips_is_given_up(bundle: Path) -> None:
    with serving_kiosk(bundle, body_timeout_s=0.3) as (_, server), connected(server) as connection:
        connection.sendall(head(Content_Length="1000") + b"{")
        status, said = read_reply(connection)
        assert status == 408
        assert "did not come in time" in str(said["error_message"])


def test_a_dripping_body_takes_no_place_from_others_for_longer_than_that(bundle: Path) -> None:
    kiosk = serving_kiosk(bundle, workers=1, queue=0, body_timeout_s=1.5)
    with kiosk as (_, server), caller(server) as client, connected(server) as connection:
        connection.sendall(head(Content_Length="1000") + b"{")
        until(lambda: client.post("/predict", json={"image": RED}).status_code == 503)
        until(lambda: client.post("/predict", json={"image": RED}).status_code == 200)


def test_whoever_hangs_up_while_sending_leaves_the_place(bundle: Path) -> None:
    with serving_kiosk(bundle, workers=1, queue=0) as (_, server), caller(server) as client:
        for _ in range(3):
            with connected(server) as connection:
                connection.sendall(head(Content_Length="1000") + b"{")
        until(lambda: client.post("/predict", json={"image": RED}).status_code == 200)


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"GET"])
def test_first_lines_that_never_come_are_given_up(bundle: Path, sent: bytes) -> None:
    with serving_kiosk(bundle, head_timeout_s=0.2) as (_, server), connected(server) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        assert closed_by_the_other_side(connection)
        assert time.monotonic() - started < 10


def closed_by_the_other_side(connection: socket.socket) -> bool:
    try:
        return connection.recv(65_536) == b""
    except ConnectionResetError:
        return True


def test_first_lines_that_drip_are_given_up_too(bundle: Path) -> None:
    with serving_kiosk(bundle, head_timeout_s=0.2) as (_, server), connected(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert sent_until_cut_off(connection, b"X: y\r\n", most=2000, pause_s=0.01) < 2000


def test_a_reply_that_nobody_reads_is_given_up(bundle: Path) -> None:
    with serving_kiosk(bundle, reply_timeout_s=0.2) as (_, server):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        # More than the buffers of both sides take.
        asking = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        connection.sendall(asking * 8)
        assert server._server is not None
        connections = server._server.server_state.connections
        until(lambda: len(connections) == 1)
        until(lambda: not connections)
        connection.close()


def test_many_silent_connections_do_not_shut_others_out(bundle: Path) -> None:
    with serving_kiosk(bundle, head_timeout_s=0.3) as (_, server), caller(server) as client:
        silent = [connected(server) for _ in range(200)]
        until(lambda: answers(client))
        for connection in silent:
            connection.close()


def test_no_more_connections_than_so_many(bundle: Path) -> None:
    with serving_kiosk(bundle, head_timeout_s=60.0) as (_, server):
        assert server._server is not None
        connections = server._server.server_state.connections
        silent = [connected(server) for _ in range(MOST_CONNECTIONS + 50)]
        until(lambda: len(connections) == MOST_CONNECTIONS)
        for connection in silent:
            connection.close()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_it_stops_within_a_second_whatever_is_under_way(bundle: Path) -> None:
    with serving_kiosk(bundle) as (desk, server), caller(server) as client:
        desk.gate.clear()
        idle, dripping = connected(server), connected(server)
        dripping.sendall(head(Content_Length="1000") + b"{")
        stuck = threading.Thread(target=lambda: answers_anything(client))
        stuck.start()
        until(lambda: desk.inside == 1)
        started = time.monotonic()
        server.stop(timeout_s=1.0)
        took_s = time.monotonic() - started
        assert not any(thread.name == "edgeloop-kiosk" for thread in threading.enumerate())
        assert took_s < 3
        desk.gate.set()
        stuck.join(10)
        for connection in (idle, dripping):
            connection.close()


def test_it_leaves_no_connection_open_when_it_stops(bundle: Path) -> None:
    with serving_kiosk(bundle) as (_, server):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(20)
        connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 8)
        until(lambda: is_stuck(server))
        server.stop()
        while True:
            try:
                if not connection.recv(1 << 20):
                    break
            except ConnectionResetError:
                break
        connection.close()


def is_stuck(server: KioskServer) -> bool:
    """Whether a reply waits to be read."""
    assert server._server is not None
    connections = list(server._server.server_state.connections)
    return any(one.transport.get_write_buffer_size() > 100_000 for one in connections)


def answers_anything(client: httpx.Client) -> None:
    try:
        client.post("/predict", json={"image": RED})
    except httpx.TransportError:
        return


def test_a_picture_leaves_nothing_on_the_disk(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr("tempfile.tempdir", None)
    noise = bytes(range(256)) * 16_384  # 4 MiB
    with serving_kiosk(bundle) as (desk, server), caller(server) as client:
        assert isinstance(desk, SmallDesk)
        reply = client.post("/predict/file", files={"file": ("a.png", picture_bytes("red") + noise)})
        assert reply.status_code == 200
        assert reply.json()["predicted_class"] == "red"


def test_all_together_may_bring_so_much_and_one_alone_anything(bundle: Path) -> None:
    with serving_kiosk(bundle, workers=1, queue=20, max_picture_bytes=100_000) as (_, server), caller(server) as client:
        whole = 150_000
        waiting = [connected(server) for _ in range(4)]
        try:
            for connection in waiting:
                connection.sendall(head(Content_Length=str(whole)) + b"x" * (whole - 1))
            statuses = [status_within(connection) for connection in waiting]
            assert statuses.count(503) == 2
            assert statuses.count(None) == 2, "the others wait for their last byte"
        finally:
            for connection in waiting:
                connection.close()
        until(lambda: client.post("/predict", json={"image": RED}).status_code == 200)


def status_within(connection: socket.socket, *, seconds: float = 1.5) -> int | None:
    """The status that comes soon, or None."""
    connection.settimeout(seconds)
    try:
        return int(connection.recv(65_536).split(b" ")[1])
    except TimeoutError:
        return None
