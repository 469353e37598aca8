"""Sessions and API tokens, and the tickets that they are exchanged for."""

import json
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import chain, codes, directory, keyring, passwords, store
from muster.authority.part import SERVER, Part, Tools, address_of, digest, new_secret
from muster.authority.slowing import Slowing
from muster.contracts.authority import (
    CHANGE_PASSWORD,
    EXCHANGE,
    LOGIN,
    LOGOUT,
    ChangePassword,
    Exchange,
    Granted,
    Login,
    Origin,
    Person,
    Session,
    Ticket,
)
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Denied, SecondFactor, Unauthenticated
from muster.contracts.names import new_id
from muster.contracts.people import RightsChanged
from muster.kit import policy
from muster.kit.bus import Caller, answers
from muster.kit.files import write_private
from muster.kit.identity import tickets
from muster.kit.identity.vault import Vault
from muster.kit.text import clean

ADMIN: Final = "admin"
_HALF: Final = timedelta(minutes=5)
"""For which a login waits for its code."""
CODES: Final = "codes"
"""Where codes of second factors are counted, from all addresses together: only who has the
password comes that far, so no stranger slows anybody down by it."""

APPS: Final = "app"
"""Where wrong app passwords are counted, together with the address."""

_TOKEN_DAYS: Final = 3650
_TOUCH: Final = timedelta(minutes=1)
_WRONG: Final = "name or password is wrong"


