"""The service `Fleet`: identity, health up, what to run down. Nothing is decided here."""

from __future__ import annotations

from cloud_train.ingest import handlers
from cloud_train.ingest.callers import Context
from cloud_train.ingest.desk import Desk, mapped
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


class FleetServicer(stubs.FleetServicer):
    """Health up, what to run down."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def CheckIn(self, request: wire.CheckInRequest, context: Context) -> wire.CheckInResponse:  # noqa: N802
        """One device, now."""
        desk = self._desk
        async with mapped(context):
            caller = await desk.gate.admit(context)
            status = convert.check_in_request_from_message(request)
            caller.must_be(status.device_id)
            directive = await desk.in_thread(
                lambda: handlers.check_in(
                    status, meta=desk.meta, repository=desk.repository, settings=desk.settings, now=desk.clock()
                )
            )
            return convert.check_in_response_to_message(directive)
