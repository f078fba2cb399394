"""Running workflows so that a killed process goes on where it was: the one place that starts DBOS.

State lies in one SQLite file, values in it are JSON. A workflow that ended in an error is started anew under the next
attempt number; its steps skip whatever already stands on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge import errors
from edge.durable import make_folder
from edge.errors import EdgeloopError
from edge.jsonvalue import Json


@contextmanager
def durable_runtime(database: Path) -> Iterator[None]:
    """Starts DBOS on `database`, picks up what a killed process left, and stops it at the end."""
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
            "executor_id": "local",
            "run_admin_server": False,
            "enable_otlp": False,
            "log_level": "CRITICAL",
            "notification_listener_polling_interval_sec": 0.05,
        }
    )
    DBOS.launch()
    try:
        yield
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


def _as_edgeloop_error(cause: Any) -> EdgeloopError:  # noqa: ANN401 - DBOS' own error type is private
    kind = getattr(errors, str(cause.name), EdgeloopError)
    raised = EdgeloopError(str(cause.message))
    raised.exit_code = getattr(kind, "exit_code", 1)
    return raised
