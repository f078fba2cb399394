"""What `edgeloop device install` does, as a plain function."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge import durable
from edge.errors import UsageError
from edge.install.container import compose, dockerfile
from edge.install.device_toml import device_toml, secrets_env
from edge.install.plan import CONFIG_FOLDER, USER, InstallPlan, make_plan
from edge.install.screen_unit import screen_sysusers, screen_unit
from edge.install.unit import state_directory, systemd_unit, sysusers
from edge.settings import AgentSettings

_SECRET_MODE, _MODE = 0o600, 0o644
_ASKING_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallFile:
    """One file to be written.

    Attributes:
        name: In the folder.
        text: Its content.
        place: Where root puts it; None for what stays in the folder.
        mode: Its permissions.
    """

    name: str
    text: str
    place: Path | None = None
    mode: int = _MODE


def write_install(settings: AgentSettings, out: Path, *, force: bool) -> list[str]:
    """Writes what makes a service of a device. Nothing is put in place, and nothing is started.

    Args:
        settings: What the device was told.
        out: Folder for the files; made when missing.
        force: Replace files that are there and differ.

    Returns:
        What to tell: the files, and what root does with them.

    Raises:
        UsageError: A file is there already, or a setting cannot be written.
        StorageError: The folder cannot be written.
    """
    plan = make_plan(settings, executable=_executable(), systemd_version=_systemd_version())
    files = install_files(plan)
    differing = [out / file.name for file in files if _differs(out / file.name, file.text)]
    if differing and not force:
        raise UsageError(f"{differing[0]} is there already", hint="give --force to replace it, or another --out")
    durable.make_folder(out)
    for file in files:
        durable.write_bytes(out / file.name, file.text.encode(), point="install.file", mode=file.mode)
    written = [f"wrote {out / file.name}" for file in files]
    return [*written, "", "As root, with systemd:", *(f"    {step}" for step in root_steps(plan, files, out))]


def install_files(plan: InstallPlan) -> tuple[InstallFile, ...]:
    """Every file of a plan."""
    units, users = Path("/etc/systemd/system"), Path("/etc/sysusers.d")
    files = [
        InstallFile(name="device.toml", text=device_toml(plan), place=CONFIG_FOLDER / "device.toml"),
        InstallFile(name="edgeloop.service", text=systemd_unit(plan), place=units / "edgeloop.service"),
        InstallFile(name="edgeloop.sysusers", text=sysusers(plan), place=users / "edgeloop.conf"),
        InstallFile(name="Dockerfile", text=dockerfile(plan)),
        InstallFile(name="compose.yaml", text=compose(plan)),
    ]
    if secrets := secrets_env(plan):
        place = CONFIG_FOLDER / "secrets.env"
        files.append(InstallFile(name="secrets.env", text=secrets, place=place, mode=_SECRET_MODE))
    if plan.settings.kiosk_port:
        unit, user = "edgeloop-screen.service", "edgeloop-screen.sysusers"
        files.append(InstallFile(name=unit, text=screen_unit(plan), place=units / unit))
        files.append(InstallFile(name=user, text=screen_sysusers(), place=users / "edgeloop-screen.conf"))
    return tuple(files)


def root_steps(plan: InstallPlan, files: tuple[InstallFile, ...], out: Path) -> list[str]:
    """The commands that put the files in place and start the service."""
    steps = []
    for file in files:
        is_for_screen = file.name.startswith("edgeloop-screen")
        if file.place is not None and not is_for_screen:
            source = shlex.quote(str(out / file.name))
            steps.append(f"install -D -m {file.mode:o} {source} {file.place}")
    steps.append("systemd-sysusers")
    home = plan.settings.home
    if not state_directory(home):
        steps.append(f"install -d -o {USER} -g {USER} -m 750 {shlex.quote(str(home))}")
    return [*steps, "systemctl daemon-reload", "systemctl enable --now edgeloop"]


def _executable() -> Path:
    """The `edgeloop` of the environment that runs this; or else the one that is found by its name."""
    beside = Path(sys.executable).parent / "edgeloop"
    found = shutil.which("edgeloop")
    if beside.is_file() or found is None:
        return beside
    return Path(found)


def _systemd_version() -> int:
    """Of this machine, 0 where there is none: its newest words are written only where they are known."""
    program = shutil.which("systemctl")
    if program is None:
        return 0
    try:
        done = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, text=True, timeout=_ASKING_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


def _differs(file: Path, text: str) -> bool:
    try:
        return file.read_bytes() != text.encode()
    except FileNotFoundError:
        return False
    except OSError:
        return True
