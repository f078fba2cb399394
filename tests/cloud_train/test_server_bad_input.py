"""What a person can get wrong on the server's side: one clear line, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import Finished, edgeloop

from cloud_train.ingest.server import running_server
from edge.bundle.manifest import Origin, Verdict


@dataclass
class Bench:
    """What a case may prepare."""

    folder: Path
    make_bundle: Callable[..., Path]
    stack: ExitStack

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def bundle(self, **changes: object) -> Path:
        return self.make_bundle(self.folder / "bundle", **changes)


@pytest.fixture
def bench(tmp_path: Path, make_bundle: Callable[..., Path]) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(folder=tmp_path, make_bundle=make_bundle, stack=stack)


def occupied_port(bench: Bench) -> list[object]:
    taken = bench.stack.enter_context(socket.socket())
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return ["serve", "--store", bench.store, "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]


def port_of_another_server(bench: Bench) -> list[object]:
    server = bench.stack.enter_context(running_server(bench.folder / "other"))
    return ["serve", "--store", bench.store, "--listen", server.target]


def served_store(bench: Bench) -> list[object]:
    bench.stack.enter_context(running_server(bench.folder / "other"))
    return ["serve", "--store", bench.folder / "other", "--listen", "127.0.0.1:0"]


def damaged_meta(bench: Bench) -> list[object]:
    damaged = bench.folder / "damaged"
    damaged.mkdir()
    (damaged / "meta.sqlite").write_bytes(b"this was a database once" * 100)
    return ["serve", "--store", damaged, "--listen", "127.0.0.1:0"]


def store_below_a_file(bench: Bench) -> list[object]:
    (bench.folder / "file").write_bytes(b"")
    return ["serve", "--store", bench.folder / "file" / "store", "--listen", "127.0.0.1:0"]


def open_to_the_world(bench: Bench) -> list[object]:
    return ["serve", "--store", bench.store, "--listen", "0.0.0.0:0", "--plaintext"]


def half_of_tls(bench: Bench) -> list[object]:
    return ["serve", "--store", bench.store, "--tls-cert", bench.folder / "cert.pem"]


def lost_certificate(bench: Bench) -> list[object]:
    pem = bench.folder / "none.pem"
    return ["serve", "--store", bench.store, "--listen", "127.0.0.1:0", "--tls-cert", pem, "--tls-key", pem]


def bad_certificate(bench: Bench) -> list[object]:
    pem = bench.folder / "bad.pem"
    pem.write_bytes(b"not a certificate")
    return ["serve", "--store", bench.store, "--listen", "127.0.0.1:0", "--tls-cert", pem, "--tls-key", pem]


def no_address(bench: Bench) -> list[object]:
    return ["serve", "--store", bench.store, "--listen", "7443"]


def no_store(_: Bench) -> list[object]:
    return ["serve"]


def bad_channel(bench: Bench) -> list[object]:
    return ["serve", "--store", bench.store, "--channel", "../stable"]


def flipped_byte(bench: Bench) -> list[object]:
    bundle = bench.bundle()
    model = bundle / "tiny_fp32.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    return ["publish", bundle, "--store", bench.store]


def failed_bundle(bench: Bench) -> list[object]:
    return ["publish", bench.bundle(verdict=Verdict.FAIL), "--store", bench.store]


def unproven_bundle(bench: Bench) -> list[object]:
    return ["publish", bench.bundle(verdict=Verdict.NONE, origin=Origin.IMPORTED), "--store", bench.store]


def no_bundle(bench: Bench) -> list[object]:
    return ["publish", bench.folder / "none", "--store", bench.store]


def nothing_to_renew(bench: Bench) -> list[object]:
    return ["publish", "renew", "--store", bench.store]


def list_without_store(bench: Bench) -> list[object]:
    return ["label", "--store", bench.store, "--list"]


def label_without_server(bench: Bench) -> list[object]:
    return ["label", "--store", bench.store, "a" * 64, "red", "--who", "ann"]


def label_without_name(_: Bench) -> list[object]:
    return ["label", "--server", "127.0.0.1:1", "a" * 64, "red"]


def label_of_a_stranger(bench: Bench) -> list[object]:
    server = bench.stack.enter_context(running_server(bench.folder / "other"))
    return ["label", "--server", server.target, "a" * 64, "red", "--who", "ann"]


CASES = [
    (
        occupied_port,
        1,
        (
            "cannot listen on 127.0.0.1:",
            "the port is in use (choose another with --listen HOST:PORT, or stop the other server)",
        ),
    ),
    (port_of_another_server, 1, ("cannot listen on 127.0.0.1:", "the port is in use (choose another")),
    (served_store, 1, ("another server is using the store", "choose another --store")),
    (damaged_meta, 1, ("meta.sqlite is not a database", "restore it from a backup")),
    (store_below_a_file, 1, ("cannot write", "store: not a directory")),
    (open_to_the_world, 2, ("refusing to listen on 0.0.0.0:0 without TLS", "leave --plaintext out")),
    (half_of_tls, 2, ("TLS needs a certificate and its key", "give both")),
    (lost_certificate, 2, ("cannot use", "none.pem: no such file or directory", "check --tls-cert and --tls-key")),
    (bad_certificate, 2, ("bad.pem: they are no matching PEM pair", "check --tls-cert and --tls-key")),
    (no_address, 2, ("'7443' is not HOST:PORT", "for instance --listen 127.0.0.1:7443")),
    (no_store, 2, ("setting 'store'", "--store")),
    (bad_channel, 2, ("setting 'channel'", "--channel")),
    (flipped_byte, 1, ("tiny_fp32.tflite",)),
    (failed_bundle, 1, ("failed its proof", "has proven")),
    (unproven_bundle, 1, ("was never proven", "has proven")),
    (no_bundle, 2, ("no bundle folder", "none")),
    (nothing_to_renew, 2, ("nothing was ever published in", "publish a bundle first")),
    (list_without_store, 2, ("is not a store", "edgeloop serve")),
    (label_without_server, 2, ("no server runs on", "--server HOST:PORT")),
    (label_without_name, 2, ("--who is missing", "label --help")),
    (label_of_a_stranger, 1, ("no sample aaaa",)),
]


@pytest.mark.parametrize(("prepare", "code", "words"), CASES, ids=[case[0].__name__ for case in CASES])
def test_bad_input_is_told_in_one_line(
    bench: Bench,
    run_here: Callable[..., Finished],
    prepare: Callable[[Bench], list[object]],
    code: int,
    words: tuple[str, ...],
) -> None:
    run = run_here(*prepare(bench))
    assert run.returncode == code, run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("edgeloop: error: ")
    assert run.stderr.count("\n") == 1
    for word in words:
        assert word in run.stderr
    assert not bench.store.exists()


def test_an_occupied_port_is_told_by_a_real_process_in_one_line_too(bench: Bench) -> None:
    run = edgeloop(*port_of_another_server(bench))
    assert run.returncode == 1
    assert run.stderr.startswith("edgeloop: error: cannot listen on 127.0.0.1:")
    assert run.stderr.count("\n") == 1
    assert not bench.store.exists()


@pytest.mark.skipif(
    os.getuid() == 0 and not shutil.which("setpriv"), reason="root can write everywhere without setpriv"
)
@pytest.mark.parametrize("command", ["serve", "publish"])
def test_a_store_that_cannot_be_written_is_told(bench: Bench, command: str) -> None:
    what = ["--listen", "127.0.0.1:0"] if command == "serve" else [bench.bundle()]
    bench.store.mkdir()
    bench.store.chmod(0o555)
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.getuid() == 0 else ()
    run = edgeloop(command, *what, "--store", bench.store, before=powerless)
    assert run.returncode == 1, run.stderr
    assert run.stderr.startswith("edgeloop: error: cannot write ")
    assert "permission denied (check the owner and permissions of the folder)" in run.stderr
    assert run.stderr.count("\n") == 1
    assert list(bench.store.iterdir()) == []
