"""`SyncTransport` over gRPC: one channel for everything between device and server. Page: docs/formats/wire.md."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from edge.errors import EdgeloopError, FormatError, MissingExtraError, RefusedError, RoadError, UsageError
from edge.outbox.base import Sample
from edge.sync.base import nothing_at_hand
from edge.sync.credentials import ClientIdentity, own_offer, own_sample, own_status
from edge.sync.patience import Patience
from edge.sync.throttle import Throttle
from edge.sync.types import DeviceStatus, Directive, Enrolment, OfferReply, Receipt, SampleOffer
from edge.sync.upload import Upload
from edge.types import Feedback
from edge.wire import convert, limits

T = TypeVar("T")

_REFUSALS = frozenset(
    (
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
    )
)
_HINTS = {
    "UNAVAILABLE": "check that the server runs and can be reached",
    "DEADLINE_EXCEEDED": "check the connection",
    "UNIMPLEMENTED": "check that it is an edgeloop server, and not an older one",
}
_OPTIONS = (
    ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", int(limits.KEEPALIVE_S * 1000)),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The caller's backoff decides when to try again; the channel's own must not keep a healed road shut.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class GrpcTransport:
    """The road to one server. Thread-safe; connects when first used, and again after every break.

    Args:
        target: `host:port` or `[ipv6]:port`.
        tls_ca: PEM file with the certificate authority of the server; without it, and without an identity, only this
            machine is spoken to.
        authority_pem: The same as text, instead of a file.
        identity: As whom to speak; samples and statuses carry its name then. None speaks without a certificate.
        timeout_s: A call fails after so long; a stream when nothing has moved on it for so long.
        throttle: Keeps samples and files under a rate; None for no limit.

    Raises:
        UsageError: The target is malformed, plaintext would leave this machine, or the CA file is unusable.
        MissingExtraError: grpcio is not installed.
    """

    def __init__(
        self,
        target: str,
        *,
        tls_ca: Path | None = None,
        authority_pem: bytes | None = None,
        identity: ClientIdentity | None = None,
        timeout_s: float = 20,
        throttle: Throttle | None = None,
    ) -> None:
        host = _host_of(target)
        if tls_ca is None and authority_pem is None and identity is None and not is_loopback(host):
            message = f"{target}: plaintext is spoken with this machine only"
            raise UsageError(message, hint="give the CA file of the server, so that TLS is used")
        self._authority = authority_pem if tls_ca is None else _read_authority(tls_ca)
        # What fails is said by the errors raised here; the library's own lines would only add noise for people.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            import grpc
        except ModuleNotFoundError as cause:
            raise MissingExtraError("grpcio", "sync") from cause
        self._target = target
        self._timeout_s = timeout_s
        self._throttle = throttle or Throttle(0)
        self._rpc_error: type[Exception] = grpc.RpcError
        self._lock = threading.Lock()
        self._is_closed = False
        self._channel: Any = None
        self._open(identity)

    def offer(self, offers: tuple[SampleOffer, ...]) -> OfferReply:
        """See `SyncTransport.offer`."""
        request = convert.offer_request_to_message(tuple(own_offer(offer, self._identity) for offer in offers))
        return self._call(self._samples.Offer, request, convert.offer_response_from_message)

    def push(
        self, samples: Iterable[tuple[Sample, int]], *, at_hand: Callable[[int], bool] = nothing_at_hand
    ) -> Iterator[Receipt]:
        """See `SyncTransport.push`. `samples` runs in another thread; what it raises is raised here."""
        patience = Patience(self._timeout_s)
        own = ((own_sample(sample, self._identity), offset) for sample, offset in samples)
        upload = Upload(own, at_hand, patience.moved, self._throttle)
        call = self._begin(lambda: self._samples.Push(upload.messages()))
        try:
            for receipts in self._stream(call, patience, convert.push_receipts_from_message):
                yield from receipts
        except RoadError:
            if upload.failure is None:
                raise
        if upload.failure is not None:
            raise upload.failure

    def annotate(self, digest: str, feedback: Feedback) -> None:
        """See `SyncTransport.annotate`."""
        request = convert.annotate_request_to_message(digest, feedback)
        self._call(self._samples.Annotate, request, lambda _: None)

    def check_in(self, status: DeviceStatus) -> Directive:
        """See `SyncTransport.check_in`."""
        request = convert.check_in_request_to_message(own_status(status, self._identity))
        return self._call(self._fleet.CheckIn, request, convert.check_in_response_from_message)

    def enroll(self, code: str, device_id: str, csr_pem: bytes) -> Enrolment:
        """Gives a one-time code for a certificate.

        Args:
            code: As `edgeloop fleet enroll` printed it.
            device_id: The wished name; empty leaves it to the fleet.
            csr_pem: Certificate signing request (PKCS #10, PEM).
        """
        request = convert.enroll_request_to_message(code, device_id, csr_pem)
        return self._call(self._fleet.Enroll, request, convert.enroll_response_from_message)

    def renew(self, csr_pem: bytes) -> Enrolment:
        """See `SyncTransport.renew`."""
        request = convert.renew_request_to_message(csr_pem)
        return self._call(self._fleet.Renew, request, convert.enroll_response_from_message)

    def fetch(self, path: str, *, offset: int) -> Iterator[bytes]:
        """See `SyncTransport.fetch`."""
        request = convert.fetch_request_to_message(path, offset)
        call = self._begin(lambda: self._updates.Fetch(request))
        try:
            for data in self._stream(call, Patience(self._timeout_s), convert.fetch_chunk_from_message):
                self._throttle.spend(len(data))
                yield data
        except RefusedError as refusal:
            if _code_of(refusal.__cause__) != "NOT_FOUND":
                raise
            raise FileNotFoundError(errno.ENOENT, f"not published by {self._target}", path) from refusal

    def switch(self, identity: ClientIdentity) -> None:
        """Hangs up, and speaks as another identity from now on; calls under way fail."""
        with self._lock:
            if not self._is_closed:
                self._channel.close()
                self._open(identity)

    def close(self) -> None:
        """See `SyncTransport.close`."""
        self._throttle.end()
        with self._lock:
            self._is_closed = True
            self._channel.close()

    def _open(self, identity: ClientIdentity | None) -> None:
        from edge.wire.v1 import edgeloop_pb2_grpc as stubs

        self._identity = identity
        self._is_stranger = identity is None and self._authority is not None
        self._channel = _open_channel(self._target, self._authority, identity)
        self._samples: Any = stubs.SamplesStub(self._channel)  # type: ignore[no-untyped-call]
        self._fleet: Any = stubs.FleetStub(self._channel)  # type: ignore[no-untyped-call]
        self._updates: Any = stubs.UpdatesStub(self._channel)  # type: ignore[no-untyped-call]

    def _call(self, method: Callable[..., Any], request: object, read: Callable[[Any], T]) -> T:
        try:
            answer = self._begin(lambda: method(request, timeout=self._timeout_s))
        except self._rpc_error as cause:
            raise _failure(self._target, cause, is_stranger=self._is_stranger) from cause
        return self._read(answer, read)

    def _begin(self, start: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return start()
        except ValueError as cause:  # grpc's word for a closed channel
            raise RoadError(f"{self._target}: {cause}") from cause

    def _stream(self, call: Any, patience: Patience, read: Callable[[Any], T]) -> Iterator[T]:  # noqa: ANN401
        with contextlib.ExitStack() as at_exit:
            at_exit.callback(call.cancel)
            try:
                for answer in patience.each(call, call.cancel):
                    yield self._read(answer, read)
            except self._rpc_error as cause:
                if patience.expired:
                    message = f"{self._target}: nothing moved for {self._timeout_s:g} s"
                    raise RoadError(message, hint="check the connection") from cause
                raise _failure(self._target, cause, is_stranger=self._is_stranger) from cause

    def _read(self, answer: Any, read: Callable[[Any], T]) -> T:  # noqa: ANN401
        try:
            return read(answer)
        except FormatError as cause:
            message = f"{self._target}: the answer makes no sense: {cause.message}"
            raise RoadError(message, hint="check that both sides run versions that fit") from cause


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine: 127.0.0.0/8, ::1, localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(target: str) -> str:
    host, separator, port = target.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{target!r} is not a server address", hint="write host:port")
    if not is_bracketed and (":" in host or "/" in host):
        raise UsageError(f"{target!r} is not a server address", hint="write host:port, or [address]:port for IPv6")
    return host[1:-1] if is_bracketed else host


def _read_authority(path: Path) -> bytes:
    try:
        pem = path.read_bytes()
    except OSError as cause:
        raise UsageError(f"cannot read the CA file {path}: {cause.strerror}", hint="give a PEM file") from cause
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise UsageError(f"{path} holds no certificate", hint="give a PEM file")
    return pem


def _open_channel(target: str, authority: bytes | None, identity: ClientIdentity | None) -> object:
    import grpc

    options = [*_OPTIONS, ("grpc.enable_http_proxy", 0 if is_loopback(_host_of(target)) else 1)]
    if identity is not None:
        trusted = authority or identity.authority_pem
        credentials = grpc.ssl_channel_credentials(trusted, identity.key_pem, identity.certificate_pem)
        return grpc.secure_channel(target, credentials, options=options)
    if authority is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(authority), options=options)


def _failure(target: str, error: Any, *, is_stranger: bool) -> EdgeloopError:  # noqa: ANN401
    """What a failed call means to its caller: the road, or a refusal.

    A server that wants a certificate hangs up on who has none, which looks like a server that is gone.
    """
    code = _code_of(error)
    details = " ".join(str(error.details() or "").split())[:300]
    message = f"{target}: {code.lower().replace('_', ' ')}" + (f": {details}" if details else "")
    hint = _HINTS.get(code, "")
    if is_stranger and code == "UNAVAILABLE":
        hint += ", and that this device is enrolled, if it is the server of a fleet"
    if code in _REFUSALS:
        return RefusedError(message, hint=hint)
    return RoadError(message, hint=hint, retry_after_s=_retry_after_s(error))


def _code_of(error: Any) -> str:  # noqa: ANN401
    return str(error.code().name)


def _retry_after_s(error: Any) -> float | None:  # noqa: ANN401
    for key, value in error.trailing_metadata() or ():
        if key == "retry-after-ms" and str(value).isdigit():
            return min(int(value) / 1000, limits.MAX_WAIT_S)
    return None
