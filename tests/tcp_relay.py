"""Passes TCP connections on, so that a server can be called by another address and port.

As a program, which needs nothing but Python: `python tcp_relay.py PORT HOST` passes a port on to the same one of HOST.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def relayed(address: str, port: int, target_port: int) -> Iterator[None]:
    """Passes on what comes to an address and port to a port of this machine, for the length of the block."""
    listener = socket.create_server((address, port))
    threading.Thread(target=_serve, args=(listener, ("127.0.0.1", target_port)), daemon=True).start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(listener: socket.socket, target: tuple[str, int]) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:  # closed
            return
        try:
            far = socket.create_connection(target)
        except OSError:
            near.close()
            continue
        for pair in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    _serve(socket.create_server(("0.0.0.0", int(sys.argv[1]))), (sys.argv[2], int(sys.argv[1])))  # noqa: S104
