"""The pages of rollouts: all of them, and one with its rings, its figures and its buttons."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from cloud_train.api import acts
from cloud_train.api.asked import RolloutId
from cloud_train.api.callers import SignedIn, check_form, page_person, require
from cloud_train.api.pages import FormToken, ReasonField
from cloud_train.api.parts import ConsoleParts
from cloud_train.api.rendering import page
from cloud_train.api.routes import MOST_ROLLOUTS
from cloud_train.errors import RolloutError
from cloud_train.fleet.acts import Act, moved
from cloud_train.fleet_types import Role, Rollout


def make_rollout_pages(parts: ConsoleParts) -> APIRouter:
    """All pages of rollouts.

    Args:
        parts: What they work with.
    """
    router = APIRouter(include_in_schema=False)
    signed_in = Depends(page_person(parts))

    @router.get("/rollouts")
    def rollouts(who: SignedIn = signed_in) -> Response:
        found = parts.rollouts.newest(limit=MOST_ROLLOUTS)
        names = parts.devices.bundle_names([digest for one in found for digest in _digests(one)])
        return page("rollouts.html", who=who, now=parts.clock(), here="rollouts", rollouts=found, names=names)

    @router.get("/rollouts/{rollout_id}")
    def rollout(rollout_id: RolloutId, who: SignedIn = signed_in) -> Response:
        found = parts.rollouts.find(rollout_id)
        if found is None:
            raise acts.no_rollout(rollout_id)
        shown = {
            "view": parts.rollouts.view(found, now=parts.clock()),
            "names": parts.devices.bundle_names(_digests(found)),
            "acts": possible_acts(found),
            "history": parts.audit.page(subject=f"rollout:{rollout_id}").entries,
        }
        return page("rollout.html", who=who, now=parts.clock(), here="rollouts", **shown)

    @router.post("/rollouts/{rollout_id}/{act}")
    def move(
        request: Request,
        rollout_id: RolloutId,
        act: Act,
        form_token: FormToken = "",
        reason: ReasonField = "",
        who: SignedIn = signed_in,
    ) -> Response:
        check_form(parts, request, form_token)
        require(who.person, Role.OPERATOR)
        acts.move(parts, who.person, rollout_id, act, " ".join(reason.split()))
        return RedirectResponse(f"/rollouts/{rollout_id}", 303)

    return router


def possible_acts(rollout: Rollout) -> tuple[Act, ...]:
    """What may be done to a rollout where it stands."""
    return tuple(act for act in Act if _may(rollout, act))


def _may(rollout: Rollout, act: Act) -> bool:
    try:
        moved(rollout, act, now=rollout.ring_since, reason="")
    except RolloutError:
        return False
    return True


def _digests(rollout: Rollout) -> list[str]:
    return [digest for digest in (rollout.bundle_digest, rollout.base_digest) if digest]
