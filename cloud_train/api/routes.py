"""The routes of the API: `/api/v1/…`, JSON in and out, a bearer token with every request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from cloud_train.api import acts
from cloud_train.api.asked import (
    Begin,
    Bundle,
    DeviceId,
    Label,
    RolloutId,
    Text,
    device_filter,
    read_after,
    write_after,
)
from cloud_train.api.callers import bearer
from cloud_train.api.drift_desk import drift_sides
from cloud_train.api.parts import ConsoleParts
from cloud_train.api.schemas import (
    ActResponse,
    AuditModel,
    AuditResponse,
    CheckModel,
    DeviceModel,
    DeviceResponse,
    DevicesResponse,
    DeviceStatusModel,
    DifferenceModel,
    DriftModel,
    DriftResponse,
    DriftSideModel,
    FigureModel,
    HoldRequest,
    HourModel,
    LabelsRequest,
    MemberResponse,
    OverviewResponse,
    PersonResponse,
    PinRequest,
    ReasonRequest,
    RingModel,
    RolloutModel,
    RolloutResponse,
    RolloutsResponse,
)
from cloud_train.fleet.acts import Act
from cloud_train.fleet.drift_report import DriftReport
from cloud_train.fleet_types import Member, Person, Role, Rollout
from cloud_train.store.device_rows import PAGE_SIZE, Health, Sort
from cloud_train.store.rows import fields_of

HOURS = 48
MOST_ROLLOUTS = 100
Size = Annotated[int, Query(ge=1, le=1000, description="Most on a page.")]


def make_api(parts: ConsoleParts) -> APIRouter:
    """All routes of the API.

    Args:
        parts: What they work with.
    """
    router = APIRouter(prefix="/api/v1")
    viewer, operator, admin = (Depends(bearer(parts, role)) for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN))
    _add_device_reads(router, parts, viewer)
    _add_device_acts(router, parts, operator, admin)
    _add_rollouts(router, parts, viewer, operator)
    _add_rest(router, parts, viewer)
    return router


def _add_device_reads(router: APIRouter, parts: ConsoleParts, viewer: Any) -> None:  # noqa: ANN401 - of FastAPI
    @router.get("/devices", dependencies=[viewer])
    def devices(
        text: Text = "",
        label: Label = "",
        bundle: Bundle = "",
        health: Health | None = None,
        sort: Sort = Sort.NAME,
        after: Begin = "",
        size: Size = PAGE_SIZE,
    ) -> DevicesResponse:
        """A page of devices."""
        wanted = device_filter(text, label, bundle, health)
        now = parts.clock()
        page = parts.devices.page(wanted, sort=sort, after=read_after(after, sort), now=now, size=size)
        total = parts.counts.total(wanted, now=now)
        rows = [DeviceModel(**fields_of(row)) for row in page.rows]
        return DevicesResponse(devices=rows, total=total.value, counted_at=total.at, next=write_after(page.next))

    @router.get("/devices/{device_id}", dependencies=[viewer])
    def device(device_id: DeviceId) -> DeviceResponse:
        """All about one device."""
        now = parts.clock()
        detail = parts.devices.find(device_id, now=now)
        if detail is None:
            raise acts.no_device(device_id)
        hours = parts.devices.hours(device_id, since=int(now // 3600) - HOURS + 1)
        history = parts.audit.page(subject=f"device:{device_id}")
        return DeviceResponse(
            device=DeviceModel(**fields_of(detail.row)),
            enrolled_at=detail.enrolled_at,
            revoked_at=detail.revoked_at,
            update_windows=detail.update_windows,
            status=DeviceStatusModel(**fields_of(detail.status)) if detail.status is not None else None,
            hours=[HourModel(**fields_of(hour)) for hour in hours],
            history=[AuditModel(**fields_of(entry)) for entry in history.entries],
        )


def _add_device_acts(router: APIRouter, parts: ConsoleParts, operator: Any, admin: Any) -> None:  # noqa: ANN401
    @router.post("/devices/{device_id}/pin")
    def pin(device_id: DeviceId, asked: PinRequest, person: Person = operator) -> MemberResponse:
        """Pins a device to a bundle, or lets it go."""
        return _member(acts.pin(parts, person, device_id, asked.bundle_digest))

    @router.post("/devices/{device_id}/hold")
    def hold(device_id: DeviceId, asked: HoldRequest, person: Person = operator) -> MemberResponse:
        """Keeps a device on what it runs, or lets it go."""
        return _member(acts.hold(parts, person, device_id, held=asked.held))

    @router.post("/devices/{device_id}/labels")
    def labels(device_id: DeviceId, asked: LabelsRequest, person: Person = operator) -> MemberResponse:
        """Replaces the labels of a device."""
        return _member(acts.label(parts, person, device_id, asked.labels))

    @router.post("/devices/{device_id}/revoke")
    def revoke(device_id: DeviceId, asked: ReasonRequest, person: Person = admin) -> MemberResponse:
        """Shuts a device out."""
        return _member(acts.revoke(parts, person, device_id, asked.reason))

    @router.post("/devices/{device_id}/readmit")
    def readmit(device_id: DeviceId, asked: ReasonRequest, person: Person = admin) -> MemberResponse:
        """Lets a revoked device in again."""
        return _member(acts.readmit(parts, person, device_id, asked.reason))


def _add_rollouts(router: APIRouter, parts: ConsoleParts, viewer: Any, operator: Any) -> None:  # noqa: ANN401
    @router.get("/rollouts", dependencies=[viewer])
    def rollouts() -> RolloutsResponse:
        """The newest rollouts."""
        return RolloutsResponse(rollouts=[_rollout(one) for one in parts.rollouts.newest(limit=MOST_ROLLOUTS)])

    @router.get("/rollouts/{rollout_id}", dependencies=[viewer])
    def rollout(rollout_id: RolloutId) -> RolloutResponse:
        """How a rollout goes."""
        found = parts.rollouts.find(rollout_id)
        if found is None:
            raise acts.no_rollout(rollout_id)
        view = parts.rollouts.view(found, now=parts.clock())
        return RolloutResponse(
            rollout=_rollout(found),
            devices=view.devices,
            rings=[RingModel(**fields_of(ring)) for ring in view.rings],
            figures=[FigureModel(**fields_of(figure)) for figure in view.figures],
            checks=[CheckModel(**fields_of(check)) for check in view.checks],
            next_action=view.next_action,
            next_reason=view.next_reason,
            counted_at=view.at,
            waits_for_publisher=view.waits_for_publisher,
            differences=[DifferenceModel(**fields_of(one)) for one in view.differences],
            notes=list(view.notes),
        )

    @router.post("/rollouts/{rollout_id}/{act}")
    def move(rollout_id: RolloutId, act: Act, asked: ReasonRequest, person: Person = operator) -> ActResponse:
        """Advances, pauses, resumes, halts, rolls back or finishes a rollout."""
        return ActResponse(act=act, rollout=_rollout(acts.move(parts, person, rollout_id, act, asked.reason)))


def _add_rest(router: APIRouter, parts: ConsoleParts, viewer: Any) -> None:  # noqa: ANN401
    @router.get("/overview", dependencies=[viewer])
    def overview() -> OverviewResponse:
        """Every device, counted."""
        aged = parts.counts.fleet(now=parts.clock())
        counts = aged.value
        return OverviewResponse(
            devices=counts.devices,
            health=dict(counts.health),
            bundles={count.bundle_digest: count.devices for count in counts.bundles},
            outbox_pending=counts.outbox_pending,
            counted_at=aged.at,
        )

    @router.get("/drift", dependencies=[viewer])
    def drift() -> DriftResponse:
        """How far the field has moved from what the bundles that most devices run expect."""
        aged = parts.drift.reports(now=parts.clock())
        return DriftResponse(bundles=[_drift(report) for report in aged.value], counted_at=aged.at)

    @router.get("/audit", dependencies=[viewer])
    def audit(
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
        subject: Annotated[str, Query(max_length=600, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
        action: Annotated[str, Query(max_length=64, pattern=r"^[a-z0-9._-]*$")] = "",
        size: Size = PAGE_SIZE,
    ) -> AuditResponse:
        """A page of the audit."""
        page = parts.audit.page(before=before, subject=subject, action=action, size=size)
        return AuditResponse(entries=[AuditModel(**fields_of(entry)) for entry in page.entries], next=page.next)

    @router.get("/me")
    def me(person: Person = viewer) -> PersonResponse:
        """Who the token belongs to."""
        return PersonResponse(name=person.name, role=person.role)


def _drift(report: DriftReport) -> DriftModel:
    sides = [DriftSideModel(by=side.by, **fields_of(side.drift)) for side in drift_sides(report)]
    return DriftModel(
        bundle_digest=report.bundle_digest,
        devices=report.devices,
        hours=report.hours,
        against=report.against,
        sides=sides,
    )


def _member(member: Member) -> MemberResponse:
    return MemberResponse(
        device_id=member.device_id,
        labels=member.labels,
        channel=member.channel,
        pinned=member.pinned,
        held=member.held,
        revoked_at=member.revoked_at,
    )


def _rollout(rollout: Rollout) -> RolloutModel:
    fields = {name: value for name, value in fields_of(rollout).items() if name != "plan"}
    return RolloutModel(**fields, num_rings=len(rollout.plan.rings))
