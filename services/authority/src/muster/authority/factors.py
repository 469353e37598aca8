"""Second factors: set up, shown, dropped."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import chain, codes, directory, passwords, store
from muster.authority.deciding import Deciding
from muster.authority.part import address_of, digest
from muster.authority.sessions import CODES, kept
from muster.contracts.authority import Origin, Session
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Denied, NotFound, SecondFactor, Unauthenticated
from muster.contracts.factors import (
    CONFIRM_FACTOR,
    DROP_FACTOR,
    RENEW_RECOVERY,
    SECOND_STEP,
    SHOW_FACTOR,
    START_FACTOR,
    ConfirmFactor,
    DropFactor,
    FactorStarted,
    RecoveryCodes,
    SecondStep,
    ShowFactor,
    StartFactor,
)
from muster.contracts.people import RightsChanged
from muster.kit.bus import Caller, answers

_YEARS: Final = timedelta(days=3650)
_WRONG: Final = "that code is wrong, or was used"


class FactorCalls(Deciding):
    """What one has besides one's password."""

    @answers(SECOND_STEP)
    async def second_step(self, ask: SecondStep, caller: Caller) -> Session:  # noqa: ARG002
        """Finish a login that still needs a code."""
        now = self.tools.now()
        row = await self.tools.db.read(lambda conn: self.half_of(conn, ask.secret))
        self.slowing.attempt(row.person, ask.origin.address)
        self.slowing.attempt(row.person, CODES)

        def finish(conn: Connection) -> Session | None:
            self.half_of(conn, ask.secret)
            if not self.shown(conn, row.person, ask.code, now):
                chain.append(
                    conn, row.person, "login", now=now, result="refused", detail="second factor",
                    address=ask.origin.address,
                )  # fmt: skip
                return None
            store.end(conn, row.id)
            return self.begin(conn, row.person, ask.origin, fresh=True, detail=row.name)

        session = await self.tools.db.write(finish)
        if session is None:
            raise SecondFactor(_WRONG)
        self.slowing.succeeded(row.person, ask.origin.address)
        self.slowing.succeeded(row.person, CODES)
        return session

    def half_of(self, conn: Connection, secret: str) -> Any:
        """Return the login that has begun with *secret*, and still lacks its second factor."""
        row = store.behind(conn, digest(secret))
        if row is None or row.kind != "half" or row.expires <= self.tools.now() or row.disabled:
            raise Unauthenticated("the login has taken too long: begin again")
        return row

    @answers(START_FACTOR)
    async def start_factor(self, ask: StartFactor, caller: Caller) -> FactorStarted:
        """Make a secret that holds as soon as its first code is shown."""
        await self.proven(caller, ask.password)
        secret = codes.new_secret()

        def start(conn: Connection) -> None:
            self.shown_before(conn, caller)
            directory.change(conn, caller.name, totp_next=self.vault.lock(secret))

        await self.tools.db.write(start)
        return FactorStarted(secret=secret, uri=codes.uri(secret, caller.name))

    @answers(CONFIRM_FACTOR)
    async def confirm_factor(self, ask: ConfirmFactor, caller: Caller) -> RecoveryCodes:
        """From now on every login needs a code; all other sessions end."""
        now = self.tools.now()
        self.slowing.attempt(caller.name, "factor")

        def confirm(conn: Connection) -> tuple[list[str], RightsChanged] | None:
            session = self.shown_before(conn, caller)
            person = directory.person(conn, caller.name)
            if person is None or not person.totp_next:
                raise Conflict("begin anew: there is nothing to confirm")
            step = codes.step_of(self.vault.unlock(person.totp_next), codes.bare(ask.code), now, 0)
            if step is None:
                return None
            values = {"totp": person.totp_next, "totp_next": "", "totp_step": step}
            directory.change(conn, caller.name, **values)
            store.end_all(conn, caller.name, "session", "half", but=session.id)
            store.freshen(conn, session.id, now)
            self.record(conn, caller, "factor.add", now)
            return self.recovery(conn, caller.name, now), self.touched(conn, caller, now)

        done = await self.tools.db.write(confirm)
        if done is None:
            raise SecondFactor(_WRONG)
        self.slowing.succeeded(caller.name, "factor")
        await self.tell(done[1])
        return RecoveryCodes(codes=done[0])

    @answers(SHOW_FACTOR)
    async def show_factor(self, ask: ShowFactor, caller: Caller) -> Nothing:
        """Let the session do, for a while, what needs a fresh second factor."""

        def show(conn: Connection, session: Any, now: datetime) -> None:
            store.freshen(conn, session.id, now)
            self.record(conn, caller, "factor.show", now)

        await self._with_code(caller, ask.code, show)
        return NOTHING

    @answers(RENEW_RECOVERY)
    async def renew_recovery(self, ask: ShowFactor, caller: Caller) -> RecoveryCodes:
        """Make new recovery codes; the old ones are worthless."""
        made: list[str] = []

        def renew(conn: Connection, session: Any, now: datetime) -> None:  # noqa: ARG001
            made.extend(self.recovery(conn, caller.name, now))
            self.record(conn, caller, "factor.recovery", now)

        await self._with_code(caller, ask.code, renew)
        return RecoveryCodes(codes=made)

    @answers(DROP_FACTOR)
    async def drop_factor(self, ask: DropFactor, caller: Caller) -> Nothing:
        """Do without; it takes both factors to do without one."""
        await self.proven(caller, ask.password)

        def drop(conn: Connection, session: Any, now: datetime) -> None:  # noqa: ARG001
            row = directory.person(conn, caller.name)
            if row is None or not row.totp:
                raise NotFound("you have no authenticator app")
            directory.change(conn, caller.name, totp="", totp_next="")
            if not row.passkeys:
                self.without_factor(conn, caller.name)
            self.record(conn, caller, "factor.drop", now)

        await self._with_code(caller, ask.code, drop)
        return NOTHING

    async def _with_code(self, caller: Caller, code: str, then: Any) -> None:
        """Do *then* in one transaction with a genuine code of the caller's."""
        now = self.tools.now()
        self.slowing.attempt(caller.name, "factor")

        def work(conn: Connection) -> RightsChanged | None:
            session = self.session_of(conn, caller)
            if not self.shown(conn, caller.name, code, now):
                self.record(conn, caller, "factor.show", now, "refused")
                return None
            then(conn, session, now)
            return self.touched(conn, caller, now)

        change = await self.tools.db.write(work)
        if change is None:
            raise SecondFactor(_WRONG)
        self.slowing.succeeded(caller.name, "factor")
        await self.tell(change)

    async def proven(self, caller: Caller, password: str) -> None:
        """Let nobody go on who has only found a session: it takes the password.

        Who has none, because they come through the provider, must have come just now.
        """
        self.slowing.attempt(caller.name, "password")
        row = await self.tools.db.read(lambda conn: directory.person(conn, caller.name))
        if row is not None and not row.password:
            await self.tools.db.read(lambda conn: self._just_now(conn, caller))
            self.slowing.succeeded(caller.name, "password")
            return
        if not await passwords.fits(password, row.password if row else None):
            await self.note(caller.name, "password.show", "refused", address_of(caller))
            raise Denied("the password is wrong")
        self.slowing.succeeded(caller.name, "password")

    def _just_now(self, conn: Connection, caller: Caller) -> None:
        session = self.session_of(conn, caller)
        span = timedelta(minutes=self.tools.settings.fresh_minutes)
        just_now = session.proven is not None and self.tools.now() - session.proven < span
        if not just_now and not self.is_fresh(session):
            raise Denied("you have no password here: log in once more, and do this right after")

    def session_of(self, conn: Connection, caller: Caller) -> Any:
        """Return the caller's session: a program's token has no second factor."""
        row = self.bearer(conn, caller)
        if row.kind != "session":
            raise Denied("log in: a token has no second factor")
        return row

    def shown_before(self, conn: Connection, caller: Caller) -> Any:
        """Return the caller's session; who has a second factor must have shown it just now.

        Otherwise another one could be added with a session and a password, and shown instead.
        """
        session = self.session_of(conn, caller)
        if directory.has_factor(directory.person(conn, caller.name)) and not self.is_fresh(session):
            raise Denied("show your second factor first: at /factor, or: muster factor show")
        return session

    def recovery(self, conn: Connection, name: str, now: datetime) -> list[str]:
        """Make recovery codes; the old ones are worthless."""
        fresh = codes.recovery()
        store.end_all(conn, name, "recovery")
        for code in fresh:
            secret = f"{name}:{codes.bare(code)}"
            store.add_secret(conn, kept(secret, "recovery", name, now, now + _YEARS, Origin()))
        return fresh

    def record(
        self,
        conn: Connection,
        caller: Caller,
        action: str,
        now: datetime,
        result: str = "ok",
        detail: str = "",
    ) -> None:
        """Write down what the caller has done with a second factor."""
        where = address_of(caller)
        chain.append(
            conn, caller.name, action, now=now, result=result, detail=detail, address=where
        )

    @staticmethod
    def touched(conn: Connection, caller: Caller, now: datetime) -> RightsChanged:
        """Let tickets be given anew: they say whether the second factor is fresh."""
        return directory.touched(conn, [caller.name], now)
