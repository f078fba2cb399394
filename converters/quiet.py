"""Keeps the conversion libraries from talking over our own progress bar and error line."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Swallows what libraries print and warn of: progress of their own and deprecations no caller can act on.

    What a library has to say that matters comes as an exception. Streams that were opened before (log handlers, a
    progress bar with its own handle) keep writing.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # says so on stderr at import otherwise
    torch_log = logging.getLogger("torch")
    level = torch_log.level
    torch_log.setLevel(logging.ERROR)
    nowhere = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch_log.setLevel(level)


@contextlib.contextmanager
def muted_stderr() -> Iterator[None]:
    """Sends the process's stderr nowhere, for compiled code that writes past Python. Keep what it encloses short."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
