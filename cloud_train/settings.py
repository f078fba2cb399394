"""Settings of the cloud side, from arguments and the environment: the only reader of either.

Every field can be given as an environment variable `EDGELOOP_SERVE_<FIELD>`; an argument wins over it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from edge.errors import UsageError


class ServeSettings(BaseSettings):
    """How a server runs.

    Attributes:
        store: The store folder.
        listen: `HOST:PORT`; port 0 takes a free one.
        tls_cert: PEM certificate chain, None for plaintext (loopback only).
        tls_key: PEM private key of the certificate.
        channel: The update channel that devices are told to follow.
        check_in_s: Seconds between two check-ins of a device.
        max_payload_bytes: Largest picture taken.
        max_pixels: Largest picture taken, width times height.
        max_partial_bytes: Most bytes of unfinished uploads kept at a time.
        group_size: Most samples committed together.
        group_wait_s: Longest wait for company before a commit.
        grace_s: Time that running calls get at a stop.
    """

    model_config = SettingsConfigDict(env_prefix="EDGELOOP_SERVE_", frozen=True)

    store: Path
    listen: str = "127.0.0.1:7443"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    channel: str = Field(default="stable", pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    check_in_s: float = Field(default=30.0, gt=0)
    max_payload_bytes: int = Field(default=16_000_000, gt=0)
    max_pixels: int = Field(default=64_000_000, gt=0)
    max_partial_bytes: int = Field(default=1_000_000_000, gt=0)
    group_size: int = Field(default=8, gt=0)
    group_wait_s: float = Field(default=0.02, ge=0)
    grace_s: float = Field(default=4.0, ge=0)


def serve_settings(**given: Any) -> ServeSettings:  # noqa: ANN401 - checked by pydantic
    """Settings of a server; what is None here comes from the environment or the default.

    Raises:
        UsageError: A value makes no sense; the message names the setting.
    """
    try:
        return ServeSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as cause:
        first = cause.errors()[0]
        name = "".join(str(part) for part in first["loc"])
        hint = f"check --{name.replace('_', '-')} or EDGELOOP_SERVE_{name.upper()}"
        raise UsageError(f"setting {name!r}: {first['msg']}", hint=hint) from cause
