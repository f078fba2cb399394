"""The console of a filled store, served on a free port; prints the port. For `benchmarks.fleet_pages`.

python -m benchmarks.workers.fleet_console DATABASE
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from cloud_train.api.app import add_console
from cloud_train.api.console import console_parts
from cloud_train.store.database import open_database
from edge.kiosk.server import listening_socket

KEY = b"k" * 32
_MUCH = 10_000_000


def main(where: str) -> None:
    """Serves until it is ended."""
    database = open_database(where if "://" in where else Path(where))
    parts = console_parts(
        database, session_key=KEY, channel="stable", check_in_s=30.0, per_minute=_MUCH, sign_ins_per_minute=_MUCH
    )
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    add_console(app, parts)
    listener = listening_socket("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main(sys.argv[1])
