"""What the gRPC road makes of errors, silence, TLS and a missing library."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from loopback_server import RunningServer, ServerState, Trouble, loopback_server, start_server
from sample_values import make_sample, offer_of
from tls_certificates import write_certificate

from edge.errors import RefusedError, RoadError, UsageError
from edge.outbox.base import Sample
from edge.sync.grpc_transport import GrpcTransport, is_loopback
from edge.sync.types import OfferReply
from edge.sync.upload import chunks_of
from edge.wire import limits
from edge.wire.v1 import edgeloop_pb2 as wire

ROOT = Path(__file__).resolve().parents[2]
OFFERS = (offer_of(make_sample(1)),)
ROAD = (
    "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "INTERNAL", "UNKNOWN",
    "DATA_LOSS",
)  # fmt: skip
REFUSALS = (
    "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "UNIMPLEMENTED", "NOT_FOUND",
    "ALREADY_EXISTS", "OUT_OF_RANGE",
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with loopback_server() as running:
        yield running


@pytest.fixture
def transport(server: RunningServer) -> Iterator[GrpcTransport]:
    with closing(GrpcTransport(server.target)) as transport:
        yield transport


@pytest.fixture
def impatient(server: RunningServer) -> Iterator[GrpcTransport]:
    with closing(GrpcTransport(server.target, timeout_s=1.0)) as transport:
        yield transport


def push_all(transport: GrpcTransport, *samples: Sample) -> list[str]:
    return [receipt.digest for receipt in transport.push((sample, 0) for sample in samples)]


def test_every_status_of_grpc_has_its_family() -> None:
    assert {code.name for code in grpc.StatusCode} == {"OK", *ROAD, *REFUSALS}


@pytest.mark.parametrize("code", ROAD)
def test_a_failure_of_the_road_may_be_retried(server: RunningServer, transport: GrpcTransport, code: str) -> None:
    for call in ("Offer", "Push", "Fetch"):
        server.state.troubles[call] = [Trouble(grpc.StatusCode[code], "first line\nsecond line")]
    what = code.lower().replace("_", " ")
    with pytest.raises(RoadError, match=f"^{server.target}: {what}: first line second line") as caught:
        transport.offer(OFFERS)
    assert caught.value.retry_after_s is None
    assert "\n" not in str(caught.value)
    with pytest.raises(RoadError, match=what):
        push_all(transport, make_sample(1))
    with pytest.raises(RoadError, match=what):
        list(transport.fetch("metadata/1.root.json", offset=0))
    assert transport.offer(OFFERS).missing == (OFFERS[0].digest,), "the road does not recover"


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_must_not_be_retried(server: RunningServer, transport: GrpcTransport, code: str) -> None:
    for call in ("Offer", "Push", "Fetch"):
        server.state.troubles[call] = [Trouble(grpc.StatusCode[code], "no")]
    what = code.lower().replace("_", " ")
    with pytest.raises(RefusedError, match=f"^{server.target}: {what}: no"):
        transport.offer(OFFERS)
    with pytest.raises(RefusedError, match=what):
        push_all(transport, make_sample(1))
    with pytest.raises(FileNotFoundError if code == "NOT_FOUND" else RefusedError):
        list(transport.fetch("metadata/1.root.json", offset=0))


@pytest.mark.parametrize(("asked_ms", "heard_s"), [(1500, 1.5), (0, 0.0), (10**12, limits.MAX_WAIT_S)])
def test_the_wish_to_wait_is_heard(
    server: RunningServer, transport: GrpcTransport, asked_ms: int, heard_s: float
) -> None:
    server.state.troubles["Offer"] = [Trouble(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after_ms=asked_ms)]
    with pytest.raises(RoadError) as caught:
        transport.offer(OFFERS)
    assert caught.value.retry_after_s == heard_s


def test_nobody_there_is_said_in_one_line_with_what_to_do() -> None:
    with closing(GrpcTransport("127.0.0.1:1")) as transport, pytest.raises(RoadError) as caught:
        transport.offer(OFFERS)
    assert str(caught.value).startswith("127.0.0.1:1: unavailable: ")
    assert str(caught.value).endswith("(check that the server runs and can be reached)")
    assert "\n" not in str(caught.value)


def test_an_answer_that_makes_no_sense_is_the_road(
    server: RunningServer, transport: GrpcTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.wire import convert

    answer = wire.OfferResponse(missing=["not a digest"])
    monkeypatch.setattr(convert, "offer_response_to_message", lambda _: answer)
    with pytest.raises(RoadError, match=r"makes no sense: reply\.missing: 'not a digest'"):
        transport.offer(OFFERS)


def test_a_push_on_which_nothing_moves_is_given_up(server: RunningServer, impatient: GrpcTransport) -> None:
    server.state.silent = True
    began = time.monotonic()
    with pytest.raises(RoadError, match="nothing moved for 1 s"):
        push_all(impatient, make_sample(1))
    assert time.monotonic() - began < 10


def test_a_fetch_on_which_nothing_moves_is_given_up(server: RunningServer, impatient: GrpcTransport) -> None:
    server.state.silent = True
    server.state.files["files/large"] = bytes(3 * limits.CHUNK_BYTES)
    pieces = impatient.fetch("files/large", offset=0)
    assert len(next(pieces)) == limits.CHUNK_BYTES
    with pytest.raises(RoadError, match="nothing moved for 1 s"):
        next(pieces)


def test_a_slow_feeder_is_not_a_silent_road(server: RunningServer) -> None:
    """The receipts come all together at the end, later than the road would be given up."""

    def slowly() -> Iterator[tuple[Sample, int]]:
        for number in range(4):
            time.sleep(0.8)
            yield make_sample(number), 0

    with closing(GrpcTransport(server.target, timeout_s=2.0)) as transport:
        assert len(list(transport.push(slowly()))) == 4


def test_a_slow_reader_is_not_a_silent_road(server: RunningServer, impatient: GrpcTransport) -> None:
    server.state.files["files/large"] = bytes(40 * limits.CHUNK_BYTES)
    pieces = impatient.fetch("files/large", offset=0)
    total = len(next(pieces))
    time.sleep(1.8)
    assert total + sum(map(len, pieces)) == 40 * limits.CHUNK_BYTES


def test_a_call_without_an_answer_ends_at_its_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = f"127.0.0.1:{deaf.getsockname()[1]}"
        began = time.monotonic()
        with closing(GrpcTransport(target, timeout_s=1.0)) as transport, pytest.raises(RoadError):
            transport.offer(OFFERS)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1"])
def test_this_machine_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "target",
    ["192.168.1.5:50051", "example.org:443", "localhost.example.org:1", "127.0.0.1.example.org:1", "[::2]:1",
     "0.0.0.0:1", "[::]:1", "127.1:1", "[fe80::1]:1"],
)  # fmt: skip
def test_plaintext_never_leaves_this_machine(target: str) -> None:
    with pytest.raises(UsageError, match="plaintext") as caught:
        GrpcTransport(target)
    assert caught.value.exit_code == 2
    assert "CA file" in caught.value.hint


@pytest.mark.parametrize(
    "target", ["", "localhost", "localhost:", ":50051", "localhost:http", "localhost:99999", "::1:5", "dns:///localhost:5",
               "unix:/tmp/x:5", "localhost:-1", "http://localhost:5"],
)  # fmt: skip
def test_what_is_no_address_is_said_to_be_none(target: str) -> None:
    with pytest.raises(UsageError, match="is not a server address"):
        GrpcTransport(target)


def test_tls_with_the_right_authority_works_and_with_another_does_not(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    pair, (_, other) = write_certificate(tmp_path), write_certificate(tmp_path / "other")
    running = start_server(ServerState(), key_and_certificate=pair)
    try:
        with closing(GrpcTransport(running.target, tls_ca=pair[1])) as transport:
            assert transport.offer(OFFERS).missing == (OFFERS[0].digest,)
        for transport in (GrpcTransport(running.target, tls_ca=other, timeout_s=5), GrpcTransport(running.target)):
            with closing(transport), pytest.raises(RoadError, match="unavailable"):
                transport.offer(OFFERS)
    finally:
        running.stop()


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.pem: No such file"):
        GrpcTransport("example.org:443", tls_ca=tmp_path / "missing.pem")
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(UsageError, match=r"text\.pem holds no certificate"):
        GrpcTransport("example.org:443", tls_ca=tmp_path / "text.pem")


def test_a_tls_server_elsewhere_may_be_named(tmp_path: Path) -> None:
    _, certificate = write_certificate(tmp_path)
    GrpcTransport("example.invalid:443", tls_ca=certificate).close()


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_grpc_the_extra_is_named_and_the_module_still_imports() -> None:
    code = """
        import sys
        sys.modules["grpc"] = None
        from edge.errors import MissingExtraError
        from edge.sync.grpc_transport import GrpcTransport
        try:
            GrpcTransport("localhost:1")
        except MissingExtraError as error:
            print(error)
    """
    assert run_python(code) == 'grpcio is not installed (pip install "edgeloop[sync]")'


def test_importing_the_road_loads_neither_grpc_nor_protobuf() -> None:
    code = """
        import sys
        import edge.sync.uploader, edge.sync.grpc_transport, edge.wire.convert, edge.outbox.sqlite
        print(sorted(name for name in sys.modules if name.split(".")[0] in ("grpc", "google", "numpy", "click")))
    """
    assert run_python(code) == "[]"


def test_a_server_that_goes_away_leaves_no_noise_in_the_terminal(tmp_path: Path) -> None:
    key_file, certificate = write_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = write_certificate(tmp_path / "other")
    code = f"""
        import sys
        from pathlib import Path
        from edge.errors import RoadError
        from edge.sync.grpc_transport import GrpcTransport
        plain, secret = sys.stdin.readline().split()
        transport = GrpcTransport(plain)
        transport.offer(())
        stranger = GrpcTransport(secret, tls_ca=Path({str(other)!r}))
        print("connected", flush=True)
        sys.stdin.readline()
        for road in (transport, stranger):
            try:
                road.offer(())
            except RoadError:
                print("road")
    """
    plain = start_server(ServerState())
    secret = start_server(ServerState(), key_and_certificate=(key_file, certificate))
    device = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert device.stdin is not None
    assert device.stdout is not None
    print(plain.target, secret.target, file=device.stdin, flush=True)
    assert device.stdout.readline() == "connected\n"
    plain.stop()
    said, noise = device.communicate("go\n", timeout=60)
    secret.stop()
    assert (said, noise) == ("road\nroad\n", "")


@pytest.mark.parametrize(
    ("size_bytes", "offset", "sizes"),
    [
        (1, 0, [1]),
        (limits.CHUNK_BYTES, 0, [limits.CHUNK_BYTES]),
        (limits.CHUNK_BYTES + 1, 0, [limits.CHUNK_BYTES, 1]),
        (limits.CHUNK_BYTES + 1, limits.CHUNK_BYTES, [1]),
        (100, 100, [0]),
        (100, 99, [1]),
    ],
)
def test_payloads_are_cut_into_pieces(size_bytes: int, offset: int, sizes: list[int]) -> None:
    sample = make_sample(1, size_bytes=size_bytes)
    chunks = list(chunks_of(sample, offset))
    assert [len(chunk.data) for chunk in chunks] == sizes
    assert b"".join(chunk.data for chunk in chunks) == sample.payload[offset:]
    assert [chunk.last for chunk in chunks] == [False] * (len(sizes) - 1) + [True]
    assert [chunk.offer is not None for chunk in chunks] == [True] + [False] * (len(sizes) - 1)
    assert chunks[0].offset == offset


def test_a_reply_of_the_widest_size_comes_through(server: RunningServer, transport: GrpcTransport) -> None:
    offers = tuple(offer_of(make_sample(number, label="\U0001f600" * limits.MAX_TEXT)) for number in range(256))
    server.state.refused = {offer.digest: "\U0001f600" * limits.MAX_REASON for offer in offers}
    reply = transport.offer(offers)
    assert isinstance(reply, OfferReply)
    assert len(reply.refused) == limits.MAX_OFFERS