class Sessions(Part):
    """Who may come in."""

    def __init__(self, tools: Tools) -> None:
        """Work with *tools*."""
        super().__init__(tools)
        self.slowing = Slowing()
        self.vault = Vault(tools.settings.keys_dir, "second factor")

    @answers(LOGIN)
    async def login(self, ask: Login, caller: Caller) -> Session:  # noqa: ARG002
        """Begin a session for a name and its password."""
        address = ask.origin.address
        self.slowing.attempt(ask.name, address)
        row = await self.tools.db.read(lambda conn: directory.person(conn, ask.name))
        known = row.password if row and not row.disabled else ""
        genuine = await passwords.fits(ask.password, known or None)
        if row is None or not genuine:
            await self.note(ask.name, "login", "refused", address)
            raise Unauthenticated(_WRONG)
        if directory.has_factor(row) and ask.code:
            self.slowing.attempt(row.name, CODES)

        def begin(conn: Connection) -> Session | None:
            return self._begin_by(conn, ask, row.password)

        session = await self.tools.db.write(begin)
        if session is None:
            await self.note(ask.name, "login", "refused", address)
            raise SecondFactor("that code is wrong, or was used")
        if not session.needs_code:
            self.slowing.succeeded(ask.name, address)
            self.slowing.succeeded(row.name, CODES)
        return session

    def _begin_by(self, conn: Connection, ask: Login, password: str) -> Session | None:
        """Begin a session, or half of one, if the password is still what was checked."""
        current = directory.person(conn, ask.name)
        if current is None or current.disabled or current.password != password:
            raise Unauthenticated(_WRONG)
        if not (directory.has_factor(current) and ask.code):
            return self.begin_or_half(conn, current.name, ask.origin)
        if self.shown(conn, current.name, ask.code, self.tools.now()):
            return self.begin(conn, current.name, ask.origin, fresh=True)
        return None

    def begin_or_half(
        self, conn: Connection, name: str, origin: Origin, detail: str = ""
    ) -> Session:
        """Begin a session; for who has a second factor, only half of one, until its code comes."""
        row = directory.person(conn, name)
        if row is None or not directory.has_factor(row):
            return self.begin(conn, name, origin, detail=detail)
        now, secret = self.tools.now(), new_secret("mhalf")
        row_of_half = kept(secret, "half", name, now, now + _HALF, origin)
        store.add_secret(conn, row_of_half | {"name": detail})  # how it began, for the audit
        who = Person(name=name, second_factor=True)
        half = {"secret": secret, "person": who, "expires": now + _HALF, "needs_code": True}
        return Session(**half, passkey=row.passkeys > 0)

    def shown(self, conn: Connection, name: str, code: str, now: datetime) -> bool:
        """Whether *code* is a genuine one that was not used before; from now on it is used."""
        row = directory.person(conn, name, lock=True)
        if row is None or not directory.has_factor(row):
            return False
        bare, step = codes.bare(code), None
        if row.totp:
            step = codes.step_of(self.vault.unlock(row.totp), bare, now, row.totp_step)
        if step is not None:
            directory.change(conn, name, totp_step=step)
            return True
        spare = store.behind(conn, digest(f"{name}:{bare}"))
        if spare is None or spare.kind != "recovery":
            return False
        store.end(conn, spare.id)
        chain.append(conn, name, "factor.recovery", now=now, detail="a recovery code was used")
        return True

    @staticmethod
    def without_factor(conn: Connection, name: str) -> None:
        """Take a person's second factors, with the recovery codes."""
        directory.change(conn, name, totp="", totp_next="")
        keyring.drop_all(conn, name)
        store.end_all(conn, name, "recovery", "half")

    def begin(  # what is known of a login
        self,
        conn: Connection,
        name: str,
        origin: Origin,
        *,
        fresh: bool = False,
        detail: str = "",
        let_in_by: Any = None,
    ) -> Session:
        """Begin a session for a person who has proven who they are, or whose session says so."""
        now = self.tools.now()
        secret = new_secret("mses")
        expires = now + timedelta(days=self.tools.settings.session_days)
        row = kept(secret, "session", name, now, expires, origin)
        row |= {"proven": now, "fresh": now if fresh else None}
        if let_in_by is not None:  # it hands on what was proven, and when
            row |= {"proven": let_in_by.proven, "fresh": let_in_by.fresh}
        store.add_secret(conn, row)
        chain.append(conn, name, "login", now=now, address=origin.address, detail=detail)
        found = store.behind(conn, digest(secret))
        return Session(secret=secret, person=person_of(conn, found), expires=expires)

    @answers(EXCHANGE)
    async def exchange(self, ask: Exchange, caller: Caller) -> Granted:  # noqa: ARG002
        """Give a short-lived ticket for a session, an API token or an app password."""
        if not ask.name:
            return await self.ticket(lambda conn: _shown(conn, ask), ask.origin)
        place = f"{APPS} {ask.origin.address}"
        self.slowing.attempt(ask.name, place)
        try:
            granted = await self.ticket(lambda conn: _shown(conn, ask), ask.origin)
        except Unauthenticated:
            await self.note(ask.name, "app.login", "refused", ask.origin.address)
            raise
        self.slowing.succeeded(ask.name, place)
        return granted

    async def ticket(self, find: Callable[[Connection], Any], origin: Origin) -> Granted:
        """Give a short-lived ticket for the way in that *find* finds, if it is good."""
        now = self.tools.now()

        def look(conn: Connection) -> tuple[int, Any, Person]:
            revision = directory.revision(conn)  # first: a change meanwhile must not be missed
            found = find(conn)
            if found is None or self.over(found, now, store.WAYS):
                raise Unauthenticated("the session is over: log in again")
            return revision, found, person_of(conn, found)

        revision, found, person = await self.tools.db.read(look)
        if found.seen < now - _TOUCH:
            await self.tools.db.write(lambda conn: store.touch(conn, found.id, now))
        expires = min(found.expires, now + timedelta(seconds=self.tools.settings.ticket_seconds))
        ticket = Ticket(
            person=person,
            session=found.id,
            origin=origin,
            issued=now,
            expires=expires,
            revision=revision,
        )
        signed = tickets.sign(ticket, self.tools.world.authority_key)
        return Granted(ticket=signed, person=person, expires=expires)

    @answers(LOGOUT)
    async def logout(self, ask: Exchange, caller: Caller) -> Nothing:  # noqa: ARG002
        """End a session; ending it twice is no error."""
        now = self.tools.now()

        def end(conn: Connection) -> RightsChanged | None:
            found = store.behind(conn, digest(ask.secret))
            if found is None or found.kind != "session":
                return None
            store.end(conn, found.id)
            chain.append(conn, found.person, "logout", now=now, address=ask.origin.address)
            return directory.touched(conn, [found.person], now)

        await self.tell(await self.tools.db.write(end))
        return NOTHING

    @answers(CHANGE_PASSWORD)
    async def change_password(self, ask: ChangePassword, caller: Caller) -> Nothing:
        """Change one's own password; all other sessions end."""
        ticket = caller.ticket
        if ticket is None:
            raise Denied("this is for people")
        name, now = ticket.person.name, self.tools.now()
        self.slowing.attempt(name, "password")
        row = await self.tools.db.read(lambda conn: directory.person(conn, name))
        if not await passwords.fits(ask.old, row.password if row else None):
            raise Denied("the old password is wrong")
        self.slowing.succeeded(name, "password")
        if ask.old == ask.new:
            raise Denied("the new password must be another one")
        new = await passwords.hashed(ask.new)

        def change(conn: Connection) -> RightsChanged:
            directory.change(conn, name, password=new, must_change=False)
            store.end_all(conn, name, "session", "invitation", but=ticket.session)
            chain.append(conn, name, "password.change", now=now, address=address_of(caller))
            return directory.touched(conn, [name], now)

        await self.tell(await self.tools.db.write(change))
        if name == ADMIN:
            self.first_login.unlink(missing_ok=True)
        return NOTHING

    @property
    def first_login(self) -> Path:
        """Name and one-time password of the first administrator, until it is changed."""
        return self.tools.settings.data_dir / "first-login.json"

    @property
    def local_token(self) -> Path:
        """The API token of whoever can read the server's own files."""
        return self.tools.settings.keys_dir / "local.token"

    async def ensure_admin(self) -> None:
        """At the first start: an administrator with a one-time password, and a local token."""
        now = self.tools.now()
        admin = await self.tools.db.read(lambda conn: directory.person(conn, ADMIN))
        if admin is None:
            password = passwords.one_time()
            row = {
                "name": ADMIN,
                "password": await passwords.hashed(password),
                "roles": ["admin"],
                "must_change": True,
                "created": now,
            }
            write_private(self.first_login, json.dumps({"name": ADMIN, "password": password}))
            await self.tools.db.write(lambda conn: _first(conn, row, now))
        elif not admin.must_change:
            self.first_login.unlink(missing_ok=True)
        await self._ensure_token(now)

    async def _ensure_token(self, now: datetime) -> None:
        """The token in the file is good, or a new one is made."""
        if self.local_token.exists():
            secret = self.local_token.read_text().strip()
            if await self.tools.db.read(lambda conn: store.behind(conn, digest(secret))):
                return
        secret = new_secret("mtok")
        expires = now + timedelta(days=_TOKEN_DAYS)

        def make(conn: Connection) -> None:
            row = kept(secret, "token", ADMIN, now, expires, Origin())
            store.add_secret(conn, row | {"name": "local administrator"})
            chain.append(conn, SERVER, "token.create", now=now, detail="local administrator")

        await self.tools.db.write(make)
        write_private(self.local_token, secret)

    def of_console(self, row: Any) -> bool:
        """Whether a token is the one of who can read the server's own files."""
        try:
            return bool(row.hash == digest(self.local_token.read_text().strip()))
        except OSError:
            return False

    def over(self, row: Any, now: datetime, kinds: Collection[str] = store.BEARERS) -> bool:
        """Whether a secret admits nobody any more, or is of no kind that does."""
        if row.kind not in kinds or row.disabled or row.expires <= now:
            return True
        idle = timedelta(hours=self.tools.settings.idle_hours)
        return bool(row.kind == "session" and row.seen + idle <= now)

    async def note(
        self, who: str, action: str, result: str, address: str, detail: str = ""
    ) -> None:
        """Write down what has not come to anything."""
        now, what = self.tools.now(), {"result": result, "address": address, "detail": detail}
        await self.tools.db.write(lambda conn: chain.append(conn, who, action, now=now, **what))


