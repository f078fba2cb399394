"""A container for a device: Dockerfile and Compose file."""

from __future__ import annotations

import json
from pathlib import Path

from edge.install.plan import InstallPlan
from edge.install.quoting import compose_text
from edge.sync.grpc_transport import is_loopback

IMAGE = "python:3.11-slim-bookworm"
USER_ID = 10_001
_HOME = Path("/var/lib/edgeloop")
_ETC = Path("/etc/edgeloop")
_COMMAND = ["device", "run", "--config", str(_ETC / "device.toml")]
# `device status` ends with 0 wherever a device ever lived; whether one works there now is in what it says.
_HEALTH = f"edgeloop device status --home {_HOME} --json | grep -q '\"running\": true'"


def dockerfile(plan: InstallPlan) -> str:
    """The image: a pinned edgeloop with the extras that the settings need, and a user without rights."""
    wanted = f"edgeloop[{','.join(plan.extras)}]=={plan.version}"
    return f"""\
# syntax=docker/dockerfile:1
FROM {IMAGE}
RUN useradd --system --uid {USER_ID} --home-dir {_HOME} --create-home --groups video edgeloop \\
 && mkdir -p {_ETC}
# A wheel of edgeloop beside this file is taken before the registry's.
RUN --mount=type=bind,source=.,target=/context \\
    pip install --no-cache-dir --no-compile --find-links /context "{wanted}"
COPY device.toml {_ETC}/device.toml
USER edgeloop
ENV EDGELOOP_HOME={_HOME} PYTHONFAULTHANDLER=1 PYTHONUNBUFFERED=1
VOLUME {json.dumps([str(_HOME)])}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 CMD {_HEALTH}
ENTRYPOINT ["edgeloop"]
CMD {json.dumps(_COMMAND)}
"""


def compose(plan: InstallPlan) -> str:
    """`compose.yaml`: how that image runs on this machine."""
    lines = [
        "services:",
        "  edgeloop:",
        "    build: .",
        f"    image: {compose_text(f'edgeloop-device:{plan.version}')}",
    ]
    lines += ["    restart: unless-stopped", "    stop_grace_period: 10s", "    init: true", "    read_only: true"]
    lines += _list("tmpfs", ["/tmp"]) + _list("cap_drop", ["ALL"])  # noqa: S108
    lines += _list("security_opt", ["no-new-privileges:true"])
    lines += [f"    mem_limit: {compose_text(plan.memory_max.lower())}"] if plan.memory_max else []
    lines += _list("env_file", ["./secrets.env"]) if plan.secrets else []
    lines += ["    environment:", *(f"      {name}: {compose_text(value)}" for name, value in _environment(plan))]
    lines += _camera(plan)
    if plan.settings.kiosk_port or is_loopback(plan.settings.server.rpartition(":")[0].strip("[]")):
        lines += [
            "    # The page and a server on this machine are reached on its own addresses.",
            "    network_mode: host",
        ]
    lines += ["    volumes:", *_volume("edgeloop", _HOME, kind="volume")]
    for source, target in _mounted(plan):
        lines += _volume(str(source), target, kind="bind")
    return "\n".join([*lines, "volumes:", "  edgeloop: {}", ""])


def _mounted(plan: InstallPlan) -> list[tuple[Path, Path]]:
    """What of this machine is shown in the container, read-only."""
    settings = plan.settings
    places = (
        (plan.source_path, _source_inside(plan)),
        (settings.root, _ETC / "root.json"),
        (settings.tls_ca, _ETC / "ca.pem"),
    )
    return [(source, target) for source, target in places if source is not None]


def _source_inside(plan: InstallPlan) -> Path:
    path = plan.source_path
    is_video = path is not None and bool(path.suffix) and not path.is_dir()
    return Path("/watched") / path.name if path is not None and is_video else Path("/watched")


def _environment(plan: InstallPlan) -> list[tuple[str, Path]]:
    """Where in the container the things are whose places device.toml tells."""
    settings = plan.settings
    places = (
        ("EDGELOOP_HOME", settings.home, _HOME),
        ("EDGELOOP_SOURCE", plan.source_path, _source_inside(plan)),
        ("EDGELOOP_ROOT", settings.root, _ETC / "root.json"),
        ("EDGELOOP_TLS_CA", settings.tls_ca, _ETC / "ca.pem"),
    )
    return [(name, inside) for name, outside, inside in places if outside is not None]


def _camera(plan: InstallPlan) -> list[str]:
    if not plan.has_camera:
        return []
    source = plan.settings.source
    device = f"/dev/video{source.partition(':')[2]}" if source.startswith("camera:") else source
    return _list("devices", [f"{device}:{device}"]) + _list("group_add", ["video"])


def _list(name: str, values: list[str]) -> list[str]:
    return [f"    {name}:", *(f"      - {compose_text(value)}" for value in values)]


def _volume(source: str, target: Path, *, kind: str) -> list[str]:
    lines = [
        f"      - type: {kind}",
        f"        source: {compose_text(source)}",
        f"        target: {compose_text(target)}",
    ]
    return lines + (["        read_only: true"] if kind == "bind" else [])
