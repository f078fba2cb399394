"""How much memory is left to work in."""

from __future__ import annotations

from edge.doctor.types import Finding, State, Subject

# An agent with a 224-pixel classifier takes 90 to 150 MB, a detector of 640 pixels some 300 MB.
_LOW_BYTES, _TIGHT_BYTES = 80_000_000, 250_000_000
_NO_LIMIT = 1 << 60
_FIX = "stop other programs, raise the limit, or take a smaller model"


def examine_memory(subject: Subject) -> tuple[Finding, ...]:
    """One finding: what is available, and what the control group allows."""
    available = _available(subject)
    if available < 0:
        return (Finding(name="memory", state=State.SKIPPED, detail="this system does not say how much there is"),)
    room, limit = _room_in_group(subject)
    detail = f"{available // 1_000_000} MB available"
    if limit < _NO_LIMIT:
        detail += f", {room // 1_000_000} MB left of the control group's {limit // 1_000_000} MB"
    left = min(available, room)
    if left < _LOW_BYTES:
        return (Finding(name="memory", state=State.FAIL, detail=detail, fix=_FIX),)
    if left < _TIGHT_BYTES:
        return (Finding(name="memory", state=State.WARN, detail=f"{detail}: tight", fix=_FIX),)
    return (Finding(name="memory", state=State.OK, detail=detail),)


def _available(subject: Subject) -> int:
    for line in subject.text("proc/meminfo").splitlines():
        words = line.split()
        if words[0] == "MemAvailable:" and words[1].isdigit():
            return int(words[1]) * 1024
    return -1


def _room_in_group(subject: Subject) -> tuple[int, int]:
    """What is left in the narrowest control group of this process, and its limit."""
    rooms = [(_NO_LIMIT, _NO_LIMIT)]
    for limit_file, used_file in _group_files(subject):
        limit, used = subject.text(limit_file), subject.text(used_file)
        if limit.isdigit() and used.isdigit() and int(limit) < _NO_LIMIT:
            rooms.append((max(0, int(limit) - int(used)), int(limit)))
    return min(rooms)


def _group_files(subject: Subject) -> list[tuple[str, str]]:
    """Files with limit and use, of the group and those around it; version 2, then version 1."""
    files = []
    for line in subject.text("proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            inner = "/".join(parts[:depth])
            if not controllers:
                folder = f"sys/fs/cgroup/{inner}".rstrip("/")
                files.append((f"{folder}/memory.max", f"{folder}/memory.current"))
            elif "memory" in controllers.split(","):
                folder = f"sys/fs/cgroup/memory/{inner}".rstrip("/")
                files.append((f"{folder}/memory.limit_in_bytes", f"{folder}/memory.usage_in_bytes"))
    return files
