"""Whether heat or a weak power supply slows the processor down."""

from __future__ import annotations

from edge.doctor.types import Finding, State, Subject

_HOT_C = 80.0
_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
_UNDER_VOLTAGE, _SLOWED = 0x1, 0x2 | 0x4 | 0x8
_HAPPENED = 16
_POWER_FIX = "use the board's own power supply and a short, thick cable"
_HEAT_FIX = "give the board a heat sink or a fan, and air around it"


def examine_processor(subject: Subject) -> tuple[Finding, ...]:
    """One finding: temperature, and what the firmware of a Raspberry Pi has noticed."""
    hottest = _hottest(subject)
    bits = _throttled_bits(subject)
    told = ([f"{hottest:.0f} °C"] if hottest is not None else []) + _words(bits)
    if not told:
        return (
            Finding(name="processor", state=State.SKIPPED, detail="this machine tells neither heat nor throttling"),
        )
    detail = ", ".join(told)
    ever = bits | bits >> _HAPPENED
    if ever & _UNDER_VOLTAGE:
        return (Finding(name="processor", state=State.WARN, detail=detail, fix=_POWER_FIX),)
    if ever & _SLOWED or (hottest is not None and hottest >= _HOT_C):
        return (Finding(name="processor", state=State.WARN, detail=detail, fix=_HEAT_FIX),)
    return (Finding(name="processor", state=State.OK, detail=detail),)


def _hottest(subject: Subject) -> float | None:
    zones = (subject.root / "sys/class/thermal").glob("thermal_zone*/temp")
    texts = [subject.text(str(zone.relative_to(subject.root))) for zone in zones]
    # Sensors that are switched off say 0 or less.
    return max((int(text) / 1000 for text in texts if text.isdigit() and int(text) > 0), default=None)


def _throttled_bits(subject: Subject) -> int:
    """Low bits hold now, those from 16 on have held since the start."""
    text = subject.text(_THROTTLED)
    try:
        return int(text, 16) if text else 0
    except ValueError:
        return 0


def _words(bits: int) -> list[str]:
    words = []
    for mask, what in ((_UNDER_VOLTAGE, "too little voltage"), (_SLOWED, "slowed down")):
        if bits & mask:
            words.append(f"{what} now")
        elif bits >> _HAPPENED & mask:
            words.append(f"{what} since the start")
    return words
