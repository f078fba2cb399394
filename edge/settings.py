"""What a device was told: the only place in `edge` that reads the environment or a settings file.

Later wins: defaults, the TOML file, `EDGELOOP_…` in the environment, options of the command line. The file holds one
table `[device]` with the names of `AgentSettings`; in the environment the same names are in capitals
(`EDGELOOP_DEVICE_ID`, `EDGELOOP_FPS`).
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UsageError
from edge.sync.windows import parse_windows

PREFIX = "EDGELOOP_"
_DEVICE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LEAST = {
    "threads": 1,
    "confirm_frames": 1,
    "max_sample_bytes": 1,
    "max_picture_bytes": 1,
    "journal_max_bytes": 1,
    "payload_quality": 1,
    "outbox_max_bytes": 1_000_000,
    "outbox_max_entries": 1,
    "kiosk_per_minute": 1,
}
_POSITIVE = frozenset(
    (
        "link_interval_s",
        "check_in_s",
        "update_interval_s",
        "call_timeout_s",
        "backoff_base_s",
        "backoff_cap_s",
        "silence_s",
    )
)
_MOST = {"payload_quality": 95, "kiosk_port": 65_535, "camera_width": 65_535, "camera_height": 65_535}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything an agent was told.

    Attributes:
        home: The device's folder: outbox, slots, trust, journal.
        server: `host:port`, empty to stay offline.
        device_id: Name of the device: letters, digits, '.', '_' and '-'.
        source: What is watched: a folder of pictures, a video file, `camera:0`, `/dev/video0`, or the address of a
            stream (`rtsp://`, `http://`); empty where nothing is.
        root: Trusted root file of the first install, None once the home has one.
        tls_ca: Certificate authority of the server, None for plain text to this very machine.
        channel: The update channel to keep to, whatever the fleet says; empty to follow the one that it names.
        artifact: Model file or format to run (`tflite`, `onnx`), empty for the first that this device can run.
        threads: Processor threads for the network.
        passes: How often to go through a folder or video; 0 means for ever.
        fps: Most frames a second; 0 for no limit.
        camera_width: Wanted width of a camera's frames in pixels, 0 for its own choice.
        camera_height: Wanted height of them, 0 for its own choice.
        silence_s: A camera that gives no frame for so long is taken for gone.
        exit_when_drained: After the last pass, stay until everything kept has arrived.
        link_interval_s: Seconds between two looks at the road.
        check_in_s: Seconds between two check-ins until the server names another number.
        update_interval_s: Seconds between two looks for a release that nobody announced.
        call_timeout_s: Seconds one call over the road may take.
        backoff_base_s: Wait after the first failure on the road.
        backoff_cap_s: Longest wait between two tries.
        confirm_frames: Frames that a bundle on trial must answer before it is kept.
        max_sample_bytes: Larger pictures are answered but never kept.
        max_picture_bytes: Larger files are not read at all.
        journal_max_bytes: Size at which predictions.jsonl is moved aside.
        payload: What a kept picture becomes: `jpeg`, smaller and without metadata, or `original`.
        payload_quality: Quality of that JPEG, 1 to 95.
        payload_max_side: Its longer side in pixels at most, 0 for no limit.
        outbox_max_bytes: Size of the outbox's file; when it is full the least valuable sample goes.
        outbox_max_entries: Samples that may wait there.
        bundles_max_bytes: What the bundle that runs, the one before and the one that comes may take together; 0 for no
            limit.
        sync_windows: Hours in which samples go up and bundles come down, in the device's local time
            (`22:00-06:00, 12:30-13:30`); empty for always. Check-ins are never held back.
        upload_max_kbps: Most kilobits a second for them, 0 for no limit.
        metered: Whether every byte costs: samples and bundles wait, check-ins go on. A file `metered` in the home says
            the same while it is there.
        kiosk_port: Port of the local HTTP API and page, 0 for none.
        kiosk_host: Address it listens on.
        kiosk_token: What callers must show where that is not this very machine.
        kiosk_per_minute: POST requests a minute from one caller; of GET requests ten times as many.
        private_labels: Classes of things that nobody may see, separated by commas; empty for none.
        private_action: What becomes of a sample that shows one: `blur` their boxes, or `veto` the sample.
    """

    home: Path
    server: str = ""
    device_id: str = "device"
    source: str = ""
    root: Path | None = None
    tls_ca: Path | None = None
    channel: str = ""
    artifact: str = ""
    threads: int = 1
    passes: int = 0
    fps: float = 0.0
    camera_width: int = 0
    camera_height: int = 0
    silence_s: float = 10.0
    exit_when_drained: bool = False
    link_interval_s: float = 2.0
    check_in_s: float = 30.0
    update_interval_s: float = 300.0
    call_timeout_s: float = 20.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    confirm_frames: int = 5
    max_sample_bytes: int = 8_000_000
    max_picture_bytes: int = 32_000_000
    journal_max_bytes: int = 16_000_000
    payload: str = "jpeg"
    payload_quality: int = 90
    payload_max_side: int = 1600
    outbox_max_bytes: int = 2_000_000_000
    outbox_max_entries: int = 100_000
    bundles_max_bytes: int = 0
    sync_windows: str = ""
    upload_max_kbps: float = 0.0
    metered: bool = False
    kiosk_port: int = 0
    kiosk_host: str = "127.0.0.1"
    kiosk_token: str = dataclasses.field(default="", repr=False)
    kiosk_per_minute: int = 600
    private_labels: str = ""
    private_action: str = "blur"

    def __post_init__(self) -> None:
        """Refuses values that make no sense, by name."""
        if not _DEVICE_ID.match(self.device_id):
            raise UsageError(f"device_id {self.device_id!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
        if self.channel and not is_channel(self.channel):
            raise UsageError(f"channel {self.channel!r} must be 1 to 64 small letters, digits, '_' or '-'")
        if self.private_action not in ("blur", "veto"):
            raise UsageError(f"private_action {self.private_action!r} must be 'blur' or 'veto'")
        for field in dataclasses.fields(self):
            _check_range(field.name, getattr(self, field.name))
        parse_windows(self.sync_windows)
        if 0 < self.payload_max_side < 32:
            raise UsageError(f"setting 'payload_max_side' must be 0 or at least 32, found {self.payload_max_side}")
        if self.exit_when_drained and self.passes == 0:
            raise UsageError(
                "exit_when_drained needs an end", hint="say how often to go through the source with --passes 1"
            )

    @property
    def private_label_names(self) -> tuple[str, ...]:
        """`private_labels`, one by one."""
        return tuple(name.strip() for name in self.private_labels.split(",") if name.strip())


def load_settings(
    *, file: Path | None, environment: Mapping[str, str], overrides: Mapping[str, object]
) -> AgentSettings:
    """Puts the settings together.

    Args:
        file: A TOML file, or None.
        environment: `os.environ`, or what a test says.
        overrides: From the command line; None values are as if not given.

    Raises:
        UsageError: A file that cannot be read, an unknown name, a value of the wrong type or out of range.
    """
    kinds = typing.get_type_hints(AgentSettings)
    values = _from_file(file) if file is not None else {}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise UsageError(f"{file}: unknown setting {unknown[0]!r}", hint=f"known are: {', '.join(sorted(kinds))}")
    values |= {name: environment[PREFIX + name.upper()] for name in kinds if PREFIX + name.upper() in environment}
    values |= {name: value for name, value in overrides.items() if value is not None}
    if "home" not in values:
        raise UsageError("no home folder for the device", hint=f"give --home DIR or set {PREFIX}HOME")
    built = {name: _convert(name, value, kinds[name]) for name, value in values.items()}
    return AgentSettings(**built)  # type: ignore[arg-type]


def is_channel(name: str) -> bool:
    """Whether a channel can be called so; what a server says is held against it before it names any file."""
    return _CHANNEL.fullmatch(name) is not None


def process_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def cache_home(environment: Mapping[str, str] | None = None) -> Path:
    """Where edgeloop keeps what it can make again: `EDGELOOP_CACHE`, or `edgeloop` in the user's cache folder.

    The user's cache folder is `XDG_CACHE_HOME`, which counts only as an absolute path (XDG Base Directory
    Specification), or `~/.cache`. The folder need not exist yet.

    Args:
        environment: What a test says; None for that of this process.

    Raises:
        UsageError: None of them is set, and the user has no home folder.
    """
    found = process_environment() if environment is None else environment
    if own := found.get(f"{PREFIX}CACHE", ""):
        return Path(own).absolute()
    user = Path(found.get("XDG_CACHE_HOME", ""))
    if user.is_absolute():
        return user / "edgeloop"
    if home := found.get("HOME", ""):
        return Path(home).absolute() / ".cache" / "edgeloop"
    raise UsageError("no folder for what edgeloop keeps", hint=f"set {PREFIX}CACHE")


def watchdog_told(environment: Mapping[str, str]) -> tuple[str, float]:
    """What systemd says to a service it watches (sd_notify(3), sd_watchdog_enabled(3)).

    Args:
        environment: `os.environ`, or what a test says.

    Returns:
        The socket to report to, empty for none; and the seconds between two signs of life, 0 for none wanted.
    """
    said = environment.get("WATCHDOG_USEC", "")
    ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    interval_s = int(said) / 1e6 if said.isascii() and said.isdigit() and ours else 0.0
    return environment.get("NOTIFY_SOCKET", ""), interval_s


def log_level(environment: Mapping[str, str], *, verbose: int) -> str:
    """The level of log lines: `-v` is INFO, `-vv` DEBUG; without it `LOG_LEVEL`, then WARNING.

    Raises:
        UsageError: `LOG_LEVEL` is no level.
    """
    if verbose:
        return "INFO" if verbose == 1 else "DEBUG"
    level = environment.get("LOG_LEVEL", "WARNING").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise UsageError(f"LOG_LEVEL is {level!r}", hint="choose DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return level


def _from_file(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as opened:
            table = tomllib.load(opened).get("device", {})
    except OSError as cause:
        raise UsageError(f"cannot read {file}: {(cause.strerror or 'no reason given').lower()}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise UsageError(f"{file} is not TOML: {cause}") from cause
    if not isinstance(table, dict):
        raise UsageError(f"{file}: [device] is not a table")
    return dict(table)


def _convert(name: str, value: object, kind: object) -> object:
    plain = next((arm for arm in typing.get_args(kind) if arm is not type(None)), kind)
    try:
        if plain is bool:
            return _truth(value)
        return _plain(plain, value)
    except (TypeError, ValueError) as cause:
        if _is_secret(name):
            raise UsageError(f"setting {name!r}: expected {getattr(plain, '__name__', plain)}, in quotes") from None
        raise UsageError(f"setting {name!r}: {cause}") from cause


def _plain(kind: object, value: object) -> object:
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, (int, str)) and not isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"expected {getattr(kind, '__name__', kind)}, found {value!r}")


def _is_secret(name: str) -> bool:
    return any(field.name == name and not field.repr for field in dataclasses.fields(AgentSettings))


def _truth(value: object) -> bool:
    word = str(value).lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"expected true or false, found {value!r}")
    return word in _TRUE


def _check_range(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"setting {name!r} must be 0 or more, found {value}")
    least = _LEAST.get(name, 0)
    if value < least:
        raise UsageError(f"setting {name!r} must be at least {least}, found {value}")
    if name in _POSITIVE and value <= 0:
        raise UsageError(f"setting {name!r} must be above 0, found {value}")
    if value > _MOST.get(name, math.inf):
        raise UsageError(f"setting {name!r} must be at most {_MOST[name]}, found {value}")
