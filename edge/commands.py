"""What the `edgeloop device` commands do, as plain functions; `edge.cli` turns words into calls of these."""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge.drawing.drawings import Drawings
from edge.errors import EdgeloopError, ImageError, UsageError
from edge.following import open_following
from edge.home import DeviceHome
from edge.identity.command import as_enrolled, client_identity, renewal_for
from edge.settings import AgentSettings, process_environment, watchdog_told
from edge.wording import prediction_json as prediction_json

if TYPE_CHECKING:
    from edge.bundle.manifest import BundleManifest
    from edge.bundle.reader import Bundle
    from edge.loading import StageChoice
    from edge.outbox.base import AuditRow, OutboxLimits
    from edge.sync.grpc_transport import GrpcTransport
    from edge.sync.uploader import DrainResult
    from edge.telemetry import Counts
    from edge.tune.types import TuneResult
    from edge.types import Inference
    from edge.update.published import PublishedFiles
    from edge.update.trust import TrustStore
    from edge.update.types import UpdateResult

Say = Callable[[str], None]
_EDGEBUNDLE = ".edgebundle"
_BYTES_PER_KILOBIT = 125


def run_agent(settings: AgentSettings, *, bundle: Path | None, say: Say, progress: Callable[[Counts], None]) -> Counts:
    """Runs the agent in this process until its source ends or a signal comes.

    Args:
        settings: What the device was told.
        bundle: Installed first, unsigned, or None.
        say: Told what a person should know.
        progress: Told the counts about once a second.

    Raises:
        KeyboardInterrupt: It was SIGINT, after an orderly stop.
        EdgeloopError: As `Agent.run`.
    """
    from edge.agent import Agent
    from edge.background import switch_threads_quickly
    from edge.watchdog import Watchdog

    switch_threads_quickly()

    settings = as_enrolled(settings)
    if bundle is not None:
        sideload(settings, bundle, say=say)
    with contextlib.ExitStack() as stack:
        transport = renewal = None
        if settings.server:
            transport = stack.enter_context(_transport(settings))
            _install_root(settings, transport)
            renewal = renewal_for(settings, transport, say=say, jitter=random.random())  # noqa: S311
        watchdog = Watchdog(*watchdog_told(process_environment()))
        agent = Agent(settings, transport=transport, say=say, progress=progress, watchdog=watchdog, renewal=renewal)
        signals = stack.enter_context(_stopped_by_signals(agent.stop))
        counts = agent.run()
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    return counts


def sideload(settings: AgentSettings, bundle: Path, *, say: Say) -> None:
    """Installs a bundle folder or `.edgebundle` that nobody signed for.

    Raises:
        UsageError: Another process works in this home.
        BundleError: Damaged, unproven, or its golden vectors fail here.
    """
    from edge.update.selftest import hardware_fingerprint, self_test
    from edge.update.slots import Slots
    from edge.update.trust import TrustStore
    from edge.update.updater import Updater

    with DeviceHome(folder=settings.home).hold(), _bundle_folder(bundle) as folder:
        trust = TrustStore(settings.home, None, channel=open_following(settings).channel)
        slots = Slots(settings.home)
        updater = Updater(slots, trust, None, self_test=self_test, fingerprint=hardware_fingerprint)
        result = updater.sideload(folder)
    say(f"{bundle} is UNSIGNED and was installed because of --allow-unsigned ({result.bundle_digest[:12]})")


def predict_pictures(
    picture: Path,
    *,
    bundle: Path | None,
    home: Path | None,
    artifact: str | None,
    allow_unproven: bool,
    say: Say,
    threads: int | None = None,
    top_k: int | None = None,
    annotated: Path | None = None,
    tuned: Path | None = None,
    failed: Callable[[str, str], None] = lambda name, message: None,
    opened: Callable[[BundleManifest], None] = lambda manifest: None,
) -> Iterator[tuple[str, Inference]]:
    """Answers for a picture, or for every picture of a folder.

    Args:
        picture: A file or a folder.
        bundle: Bundle folder or archive; None for the one of `home`.
        home: The device's folder, where `bundle` is None.
        artifact: Model to run; None for the first that can run here.
        allow_unproven: Run a bundle without a passed proof all the same.
        say: Told what a person should know.
        threads: Processor threads for the network; None for 1.
        top_k: How many classes are named; None for five, or what the bundle says.
        annotated: Where the drawn answers go: a file for a picture, a folder for a folder; None for nowhere.
        failed: Told name and reason of every picture of a folder that cannot be used.
        tuned: File in which `edgeloop device tune` remembers; None for that of `home`.
        opened: Told the manifest of the bundle before the first answer.

    Yields:
        Name and inference; a picture of a folder that cannot be used is said and skipped.

    Raises:
        UsageError: No such picture, an empty folder, no bundle in the home, or no place for the drawings.
        ImageError: The one picture, or every picture of the folder, cannot be used.
        BundleError: The bundle is damaged or unproven.
    """
    from edge.bundle.reader import open_bundle
    from edge.engine import open_engine

    pictures = _pictures(picture)
    drawings = Drawings(picture, annotated) if annotated is not None else None
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_bundle_folder(bundle)) if bundle is not None else _active_bundle(home or Path())
        opened_bundle = open_bundle(folder)
        choices = None
        if artifact is None and threads is None:
            choices = _tuned(opened_bundle, tuned, home=home, say=say)
        engine = stack.enter_context(
            open_engine(
                opened_bundle, artifact=artifact, threads=threads, choices=choices, allow_unproven=allow_unproven
            )
        )
        opened(engine.bundle.manifest)
        skipped = 0
        for name, path in pictures:
            try:
                inference = engine.infer(path, top_k=top_k)
                if drawings is not None:
                    drawings.draw(path, inference)
            except ImageError as error:
                if not picture.is_dir():
                    raise
                skipped += 1
                say(f"skipped {error.message}")
                failed(name, error.message)
            else:
                yield name, inference
    if skipped == len(pictures):
        raise ImageError(f"none of the {skipped} files in {picture} is a usable picture")
    if skipped:
        say(f"{skipped} of {len(pictures)} files were skipped")


