"""Settings of the cloud side, from arguments and the environment: the only reader of either.

Every field can be given as an environment variable `EDGELOOP_SERVE_<FIELD>`; an argument wins over it.
"""

from __future__ import annotations

import os
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
        plaintext: Whether to speak without TLS, on loopback alone; any name is believed then.
        tls_cert: PEM certificate chain of the server, None for one that the fleet's authority signs.
        tls_key: PEM private key of the certificate.
        ca: Folder of the fleet's authority, None for the one in the store, which is made when missing.
        host: Names and addresses that devices call the server by, separated by commas; empty for this machine's own.
        client_ca: PEM with further authorities whose certificates devices may bring.
        enroll_listen: `HOST:PORT` where devices enrol; empty for the port after the first, `off` for nowhere.
        certificate_days: How long certificates of devices are good.
        channel: The update channel that devices are told to follow.
        check_in_s: Seconds between two check-ins of a device.
        max_payload_bytes: Largest picture taken.
        max_pixels: Largest picture taken, width times height.
        max_partial_bytes: Most bytes of unfinished uploads kept at a time.
        group_size: Samples that are committed at once when they have come together.
        max_group_size: Most samples committed together, when the disk is behind.
        group_wait_s: Longest wait for company before a commit.
        grace_s: Time that running calls get at a stop.
        max_memory_bytes: Most bytes of payloads in memory at a time.
        max_calls: Most calls at a time; more are turned away at the door.
        max_uploads: Of these, pushes.
        device_uploads: Of these, of one device.
        device_bytes_per_day: Payload bytes a device may send a day; 0 for no limit, as with the next two.
        device_samples_per_minute: Samples a device may send a minute.
        device_offers_per_minute: Offers a device may make a minute.
        push_idle_s: A push on which nothing comes for so long is ended.
        push_age_s: So is one that is older; its device goes on where it was.
        handshake_s: Time a new connection gets to say what it wants.
        connection_idle_s: A connection without calls is closed after so long.
        connection_age_s: Any is closed in order after about so long, so that devices spread over servers again.
        connection_calls: Most calls at a time on one connection.
        http_listen: `HOST:PORT` of health, metrics and pages; empty for none.
        console_key: File of the key that signs the cookies of the pages; None for one of the store's own.
        only: `grpc` or `http` to serve one of both, empty for both.
        worker: Whether a child process decodes the samples that arrive.
        min_free_bytes: Below so much free disk the server is not ready, and takes no samples.
    """

    model_config = SettingsConfigDict(env_prefix="EDGELOOP_SERVE_", frozen=True)

    store: Path
    listen: str = "127.0.0.1:7443"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    plaintext: bool = False
    ca: Path | None = None
    host: str = ""
    client_ca: Path | None = None
    enroll_listen: str = ""
    certificate_days: float = Field(default=90.0, gt=0, le=3650)
    channel: str = Field(default="stable", pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    check_in_s: float = Field(default=30.0, gt=0)
    max_payload_bytes: int = Field(default=16_000_000, gt=0)
    max_pixels: int = Field(default=64_000_000, gt=0)
    max_partial_bytes: int = Field(default=1_000_000_000, gt=0)
    group_size: int = Field(default=8, gt=0)
    max_group_size: int = Field(default=32, gt=0)
    group_wait_s: float = Field(default=0.02, ge=0)
    grace_s: float = Field(default=4.0, ge=0)
    max_memory_bytes: int = Field(default=64_000_000, gt=0)
    max_calls: int = Field(default=4_000, gt=0)
    max_uploads: int = Field(default=256, gt=0)
    device_uploads: int = Field(default=8, gt=0)
    device_bytes_per_day: float = Field(default=20e9, ge=0)
    device_samples_per_minute: float = Field(default=60_000, ge=0)
    device_offers_per_minute: float = Field(default=6_000, ge=0)
    push_idle_s: float = Field(default=60.0, gt=0)
    push_age_s: float = Field(default=3600.0, gt=0)
    handshake_s: float = Field(default=10.0, gt=0)
    connection_idle_s: float = Field(default=900.0, gt=0)
    connection_age_s: float = Field(default=3600.0, gt=0)
    connection_calls: int = Field(default=64, gt=0)
    http_listen: str = ""
    console_key: Path | None = None
    only: str = Field(default="", pattern=r"^(grpc|http)?$")
    worker: bool = True
    min_free_bytes: int = Field(default=50_000_000, ge=0)

    @property
    def host_names(self) -> tuple[str, ...]:
        """`host`, one by one."""
        return tuple(name.strip() for name in self.host.split(",") if name.strip())


class PlaceSettings(BaseSettings):
    """Where a store keeps what others share with it; wins over the store's own `store.toml`.

    Attributes:
        database: URL of the database (`EDGELOOP_DATABASE`), None for what the store says.
        objects: URL of the object store (`EDGELOOP_OBJECTS`), None for what the store says.
        objects_endpoint: Address of an S3 server that is not Amazon's (`EDGELOOP_OBJECTS_ENDPOINT`).
    """

    model_config = SettingsConfigDict(env_prefix="EDGELOOP_", frozen=True, env_ignore_empty=True)

    database: str | None = Field(default=None, repr=False)
    objects: str | None = None
    objects_endpoint: str | None = None


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


def secret_from(variable: str) -> bytes | None:
    """A secret that somebody put into a variable of the environment, or None; it is never printed."""
    value = os.environ.get(variable, "")
    return value.encode() or None
