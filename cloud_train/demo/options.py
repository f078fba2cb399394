"""What a demo was asked to do; frozen into its work folder, so that a resumed run does the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge import jsonvalue
from edge.durable import make_folder, write_bytes
from edge.errors import UsageError

DEFAULT_PER_CLASS = 180
DEFAULT_NUM_UNKNOWN = 1
DEFAULT_EPOCHS = 0
DEFAULT_FPS = 25.0
DEFAULT_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The input of the demo workflow.

    Attributes:
        work: Absolute path of the work folder.
        data: Absolute path of an ImageFolder, empty for the drawn shelf products.
        weights: Absolute path of a safetensors file to start from, empty for none.
        application: Name in the model zoo's registry.
        device_python: Python of the device's own environment.
        per_class: Drawn pictures a class; ignored with `data`.
        field_fraction: Share of the known classes' training pictures that only the device sees at first.
        num_unknown: Classes that version 1 does not know; ignored without `data`.
        epochs: Override of the recipe's, 0 to keep it.
        fps: Frames a second of the device's source.
        seed: Of drawing, holding back and the random control.
    """

    work: str
    data: str
    weights: str
    application: str
    device_python: str
    per_class: int
    field_fraction: float
    num_unknown: int
    epochs: int
    fps: float
    seed: int

    @property
    def folder(self) -> Path:
        """The work folder."""
        return Path(self.work)

    @property
    def store(self) -> Path:
        """The server's store."""
        return self.folder / "store"

    @property
    def field(self) -> Path:
        """The pictures that pass before the device, without labels."""
        return self.folder / "field"

    @property
    def device(self) -> Path:
        """The device's home."""
        return self.folder / "device"

    @property
    def logs(self) -> Path:
        """Output of the server and of the device."""
        return self.folder / "logs"

    @property
    def report(self) -> Path:
        """The report at the end."""
        return self.folder / "report.html"


def claim_work_folder(options: DemoOptions) -> None:
    """Makes the work folder, or checks that it was made for the same options.

    Raises:
        UsageError: It belongs to a demo with other options.
    """
    make_folder(options.folder)
    file = options.folder / "demo.json"
    if not file.exists():
        write_bytes(file, jsonvalue.pretty_bytes(options), point="demo.options")
        return
    before = jsonvalue.load(DemoOptions, file.read_bytes(), where=str(file))
    different = [name for name in DemoOptions.__slots__ if getattr(before, name) != getattr(options, name)]
    if different:
        raise UsageError(
            f"{options.folder} holds a demo with other options ({', '.join(sorted(different))})",
            hint="name another folder with --work, or delete this one",
        )


def usual_application(weights: str) -> str:
    """The application of a demo that names none: `transfer` where there are weights to start from."""
    return "transfer" if weights else "shelf"


def field_share(application: str) -> float:
    """How much of the known classes only the device sees at first."""
    from model_zoo.registry import FIELD_FRACTIONS

    return FIELD_FRACTIONS.get(application, 0.5)
