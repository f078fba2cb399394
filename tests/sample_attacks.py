"""Attacks with samples: chunks that are replayed, mixed up or cut, payloads that lie, messages beyond all measure."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import socket
import ssl
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from fleet_stage import ANSWERED_S, Ending, Stage, ending_of
from pushing import pieces
from sample_values import offer_of, sample_of

from edge.identity.types import Identity
from edge.outbox.base import Sample
from edge.sync.types import Chunk
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

OFFER, PUT = "/edgeloop.wire.v1.Samples/Offer", "/edgeloop.wire.v1.Samples/Put"


def pushed(stage: Stage, own: Identity, chunks: Iterable[Chunk]) -> Ending:
    """The last receipt of a push, or its error; OK without a receipt."""
    with stage.channel(own) as channel:
        messages = [convert.chunk_to_message(chunk) for chunk in chunks]
        call = stubs.SamplesStub(channel).Push(iter(messages), timeout=ANSWERED_S)
        return ending_of(lambda: next(reversed(list(call)), None))


def offered(stage: Stage, *offers: wire.SampleOffer, own: Identity | None = None) -> Ending:
    """An offer as it is, however wrong."""
    with stage.channel(own or stage.attacker()) as channel:
        stub = stubs.SamplesStub(channel)
        return ending_of(lambda: stub.Offer(wire.OfferRequest(offers=offers), timeout=ANSWERED_S))


def sound_offer(own: Identity, sample: Sample) -> wire.SampleOffer:
    """The message of an offer, to be bent."""
    assert sample.metadata.device_id == own.device_id
    return convert.offer_request_to_message((offer_of(sample),)).offers[0]


def raw(stage: Stage, method: str, data: bytes) -> Ending:
    """A call whose message nobody has put together."""
    with stage.channel(stage.attacker()) as channel:
        call = channel.unary_unary(f"/edgeloop.wire.v1.{method}", lambda sent: sent, lambda got: got)
        return ending_of(lambda: call(data, timeout=ANSWERED_S))


def fresh(stage: Stage) -> tuple[Identity, list[Chunk]]:
    """A device and a sample of its own in pieces."""
    own = stage.attacker()
    return own, pieces(stage.sample(own.device_id))


def replayed_chunks(stage: Stage) -> Ending:
    own, chunks = fresh(stage)
    assert pushed(stage, own, chunks).status == "stored"
    stage.from_here()
    return pushed(stage, own, [*chunks, *chunks, *chunks])


def reordered_chunks(stage: Stage) -> Ending:
    own = stage.attacker()
    first, second, third, *rest = pieces(stage.sample(own.device_id), step=400)
    return pushed(stage, own, [first, third, second, *rest])


def overlapping_chunks(stage: Stage) -> Ending:
    own, (first, second, *rest) = fresh(stage)
    back = dataclasses.replace(second, offset=second.offset - 100, data=first.data[-100:] + second.data)
    return pushed(stage, own, [first, back, *rest])


def chunks_of_two_samples_mixed(stage: Stage) -> Ending:
    own, chunks = fresh(stage)
    others = pieces(stage.sample(own.device_id))
    return pushed(stage, own, [chunks[0], others[0], chunks[1]])


def first_chunk_without_its_offer(stage: Stage) -> Ending:
    own, chunks = fresh(stage)
    return pushed(stage, own, [dataclasses.replace(chunk, offer=None) for chunk in chunks])


def offset_beyond_everything(stage: Stage) -> Ending:
    own, (first, *_) = fresh(stage)
    message = convert.chunk_to_message(first)
    message.offset = 2**64 - 1
    return sent_as_it_is(stage, own, message)


def more_chunks_in_a_message_than_any_device_sends(stage: Stage) -> Ending:
    own, (first, *_) = fresh(stage)
    message = convert.chunk_to_message(first)
    message.more.extend(wire.Chunk(digest=first.digest, data=b"x") for _ in range(30_000))
    return sent_as_it_is(stage, own, message)


def chunks_within_chunks_within_chunks(stage: Stage) -> Ending:
    own, (first, *_) = fresh(stage)
    inmost = convert.chunk_to_message(first)
    for _ in range(40):
        outer = convert.chunk_to_message(first)
        outer.more.append(inmost)
        inmost = outer
    return sent_as_it_is(stage, own, inmost)


def anothers_sample_behind_one_of_its_own(stage: Stage) -> Ending:
    own = stage.attacker()
    (whole,) = pieces(stage.sample(own.device_id), step=1 << 20)
    (stolen,) = pieces(stage.sample("victim"), step=1 << 20)
    assert sent_as_it_is(stage, own, convert.chunk_to_message(whole)).status == "stored"
    stage.from_here()
    return sent_as_it_is(stage, own, convert.chunks_to_message([whole, stolen]))


def sent_as_it_is(stage: Stage, own: Identity, message: wire.Chunk) -> Ending:
    """The last receipt of a push of one message."""
    with stage.channel(own) as channel:
        call = stubs.SamplesStub(channel).Push(iter([message]), timeout=ANSWERED_S)
        return ending_of(lambda: next(reversed(list(call)), None))


def truncated_stream(stage: Stage) -> Ending:
    own, chunks = fresh(stage)
    return pushed(stage, own, chunks[:2])


def truncated_sample_that_says_it_is_whole(stage: Stage) -> Ending:
    own, chunks = fresh(stage)
    return pushed(stage, own, [chunks[0], dataclasses.replace(chunks[1], last=True)])


def a_hundred_uploads_that_never_end(stage: Stage) -> Ending:
    own = stage.attacker()
    begun = [pieces(stage.sample(own.device_id), step=1500)[0] for _ in range(100)]
    return pushed(stage, own, begun)


def lying_digest(stage: Stage) -> Ending:
    own = stage.attacker()
    true = stage.sample(own.device_id)
    return pushed(stage, own, pieces(dataclasses.replace(true, digest="0" * 64)))


def digest_of_what_is_known(stage: Stage) -> Ending:
    """A picture of the attacker's under the digest of another device's sample."""
    own = stage.attacker()
    lie = dataclasses.replace(stage.sample(own.device_id), digest=stage.known.digest)
    return put(stage, own, lie)


def digest_that_is_a_path(stage: Stage) -> Ending:
    own = stage.attacker()
    bent = sound_offer(own, stage.sample(own.device_id))
    bent.digest = "../../ca/" + "a" * 55
    return offered(stage, bent, own=own)


def put(stage: Stage, own: Identity, sample: Sample, **changes: object) -> Ending:
    """A sample whole, with a bent offer."""
    request = convert.put_request_to_message(dataclasses.replace(offer_of(sample), **changes), sample.payload)
    with stage.channel(own) as channel:
        return ending_of(lambda: stubs.SamplesStub(channel).Put(request, timeout=ANSWERED_S))


def size_that_says_more(stage: Stage) -> Ending:
    own = stage.attacker()
    sample = stage.sample(own.device_id)
    return put(stage, own, sample, size_bytes=len(sample.payload) + 1)


def size_that_says_less(stage: Stage) -> Ending:
    own = stage.attacker()
    sample = stage.sample(own.device_id)
    return put(stage, own, sample, size_bytes=len(sample.payload) - 1)


def size_of_four_gigabytes(stage: Stage) -> Ending:
    own = stage.attacker()
    bent = sound_offer(own, stage.sample(own.device_id))
    bent.size_bytes = 2**32
    return offered(stage, bent, own=own)


def not_a_picture(stage: Stage) -> Ending:
    own = stage.attacker()
    return put(stage, own, sample_of(b"MZ" + bytes(500), device_id=own.device_id))


def script_that_calls_itself_a_picture(stage: Stage) -> Ending:
    own = stage.attacker()
    return put(stage, own, sample_of(b"\xff\xd8\xff<script>alert(1)</script>", device_id=own.device_id))


def picture_bomb(stage: Stage) -> Ending:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""
    own = stage.attacker()
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    payload = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + end + struct.pack(">I", zlib.crc32(end))
    return put(stage, own, sample_of(payload, device_id=own.device_id))


def too_many_offers(stage: Stage) -> Ending:
    own = stage.attacker()
    bent = sound_offer(own, stage.sample(own.device_id))
    many = [wire.SampleOffer() for _ in range(limits.MAX_OFFERS + 1)]
    for number, one in enumerate(many):
        one.CopyFrom(bent)
        one.digest = hashlib.sha256(str(number).encode()).hexdigest()
    return offered(stage, *many, own=own)


def bent_metadata(stage: Stage, **changes: object) -> Ending:
    own = stage.attacker()
    bent = sound_offer(own, stage.sample(own.device_id))
    for name, value in changes.items():
        setattr(bent.metadata, name, value)
    return offered(stage, bent, own=own)


def confidence_that_is_no_number(stage: Stage) -> Ending:
    return bent_metadata(stage, confidence=math.nan)


def value_without_end(stage: Stage) -> Ending:
    return bent_metadata(stage, value=math.inf)


def captured_in_the_year_10000(stage: Stage) -> Ending:
    return bent_metadata(stage, captured_at=limits.LAST_MOMENT + 86_400)


def captured_before_the_epoch(stage: Stage) -> Ending:
    return bent_metadata(stage, captured_at=-1.0)


def label_with_a_nul(stage: Stage) -> Ending:
    return bent_metadata(stage, label="tea\x00'; DROP TABLE samples; --")


def label_of_a_megabyte(stage: Stage) -> Ending:
    return bent_metadata(stage, label="x" * 1_000_000)


def size_below_zero(stage: Stage) -> Ending:
    """As a writer in another language would send -1 as a varint."""
    own = stage.attacker()
    bent = sound_offer(own, stage.sample(own.device_id))
    bent.size_bytes = 2**64 - 1
    return offered(stage, bent, own=own)


def text_that_is_not_utf8(stage: Stage) -> Ending:
    return raw(stage, "Samples/Annotate", b"\x0a\x04\xff\xfe\xff\xfe")


def bytes_that_are_no_message(stage: Stage) -> Ending:
    return raw(stage, "Samples/Offer", b"\x0a\xff\xff\xff\xff\x0fnothing")


def message_of_32_megabytes(stage: Stage) -> Ending:
    return raw(stage, "Samples/Put", bytes(32 << 20))


def message_of_four_gigabytes(stage: Stage) -> Ending:
    """Only its length is sent: the server must hang up on that, and take no memory for it."""
    before, said = rss_mb(), b""
    with bare_http2(stage, PUT) as road:
        road.sendall(frame(0, 0, 1, b"\x00\xff\xff\xff\xff" + bytes(1000)))
        with contextlib.suppress(TimeoutError):
            while b"larger than max" not in said and (part := road.recv(65536)):
                said += part
    assert rss_mb() - before < 64, "the server took memory for a message that it should not even begin"
    at = said.find(b"Received message")
    return Ending(status="closed" if at < 0 else "RESOURCE_EXHAUSTED", words=said[at:].decode(errors="replace"))


def rss_mb() -> float:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(path: str) -> bytes:
    """The headers of a call, every one as a literal that is not indexed (RFC 7541, section 6.2.2)."""
    told = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "x", "te": "trailers"}
    told["content-type"] = "application/grpc"
    texts = [(name.encode(), value.encode()) for name, value in told.items()]
    return b"".join(b"\x00" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in texts)


@contextlib.contextmanager
def bare_tls(stage: Stage) -> Iterator[ssl.SSLSocket]:
    """A connection of a device that has said nothing yet but who it is."""
    own, context = stage.attacker(), ssl.create_default_context(cadata=stage.fleet.authority.decode())
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile(mode="w") as pem:
        pem.write(own.certificate_pem + own.key_pem)
        pem.flush()
        context.load_cert_chain(pem.name)
    host, _, port = stage.fleet.info.target.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as road,
    ):
        yield road


@contextlib.contextmanager
def bare_http2(stage: Stage, path: str) -> Iterator[ssl.SSLSocket]:
    """A connection of a device that has sent the headers of one call."""
    with bare_tls(stage) as road:
        road.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers(path)))
        yield road


def annotated(stage: Stage, digest: str, **told: object) -> Ending:
    """An answer about a sample."""
    feedback = wire.Feedback(**{"kind": "confirmed", "label": "tea", "who": "mallory", "at": 1.0, **told})
    with stage.channel(stage.attacker()) as channel:
        request = wire.AnnotateRequest(digest=digest, feedback=feedback)
        return ending_of(lambda: stubs.SamplesStub(channel).Annotate(request, timeout=ANSWERED_S))


def answer_about_anothers_sample(stage: Stage) -> Ending:
    return annotated(stage, stage.known.digest, kind=next(iter(_kinds())))


def answer_about_no_sample(stage: Stage) -> Ending:
    return annotated(stage, "e" * 64, kind=next(iter(_kinds())))


def _kinds() -> list[str]:
    from edge.types import FeedbackKind

    return [kind.value for kind in FeedbackKind if kind is not FeedbackKind.NONE_OF_THESE]


def offer_in_anothers_name(stage: Stage) -> Ending:
    own = stage.attacker()
    bent = convert.offer_request_to_message((offer_of(stage.sample("victim")),)).offers[0]
    return offered(stage, bent, own=own)


def push_in_anothers_name(stage: Stage) -> Ending:
    return pushed(stage, stage.attacker(), pieces(stage.sample("victim")))


def put_in_anothers_name(stage: Stage) -> Ending:
    return put(stage, stage.attacker(), stage.sample("victim"))


def push_that_changes_its_name_midway(stage: Stage) -> Ending:
    own, chunks = fresh(stage)
    with stage.channel(own) as channel:
        messages = [convert.chunk_to_message(chunk) for chunk in chunks[:1]]
        messages += [convert.chunk_to_message(chunk) for chunk in pieces(stage.sample("victim"))]
        call = stubs.SamplesStub(channel).Push(iter(messages), timeout=ANSWERED_S)
        return ending_of(lambda: list(call))
