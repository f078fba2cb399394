"""A running server and the roads to it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pushing import Road
from serving import Finished

from cloud_train.ingest.server import running_server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_road(store: Path) -> Iterator[Callable[..., Road]]:
    """`open_road(**settings) -> Road` starts a server on `store` and connects to it."""
    with ExitStack() as stack:

        def open_(**settings: object) -> Road:
            info = stack.enter_context(running_server(store, **settings))
            return stack.enter_context(Road(info.target, store))

        yield open_


@pytest.fixture
def road(open_road: Callable[..., Road]) -> Road:
    return open_road()


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Finished]]:
    """`run_here("publish", folder, …) -> Finished` runs the `edgeloop` command inside this process."""
    from cloud_train.cli import main

    kept = logging.root.handlers[:]

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["edgeloop", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Finished(end.value.code, *capsys.readouterr())

    yield run
    logging.root.handlers[:] = kept
