"""What is to be installed: the settings of a device, made absolute, and the machine it goes to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from edge import __version__
from edge.doctor.extras import needed_extras
from edge.doctor.secrets import secret_names
from edge.settings import AgentSettings
from edge.sources.address import is_address
from edge.sources.camera import is_local_camera

CONFIG_FOLDER = Path("/etc/edgeloop")
STATE_FOLDER = Path("/var/lib")
USER = "edgeloop"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """Everything the files are made of.

    Attributes:
        settings: What the device was told; its paths are absolute.
        executable: The `edgeloop` that the service starts.
        extras: Of edgeloop, for the container.
        version: Of edgeloop.
        systemd_version: Of the machine, 0 where it is not known.
        memory_max: Most memory of the service as systemd writes it (`600M`), empty for no limit.
    """

    settings: AgentSettings
    executable: Path
    extras: tuple[str, ...]
    version: str
    systemd_version: int = 0
    memory_max: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the settings that go into a file of their own."""
        return tuple(sorted(secret_names(self.settings)))

    @property
    def has_camera(self) -> bool:
        """Whether the source is a camera that is plugged in."""
        return is_local_camera(self.settings.source)

    @property
    def source_path(self) -> Path | None:
        """The folder or video that is watched; None where it is a camera, a stream, or nothing."""
        source = self.settings.source
        return Path(source) if source and not self.has_camera and not is_address(source) else None

    @property
    def needed_paths(self) -> tuple[Path, ...]:
        """Everything that the service reads or writes outside of the system's own folders."""
        settings = self.settings
        paths = (self.executable, settings.home, self.source_path, settings.root, settings.tls_ca)
        return tuple(path for path in paths if path is not None)


def make_plan(
    settings: AgentSettings, *, executable: Path, systemd_version: int = 0, memory_max: str = ""
) -> InstallPlan:
    """Puts a plan together.

    Args:
        settings: What the device was told; relative paths are taken from the present folder.
        executable: The `edgeloop` to start.
        systemd_version: Of the machine, 0 where it is not known.
        memory_max: Most memory of the service, empty for no limit.
    """
    changes: dict[str, object] = {
        field.name: value.absolute()
        for field in dataclasses.fields(settings)
        if isinstance(value := getattr(settings, field.name), Path)
    }
    source = settings.source
    if source and not is_local_camera(source) and not is_address(source):
        changes["source"] = str(Path(source).absolute())
    absolute: AgentSettings = dataclasses.replace(settings, **changes)  # type: ignore[arg-type]
    return InstallPlan(
        settings=absolute,
        executable=executable.absolute(),
        extras=needed_extras(absolute),
        version=__version__,
        systemd_version=systemd_version,
        memory_max=memory_max,
    )
