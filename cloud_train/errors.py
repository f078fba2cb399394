"""Errors of the cloud side, beside those of `edge.errors`."""

from __future__ import annotations

from edge.errors import EdgeloopError


class ServerError(EdgeloopError):
    """A server cannot start: the port is in use, another server has the store."""


class UnknownSampleError(EdgeloopError):
    """An answer names a sample that this store does not hold."""


class PublishError(EdgeloopError):
    """A bundle may not be published: unproven, or not newer than what the channel offers."""


class UnknownCallerError(EdgeloopError):
    """A caller shows no certificate or token that this fleet knows; gRPC says UNAUTHENTICATED, HTTP 401."""


class ForbiddenError(EdgeloopError):
    """A caller is known and may not do this; gRPC says PERMISSION_DENIED, HTTP 403."""


class UnknownDeviceError(EdgeloopError):
    """No device of this name belongs to the fleet."""


class UnknownPersonError(EdgeloopError):
    """Nobody of this name has a token."""


class AuthorityError(EdgeloopError):
    """The certificate authority of the fleet is missing, damaged, or cannot sign what it was asked to."""


class RolloutError(EdgeloopError):
    """A rollout cannot do that now: its channel is taken, or it has ended."""
