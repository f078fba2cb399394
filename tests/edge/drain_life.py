"""Empties an outbox over the road, as a process that may be killed.

    python drain_life.py OUTBOX TARGET KILL_AT_POINT

With KILL_AT_POINT n, the process ends itself by SIGKILL at the n-th durable write; 0 never. Says `ready` before it
begins, and at the end what it has done.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from outbox_life import kill_at

from edge.outbox.sqlite import SqliteOutbox
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.uploader import drain

if __name__ == "__main__":
    outbox = SqliteOutbox(Path(sys.argv[1]))
    transport = GrpcTransport(sys.argv[2])
    print("ready", flush=True)
    kill_at(int(sys.argv[3]))
    print(drain(outbox, transport, now=time.time, batch=12, lease_s=0.0), flush=True)
    transport.close()
    outbox.close()
