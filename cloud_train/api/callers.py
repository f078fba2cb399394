"""Who calls: programs show a token with every request, people's browsers the cookie that they got for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request

from cloud_train.api.parts import ConsoleParts
from cloud_train.api.session import COOKIE, SECURE_COOKIE, Claim, form_token, is_form_token, is_genuine, read_cookie
from cloud_train.errors import ForbiddenError, UnknownCallerError
from cloud_train.fleet_types import Person, Role
from edge.kiosk.refusals import RequestError

_LONGEST_TOKEN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A person before a page.

    Attributes:
        person: Who.
        form_token: What the forms of this session send back.
    """

    person: Person
    form_token: str

    def may(self, role: str) -> bool:
        """Whether the person may do what a role may, by its name."""
        return self.person.role.covers(Role(role))


class SignInNeededError(Exception):
    """A page is for people who are signed in."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def bearer(parts: ConsoleParts, role: Role) -> Callable[[Request], Person]:
    """A dependency: the person whose token a request shows, if that is enough.

    Args:
        parts: Knows people.
        role: The least role.
    """

    def caller(request: Request) -> Person:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        person = None
        if scheme.lower() == "bearer" and 0 < len(token.strip()) <= _LONGEST_TOKEN:
            person = authenticated(parts, request, token.strip())
        if person is None:
            raise UnknownCallerError("a token is needed", hint="send yours as 'Authorization: Bearer TOKEN'")
        require(person, role)
        return person

    return caller


def authenticated(parts: ConsoleParts, request: Request, token: str) -> Person | None:
    """Whose token this is, None for nobody's; wrong ones are counted by the address that they come from.

    Raises:
        RoadError: Too many wrong tokens from this address.
    """
    peer = request.client.host if request.client is not None else ""
    return parts.people.authenticate(token, now=parts.clock(), peer=peer)


def require(person: Person, role: Role) -> None:
    """Refuses somebody whose role is not enough.

    Raises:
        ForbiddenError: It is not.
    """
    if not person.role.covers(role):
        raise ForbiddenError(
            f"{person.name} is {person.role.value}, this needs {role.value}", hint="ask somebody who may, or an admin"
        )


def page_person(parts: ConsoleParts) -> Callable[[Request], SignedIn]:
    """A dependency: the person whose cookie a request shows."""

    def caller(request: Request) -> SignedIn:
        claim, person = _claimed(parts, request)
        if claim is None or person is None:
            query = f"?{request.url.query}" if request.url.query else ""
            raise SignInNeededError(request.url.path + query)
        return SignedIn(person=person, form_token=form_token(claim, key=parts.session_key))

    return caller


def check_form(parts: ConsoleParts, request: Request, given: str) -> None:
    """Refuses a form that did not come from a page of this session.

    Raises:
        RequestError: 403.
    """
    claim, _ = _claimed(parts, request)
    if claim is None or not is_form_token(given, claim, key=parts.session_key):
        raise RequestError(403, "this form is not of your present session; load the page again and repeat it")


def cookie_name(parts: ConsoleParts) -> str:
    """`__Host-…` over TLS, so that no other host of the domain can set it."""
    return SECURE_COOKIE if parts.is_tls else COOKIE


def sign_in_address(wanted: str) -> str:
    """Where one signs in, and comes back from to a page of ours."""
    return f"/sign-in?next={quote(own_path(wanted), safe='')}"


def own_path(wanted: str) -> str:
    """A path of this very server; the start page for anything else."""
    is_ours = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if is_ours and len(wanted) <= 2000 else "/"


def _claimed(parts: ConsoleParts, request: Request) -> tuple[Claim | None, Person | None]:
    claim = read_cookie(request.cookies.get(cookie_name(parts), ""))
    if claim is None:
        return None, None
    person = parts.people.find(claim.name)
    if person is None or not is_genuine(claim, person, key=parts.session_key, now=parts.clock()):
        return None, None
    return claim, person
