"""Running workflows so that a killed process goes on where it was: the one place that starts DBOS.

State lies in one SQLite file, values in it are JSON. A workflow that ended in an error is started anew under the next
attempt number; its steps skip whatever already stands on disk.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from cloud_train import errors as cloud_errors
from edge import errors
from edge.durable import make_folder
from edge.errors import EdgeloopError
from edge.jsonvalue import Json

EXIT_INTERRUPTED = 130


@contextmanager
def durable_runtime(database: Path, *, owner: str = "local") -> Iterator[None]:
    """Starts DBOS on `database`, picks up what a killed process left, and stops it at the end.

    Ctrl-C inside ends the process at once, with exit code 130.

    Args:
        database: The SQLite file with the state; made when missing.
        owner: Only what was started under the same owner is picked up.
    """
    from dbos import DBOS
    from dbos._serialization import DBOSPortableJSONSerializer

    make_folder(database.parent)
    logging.getLogger("dbos").setLevel(logging.CRITICAL)
    DBOS(
        config={
            "name": "edgeloop",
            "system_database_url": f"sqlite:///{database.resolve()}",
            "serializer": DBOSPortableJSONSerializer(),
            "application_version": "1",
            "executor_id": owner,
            "run_admin_server": False,
            "enable_otlp": False,
            "log_level": "CRITICAL",
            "notification_listener_polling_interval_sec": 0.05,
        }
    )
    try:
        DBOS.launch()
        yield
    except KeyboardInterrupt:
        _end_interrupted()
    finally:
        DBOS.destroy()


def run_workflow(workflow: Callable[..., Any], name: str, argument: Json) -> Json:
    """Runs `workflow(argument)` to its end, or goes on with the run of that name that a killed process left.

    Args:
        workflow: A function registered with DBOS.
        name: Names the run; the same name never runs twice, only on.
        argument: JSON input.

    Raises:
        EdgeloopError: A step failed for a reason that a person can act on.
    """
    from dbos import DBOS, SetWorkflowID
    from dbos._serialization import PortableWorkflowError

    attempt = 1
    while (status := DBOS.get_workflow_status(f"{name}-{attempt}")) is not None and status.status in (
        "ERROR",
        "CANCELLED",
        "MAX_RECOVERY_ATTEMPTS_EXCEEDED",
    ):
        attempt += 1
    with SetWorkflowID(f"{name}-{attempt}"):
        handle = DBOS.start_workflow(workflow, argument)
    try:
        result: Json = handle.get_result(polling_interval_sec=0.1)
    except PortableWorkflowError as cause:
        raise _as_edgeloop_error(cause) from cause
    return result


def _end_interrupted() -> NoReturn:
    """Leaves without waiting for the running step, which may be deep in native code in another thread for minutes.

    Nothing of it needs more than what is on disk: it ends as if killed, and the next start goes on.
    """
    sys.stdout.flush()
    print("edgeloop: stopped; the same command goes on from here", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)


def _as_edgeloop_error(cause: Any) -> EdgeloopError:  # noqa: ANN401 - DBOS' own error type is private
    """The error of a step that ran before this process took over; DBOS kept its name and its one line."""
    name, line = str(cause.name), str(cause.message)
    kind = getattr(errors, name, None) or getattr(cloud_errors, name, None)
    raised = EdgeloopError(line if kind else f"{name}: {line}")
    raised.exit_code = getattr(kind, "exit_code", 1)
    return raised
