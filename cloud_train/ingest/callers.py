"""Who speaks: the device that the caller's certificate belongs to, and whether it still counts.

Every call is looked up in the database, so whoever was revoked is refused from the next call on, whichever server
process it reaches. Calls that last (push, fetch) are looked up again every `RECHECK_S` seconds, and cut; a receipt is
refused even before that, by the transaction that would have to record the sample.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from cloud_train.errors import ForbiddenError, UnknownCallerError
from edge.errors import StorageError

if TYPE_CHECKING:
    import grpc

    from cloud_train.store.members import FleetStore

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

RECHECK_S = 2.0
_known_as: ContextVar[str] = ContextVar("known_as", default="")
"""Of the call that runs: as whom its caller is known, also when it is refused."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who made a call.

    Attributes:
        device_id: The name in its certificate; empty on a plaintext port of this machine, where any name is believed.
        peer: Its address, for logs.
        fingerprint: SHA-256 of its certificate, hex; empty without one.
    """

    device_id: str
    peer: str
    fingerprint: str = ""

    @property
    def who(self) -> str:
        """As the audit names it."""
        return f"device:{self.device_id}" if self.device_id else f"peer:{self.peer}"

    def must_be(self, device_id: str) -> None:
        """Checks that the caller speaks for itself.

        Raises:
            ForbiddenError: It speaks for another device.
        """
        if self.device_id and device_id != self.device_id:
            raise ForbiddenError(f"device {self.device_id!r} speaks for {device_id!r}", hint="use your own name")


def who_calls(context: Context) -> str:
    """As the audit names the caller of the call that runs: by the name of its certificate, or by its address."""
    return _known_as.get() or f"peer:{context.peer()}"


class Gate:
    """Lets callers in on a plaintext port of this machine: whoever comes, under any name."""

    async def admit(self, context: Context) -> Caller:
        """Who calls, once it is certain that they may.

        Raises:
            UnknownCallerError: It has no certificate of this fleet where one is needed.
            ForbiddenError: It was shut out.
        """
        return Caller(device_id="", peer=context.peer())

    @asynccontextmanager
    async def watched(self, caller: Caller) -> AsyncIterator[None]:
        """Ends what is done in the block when the caller is shut out meanwhile.

        Raises:
            ForbiddenError: It was.
        """
        yield


class CertificateGate(Gate):
    """Lets in whoever shows a certificate that speaks for a member. Belongs to one event loop.

    Args:
        fleet: Who belongs.
        in_thread: Runs a blocking function on a worker thread.
        clock: Seconds since the epoch, UTC.
        recheck_s: How often calls that last are looked up again.
    """

    def __init__(
        self,
        fleet: FleetStore,
        *,
        in_thread: Callable[..., asyncio.Future[Any]],
        clock: Callable[[], float],
        recheck_s: float = RECHECK_S,
    ) -> None:
        self._fleet = fleet
        self._in_thread = in_thread
        self._clock = clock
        self._recheck_s = recheck_s
        self._watched: set[_Watched] = set()
        self._watcher: asyncio.Task[None] | None = None

    async def admit(self, context: Context) -> Caller:
        """See `Gate.admit`."""
        fingerprint = fingerprint_of(context)
        speaker = await self._in_thread(self._fleet.speaker, fingerprint)
        if speaker is None:
            raise UnknownCallerError("this certificate speaks for no device of the fleet", hint="enrol the device")
        _known_as.set(f"device:{speaker.device_id}")
        if speaker.is_shut_out:
            raise _shut_out(speaker.device_id)
        if speaker.not_after <= self._clock():  # a connection may outlast the certificate that opened it
            raise UnknownCallerError("this certificate has expired", hint="enrol the device anew")
        return Caller(device_id=speaker.device_id, peer=context.peer(), fingerprint=fingerprint)

    @asynccontextmanager
    async def watched(self, caller: Caller) -> AsyncIterator[None]:
        """See `Gate.watched`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - gRPC runs every call as a task
        watched = _Watched(caller, task)
        self._watched.add(watched)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            yield
        except asyncio.CancelledError:
            if not watched.is_cut or task.uncancel():
                raise
            raise _shut_out(caller.device_id) from None
        finally:
            self._watched.discard(watched)
            if not self._watched and self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None

    async def _watch(self) -> None:
        """Cuts who was shut out, for as long as somebody is being served."""
        while True:
            await asyncio.sleep(self._recheck_s)
            await self._cut()

    async def _cut(self) -> None:
        asked = {watched.caller.fingerprint for watched in self._watched}
        try:
            gone = await self._in_thread(self._fleet.shut_out, asked)
        except StorageError as error:  # what is sent meanwhile gets no receipt from a database that is away
            _logger.warning("cannot look up who still belongs: %s", error)
            return
        for watched in tuple(self._watched):
            if watched.caller.fingerprint in gone:
                watched.cut()


class _Watched:
    """A call under way."""

    def __init__(self, caller: Caller, task: asyncio.Task[Any]) -> None:
        self.caller = caller
        self.is_cut = False
        self._task = task

    def cut(self) -> None:
        if not self.is_cut:
            self.is_cut = True
            self._task.cancel()


def fingerprint_of(context: Context) -> str:
    """SHA-256 of the certificate that a caller has shown, hex. TLS has checked that it has the key of it.

    Raises:
        UnknownCallerError: It has shown none.
    """
    shown = context.auth_context()
    if shown.get("transport_security_type") != [b"ssl"] or not shown.get("x509_pem_cert"):
        raise UnknownCallerError("this call needs the certificate of a device", hint="enrol the device")
    return _fingerprint(bytes(shown["x509_pem_cert"][0]))


@lru_cache(maxsize=4096)
def _fingerprint(pem: bytes) -> str:
    with contextlib.suppress(ValueError):
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).hexdigest()
    raise UnknownCallerError("this certificate cannot be read", hint="enrol the device")


def _shut_out(device_id: str) -> ForbiddenError:
    return ForbiddenError(f"device {device_id!r} was revoked", hint="ask the fleet's keeper")
