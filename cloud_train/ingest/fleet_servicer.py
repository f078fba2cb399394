"""The service `Fleet`: identity, health up, what to run down. Nothing is decided here."""

from __future__ import annotations

from cloud_train.fleet.check_in import check_in
from cloud_train.fleet.enrolment import Enrolments
from cloud_train.ingest.callers import Context
from cloud_train.ingest.desk import Desk, mapped
from edge.errors import RefusedError
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


class FleetServicer(stubs.FleetServicer):
    """Health up, what to run down."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Enroll(self, request: wire.EnrollRequest, context: Context) -> wire.EnrollResponse:  # noqa: N802
        """A code for a certificate; the only call that needs none."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            code, device_id, csr_pem = convert.enroll_request_from_message(request)
            enrolments, peer, now = _required(desk.enrolments), context.peer(), desk.clock()
            enrolment = await desk.in_thread(
                lambda: enrolments.enroll(code, device_id, csr_pem, peer=peer, now=now),
            )
            return convert.enroll_response_to_message(enrolment)

    async def Renew(self, request: wire.RenewRequest, context: Context) -> wire.EnrollResponse:  # noqa: N802
        """The next certificate under the same name."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            csr_pem, now = convert.renew_request_from_message(request), desk.clock()
            enrolments = _required(desk.enrolments)
            enrolment = await desk.in_thread(
                lambda: enrolments.renew(caller.device_id, csr_pem, now=now, by=caller.fingerprint)
            )
            return convert.enroll_response_to_message(enrolment)

    async def CheckIn(self, request: wire.CheckInRequest, context: Context) -> wire.CheckInResponse:  # noqa: N802
        """One device, now."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            status = convert.check_in_request_from_message(request)
            caller.must_be(status.device_id)
            desk.pushes.ledger.call(caller)
            directive = await desk.in_thread(
                lambda: check_in(status, desk.check_ins, now=desk.clock(), takes_strangers=not caller.device_id)
            )
            return convert.check_in_response_to_message(directive)


def _required(enrolments: Enrolments | None) -> Enrolments:
    if enrolments is None:
        raise RefusedError(
            "this server speaks plaintext and gives no certificates", hint="start it without --plaintext"
        )
    return enrolments
