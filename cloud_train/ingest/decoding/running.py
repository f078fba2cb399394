"""A worker process: `edgeloop worker`, or the child of a server, which it tells what it has done."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from cloud_train.ingest.decoding.decoder import Decoder
from cloud_train.ingest.decoding.worker import DecodeWorker
from cloud_train.store.checks import SqlCheckStore
from cloud_train.store.opened import open_store
from edge import jsonvalue
from edge.errors import StorageError

POLL_S = 1.0
_PATIENCE_S = 10.0
_NICE = 10


def run_worker(store: Path, stop: threading.Event, *, once: bool = False, told: TextIO | None = None) -> None:
    """Decodes until told to stop; a store that is away for a while is waited for.

    Args:
        store: The store folder.
        stop: Set to end after the present picture.
        once: Whether to end when nothing waits any more.
        told: Gets a JSON line of `WorkerCounts` after each round that did something; None for nobody.

    Raises:
        StorageError: The store cannot be opened.
    """
    with open_store(store, must_exist=True) as opened, Decoder() as decoder:
        worker = DecodeWorker(SqlCheckStore(opened.database), opened.blobs, decoder, clock=time.time)
        while not stop.is_set():
            wait_s = _round(worker, told)
            if once and wait_s:
                return
            stop.wait(wait_s)


def run_as_child(store: Path) -> None:
    """Runs for a server until its end of the pipe closes, with a lower priority than what it serves."""
    os.nice(_NICE)
    stop = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # the server was killed: nobody is left to be told
        run_worker(store, stop, told=sys.stdout)


def _round(worker: DecodeWorker, told: TextIO | None) -> float:
    """One step; answers how long to wait before the next."""
    try:
        number = worker.step()
    except StorageError as error:
        print(f"edgeloop worker: {error}", file=sys.stderr, flush=True)
        return _PATIENCE_S
    if number and told is not None:
        print(jsonvalue.canonical_bytes(worker.counts).decode(), file=told, flush=True)
    return 0.0 if number else POLL_S
