"""The pages: fleet, devices, one device, audit; and the way in and out."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from cloud_train.api import acts
from cloud_train.api.asked import (
    Begin,
    Bundle,
    DeviceId,
    Label,
    Text,
    device_filter,
    read_after,
    read_labels,
    write_after,
)
from cloud_train.api.callers import SignedIn, authenticated, check_form, cookie_name, own_path, page_person, require
from cloud_train.api.chart import hour_chart
from cloud_train.api.drift_desk import drift_sides
from cloud_train.api.parts import ConsoleParts
from cloud_train.api.rendering import page, path_part
from cloud_train.api.routes import HOURS
from cloud_train.api.schemas import MOST_REASON
from cloud_train.api.session import LASTS_S, NONCE_BYTES, make_cookie
from cloud_train.fleet_types import Role
from cloud_train.store.device_rows import Health, Sort
from edge.kiosk.refusals import RequestError

STATIC = Path(__file__).parent / "static"
MOST_BUNDLES = 12
FormToken = Annotated[str, Form(max_length=128)]
ReasonField = Annotated[str, Form(max_length=MOST_REASON)]


def make_pages(parts: ConsoleParts) -> APIRouter:
    """All pages but those of rollouts.

    Args:
        parts: What they work with.
    """
    router = APIRouter(include_in_schema=False)
    person = Depends(page_person(parts))
    _add_door(router, parts)
    _add_overview(router, parts, person)
    _add_devices(router, parts, person)
    _add_device_forms(router, parts, person)
    _add_audit(router, parts, person)
    return router


def _add_door(router: APIRouter, parts: ConsoleParts) -> None:
    @router.get("/sign-in")
    def sign_in_page(wanted: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> Response:
        return page("sign_in.html", who=None, now=parts.clock(), wanted=own_path(wanted), message="")

    @router.post("/sign-in")
    def sign_in(
        request: Request,
        token: Annotated[str, Form(max_length=512)] = "",
        wanted: Annotated[str, Form(alias="next", max_length=2000)] = "/",
    ) -> Response:
        person = authenticated(parts, request, token.strip()) if token.strip() else None
        if person is None:
            message = "This token is not known, or was revoked."
            shown = {"wanted": own_path(wanted), "message": message}
            return page("sign_in.html", who=None, now=parts.clock(), status=401, **shown)
        nonce = secrets.token_hex(NONCE_BYTES)
        cookie = make_cookie(person, key=parts.session_key, nonce=nonce, now=parts.clock())
        reply = RedirectResponse(own_path(wanted), 303)
        reply.set_cookie(cookie_name(parts), cookie, max_age=int(LASTS_S), **_cookie_rules(parts))
        return reply

    @router.post("/sign-out")
    def sign_out(request: Request, form_token: FormToken = "") -> Response:
        check_form(parts, request, form_token)
        reply = RedirectResponse("/sign-in", 303)
        reply.delete_cookie(cookie_name(parts), **_cookie_rules(parts))
        return reply

    @router.get("/console/style.css")
    def style() -> Response:
        return FileResponse(STATIC / "style.css", headers={"cache-control": "public, max-age=300"})

    @router.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", headers={"cache-control": "public, max-age=86400"})


def _cookie_rules(parts: ConsoleParts) -> dict[str, Any]:
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": parts.is_tls}


def _add_overview(router: APIRouter, parts: ConsoleParts, signed_in: Any) -> None:  # noqa: ANN401 - of FastAPI
    @router.get("/")
    def overview(who: SignedIn = signed_in) -> Response:
        now = parts.clock()
        counts = parts.counts.fleet(now=now)
        names = parts.devices.bundle_names([one.bundle_digest for one in counts.value.bundles[:MOST_BUNDLES]])
        drift = parts.drift.reports_so_far(now=now)
        rollouts = parts.rollouts.newest(limit=5)
        shown = {
            "counts": counts.value,
            "counted_at": counts.at,
            "names": names,
            "rollouts": rollouts,
            "most_bundles": MOST_BUNDLES,
            "drift": drift,
            "sides": drift_sides,
        }
        return page("overview.html", who=who, now=now, here="fleet", **shown)


def _add_devices(router: APIRouter, parts: ConsoleParts, signed_in: Any) -> None:  # noqa: ANN401
    @router.get("/devices")
    def devices(
        text: Text = "",
        label: Label = "",
        bundle: Bundle = "",
        health: Annotated[str, Query(max_length=16)] = "",
        sort: Sort = Sort.NAME,
        after: Begin = "",
        who: SignedIn = signed_in,
    ) -> Response:
        now = parts.clock()
        wanted = device_filter(text, label, bundle, _health(health))
        found = parts.devices.page(wanted, sort=sort, after=read_after(after, sort), now=now)
        total = parts.counts.total(wanted, now=now)
        names = parts.devices.bundle_names([row.bundle_digest for row in found.rows if row.bundle_digest])
        asked = {"text": text, "label": label, "bundle": bundle, "health": health, "sort": sort.value}
        shown = {
            "found": found,
            "total": total,
            "names": names,
            "asked": asked,
            "next": write_after(found.next),
            "healths": Health,
        }
        return page("devices.html", who=who, now=now, here="devices", sort=sort, after=after, **shown)

    @router.get("/devices/{device_id}")
    def device(device_id: DeviceId, who: SignedIn = signed_in) -> Response:
        now = parts.clock()
        detail = parts.devices.find(device_id, now=now)
        if detail is None:
            raise acts.no_device(device_id)
        last = int(now // 3600)
        hours = parts.devices.hours(device_id, since=last - HOURS + 1)
        digests = {detail.row.bundle_digest, detail.row.pinned, *(hour.bundle_digest for hour in hours)} - {""}
        shown = {
            "detail": detail,
            "chart": hour_chart(hours, last=last, num_hours=HOURS),
            "hours": hours,
            "names": parts.devices.bundle_names(sorted(digests)),
            "bundles": parts.devices.newest_bundles(limit=50),
            "history": parts.audit.page(subject=f"device:{device_id}").entries,
        }
        return page("device.html", who=who, now=now, here="devices", **shown)


def _health(word: str) -> Health | None:
    if not word:
        return None
    try:
        return Health(word)
    except ValueError as cause:
        raise RequestError(422, f"health: must be one of {', '.join(one.value for one in Health)}") from cause


def _add_device_forms(router: APIRouter, parts: ConsoleParts, signed_in: Any) -> None:  # noqa: ANN401
    def done(device_id: str) -> Response:
        return RedirectResponse(f"/devices/{path_part(device_id)}", 303)

    def allow(request: Request, who: SignedIn, form_token: str, role: Role) -> None:
        check_form(parts, request, form_token)
        require(who.person, role)

    @router.post("/devices/{device_id}/pin")
    def pin(
        request: Request,
        device_id: DeviceId,
        form_token: FormToken = "",
        bundle_digest: Annotated[str, Form(pattern=r"^([0-9a-f]{64})?$")] = "",
        who: SignedIn = signed_in,
    ) -> Response:
        allow(request, who, form_token, Role.OPERATOR)
        acts.pin(parts, who.person, device_id, bundle_digest)
        return done(device_id)

    @router.post("/devices/{device_id}/hold")
    def hold(
        request: Request,
        device_id: DeviceId,
        form_token: FormToken = "",
        held: Annotated[str, Form(pattern=r"^(yes|no)$")] = "yes",
        who: SignedIn = signed_in,
    ) -> Response:
        allow(request, who, form_token, Role.OPERATOR)
        acts.hold(parts, who.person, device_id, held=held == "yes")
        return done(device_id)

    @router.post("/devices/{device_id}/labels")
    def labels(
        request: Request,
        device_id: DeviceId,
        form_token: FormToken = "",
        labels: Annotated[str, Form(max_length=12_000)] = "",
        who: SignedIn = signed_in,
    ) -> Response:
        allow(request, who, form_token, Role.OPERATOR)
        acts.label(parts, who.person, device_id, read_labels(labels))
        return done(device_id)

    @router.post("/devices/{device_id}/revoke")
    def revoke(
        request: Request,
        device_id: DeviceId,
        form_token: FormToken = "",
        reason: ReasonField = "",
        who: SignedIn = signed_in,
    ) -> Response:
        allow(request, who, form_token, Role.ADMIN)
        acts.revoke(parts, who.person, device_id, " ".join(reason.split()))
        return done(device_id)

    @router.post("/devices/{device_id}/readmit")
    def readmit(
        request: Request,
        device_id: DeviceId,
        form_token: FormToken = "",
        reason: ReasonField = "",
        who: SignedIn = signed_in,
    ) -> Response:
        allow(request, who, form_token, Role.ADMIN)
        acts.readmit(parts, who.person, device_id, " ".join(reason.split()))
        return done(device_id)


def _add_audit(router: APIRouter, parts: ConsoleParts, signed_in: Any) -> None:  # noqa: ANN401
    @router.get("/audit")
    def audit(
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
        subject: Annotated[str, Query(max_length=600, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
        action: Annotated[str, Query(max_length=64, pattern=r"^[a-z0-9._-]*$")] = "",
        who: SignedIn = signed_in,
    ) -> Response:
        found = parts.audit.page(before=before, subject=subject.strip(), action=action.strip())
        asked = {"subject": subject, "action": action}
        return page("audit.html", who=who, now=parts.clock(), here="audit", found=found, asked=asked, before=before)
