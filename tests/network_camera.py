"""Cameras on the network, small and real: Motion JPEG over HTTP, and RTSP with RTP/JPEG (RFC 2326, RFC 2435).

Both send pictures of `numbered_pictures` for ever, and can be told to misbehave.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from numbered_pictures import HEIGHT, WIDTH, jpeg

_PACKET_BYTES = 1400
_CLOCK_HZ = 90_000


@dataclass
class CameraScript:
    """What a camera does.

    Attributes:
        interval_s: Between two pictures.
        drop_after: Hang up after so many pictures of a connection.
        hang_after: Send nothing more after so many pictures of a connection, but stay connected.
        is_mute: Accept connections and never answer.
        credentials: `user:password` that must be sent; empty for none.
        path: What may be asked for.
        requests: First line and headers of every request, for the test to look at.
        num_sent: Pictures sent in all; the next one carries this number.
    """

    interval_s: float = 0.01
    drop_after: int | None = None
    hang_after: int | None = None
    is_mute: bool = False
    credentials: str = ""
    path: str = "/live"
    requests: list[str] = field(default_factory=list)
    num_sent: int = 0

    def is_allowed(self, request: str) -> bool:
        """Whether a request brings the right name and password."""
        wanted = base64.b64encode(self.credentials.encode()).decode()
        return not self.credentials or f"Authorization: Basic {wanted}" in request


class NetworkCamera:
    """A listening camera; one thread a connection."""

    def __init__(self, script: CameraScript, serve: Callable[[_Connection], None], port: int = 0) -> None:
        self.script = script
        self._serve = serve
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Hangs up everywhere and stops listening."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for place in tuple(self._open):
            with contextlib.suppress(OSError):
                place.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                place, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(place)
            threading.Thread(target=self._talk, args=(place,), daemon=True).start()

    def _talk(self, place: socket.socket) -> None:
        with contextlib.suppress(OSError), place:
            if self.script.is_mute:
                self._stopped.wait(30)
            else:
                self._serve(_Connection(place, self.script, self._stopped))
        self._open.discard(place)


class _Connection:
    """One viewer."""

    def __init__(self, place: socket.socket, script: CameraScript, stopped: threading.Event) -> None:
        self.script = script
        self._place = place
        self._stopped = stopped
        self._rest = b""
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._lock:
            self._place.sendall(data)

    def request(self) -> str:
        """The next request, without a body; empty at the end. What comes interleaved from the viewer is dropped."""
        while True:
            if self._rest[:1] == b"$" and len(self._rest) >= 4:
                self._rest = self._rest[4 + int.from_bytes(self._rest[2:4], "big") :]
                continue
            if self._rest[:1] != b"$" and b"\r\n\r\n" in self._rest:
                head, _, self._rest = self._rest.partition(b"\r\n\r\n")
                self.script.requests.append(head.decode())
                return head.decode()
            more = self._place.recv(65536)
            if not more:
                return ""
            self._rest += more

    def pictures(self) -> Iterator[bytes]:
        """Pictures as the script says; ends when the camera shall hang up."""
        script, count = self.script, 0
        while not self._stopped.is_set():
            if count == script.drop_after:
                return
            if count == script.hang_after:
                self._stopped.wait(30)
                return
            yield jpeg(script.num_sent)
            script.num_sent += 1
            count += 1
            self._stopped.wait(script.interval_s)


def _serve_http(viewer: _Connection) -> None:
    request = viewer.request()
    if not viewer.script.is_allowed(request):
        viewer.send(b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n')
    elif request.split(" ")[1].partition("?")[0] != viewer.script.path:
        viewer.send(b"HTTP/1.0 404 Not Found\r\n\r\n")
    else:
        viewer.send(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n")
        for picture in viewer.pictures():
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            viewer.send(head.encode() + picture + b"\r\n")


def _serve_rtsp(viewer: _Connection) -> None:
    while request := viewer.request():
        method, address, _ = request.split("\r\n")[0].split(" ")
        path = "/" + address.partition("://")[2].partition("/")[2].partition("?")[0]
        if not viewer.script.is_allowed(request):
            _answer(viewer, request, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
        elif path.removesuffix("/").removesuffix("/video") != viewer.script.path:
            _answer(viewer, request, "404 Not Found")
        elif method == "OPTIONS":
            _answer(viewer, request, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            _answer(viewer, request, "200 OK", "Content-Type: application/sdp", body=_DESCRIPTION)
        elif method == "SETUP":
            _set_up(viewer, request)
        elif method == "PLAY":
            _answer(viewer, request, "200 OK", "Session: 1")
            threading.Thread(target=_play, args=(viewer,), daemon=True).start()
        else:
            _answer(viewer, request, "200 OK", "Session: 1")


_DESCRIPTION = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\na=control:video\r\n"
)


def _answer(viewer: _Connection, request: str, status: str, *headers: str, body: str = "") -> None:
    number = next(line for line in request.split("\r\n") if line.startswith("CSeq"))
    lines = [f"RTSP/1.0 {status}", number, *headers, *([f"Content-Length: {len(body)}"] if body else [])]
    viewer.send("\r\n".join([*lines, "", body]).encode())


def _set_up(viewer: _Connection, request: str) -> None:
    if "RTP/AVP/TCP" in request:
        _answer(viewer, request, "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1;timeout=60")
    else:
        _answer(viewer, request, "461 Unsupported Transport")


def _play(viewer: _Connection) -> None:
    sequence = 0
    with contextlib.suppress(OSError):
        for number, picture in enumerate(viewer.pictures()):
            time = int(number * max(viewer.script.interval_s, 0.001) * _CLOCK_HZ)
            packets = list(rtp_packets(picture, sequence=sequence, time=time))
            sequence += len(packets)
            viewer.send(b"".join(b"$\0" + struct.pack(">H", len(packet)) + packet for packet in packets))
        viewer._place.shutdown(socket.SHUT_RDWR)


def rtp_packets(picture: bytes, *, sequence: int, time: int) -> Iterator[bytes]:
    """A JPEG of `numbered_pictures` as RTP packets; its quantization tables go along with the first (RFC 2435, 3.1)."""
    tables, scan = _tables_and_scan(picture)
    first = struct.pack(">BBH", 0, 0, len(tables)) + tables
    for offset in range(0, len(scan), _PACKET_BYTES):
        piece = scan[offset : offset + _PACKET_BYTES]
        is_last = offset + _PACKET_BYTES >= len(scan)
        head = struct.pack(">BBHII", 0x80, 26 | is_last << 7, sequence & 0xFFFF, time & 0xFFFFFFFF, 0x0E0D)
        about = struct.pack(">IBBBB", offset, 1, 255, WIDTH // 8, HEIGHT // 8)
        yield head + about + (b"" if offset else first) + piece
        sequence += 1


def _tables_and_scan(picture: bytes) -> tuple[bytes, bytes]:
    """The quantization tables, 64 bytes each, and the coded data between the last header and the end mark."""
    tables, at = b"", 2
    while picture[at : at + 2] != b"\xff\xda":
        size = int.from_bytes(picture[at + 2 : at + 4], "big")
        if picture[at + 1] == 0xDB:
            body = picture[at + 4 : at + 2 + size]
            tables += b"".join(body[start + 1 : start + 65] for start in range(0, len(body), 65))
        at += 2 + size
    return tables, picture[at + 2 + int.from_bytes(picture[at + 2 : at + 4], "big") : -2]


@contextlib.contextmanager
def http_camera(script: CameraScript, *, port: int = 0) -> Iterator[NetworkCamera]:
    """Motion JPEG over HTTP at `http://127.0.0.1:PORT` and the script's path."""
    camera = NetworkCamera(script, _serve_http, port)
    try:
        yield camera
    finally:
        camera.stop()


@contextlib.contextmanager
def rtsp_camera(script: CameraScript, *, port: int = 0) -> Iterator[NetworkCamera]:
    """RTSP, interleaved in its own connection, at `rtsp://127.0.0.1:PORT` and the script's path."""
    camera = NetworkCamera(script, _serve_rtsp, port)
    try:
        yield camera
    finally:
        camera.stop()
