"""People as others manage them: invite, change, disable, remove; their sessions and tokens."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from muster.authority import chain, directory, identities, passwords, store
from muster.authority.deciding import Deciding
from muster.authority.part import address_of, digest, new_secret
from muster.authority.sessions import ADMIN, kept
from muster.contracts.authority import Origin, Session
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Denied, Expired, Malformed, NotFound
from muster.contracts.people import (
    ACCEPT,
    CHANGE_USER,
    CREATE_TOKEN,
    CREATE_USER,
    DELETE_USER,
    FIND_USER,
    LIST_CREDENTIALS,
    LIST_USERS,
    RESET_PASSWORD,
    REVOKE_CREDENTIAL,
    Accept,
    ChangeUser,
    CreateToken,
    CreateUser,
    Credential,
    Credentials,
    FindUser,
    Invitation,
    ListCredentials,
    ListUsers,
    ResetPassword,
    RevokeCredential,
    RightsChanged,
    TokenCreated,
    User,
    Users,
)
from muster.contracts.policy import ACTIONS
from muster.kit import policy
from muster.kit.bus import Caller, answers


class UserCalls(Deciding):
    """Who there is."""

    @answers(LIST_USERS)
    async def users(self, ask: ListUsers, caller: Caller) -> Users:  # noqa: ARG002
        """Return a page of people, by name."""
        found = await self.tools.db.read(lambda conn: directory.page(conn, ask))
        items = found[: ask.limit]
        return Users(items=items, next=items[-1].name if len(found) > ask.limit else "")

    @answers(FIND_USER)
    async def user(self, ask: FindUser, caller: Caller) -> User:  # noqa: ARG002
        """Return one person."""
        return await self.tools.db.read(lambda conn: _view(conn, ask.name))

    @answers(CREATE_USER)
    async def create_user(self, ask: CreateUser, caller: Caller) -> Invitation:
        """Add a person, who chooses a password by a link that works once."""
        now = self.tools.now()

        def add(conn: Connection) -> Invitation:
            if directory.person(conn, ask.name):
                raise Conflict(f"there is a user {ask.name} already")
            self.may_give(conn, caller, ask.roles, ask.groups)
            row = {
                "name": ask.name,
                "full_name": ask.full_name,
                "password": "",
                "roles": sorted(set(ask.roles)),
                "groups": sorted(set(ask.groups)),
                "must_change": False,
                "created": now,
            }
            directory.add(conn, row)
            chain.append(
                conn, caller.name, "user.create", now=now, address=address_of(caller),
                detail=f"{ask.name}, roles {_words(ask.roles)}, groups {_words(ask.groups)}",
            )  # fmt: skip
            return self._invite(conn, ask.name, ask.ttl)

        return await self.tools.db.write(add)

    @answers(RESET_PASSWORD)
    async def reset_password(self, ask: ResetPassword, caller: Caller) -> Invitation:
        """Take a person's password and all ways in; the link lets them choose a new one."""
        now = self.tools.now()

        def reset(conn: Connection) -> tuple[Invitation, RightsChanged]:
            if self.may_touch(conn, caller, ask.name).account:
                raise Conflict(f"{ask.name} is a service account: it has no password")
            directory.change(conn, ask.name, password="", must_change=False)
            store.end_all(conn, ask.name, *store.BEARERS, "invitation", "half")
            identities.forget(conn, ask.name)
            if ask.factor:
                self.without_factor(conn, ask.name)
            self._keep_an_administrator(conn)
            chain.append(
                conn, caller.name, "user.reset", now=now, detail=ask.name,
                address=address_of(caller),
            )  # fmt: skip
            invited = self._invite(conn, ask.name, ask.ttl)
            return invited, directory.touched(conn, [ask.name], now)

        invitation, change = await self.tools.db.write(reset)
        await self.tell(change)
        return invitation

    def _invite(self, conn: Connection, name: str, ttl: float) -> Invitation:
        now = self.tools.now()
        secret, expires = new_secret("minv"), now + timedelta(seconds=ttl)
        store.add_secret(conn, kept(secret, "invitation", name, now, expires, Origin()))
        return Invitation(name=name, secret=secret, expires=expires)

    @answers(ACCEPT)
    async def accept(self, ask: Accept, caller: Caller) -> Session:  # noqa: ARG002
        """Let an invited person choose a password, and in."""
        now = self.tools.now()
        await self.tools.db.read(lambda conn: self._invited(conn, ask.secret))  # before hashing
        password = await passwords.hashed(ask.password)

        def admit(conn: Connection) -> Session:
            row = self._invited(conn, ask.secret)
            store.end_all(conn, row.person, "invitation")
            directory.change(conn, row.person, password=password)
            chain.append(conn, row.person, "user.accept", now=now, address=ask.origin.address)
            return self.begin_or_half(conn, row.person, ask.origin)

        return await self.tools.db.write(admit)

    def _invited(self, conn: Connection, secret: str) -> Any:
        row = store.behind(conn, digest(secret))
        if row is None or row.kind != "invitation" or row.disabled:
            raise NotFound("this invitation is not known, or was used: ask for another one")
        if row.expires <= self.tools.now():
            raise Expired("this invitation has expired: ask for another one")
        return row

    @answers(CHANGE_USER)
    async def change_user(self, ask: ChangeUser, caller: Caller) -> User:
        """Change what is given of a person."""
        now = self.tools.now()
        values = ask.model_dump(exclude={"name"}, exclude_none=True)

        def change(conn: Connection) -> tuple[User, RightsChanged]:
            self.may_touch(conn, caller, ask.name)
            self.may_give(conn, caller, ask.roles or [], ask.groups or [])
            if values:
                directory.change(conn, ask.name, **values)
            if ask.disabled:
                store.end_all(conn, ask.name, "session")
            self._keep_an_administrator(conn)
            chain.append(
                conn, caller.name, "user.change", now=now, address=address_of(caller),
                detail=f"{ask.name}: {ask.model_dump_json(exclude={'name'}, exclude_none=True)}",
            )  # fmt: skip
            return _view(conn, ask.name), directory.touched(conn, [ask.name], now)

        user, changed = await self.tools.db.write(change)
        await self.tell(changed)
        return user

    @answers(DELETE_USER)
    async def delete_user(self, ask: FindUser, caller: Caller) -> Nothing:
        """Remove a person; what they did stays in the audit."""
        now = self.tools.now()

        def remove(conn: Connection) -> RightsChanged:
            if self.may_touch(conn, caller, ask.name).account:
                raise Conflict(f"{ask.name} is a service account: muster account revoke {ask.name}")
            if ask.name == ADMIN:
                raise Conflict("the server's own console needs admin: disable it instead")
            directory.remove(conn, ask.name)
            self._keep_an_administrator(conn)
            chain.append(
                conn, caller.name, "user.delete", now=now, detail=ask.name,
                address=address_of(caller),
            )  # fmt: skip
            return directory.touched(conn, [ask.name], now)

        await self.tell(await self.tools.db.write(remove))
        return NOTHING

    @staticmethod
    def _keep_an_administrator(conn: Connection) -> None:
        if not directory.has_administrator(conn):
            raise Conflict(
                "this would leave nobody who may do everything: make another admin first"
            )

    @answers(LIST_CREDENTIALS)
    async def credentials(self, ask: ListCredentials, caller: Caller) -> Credentials:
        """Return the sessions and tokens of oneself, or of somebody else."""
        name = self._whose(caller, ask.person, "user.read")
        now = self.tools.now()
        rows = await self.tools.db.read(lambda conn: store.credentials(conn, name, now))
        mine = caller.ticket.session if caller.ticket else ""
        return Credentials(
            items=[Credential(**row._asdict(), current=row.id == mine) for row in rows]
        )

    @answers(REVOKE_CREDENTIAL)
    async def revoke_credential(self, ask: RevokeCredential, caller: Caller) -> Nothing:
        """End a session or a token, at once."""
        now = self.tools.now()

        def end(conn: Connection) -> RightsChanged:
            row = store.by_id(conn, ask.id)
            if row is None or row.kind not in store.WAYS:
                raise NotFound("there is no such session, token or key")
            if row.person != caller.name:
                self.held(conn, caller, "user.write")
                self.may_touch(conn, caller, row.person)
            store.end(conn, ask.id)
            chain.append(
                conn, caller.name, f"{row.kind}.revoke", now=now, address=address_of(caller),
                detail=f"{ask.id} {row.name} of {row.person}",
            )  # fmt: skip
            return directory.touched(conn, [row.person], now)

        await self.tell(await self.tools.db.write(end))
        return NOTHING

    @answers(CREATE_TOKEN)
    async def create_api_token(self, ask: CreateToken, caller: Caller) -> TokenCreated:
        """Make a token for a program that acts as oneself, within scopes."""
        now, kind = self.tools.now(), "app" if ask.app else "token"
        if ask.app and all(policy.allows(ask.scopes, one) for one in ACTIONS):
            raise Malformed("say what the app password is for, by scopes such as node.read")
        secret = new_secret("mapp" if ask.app else "mtok")
        expires = now + timedelta(seconds=ask.ttl)
        row = kept(secret, kind, caller.name, now, expires, Origin())
        row |= {"name": ask.name, "scopes": ask.scopes}

        def make(conn: Connection) -> None:
            bearer = self.bearer(conn, caller)
            if bearer.kind != "session" and not self.of_console(bearer):
                raise Denied(f"a {bearer.kind} cannot make tokens: log in with your password")
            store.add_secret(conn, row)
            chain.append(
                conn, caller.name, f"{kind}.create", now=now, address=address_of(caller),
                detail=f"{row['id']} {ask.name}: {', '.join(ask.scopes)}",
            )  # fmt: skip

        await self.tools.db.write(make)
        return TokenCreated(id=str(row["id"]), secret=secret, expires=expires)

    def _whose(self, caller: Caller, wanted: str | None, action: str) -> str:
        if wanted is None or wanted == caller.name:
            return caller.name
        if caller.ticket is None or action not in caller.ticket.person.permissions:
            raise Denied(f"{caller.name} may not {action}")
        return wanted


def _view(conn: Connection, name: str) -> User:
    found = directory.view(conn, name)
    if found is None:
        raise NotFound(f"there is no user {name}")
    return found


def _words(words: list[str]) -> str:
    return ", ".join(words) or "none"
