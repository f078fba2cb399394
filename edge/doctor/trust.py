"""What the device believes about releases, and whether that has expired."""

from __future__ import annotations

import datetime
import time

from edge import jsonvalue
from edge.doctor.types import Finding, State, Subject
from edge.errors import FormatError, MissingExtraError, TrustError
from edge.following import open_following
from edge.update.trust import TrustStore

_SOON_S = 7 * 86_400.0
_RENEW = "on the server: `edgeloop publish renew --store DIR`; then connect this device once"


def examine_trust(subject: Subject) -> tuple[Finding, ...]:
    """One finding on the trusted root, and one on the release that was last verified."""
    trust = TrustStore(subject.settings.home, None, channel=open_following(subject.settings).channel)
    if not trust.has_root:
        return (_without_root(subject),)
    return (_examine_root(subject), _examine_release(subject, trust))


def _without_root(subject: Subject) -> Finding:
    name, root = "trusted root", subject.settings.root
    if root is not None and root.is_file():
        return Finding(name=name, state=State.OK, detail=f"{root} is installed at the first start")
    fix = "take 1.root.json from the server's repository/metadata folder, and give it as `root`, once"
    if root is not None:
        return Finding(name=name, state=State.FAIL, detail=f"no file {root}, and none in the home yet", fix=fix)
    if not subject.settings.server:
        return Finding(name=name, state=State.SKIPPED, detail="no server named: no release comes here")
    return Finding(name=name, state=State.FAIL, detail="this device has none, so it takes no release", fix=fix)


def _examine_root(subject: Subject) -> Finding:
    folder = subject.settings.home / "tuf"
    newest = folder / "metadata" / "root.json"
    file = newest if newest.exists() else folder / "root.json"
    try:
        version, expires_at = _root_says(file.read_bytes())
    except (OSError, FormatError, ValueError) as cause:
        fix = "install the root anew: give `root` and a new home"
        return Finding(name="trusted root", state=State.FAIL, detail=f"{file.name} cannot be read: {cause}", fix=fix)
    detail = f"version {version}, until {_day(expires_at)}"
    if expires_at <= subject.now:
        return Finding(name="trusted root", state=State.FAIL, detail=f"{detail}: it has expired", fix=_RENEW)
    if expires_at <= subject.now + _SOON_S:
        return Finding(name="trusted root", state=State.WARN, detail=f"{detail}: it expires soon", fix=_RENEW)
    return Finding(name="trusted root", state=State.OK, detail=detail)


def _examine_release(subject: Subject, trust: TrustStore) -> Finding:
    try:
        found = trust.last_verified()
    except MissingExtraError as error:
        return Finding(name="release", state=State.SKIPPED, detail=error.message, fix=error.hint)
    except TrustError as error:
        fix = "connect the device to its server, and run `edgeloop device update`"
        return Finding(name="release", state=State.WARN, detail=error.message, fix=fix)
    release, until = found.release, _day(found.expires_at)
    detail = f"{release.name} version {release.version} ({release.bundle_digest[:12]}), until {until}"
    if found.expires_at <= subject.now:
        detail += ": it has expired; the device stays on it and takes nothing new"
        fix = f"connect the device once; if that does not help, {_RENEW}"
        return Finding(name="release", state=State.WARN, detail=detail, fix=fix)
    return Finding(name="release", state=State.OK, detail=detail)


def _root_says(data: bytes) -> tuple[int, float]:
    """Version and end of a root. Told, not trusted: the signatures are checked where it is used."""
    value = jsonvalue.parse(data, where="root.json")
    signed = value.get("signed") if isinstance(value, dict) else None
    if not isinstance(signed, dict) or not isinstance(signed.get("version"), int):
        raise FormatError("it is no TUF root")
    ends = datetime.datetime.fromisoformat(str(signed.get("expires")).replace("Z", "+00:00"))
    return int(str(signed["version"])), ends.timestamp()


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
