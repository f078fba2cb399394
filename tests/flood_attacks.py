"""Attacks that only take room and time: slow ones, silent ones, too many at once."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from fleet_stage import ANSWERED_S, Ending, Stage, ending_of
from pushing import pieces
from sample_attacks import bare_tls

from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


def silent_connections(stage: Stage) -> Ending:
    """A hundred that say nothing at all."""
    host, _, port = stage.fleet.info.target.rpartition(":")
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(100)]
        assert stage.serves_honestly()
        stage.from_here()
        return Ending(status="closed" if all(is_hung_up(one) for one in silent) else "open")


def byte_after_byte(stage: Stage) -> Ending:
    """A handshake of TLS that comes so slowly that it never ends."""
    host, _, port = stage.fleet.info.target.rpartition(":")
    with socket.create_connection((host, int(port))) as road:
        return trickled(road, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


def byte_after_byte_of_a_device(stage: Stage) -> Ending:
    """A device that has shown its certificate, and then cannot get to the point."""
    with bare_tls(stage) as road:
        stage.from_here()
        return trickled(road, b"PRI * HTTP/2.0\r\n\r\n")


def trickled(road: socket.socket, data: bytes) -> Ending:
    """Sends five bytes a second until the other side hangs up."""
    begun = time.monotonic()
    while time.monotonic() - begun < 10:
        for byte in data:
            try:
                road.send(bytes([byte]))
                time.sleep(0.2)
                road.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    while road.recv(4096):
                        pass
                    return Ending(status="closed")
            except OSError:
                return Ending(status="closed")
    return Ending(status="open")


def is_hung_up(road: socket.socket) -> bool:
    road.settimeout(20)
    try:
        while road.recv(4096):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def push_that_says_nothing(stage: Stage) -> Ending:
    over = threading.Event()
    with stage.channel(stage.attacker()) as channel:
        stage.from_here()
        try:
            return ending_of(lambda: list(stubs.SamplesStub(channel).Push(nothing(over), timeout=ANSWERED_S)))
        finally:
            over.set()


def nothing(over: threading.Event) -> Iterator[wire.Chunk]:
    over.wait(ANSWERED_S)
    yield from ()


def push_that_trickles(stage: Stage) -> Ending:
    """A byte of a sample now and then, so that the stream is never idle."""
    own, over = stage.attacker(), threading.Event()
    drops = pieces(stage.sample(own.device_id), step=1)
    stage.from_here()

    def trickle() -> Iterator[wire.Chunk]:
        for drop in drops:
            if over.wait(0.2):
                return
            yield convert.chunk_to_message(drop)

    with stage.channel(own) as channel:
        try:
            return ending_of(lambda: list(stubs.SamplesStub(channel).Push(trickle(), timeout=ANSWERED_S)))
        finally:
            over.set()


def flood_of_streams(stage: Stage) -> Ending:
    """Twelve pushes of one device at a time, of which eight are let in."""
    own, over = stage.attacker(), threading.Event()
    with stage.channel(own) as channel:
        stub = stubs.SamplesStub(channel)
        stage.from_here()
        calls = [stub.Push(nothing(over), timeout=ANSWERED_S) for _ in range(12)]
        endings = [ending_of(lambda call=call: list(call)) for call in calls]
        over.set()
    turned_away = [ending for ending in endings if "too many uploads" in ending.words]
    assert len(turned_away) == 4, endings
    return turned_away[0]
