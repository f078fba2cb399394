"""What an earlier trial has found for a bundle on this device, ready for `open_engine(choices=…)`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.bundle.reader import Bundle
from edge.errors import FormatError
from edge.loading import StageChoice
from edge.tune.choice import load_choice, stage_choices
from edge.update.selftest import hardware_fingerprint


def recall(
    path: Path, bundle: Bundle, *, say: Callable[[str], None] = lambda line: None
) -> tuple[StageChoice, ...] | None:
    """Looks a bundle up in the file that `edgeloop device tune` writes.

    Args:
        path: The file; it need not exist.
        bundle: An open bundle.
        say: Told in one line when the file cannot be used.

    Returns:
        None where there was no trial of this bundle with this hardware and these runtimes.
    """
    if not path.exists():
        return None
    choice = load_choice(path, bundle.digest, hardware_fingerprint(), say=say)
    if choice is None:
        return None
    try:
        return stage_choices(choice, bundle)
    except FormatError as error:
        say(f"{path}: {error}")
        return None
