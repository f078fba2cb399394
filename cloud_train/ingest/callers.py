"""Who speaks: the name that the caller's certificate carries, and whether it still counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cloud_train.errors import ForbiddenError

if TYPE_CHECKING:
    import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


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


class Gate:
    """Lets callers in, or does not."""

    async def admit(self, context: Context) -> Caller:
        """Who calls, once it is certain that they may.

        Raises:
            UnknownCallerError: It has no certificate of this fleet where one is needed.
            ForbiddenError: It was shut out.
        """
        return Caller(device_id="", peer=context.peer())
