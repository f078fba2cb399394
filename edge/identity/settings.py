"""What an identity tells an agent: its name and its server. Its channel is for `edge.following` to weigh."""

from __future__ import annotations

import dataclasses

from edge.errors import UsageError
from edge.identity.types import Identity
from edge.settings import AgentSettings


def settings_for(identity: Identity, settings: AgentSettings) -> AgentSettings:
    """The settings of an enrolled device: what was left at its default comes from the identity.

    Args:
        identity: Who the device is.
        settings: What it was told.

    Raises:
        UsageError: It was told another name than it is known by.
    """
    default = AgentSettings(home=settings.home)
    if settings.device_id not in (default.device_id, identity.device_id):
        raise UsageError(
            f"this home is enrolled as {identity.device_id!r}, not as {settings.device_id!r}",
            hint="leave --device-id out, or give the other device another --home",
        )
    return dataclasses.replace(settings, device_id=identity.device_id, server=settings.server or identity.server)