def tune_bundle(
    *,
    bundle: Path | None,
    home: Path | None,
    out: Path | None,
    budget: float,
    max_threads: int | None,
    delegate: tuple[str, ...],
    allow_unproven: bool,
    say: Say,
) -> TuneResult:
    """Finds out how a bundle runs best here, and remembers it.

    Args:
        bundle: Bundle folder or archive; None for the one of `home`.
        home: The device's folder, where `bundle` is None.
        out: The file that remembers; None for that of `home`, or none at all with `bundle`.
        budget: Seconds of measuring.
        max_threads: Most threads and copies to try; None for one a processor.
        delegate: Paths of LiteRT delegates to try too.
        allow_unproven: Try a bundle without a passed proof all the same.
        say: Told what a person should know.

    Raises:
        EdgeloopError: As `edge.tune.command.tune_and_remember`; and an agent is at work in the home.
    """
    from edge.bundle.reader import open_bundle
    from edge.tune.command import tune_and_remember

    with contextlib.ExitStack() as stack:
        if bundle is not None:
            folder = stack.enter_context(_bundle_folder(bundle))
        else:
            device = DeviceHome(folder=home or Path())
            folder, out = _active_bundle(device.folder), out or device.tuning
            stack.enter_context(device.hold())
        return tune_and_remember(
            open_bundle(folder),
            out=out,
            budget_s=budget,
            libraries=delegate,
            max_threads=max_threads,
            allow_unproven=allow_unproven,
            say=say,
        )


def sync_once(settings: AgentSettings, *, say: Say = lambda line: None) -> DrainResult:
    """Empties the outbox once, whatever the hour: somebody asked for it.

    Args:
        settings: What the device was told.
        say: Told what a person should know.

    Raises:
        RoadError: The server could not be reached; everything waits in the outbox as before.
        UsageError: No outbox here, no server named, or an agent is at work in this home.
    """
    from edge.outbox.recovering import RecoveringOutbox
    from edge.sync.uploader import drain

    settings = as_enrolled(settings)
    home = DeviceHome(folder=settings.home)
    if not home.outbox.exists():
        raise UsageError(f"there is no outbox in {settings.home}", hint="has a device ever run with this --home?")
    with home.hold(), _transport(settings) as transport:
        opened = RecoveringOutbox(home.outbox, _no_limits(), report=say, clock=time.time)
        with contextlib.closing(opened) as outbox:
            outbox.release_all()
            return drain(outbox, transport, now=time.time)


def audit_rows(settings: AgentSettings, *, limit: int) -> tuple[AuditRow, ...]:
    """What the outbox did without a person, newest first; an agent may be at work meanwhile.

    Raises:
        UsageError: No outbox here.
        StorageError: It cannot be read.
    """
    from edge.outbox.sqlite import SqliteOutbox

    home = DeviceHome(folder=settings.home)
    if not home.outbox.exists():
        raise UsageError(f"there is no outbox in {settings.home}", hint="has a device ever run with this --home?")
    with contextlib.closing(SqliteOutbox(home.outbox, _no_limits())) as outbox:
        return outbox.audit(limit=limit)


def _no_limits() -> OutboxLimits:
    """For commands that add nothing: they must shed nothing either, whatever cap the agent was given."""
    from edge.outbox.base import OutboxLimits

    return OutboxLimits(max_bytes=1 << 50, max_entries=1 << 50, max_remembered=1 << 50, max_audit_rows=1 << 50)


