"""What `edgeloop device tune` does, as a plain function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.bundle.manifest import Verdict
from edge.bundle.reader import Bundle
from edge.errors import BundleError, UsageError
from edge.tune.choice import remember_choice
from edge.tune.tuner import this_device, tune
from edge.tune.types import TuneResult
from edge.update.selftest import hardware_fingerprint

Say = Callable[[str], None]


def tune_and_remember(
    bundle: Bundle,
    *,
    out: Path | None,
    budget_s: float,
    libraries: tuple[str, ...] = (),
    max_threads: int | None = None,
    allow_unproven: bool = False,
    say: Say,
) -> TuneResult:
    """Tries every way to run a bundle here, and writes the fastest right one down.

    Args:
        bundle: An open bundle.
        out: The file that remembers; None to remember nothing.
        budget_s: Seconds of measuring, shared out among the stages.
        libraries: Paths of external delegates for LiteRT.
        max_threads: How many threads and copies are tried at most; None for one a processor.
        allow_unproven: Try a bundle without a passed proof all the same.
        say: Told in one line what a person should know.

    Raises:
        BundleError: The bundle is unproven.
        UsageError: A library is missing, or a limit makes no sense.
        SelfTestError: No candidate gives the golden outputs.
        MissingExtraError: No runtime for a stage is installed.
        StorageError: The file cannot be written.
    """
    if bundle.manifest.proof.verdict not in (Verdict.PASS, Verdict.UNDECIDED) and not allow_unproven:
        raise BundleError(
            f"{bundle.folder}: bundle {bundle.manifest.name!r} is not proven", hint="prove it, or pass --allow-unproven"
        )
    for library in libraries:
        if not Path(library).is_file():
            raise UsageError(f"no delegate library {library}")
    result = tune(
        bundle,
        fingerprint=hardware_fingerprint(),
        budget_s=budget_s,
        device=this_device(libraries=libraries, max_threads=max_threads),
        say=say,
    )
    if out is not None:
        remember_choice(out, result.choice, say=say)
    return result
