"""The systemd unit of a device (systemd.service(5), systemd.exec(5)), and the user it runs as (sysusers.d(5))."""

from __future__ import annotations

import re
from pathlib import Path

from edge.install.plan import CONFIG_FOLDER, STATE_FOLDER, USER, InstallPlan
from edge.install.quoting import systemd_argument, systemd_text, systemd_word

WATCHDOG_S = 30
_STEPS_SINCE = 254
_FIRST_FREE_PORT = 1024
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
_STATE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_HARDENING = """\
# What the service cannot do cannot be done through it.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027"""


def systemd_unit(plan: InstallPlan) -> str:
    """`edgeloop.service`: starts with the machine, network or not, and never gives up."""
    words = ("device", "run", "--config", CONFIG_FOLDER / "device.toml")
    command = [systemd_word(plan.executable), *(systemd_argument(word) for word in words)]
    parts = [
        "[Unit]",
        f"Description={systemd_text(f'edgeloop device {plan.settings.device_id}')}",
        "# Not network-online.target: the device works without a network.",
        "After=network.target",
        f"RequiresMountsFor={systemd_word(plan.settings.home)}",
        "# However often it ends, it is started again.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(command)}",
        *_restart(plan),
        *_surroundings(plan),
        "",
        *_devices(plan),
        "",
        _HARDENING,
        *_rights(plan),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(parts)


def sysusers(plan: InstallPlan) -> str:
    """`/etc/sysusers.d/edgeloop.conf`: the user that owns the home and may use cameras."""
    return (
        "# The user of edgeloop.service, which may use cameras.\n"
        f'u {USER} - "edgeloop device" {systemd_word(plan.settings.home)}\n'
        f"m {USER} video\n"
    )


def state_directory(home: Path) -> str:
    """The home as StateDirectory= writes it; empty where it lies elsewhere or has an odd name."""
    name = str(home.relative_to(STATE_FOLDER)) if home.is_relative_to(STATE_FOLDER) else ""
    return name if _STATE_NAME.fullmatch(name) else ""


def _restart(plan: InstallPlan) -> list[str]:
    steps = ["RestartSteps=6", "RestartMaxDelaySec=120"] if plan.systemd_version >= _STEPS_SINCE else []
    return [
        "# A source with an end may end; whatever else ends is started again.",
        f"Restart={'on-failure' if plan.settings.passes else 'always'}",
        "RestartSec=5",
        *steps,
        "TimeoutStartSec=180",
        "TimeoutStopSec=5",
        "KillMode=mixed",
        "# Only the loop that answers frames gives signs of life, so a stuck inference ends the process.",
        f"WatchdogSec={WATCHDOG_S}",
        "# Where it was stuck is then in the journal.",
        "Environment=PYTHONFAULTHANDLER=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1",
    ]


def _surroundings(plan: InstallPlan) -> list[str]:
    name = state_directory(plan.settings.home)
    lines = [f"User={USER}", f"Group={USER}"]
    if name:
        lines += [f"StateDirectory={name}", "StateDirectoryMode=0750"]
    else:
        lines += [f"ReadWritePaths={systemd_word(plan.settings.home)}"]
    lines += ["CacheDirectory=edgeloop", "Environment=EDGELOOP_CACHE=/var/cache/edgeloop"]
    if plan.secrets:
        lines += [f"EnvironmentFile={CONFIG_FOLDER / 'secrets.env'}"]
    if plan.memory_max:
        lines += [f"MemoryMax={systemd_word(plan.memory_max)}"]
    return lines


def _devices(plan: InstallPlan) -> list[str]:
    if not plan.has_camera:
        return [
            "# No camera, no devices. An accelerator is one: it wants DeviceAllow= and its group.",
            "PrivateDevices=yes",
        ]
    return [
        "# All cameras, because their numbers change when one is plugged in again; and nothing else.",
        "PrivateDevices=no",
        "DevicePolicy=closed",
        "DeviceAllow=char-video4linux rw",
        "DeviceAllow=char-media rw",
        "SupplementaryGroups=video",
    ]


def _rights(plan: InstallPlan) -> list[str]:
    low_port = 0 < plan.settings.kiosk_port < _FIRST_FREE_PORT
    right = "CAP_NET_BIND_SERVICE" if low_port else ""
    in_homes = any(path.is_relative_to(home) for path in plan.needed_paths for home in _HOMES)
    in_temporary = any(path.is_relative_to(folder) for path in plan.needed_paths for folder in _TEMPORARY)
    return [
        f"CapabilityBoundingSet={right}",
        f"AmbientCapabilities={right}",
        f"ProtectHome={'read-only' if in_homes else 'yes'}",
        f"PrivateTmp={'no' if in_temporary else 'yes'}",
    ]
