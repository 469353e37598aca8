"""People: logins, sessions, API tokens, and the tickets that they are exchanged for."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import chain, passwords, store
from muster.authority.part import Part, Tools, digest, new_secret
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
from muster.contracts.errors import Denied, Unauthenticated
from muster.contracts.names import new_id
from muster.kit.bus import Caller, answers
from muster.kit.files import write_private
from muster.kit.identity import tickets
from muster.kit.text import clean

PERMISSIONS: Final[dict[str, tuple[str, ...]]] = {"admin": ("*",)}
"""What each role may do."""

ADMIN: Final = "admin"
_TOKEN_DAYS: Final = 3650
_TOUCH: Final = timedelta(minutes=1)


class People(Part):
    """Who may come in."""

    def __init__(self, tools: Tools) -> None:
        """Work with *tools*."""
        super().__init__(tools)
        self._slowing = Slowing()

    @answers(LOGIN)
    async def login(self, ask: Login, caller: Caller) -> Session:  # noqa: ARG002
        """Begin a session for a name and its password."""
        address = ask.origin.address
        self._slowing.attempt(ask.name, address)
        row = await self.tools.db.read(lambda conn: store.person(conn, ask.name))
        genuine = await passwords.fits(ask.password, row.password if row else None)
        if row is None or not genuine:
            await self._note(ask.name, "login", "refused", address)
            raise Unauthenticated("name or password is wrong")
        self._slowing.succeeded(ask.name, address)
        now = self.tools.now()
        secret = new_secret("mses")
        expires = now + timedelta(days=self.tools.settings.session_days)

        def begin(conn: Connection) -> None:
            current = store.person(conn, ask.name)
            if current is None or current.password != row.password:  # changed in the meantime
                raise Unauthenticated("name or password is wrong")
            store.add_secret(conn, _secret(secret, "session", ask.name, now, expires, ask.origin))
            chain.append(conn, ask.name, "login", now=now, address=address)

        await self.tools.db.write(begin)
        return Session(secret=secret, person=_view(row, "session"), expires=expires)

    @answers(EXCHANGE)
    async def exchange(self, ask: Exchange, caller: Caller) -> Granted:  # noqa: ARG002
        """Give a short-lived ticket for a session or an API token."""
        now = self.tools.now()
        found = await self.tools.db.read(lambda conn: store.behind(conn, digest(ask.secret)))
        if found is None or self._over(found, now):
            raise Unauthenticated("the session is over: log in again")
        if found.seen < now - _TOUCH:
            await self.tools.db.write(lambda conn: store.touch(conn, found.id, now))
        person = _view(found, found.kind)
        expires = min(found.expires, now + timedelta(seconds=self.tools.settings.ticket_seconds))
        ticket = Ticket(
            person=person, session=found.id, origin=ask.origin, issued=now, expires=expires
        )
        signed = tickets.sign(ticket, self.tools.world.authority_key)
        return Granted(ticket=signed, person=person, expires=expires)

    @answers(LOGOUT)
    async def logout(self, ask: Exchange, caller: Caller) -> Nothing:  # noqa: ARG002
        """End a session; ending it twice is no error."""
        now = self.tools.now()

        def end(conn: Connection) -> None:
            found = store.behind(conn, digest(ask.secret))
            if found is not None and found.kind == "session":
                store.end(conn, found.id)
                chain.append(conn, found.person, "logout", now=now, address=ask.origin.address)

        await self.tools.db.write(end)
        return NOTHING

    @answers(CHANGE_PASSWORD)
    async def change_password(self, ask: ChangePassword, caller: Caller) -> Nothing:
        """Change one's own password; all other sessions end."""
        ticket = caller.ticket
        if ticket is None:
            raise Denied("this is for people")
        name, now = ticket.person.name, self.tools.now()
        self._slowing.attempt(name, "password")
        row = await self.tools.db.read(lambda conn: store.person(conn, name))
        if not await passwords.fits(ask.old, row.password if row else None):
            raise Denied("the old password is wrong")
        self._slowing.succeeded(name, "password")
        if ask.old == ask.new:
            raise Denied("the new password must be another one")
        new = await passwords.hashed(ask.new)

        def change(conn: Connection) -> None:
            store.set_password(conn, name, new, ticket.session)
            address = ticket.origin.address
            chain.append(conn, name, "password.change", now=now, address=address)

        await self.tools.db.write(change)
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
        admin = await self.tools.db.read(lambda conn: store.person(conn, ADMIN))
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
            store.add_secret(conn, _secret(secret, "token", ADMIN, now, expires, Origin()))
            chain.append(conn, "@server", "token.create", now=now, detail="local administrator")

        await self.tools.db.write(make)
        write_private(self.local_token, secret)

    def _over(self, row: Any, now: datetime) -> bool:
        idle = timedelta(hours=self.tools.settings.idle_hours)
        return bool(row.expires <= now or (row.kind == "session" and row.seen + idle <= now))

    async def _note(self, who: str, action: str, result: str, address: str) -> None:
        now = self.tools.now()
        await self.tools.db.write(
            lambda conn: chain.append(conn, who, action, now=now, result=result, address=address)
        )


def _view(row: Any, kind: str) -> Person:
    """Return the person; who has not changed the one-time password may do only that."""
    locked = row.must_change and kind == "session"
    allowed = [] if locked else [p for role in row.roles for p in PERMISSIONS.get(role, ())]
    return Person(name=row.name, roles=row.roles, permissions=allowed, must_change_password=locked)


def _secret(
    secret: str, kind: str, person: str, now: datetime, expires: datetime, origin: Origin
) -> dict[str, Any]:
    """Return what is kept of a session or an API token."""
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
    store.add_person(conn, row)
    chain.append(conn, "@server", "person.create", now=now, detail=row["name"])