def update_once(
    settings: AgentSettings, *, progress: Callable[[int, int], None], stick: Path | None = None
) -> UpdateResult:
    """Looks for a release once and activates it.

    Args:
        settings: What the device was told.
        progress: Told bytes done and bytes in all.
        stick: A folder that `edgeloop publish export` wrote, in place of the server.

    Raises:
        EdgeloopError: The release was rejected, or there was no news to be had; the message says why.
        UsageError: No server, no stick, no trusted root, or an agent is at work in this home.
        StorageError: The disk is full or failing.
    """
    from edge.update.selftest import hardware_fingerprint, self_test
    from edge.update.slots import Slots
    from edge.update.types import UpdateOutcome
    from edge.update.updater import Updater

    settings = as_enrolled(settings)
    with DeviceHome(folder=settings.home).hold(), _update_road(settings, stick) as transport:
        trust = _install_root(settings, transport)
        updater = Updater(
            Slots(settings.home),
            trust,
            transport,
            self_test=self_test,
            fingerprint=hardware_fingerprint,
            max_bytes=settings.bundles_max_bytes,
        )
        result = updater.update(time.time(), progress=progress)
    if result.outcome in (UpdateOutcome.REJECTED, UpdateOutcome.OFFLINE):
        raise EdgeloopError(result.reason)
    return result


def _install_root(settings: AgentSettings, transport: PublishedFiles | None) -> TrustStore:
    from edge.update.trust import TrustStore

    trust = TrustStore(settings.home, transport, channel=open_following(settings).channel)
    if settings.root is not None:
        trust.install_root(settings.root)
    if not trust.has_root:
        raise UsageError("this device has no trusted root yet", hint="give --root FILE once, at the first install")
    return trust


@contextlib.contextmanager
def _update_road(settings: AgentSettings, stick: Path | None) -> Iterator[PublishedFiles]:
    """The server, or a folder that somebody carried here."""
    if stick is None:
        with _transport(settings) as transport:
            yield transport
        return
    from edge.update.stick import Stick

    with contextlib.closing(Stick(stick)) as road:
        yield road


@contextlib.contextmanager
def _transport(settings: AgentSettings) -> Iterator[GrpcTransport]:
    if not settings.server:
        raise UsageError("no server named", hint="give --server HOST:PORT")
    from edge.sync.grpc_transport import GrpcTransport
    from edge.sync.throttle import Throttle

    throttle = Throttle(settings.upload_max_kbps * _BYTES_PER_KILOBIT)
    road = GrpcTransport(
        settings.server,
        tls_ca=settings.tls_ca,
        identity=client_identity(settings.home),
        timeout_s=settings.call_timeout_s,
        throttle=throttle,
    )
    with contextlib.closing(road) as transport:
        yield transport


def _tuned(bundle: Bundle, path: Path | None, *, home: Path | None, say: Say) -> tuple[StageChoice, ...] | None:
    """What a trial has found: in the file that was named, or else in the home."""
    from edge.tune.recall import recall

    if path is None:
        return recall(DeviceHome(folder=home).tuning, bundle, say=say) if home is not None else None
    if not path.is_file():
        raise UsageError(f"no file {path}", hint="make it with `edgeloop device tune --out`")
    choices = recall(path, bundle, say=say)
    if choices is None:
        say(f"{path} knows nothing of this bundle on this device")
    return choices


@contextlib.contextmanager
def _bundle_folder(bundle: Path) -> Iterator[Path]:
    """A bundle folder, or one that an archive is unpacked into for as long as it is needed."""
    if not bundle.exists():
        raise UsageError(f"no bundle {bundle}")
    if bundle.is_dir():
        yield bundle
        return
    from edge.bundle.archive import unpack

    with tempfile.TemporaryDirectory(prefix="edgeloop-") as scratch:
        folder = Path(scratch) / "bundle"
        unpack(bundle, folder)
        yield folder


def _active_bundle(home: Path) -> Path:
    """Where the bundle lies that runs in a home; reads only."""
    from edge.update.slots import Slots

    slots = Slots(home)
    if not slots.active.bundle_digest:
        raise UsageError(f"there is no bundle in {home}", hint="run `edgeloop device update` there, or give --bundle")
    return slots.folder(slots.state.active)


def _pictures(picture: Path) -> list[tuple[str, Path]]:
    from edge.sources.folder import list_pictures

    if not picture.exists():
        raise UsageError(f"no picture {picture}")
    if not picture.is_dir():
        return [(str(picture), picture)]
    found = [(path.relative_to(picture).as_posix(), path) for path in list_pictures(picture)]
    if not found:
        raise UsageError(f"no pictures in {picture}", hint="put JPEG, PNG or WebP files into it")
    return found


@contextlib.contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """SIGTERM and SIGINT call `stop`; a second one of the same kind acts as it always does."""
    seen: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: object) -> None:
        seen.append(number)
        stop()
        signal.signal(number, usual[signal.Signals(number)])

    for number in usual:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
