"""Logging in through an identity provider, and linking people with it.

Who comes is known by the provider's own name of them (`iss` and `sub`), never by an address or
by a name that somebody could take there. An account that is here already is never taken over:
its owner links it, or an administrator.
"""

import hmac
import logging
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection

from muster.authority import chain, directory, id_tokens, identities, mapping, store
from muster.authority.mapping import Seen
from muster.authority.part import SERVER, Tools, address_of, digest
from muster.authority.passkeys import PasskeyCalls
from muster.authority.provider import Provider
from muster.authority.users import UserCalls
from muster.authority.waiting import Waiting
from muster.contracts.authority import Origin
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import (
    Conflict,
    Denied,
    Expired,
    MusterError,
    NotFound,
    Unavailable,
)
from muster.contracts.oidc import (
    FINISH_OIDC,
    LINK_OIDC,
    LINK_USER,
    MY_IDENTITY,
    START_OIDC,
    WAYS,
    FinishOidc,
    Identity,
    LinkOidc,
    LinkUser,
    OidcFinished,
    OidcStarted,
    StartOidc,
    Ways,
)
from muster.contracts.people import RightsChanged
from muster.kit.bus import Caller, answers

log = logging.getLogger(__name__)

CALLBACK: Final = "/login/oidc/callback"
_LIVES: Final = timedelta(minutes=10)
_STRANGER: Final = "@stranger"
"""Who, in the audit, has not shown yet who they are."""


@dataclass(frozen=True, slots=True)
class _Away:
    """Somebody who is at the provider."""

    browser: str
    """SHA-256 of what the browser keeps."""
    nonce: str
    verifier: str
    next: str
    person: str = ""
    """Whom to link; nobody, if it is a login."""
    session: str = ""
    """The session that asked for the link."""


