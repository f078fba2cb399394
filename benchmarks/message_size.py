"""What messages of different sizes cost a bare gRPC server over TLS: CPU for 1,000 samples of 30 KB.

python -m benchmarks.message_size [--samples 2400] [--rounds 3]
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.fleet_devices import AUTHORITY, let_in, server_files
from benchmarks.ingest_runs import Server, worker_server
from benchmarks.table import Row, show
from benchmarks.workers.echo_server import METHOD, SERVICE
from benchmarks.workers.ingest_samples import SIZE_BYTES

TOGETHER = (1, 2, 4, 8)
_UNDER_WAY = 32


def cpu_ms(server: Server, authority: bytes, *, samples: int, together: int) -> float:
    """CPU of the server for 1,000 samples, so many in a message, at most 32 of them without an answer."""
    import grpc

    data = os.urandom(SIZE_BYTES * together)
    room = threading.Semaphore(max(1, _UNDER_WAY // together))

    def messages() -> Iterator[bytes]:
        for _ in range(samples // together):
            room.acquire()
            yield data

    with grpc.secure_channel(server.target, grpc.ssl_channel_credentials(authority)) as channel:
        grpc.channel_ready_future(channel).result(10)
        before = server.cpu_s()
        for _ in channel.stream_stream(f"/{SERVICE}/{METHOD}")(messages()):
            room.release()
        return (server.cpu_s() - before) / samples * 1e6


def measure(folder: Path, *, samples: int, rounds: int) -> list[Row]:
    """A row for each size; the sizes take turns, round by round."""
    let_in(folder / "store", folder / "keys", "bench-1")
    files = server_files(folder / "store", folder / "keys")
    authority = (folder / "keys" / AUTHORITY).read_bytes()
    figures: dict[int, list[float]] = {together: [] for together in TOGETHER}
    with worker_server("echo_server", *files) as server:
        cpu_ms(server, authority, samples=200, together=1)  # warms up
        for _ in range(rounds):
            for together, done in figures.items():
                done.append(cpu_ms(server, authority, samples=samples, together=together))
    alone = statistics.median(figures[1])
    return [
        Row(
            what=f"{together} in a message of {together * SIZE_BYTES // 1000} KB",
            figures=f"{statistics.median(done):.0f} ms, {statistics.median(done) / alone:.2f}x",
        )
        for together, done in figures.items()
    ]


@click.command()
@click.option("--samples", default=2400, show_default=True, help="Samples a round and size.")
@click.option("--rounds", default=3, show_default=True)
def main(samples: int, rounds: int) -> None:
    """Measures and prints the table."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(Path(scratch), samples=samples, rounds=rounds)
    show("a bare gRPC echo over TLS, server CPU for 1,000 samples of 30 KB", rows)


if __name__ == "__main__":
    main()
