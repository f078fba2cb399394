"""Renews the certificate of a home once, as a process that may be killed.

    python renewal_life.py HOME KILL_AT_POINT

With KILL_AT_POINT n, the process ends itself by SIGKILL at the n-th durable write; 0 never. Says at the end how many
durable writes there were.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from outbox_life import kill_at

from edge import durable
from edge.identity.command import as_enrolled, client_identity, renewal_for
from edge.identity.store import IdentityStore
from edge.settings import AgentSettings
from edge.sync.grpc_transport import GrpcTransport

if __name__ == "__main__":
    home, at = Path(sys.argv[1]), int(sys.argv[2])
    settings = as_enrolled(AgentSettings(home=home))
    points: list[str] = []
    if at:
        kill_at(at)
    else:
        durable.observe(points.append)
    identity = IdentityStore(home).read()
    assert identity is not None
    late = identity.not_before + 0.9 * (identity.not_after - identity.not_before)
    road = GrpcTransport(settings.server, identity=client_identity(home))
    with contextlib.closing(road):
        renewal = renewal_for(settings, road, say=print, jitter=0.5)
        assert renewal is not None
        renewal.step(road, late)
    print(len(points), flush=True)