class OidcCalls(PasskeyCalls, UserCalls):
    """The way in through the provider."""

    def __init__(self, tools: Tools) -> None:
        """Wait for nobody yet."""
        super().__init__(tools)
        self._provider = Provider(tools.settings) if tools.settings.oidc_issuer else None
        self._away: Waiting[_Away] = Waiting(_LIVES)

    @answers(WAYS)
    async def ways(self, ask: Nothing, caller: Caller) -> Ways:  # noqa: ARG002
        """Tell how people may log in besides with a password."""
        name = self._provider.name if self._provider else ""
        return Ways(provider=name, passkeys=not self.trouble_with_passkeys())

    @answers(START_OIDC)
    async def start_oidc(self, ask: StartOidc, caller: Caller) -> OidcStarted:  # noqa: ARG002
        """Send a browser to the provider."""
        return await self._send(ask.next)

    @answers(LINK_OIDC)
    async def link_oidc(self, ask: LinkOidc, caller: Caller) -> OidcStarted:
        """Send the caller's browser to the provider, to be linked with who logs in there."""
        await self.proven(caller, ask.password)
        row = await self.tools.db.read(lambda conn: self.session_of(conn, caller))
        return await self._send(ask.next, caller.name, str(row.id))

    async def _send(self, target: str, person: str = "", session: str = "") -> OidcStarted:
        provider = self._known()
        state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
        away = _Away(digest(browser), digest(nonce), verifier, target, person, session)
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
        url = await provider.page(
            self._redirect, state=state, nonce=nonce, code_challenge=challenge
        )
        expires = self._away.put(state, away, self.tools.now())
        return OidcStarted(url=url, browser=browser, expires=expires)

    @property
    def _redirect(self) -> str:
        base = self.tools.settings.public_url
        if not base:
            raise Unavailable("the setting public_url of the authority has to be set")
        return f"{base.rstrip('/')}{CALLBACK}"

    def _known(self) -> Provider:
        if self._provider is None:
            raise NotFound("this server knows no identity provider: see the setting oidc_issuer")
        return self._provider

    @answers(FINISH_OIDC)
    async def finish_oidc(self, ask: FinishOidc, caller: Caller) -> OidcFinished:  # noqa: ARG002
        """Let in who comes back from the provider, or link them."""
        provider = self._known()
        away = self._away.take(ask.state, self.tools.now())
        who = away.person if away else ""
        try:
            if away is None:
                raise Expired("this login has taken too long, or was used: begin again")
            found = await self._ask_provider(provider, ask, away)
            who = who or f"{found.name} ({found.subject})"
            return await self._enter(provider, found, away, ask.origin)
        except MusterError as error:
            detail = f"by {provider.name}: {error}"
            await self.note(who or _STRANGER, "login", "refused", ask.origin.address, detail)
            raise

    async def _ask_provider(self, provider: Provider, ask: FinishOidc, away: _Away) -> Seen:
        """Return who has come, if the provider says so to us, now, for this browser."""
        if not hmac.compare_digest(digest(ask.browser), away.browser):
            raise Denied("this login was begun in another browser: begin again in this one")
        if ask.error or not ask.code:
            raise Denied(f"{provider.name} says no: {ask.error or 'it sent no code'}")
        settings, now = self.tools.settings, self.tools.now()
        tokens = await provider.redeem(ask.code, away.verifier, self._redirect)
        fits = {"issuer": provider.issuer, "us": provider.client_id, "nonce": away.nonce}
        try:
            keys = await provider.keys()
            claims = id_tokens.claims_of(tokens.id_token, keys, **fits, now=now)
        except id_tokens.StrangeKeyError:
            keys = await provider.keys(anew=True)
            claims = id_tokens.claims_of(tokens.id_token, keys, **fits, now=now)
        groups = id_tokens.groups_of(claims, settings.oidc_group_claim)
        if groups is None:  # many tell them only there
            more = await provider.about(tokens.access_token)
            same = more.get("sub") == claims["sub"]
            groups = id_tokens.groups_of(more, settings.oidc_group_claim) if same else None
        return mapping.seen(claims, groups or [], settings.oidc_roles)

    async def _enter(
        self, provider: Provider, found: Seen, away: _Away, origin: Origin
    ) -> OidcFinished:
        def enter(conn: Connection) -> tuple[OidcFinished | None, RightsChanged | None]:
            now = self.tools.now()
            if away.person:
                self._link(conn, provider, found, away, origin)
            name = self._person(conn, provider, found, now)
            change = self._follow(conn, name, provider, found, now)
            if away.person:
                return OidcFinished(next=away.next), change
            row = directory.person(conn, name)
            if row is None or not directory.roles_of(conn, row):
                return None, change  # what was taken stays taken
            session = self.begin_or_half(conn, name, origin, f"by {provider.name}")
            return OidcFinished(session=session, next=away.next), change

        done, change = await self.tools.db.write(enter)
        await self.tell(change)
        if done is None:
            raise Denied(_no_role(provider, found))
        return done

    def _person(self, conn: Connection, provider: Provider, found: Seen, now: datetime) -> str:
        """Return who it is here; who is not is let in, if that is wanted."""
        name = identities.whose(conn, provider.issuer, found.subject)
        row = directory.person(conn, name or found.name)
        if name and row and (row.disabled or row.account):
            raise Denied(f"the account {name} is disabled: ask an administrator")
        if name:
            return name
        if row is not None:
            raise Conflict(
                f"there is an account {found.name} already, and it is not linked with "
                f"{provider.name}: log in to it and link it at /identity, or ask an administrator"
            )
        if not self.tools.settings.oidc_create_users:
            raise Denied(f"nobody here is known to {provider.name} as {found.subject}")
        if not self._roles(conn, found):
            raise Denied(_no_role(provider, found))
        row = {"name": found.name, "full_name": found.full_name, "password": "", "roles": []}
        directory.add(conn, row | {"must_change": False, "created": now})
        identities.link(conn, provider.issuer, found.subject, found.name, now)
        chain.append(
            conn, SERVER, "user.create", now=now,
            detail=f"{found.name}, by {provider.name}: {found.subject}",
        )  # fmt: skip
        return found.name

    def _mapped(self, conn: Connection) -> list[str]:
        """Return every role that groups can give here."""
        some = {role for roles in self.tools.settings.oidc_roles.values() for role in roles}
        return sorted(role for role in some if directory.role(conn, role))

    @staticmethod
    def _roles(conn: Connection, found: Seen) -> list[str]:
        """Return the roles by groups; one that is not there gives nothing."""
        return [role for role in found.roles if directory.role(conn, role)]

    def _follow(
        self, conn: Connection, name: str, provider: Provider, found: Seen, now: datetime
    ) -> RightsChanged | None:
        """Let a person's roles be what their groups give now, besides those by hand."""
        row, roles = directory.person(conn, name), self._roles(conn, found)
        if row is None or row.mapped == roles:
            return None
        directory.change(conn, name, mapped=roles)
        before, after = (", ".join(some) or "none" for some in (row.mapped, roles))
        chain.append(
            conn, SERVER, "user.roles", now=now,
            detail=f"{name}, by {provider.name}: {before} -> {after}",
        )  # fmt: skip
        return directory.touched(conn, [name], now)

    def _link(
        self, conn: Connection, provider: Provider, found: Seen, away: _Away, origin: Origin
    ) -> None:
        """Link who asked for it with who has logged in at the provider."""
        now = self.tools.now()
        bearer = store.by_id(conn, away.session)
        if bearer is None or self.over(bearer, now) or bearer.person != away.person:
            raise Denied("the session that asked for this is over: log in again")
        if identities.subject_of(conn, provider.issuer, away.person):
            raise Conflict(f"you are linked with {provider.name} already")
        self._connect(conn, provider, found.subject, away.person, now)
        chain.append(
            conn, away.person, "user.link", now=now, address=origin.address,
            detail=f"{away.person}, with {provider.name}: {found.subject}",
        )  # fmt: skip

    @staticmethod
    def _connect(
        conn: Connection, provider: Provider, subject: str, name: str, now: datetime
    ) -> None:
        taken = identities.whose(conn, provider.issuer, subject)
        if taken is not None and taken != name:
            raise Conflict(f"{provider.name} knows {taken} by that name: unlink {taken} first")
        identities.link(conn, provider.issuer, subject, name, now)

    @answers(LINK_USER)
    async def link_user(self, ask: LinkUser, caller: Caller) -> Nothing:
        """Link a person with the provider's name of them, or undo it."""
        provider, now = self._known(), self.tools.now()

        def link(conn: Connection) -> RightsChanged:
            if self.may_touch(conn, caller, ask.name).account:
                raise Conflict(f"{ask.name} is a service account: nobody logs in as it")
            if ask.subject:
                # who links also gives whatever the groups of that person are going to give
                self.may_give(conn, caller, self._mapped(conn), [])
                self._connect(conn, provider, ask.subject, ask.name, now)
            else:
                identities.unlink(conn, provider.issuer, ask.name)
            chain.append(
                conn, caller.name, "user.link", now=now, address=address_of(caller),
                detail=f"{ask.name}, with {provider.name}: {ask.subject or 'nobody'}",
            )  # fmt: skip
            return directory.touched(conn, [ask.name], now)

        await self.tell(await self.tools.db.write(link))
        return NOTHING

    @answers(MY_IDENTITY)
    async def my_identity(self, ask: Nothing, caller: Caller) -> Identity:  # noqa: ARG002
        """Tell as whom the provider knows the caller."""
        if self._provider is None:
            return Identity()
        name, issuer = caller.name, self._provider.issuer
        subject = await self.tools.db.read(lambda conn: identities.subject_of(conn, issuer, name))
        return Identity(provider=self._provider.name, subject=subject)

    async def forget_other_providers(self) -> None:
        """At the start: roles by another provider, or by groups that give none now, are gone."""
        now, settings = self.tools.now(), self.tools.settings

        def forget(conn: Connection) -> RightsChanged:
            given = {role for roles in settings.oidc_roles.values() for role in roles}
            names = identities.narrow(conn, settings.oidc_issuer, given)
            for name in names:
                detail = f"{name}: fewer by groups, because the settings have changed"
                chain.append(conn, SERVER, "user.roles", now=now, detail=detail)
            return directory.touched(conn, names, now)

        await self.tell(await self.tools.db.write(forget))


def _no_role(provider: Provider, found: Seen) -> str:
    known = ", ".join(found.roles)
    why = f"the role {known} is not known here" if known else "none of your groups gives a role"
    return f"{why}: ask who looks after {provider.name} or this server"