def _shown(conn: Connection, ask: Exchange) -> Any | None:
    """Return the way in whose secret is shown: by name that of an app password, or else another.

    So no password of a person and no token is good where an app password is, and none there.
    """
    found = store.behind(conn, digest(ask.secret))
    if found is None or found.kind not in store.BEARERS:
        return None
    if found.kind == "app":
        return found if found.person == ask.name else None
    return None if ask.name else found


def person_of(conn: Connection, row: Any) -> Person:
    """Return the person behind a secret, with what may be done by it.

    Who has not changed the one-time password may do only that.
    """
    if row.kind == "session" and row.must_change:
        return Person(name=row.person, roles=row.roles, must_change_password=True)
    roles = directory.roles_of(conn, row)
    grants = policy.narrowed(directory.grants_of(conn, roles), row.scopes)
    permissions = policy.permissions(grants)
    return Person(
        name=row.person,
        roles=roles,
        permissions=permissions,
        grants=grants,
        second_factor=directory.has_factor(row),
    )


def kept(
    secret: str, kind: str, person: str, now: datetime, expires: datetime, origin: Origin
) -> dict[str, Any]:
    """Return what is kept of a session, a token or an invitation."""
    return {
        "id": new_id(now.timestamp()),
        "hash": digest(secret),
        "kind": kind,
        "person": person,
        "created": now,
        "expires": expires,
        "seen": now,
        "address": clean(origin.address)[:200],
        "agent": clean(origin.agent)[:200],
    }


def _first(conn: Connection, row: dict[str, Any], now: datetime) -> None:
    directory.add(conn, row)
    chain.append(conn, SERVER, "person.create", now=now, detail=row["name"])
