"""What the kernel and the card itself say about the disk under the home."""

from __future__ import annotations

from pathlib import Path

from edge.doctor.mounts import find_mount
from edge.doctor.types import Finding, State, Subject

# JEDEC JESD84-B51: life time in steps of a tenth, 0x0B when it is over; of the reserve blocks 1 is normal, 2 most are
# used, 3 nearly all.
_LATE_LIFE = 8
_OVER = 11
_BACK_UP = "make a copy of the home now, and replace the card"


def examine_health(subject: Subject) -> tuple[Finding, ...]:
    """One finding: errors that the file system has met, and how worn the card is."""
    place = subject.settings.home if subject.settings.home.exists() else Path("/")
    mount = find_mount(subject, place)
    block = _block_device(subject, mount.device) if mount is not None else None
    if mount is None or block is None:
        what = mount.kind if mount is not None else "the file system"
        return (Finding(name="disk health", state=State.SKIPPED, detail=f"{what} lies on no disk that tells"),)
    told, worst, fix = [], State.OK, ""
    errors = _number(subject, f"sys/fs/ext4/{block.name}/errors_count")
    if errors is not None:
        told.append(f"{errors} file system errors on {block.name}")
    if errors:
        worst, fix = State.FAIL, f"{_BACK_UP}; then check it with fsck"
    wear, words = _wear(subject, block)
    told += words
    if wear is not State.OK and worst is State.OK:
        worst, fix = wear, _BACK_UP
    if not told:
        return (Finding(name="disk health", state=State.SKIPPED, detail=f"{block.name} tells nothing of its health"),)
    return (Finding(name="disk health", state=worst, detail=", ".join(told), fix=fix),)


def _block_device(subject: Subject, number: str) -> Path | None:
    """Folder below /sys of a block device, by its number."""
    link = subject.root / "sys/dev/block" / number
    return link.resolve() if link.exists() else None


def _wear(subject: Subject, block: Path) -> tuple[State, list[str]]:
    """What an eMMC or a card that knows it says about its age."""
    disk = block.parent if (block / "partition").exists() else block
    life = [_hex(word) for word in _read(disk / "device/life_time").split()]
    reserve = _hex(_read(disk / "device/pre_eol_info"))
    words, state = [], State.OK
    used = max(life, default=0)
    if used:
        words.append(f"{disk.name} has used {'all' if used >= _OVER else f'up to {used * 10} %'} of its life")
        state = State.FAIL if used >= _OVER else State.WARN if used > _LATE_LIFE else State.OK
    if reserve > 1:
        words.append(f"{'nearly all' if reserve > 2 else 'most'} of its reserve blocks are used")
        state = State.FAIL if reserve > 2 or state is State.FAIL else State.WARN
    return state, words


def _number(subject: Subject, path: str) -> int | None:
    text = subject.text(path)
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
