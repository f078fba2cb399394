"""Two places for a bundle, A and B: one runs, the other takes the next one.

The slot that runs is never written to. `slots.json` is replaced durably at every change and is the only truth about
what runs; whatever a killed install left in the other slot or in a staging folder is reused by digest or swept away.
A freshly activated bundle is on trial until it has answered frames; if the process starts too often without getting
that far, the slot before comes back and the bundle is not tried again.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

from edge import durable, jsonvalue
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import BundleError, FormatError
from edge.update.room import folder_bytes
from edge.update.types import Slot, SlotState, TrustMark

NAMES = ("a", "b")
MAX_TRIAL_STARTS = 2
MAX_REJECTED = 64
_STATE_FILE = "slots.json"


class Slots:
    """The slots of one device. Thread-safe; one process a home (see `edge.home.DeviceHome.hold`).

    Args:
        home: The device's home.

    Raises:
        FormatError: `slots.json` is damaged.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._file = home / _STATE_FILE
        self._folder = home / "bundles"
        self._lock = threading.RLock()
        self._state = self._load()

    @property
    def state(self) -> SlotState:
        """As it stands on the disk."""
        return self._state

    @property
    def active(self) -> Slot:
        """The slot that runs; an empty one before the first install."""
        return self._state.slots.get(self._state.active, Slot())

    @property
    def inactive_name(self) -> str:
        """The slot that the next install goes into."""
        return "b" if self._state.active == "a" else "a"

    @property
    def has_fallback(self) -> bool:
        """Whether the other slot holds a bundle to go back to."""
        return bool(self._state.active) and bool(self._state.slots[self.inactive_name].bundle_digest)

    def folder(self, name: str) -> Path:
        """Where a slot's bundle lies."""
        return self._folder / name

    def staging(self, digest: str) -> Path:
        """Where a bundle is put together before it goes into a slot."""
        return self._folder / f".staging-{digest}"

    def open_active(self) -> Bundle | None:
        """Opens the bundle that runs; a damaged one gives way to the other slot's.

        Returns:
            The verified bundle, or None when there is none; then the next install brings one.
        """
        with self._lock:
            while name := self._state.active:
                bundle = self._open(name)
                if bundle is not None:
                    return bundle
                other = self.inactive_name
                fallback = other if self._state.slots[other].bundle_digest else ""
                self._write(
                    replace(self._state, active=fallback, trial="", trial_starts=0, slots=self._slots(name, Slot()))
                )
            return None

    def count_start(self) -> str:
        """Tells that the process has begun; rolls back a bundle on trial that never got anywhere.

        Returns:
            The digest that was rejected, or an empty string.
        """
        with self._lock:
            if not self._state.trial:
                return ""
            if self._state.trial_starts >= MAX_TRIAL_STARTS and self.has_fallback:
                return self.roll_back()
            self._write(replace(self._state, trial_starts=self._state.trial_starts + 1))
            return ""

    def install(self, digest: str) -> Bundle:
        """Moves a finished staging folder into the inactive slot.

        Args:
            digest: Names the staging folder.

        Raises:
            BundleError: What was staged is damaged or another bundle.
            StorageError: The disk failed; the active slot is as it was.
        """
        with self._lock:
            name, staging = self.inactive_name, self.staging(digest)
            staged = open_bundle(staging)
            if staged.digest != digest:
                raise BundleError(f"{staging} holds bundle {staged.digest[:12]}", hint="it is fetched again")
            self._write(replace(self._state, slots=self._slots(name, Slot())))
            self._clear(self.folder(name))
            durable.publish_folder(staging, self.folder(name), point="update.publish")
            slot = Slot(bundle_digest=digest, version=staged.manifest.version)
            self._write(replace(self._state, slots=self._slots(name, slot)))
            return replace(staged, folder=self.folder(name))

    def open_inactive(self) -> Bundle | None:
        """Opens and checks the bundle in the slot that does not run, or None where there is no intact one."""
        with self._lock:
            return self._open(self.inactive_name) if self._state.slots[self.inactive_name].bundle_digest else None

    def activate(self, *, tested_on: str, mark: TrustMark | None, on_trial: bool = True) -> None:
        """Makes the inactive slot the one that runs.

        Args:
            tested_on: Fingerprint of the machine on which its golden vectors passed.
            mark: Of the signed metadata it came with, None where nobody signed.
            on_trial: False for a bundle that ran here before.
        """
        with self._lock:
            name = self.inactive_name
            self._write(
                replace(
                    self._marked(mark),
                    slots=self._slots(name, replace(self._state.slots[name], tested_on=tested_on)),
                    active=name,
                    trial=name if on_trial else "",
                    trial_starts=0,
                )
            )

    def accept(self, mark: TrustMark) -> None:
        """Remembers the newest signed metadata under which the bundle that runs may go on."""
        with self._lock:
            marked = self._marked(mark)
            if marked != self._state:
                self._write(marked)

    def bytes_of(self, name: str) -> int:
        """Bytes of a slot's bundle, 0 where the slot is empty."""
        return folder_bytes(self.folder(name)) if self._state.slots[name].bundle_digest else 0

    def drop_leftover(self) -> None:
        """Removes what lies in the inactive slot, if no bundle is said to be there: the rest of a rejected one.

        Raises:
            StorageError: It cannot be removed.
        """
        with self._lock:
            name = self.inactive_name
            if not self._state.slots[name].bundle_digest:
                self._clear(self.folder(name))

    def confirm(self, digest: str = "") -> None:
        """Ends the trial: the bundle has shown that it works here.

        Args:
            digest: The bundle that has; nothing happens when another one is active by now. Empty for the active one.
        """
        with self._lock:
            if self._state.trial and digest in ("", self.active.bundle_digest):
                self._write(replace(self._state, trial="", trial_starts=0))

    def mark_tested(self, tested_on: str) -> None:
        """Remembers on which machine the active bundle's golden vectors passed."""
        with self._lock:
            slot = replace(self.active, tested_on=tested_on)
            self._write(replace(self._state, slots=self._slots(self._state.active, slot)))

    def roll_back(self, *, reject: bool = True) -> str:
        """Goes back to the other slot and rejects the bundle that ran.

        Args:
            reject: Whether the bundle is at fault; one that is not may be tried again.

        Returns:
            Its digest.

        Raises:
            BundleError: There is nothing to go back to.
        """
        with self._lock:
            if not self.has_fallback:
                raise BundleError("there is no bundle to go back to", hint="publish one that works on this device")
            failed, digest = self._state.active, self.active.bundle_digest
            self._write(
                replace(
                    self._state,
                    slots=self._slots(failed, Slot()),
                    active=self.inactive_name,
                    trial="",
                    trial_starts=0,
                    rejected=self._with_rejected(digest) if reject else self._state.rejected,
                )
            )
            return digest

    def reject(self, digest: str) -> None:
        """Remembers a bundle that failed before it ever ran; the inactive slot that holds it counts as empty."""
        with self._lock:
            name = self.inactive_name
            slots = self._state.slots
            if slots[name].bundle_digest == digest:
                slots = self._slots(name, Slot())
            self._write(replace(self._state, slots=slots, rejected=self._with_rejected(digest)))

    def sweep(self, *, keep: str = "") -> None:
        """Removes what killed installs left behind, but the staging folder of `keep`."""
        with self._lock:  # only what this class writes: other threads are writing other files of the home just now
            for path in self._file.parent.glob(f".{_STATE_FILE}.*.tmp"):
                path.unlink(missing_ok=True)
        for folder in self._folder.glob(".staging-*"):
            if folder != self.staging(keep):
                shutil.rmtree(folder, ignore_errors=True)

    def _open(self, name: str) -> Bundle | None:
        try:
            bundle = open_bundle(self.folder(name))
        except (BundleError, FormatError):
            return None
        return bundle if bundle.digest == self._state.slots[name].bundle_digest else None

    def _marked(self, mark: TrustMark | None) -> SlotState:
        """The state with a mark; the version counts on, unless other signers have begun a new count."""
        state = self._state
        if mark is None or mark.root_version < state.root_version:
            return state
        is_same_count = mark.signers == state.signers or not state.signers
        version = max(mark.metadata_version, state.metadata_version) if is_same_count else mark.metadata_version
        return replace(state, metadata_version=version, root_version=mark.root_version, signers=mark.signers)

    def _slots(self, name: str, slot: Slot) -> dict[str, Slot]:
        return self._state.slots | {name: slot}

    def _with_rejected(self, digest: str) -> tuple[str, ...]:
        others = tuple(item for item in self._state.rejected if item != digest)
        return (*others, digest)[-MAX_REJECTED:]

    def _clear(self, folder: Path) -> None:
        try:
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as cause:
            raise durable.storage_error(folder, cause) from cause

    def _load(self) -> SlotState:
        if not self._file.exists():
            return SlotState(slots={name: Slot() for name in NAMES})
        try:
            state = jsonvalue.load(SlotState, self._file.read_bytes(), where=str(self._file))
        except OSError as cause:
            raise FormatError(f"cannot read {self._file}: {(cause.strerror or '').lower()}") from cause
        except FormatError as error:
            raise FormatError(error.message, hint="delete it, and the device installs its bundle anew") from error
        if set(state.slots) != set(NAMES) or not {state.active, state.trial} <= {"", *NAMES}:
            hint = "delete it, and the device installs its bundle anew"
            raise FormatError(f"{self._file}: knows slots other than a and b", hint=hint)
        return state

    def _write(self, state: SlotState) -> None:
        durable.make_folder(self._folder)
        durable.write_bytes(self._file, jsonvalue.pretty_bytes(state), point="update.slots")
        self._state = state
