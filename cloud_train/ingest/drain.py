"""A stop in order: nothing new comes in, what has arrived gets its receipts, everybody is told when to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud_train.ingest.door import StoppingError

if TYPE_CHECKING:
    from cloud_train.ingest.desk import Desk


async def drain(desk: Desk) -> None:
    """Shuts the door and ends the pushes; they commit what is here and send the receipts before they end.

    Args:
        desk: Of the server that stops. Its port is closed afterwards, with the grace that its settings give.
    """
    door, streams = desk.door, tuple(desk.pushes.open)
    door.draining = True
    desk.journal.note("server", "server.draining", "server", pushes=str(len(streams)))
    for stream in streams:
        stream.end(StoppingError("the server is stopping", hint="offer again", retry_after_s=door.wait_s()))
