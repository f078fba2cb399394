"""A local S3 server, moto's, as a process, for as long as a test session lasts."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_WAIT_S = 180.0


@dataclass(kw_only=True)
class S3Server:
    """A server whose buckets live in its memory."""

    port: int
    pid: int = 0
    made: int = field(default=0)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {**CREDENTIALS, "EDGELOOP_OBJECTS_ENDPOINT": self.endpoint}

    def new_bucket(self) -> str:
        """URL of an empty place in a bucket of its own."""
        self.made += 1
        name = f"edgeloop-{os.getpid()}-{self.made}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return f"s3://{name}/fleet"


def has_moto() -> bool:
    import importlib.util

    return all(importlib.util.find_spec(name) for name in ("moto", "flask", "s3fs"))


@contextmanager
def running_s3(*, port: int = 0) -> Iterator[S3Server]:
    server = S3Server(port=port or _free_port())
    code = "from moto.server import main; main()"
    line = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(server.port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(line, stdout=log, stderr=log)
        server.pid = process.pid
        try:
            _wait(server, process)
            yield server
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(server: S3Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _WAIT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)
        try:
            connection.request("GET", "/moto-api/")
            connection.getresponse().read()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("moto does not start") from None
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
