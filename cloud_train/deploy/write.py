"""What `edgeloop deploy` does: all files of a plan, or none."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cloud_train.deploy.compose import compose, secret_files
from cloud_train.deploy.container import constraints, dockerfile, dockerignore
from cloud_train.deploy.env_file import env_file
from cloud_train.deploy.plan import DeployPlan, DeployType
from cloud_train.deploy.readme import docker_readme, systemd_readme
from cloud_train.deploy.units import renew_timer, renew_unit, server_unit, sysusers, tmpfiles, worker_unit
from edge import durable
from edge.errors import UsageError

_SECRET_MODE, _MODE = 0o600, 0o644
_FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployFile:
    """One file to be written.

    Attributes:
        name: Path in the folder.
        text: Its content.
        mode: Its permissions.
        is_kept: Whether it stays as it is where it is there already, whatever is asked for: a secret that is in use.
    """

    name: str
    text: str
    mode: int = _MODE
    is_kept: bool = False


def deploy_files(plan: DeployPlan, kind: DeployType) -> tuple[DeployFile, ...]:
    """Every file of a plan."""
    return _docker(plan) if kind is DeployType.DOCKER else _systemd(plan)


def write_deployment(plan: DeployPlan, kind: DeployType, out: Path, *, force: bool) -> list[str]:
    """Writes the files. Nothing is put in place, and nothing is started.

    Args:
        plan: What is deployed.
        kind: On what.
        out: Folder for the files; made when missing.
        force: Replace files that are there and differ; secrets stay.

    Returns:
        What to tell.

    Raises:
        UsageError: A file is there already, or the place is none.
        StorageError: The folder cannot be written.
    """
    files = deploy_files(plan, kind)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder", hint="give another --out")
    differing = [out / file.name for file in files if not file.is_kept and _differs(out / file.name, file.text)]
    if differing and not force:
        raise UsageError(f"{differing[0]} is there already", hint="give --force to replace it, or another --out")
    if out.exists() and any(out.iterdir()):
        written = _write_into(out, files)
    else:
        _write_new(out, files)
        written = [file.name for file in files]
    told = [f"wrote {out / name}" for name in written]
    told += [f"kept {out / file.name}" for file in files if file.name not in written]
    return [*told, "", f"What to do with them: {out / 'README.md'}"]


def _docker(plan: DeployPlan) -> tuple[DeployFile, ...]:
    secrets = [
        DeployFile(name=f"secrets/{name}", text=text, mode=_SECRET_MODE, is_kept=True)
        for name, text in secret_files(plan).items()
    ]
    return (
        DeployFile(name="Dockerfile", text=dockerfile(plan)),
        DeployFile(name=".dockerignore", text=dockerignore()),
        DeployFile(name=".gitignore", text="secrets/\nwheels/\ncodes/\n"),
        DeployFile(name="constraints.txt", text=constraints(plan)),
        DeployFile(name="compose.yaml", text=compose(plan)),
        DeployFile(name="edgeloop.env", text=env_file(), mode=_SECRET_MODE),
        DeployFile(name="README.md", text=docker_readme(plan)),
        DeployFile(name="wheels/README", text="Put the wheel of edgeloop here; see ../README.md.\n"),
        DeployFile(name="bundles/README", text="Put bundles to be published here; see ../README.md.\n"),
        DeployFile(name="codes/README", text="Enrolment files of devices come here; see ../README.md.\n"),
        *secrets,
    )


def _systemd(plan: DeployPlan) -> tuple[DeployFile, ...]:
    units = {
        "edgeloop-server.service": server_unit(plan),
        "edgeloop-worker.service": worker_unit(plan),
        "edgeloop-renew.service": renew_unit(plan),
        "edgeloop-renew.timer": renew_timer(),
        "edgeloop-cloud.sysusers": sysusers(),
        "edgeloop-cloud.tmpfiles": tmpfiles(),
        "README.md": systemd_readme(plan),
    }
    made = secret_files(plan)
    wanted = ["console.key"]
    wanted += ["store.toml"] if plan.database or plan.objects else []
    wanted += ["aws-credentials"] if plan.objects else []
    secrets = [DeployFile(name=name, text=made[name], mode=_SECRET_MODE, is_kept=True) for name in wanted]
    return (
        *(DeployFile(name=name, text=text) for name, text in units.items()),
        DeployFile(name="edgeloop.env", text=env_file(), mode=_SECRET_MODE),
        *secrets,
    )


def _write_new(out: Path, files: tuple[DeployFile, ...]) -> None:
    """All of them in one rename."""
    durable.make_folder(out.parent)
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as cause:
        raise durable.storage_error(out, cause) from cause
    try:
        _write_into(staging, files)
        durable.publish_folder(staging, out, point="deploy")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_into(folder: Path, files: tuple[DeployFile, ...]) -> list[str]:
    written = []
    for file in files:
        path = folder / file.name
        if file.is_kept and path.exists():
            continue
        durable.make_folder(path.parent)
        if file.mode == _SECRET_MODE and path.parent != folder:
            path.parent.chmod(_FOLDER_MODE)
        durable.write_bytes(path, file.text.encode(), point="deploy.file", mode=file.mode)
        written.append(file.name)
    return written


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() != text.encode()
    except FileNotFoundError:
        return False
    except OSError:
        return True
