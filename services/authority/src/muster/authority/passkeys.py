"""Passkeys: added, shown at a login or in between, removed."""

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import authenticators, chain, directory, keyring, store
from muster.authority.authenticators import Heard, Made, Party
from muster.authority.factors import FactorCalls
from muster.authority.part import Tools, address_of, digest
from muster.authority.waiting import Waiting
from muster.contracts.authority import Origin, Session
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import (
    Conflict,
    Denied,
    Expired,
    MusterError,
    NotFound,
    Unauthenticated,
)
from muster.contracts.names import new_id
from muster.contracts.passkeys import (
    ADD_PASSKEY,
    ASK_FOR_MY_PASSKEY,
    ASK_FOR_PASSKEY,
    DROP_PASSKEY,
    LIST_PASSKEYS,
    LOGIN_BY_PASSKEY,
    RENAME_PASSKEY,
    SHOW_PASSKEY,
    START_PASSKEY,
    AddPasskey,
    AskForPasskey,
    DropPasskey,
    LoginByPasskey,
    PasskeyAdded,
    PasskeyAsked,
    Passkeys,
    RenamePasskey,
    ShowPasskey,
    StartPasskey,
)
from muster.contracts.people import RightsChanged
from muster.kit.bus import Caller, answers

MOST: Final = 20
"""Passkeys of one person."""

_STRANGER: Final = "@stranger"
_UNKNOWN: Final = "this passkey is not known here, or not any more: come in another way"
_COPY: Final = (
    "this passkey counts as if there were a copy of it: come in another way, remove it, "
    "and tell an administrator"
)


@dataclass(frozen=True, slots=True)
class _Question:
    """What a challenge was made for; it answers nothing else."""

    purpose: str
    """``add``, ``show`` or ``login``."""
    bound: str = ""
    """The session that asked, or the SHA-256 of the half of a login."""
    handle: str = ""


class PasskeyCalls(FactorCalls):
    """Keys that people carry with them."""

    def __init__(self, tools: Tools) -> None:
        """Ask for nothing yet."""
        super().__init__(tools)
        self._questions: Waiting[_Question] = Waiting(timedelta(seconds=authenticators.LIVES))

    @property
    def _party(self) -> Party:
        return authenticators.party_of(self.tools.settings.public_url)

    def trouble_with_passkeys(self) -> str:
        """Return why this server cannot have any; nothing if it can."""
        try:
            self._party  # noqa: B018  # it is asked whether there is one
        except Conflict as error:
            return str(error)
        return ""

    async def _ask(self, question: _Question, make: Callable[[Party, str], str]) -> PasskeyAsked:
        party, challenge = self._party, authenticators.to_text(secrets.token_bytes(32))
        self._questions.put(challenge, question, self.tools.now())
        return PasskeyAsked(options=await asyncio.to_thread(make, party, challenge))

    def _answered(self, response: str, purpose: str, bound: str) -> tuple[Heard, _Question]:
        """Return what a browser says to a question that we have asked; once."""
        said = authenticators.heard(response)
        question = self._questions.take(said.challenge, self.tools.now())
        if question is None or question.purpose != purpose:
            raise Expired("this has taken too long, or was used: begin again")
        if not hmac.compare_digest(question.bound, bound):
            raise Denied("this was asked of somebody else: begin again")
        return said, question

    @answers(LIST_PASSKEYS)
    async def passkeys(self, ask: Nothing, caller: Caller) -> Passkeys:  # noqa: ARG002
        """Return the caller's passkeys."""
        rows = await self.tools.db.read(lambda conn: keyring.of(conn, caller.name))
        trouble = self.trouble_with_passkeys()[:200]
        return Passkeys(items=[keyring.view(row) for row in rows], trouble=trouble)

    @answers(START_PASSKEY)
    async def start_passkey(self, ask: StartPasskey, caller: Caller) -> PasskeyAsked:
        """Let the caller's browser make a passkey."""
        await self.proven(caller, ask.password)

        def look(conn: Connection) -> tuple[Any, list[Any]]:
            return self.shown_before(conn, caller), keyring.of(conn, caller.name)

        session, rows = await self.tools.db.read(look)
        handle = rows[0].handle if rows else authenticators.to_text(secrets.token_bytes(32))
        known = [row.credential for row in rows]
        return await self._ask(
            _Question("add", session.id, handle),
            lambda party, challenge: authenticators.creation(
                party, challenge, handle, caller.name, known
            ),
        )

    @answers(ADD_PASSKEY)
    async def add_passkey(self, ask: AddPasskey, caller: Caller) -> PasskeyAdded:
        """Keep a passkey; with the first second factor all other sessions end."""
        session = await self.tools.db.read(lambda conn: self.session_of(conn, caller))
        said, question = self._answered(ask.response, "add", session.id)
        made = await asyncio.to_thread(authenticators.registered, self._party, said)
        add = partial(self._add, ask=ask, made=made, caller=caller, handle=question.handle)
        added, change = await self.tools.db.write(add)
        await self.tell(change)
        return added

    def _add(
        self, conn: Connection, *, ask: AddPasskey, made: Made, caller: Caller, handle: str
    ) -> tuple[PasskeyAdded, RightsChanged]:
        session, now = self.shown_before(conn, caller), self.tools.now()
        rows, person = keyring.of(conn, caller.name), directory.person(conn, caller.name)
        if keyring.find(conn, made.credential):
            raise Conflict("this passkey is known here already")
        if rows and rows[0].handle != handle:
            raise Conflict("another passkey was added meanwhile: begin again")
        if len(rows) >= MOST:
            raise Conflict(f"{MOST} passkeys are enough: remove one first")
        row = {
            "id": new_id(now.timestamp()),
            "credential": made.credential,
            "person": caller.name,
            "handle": handle,
            "public_key": made.public_key,
            "uses": made.uses,
            "name": ask.name,
            "created": now,
        }
        keyring.add(conn, row)
        codes: list[str] = []
        if not directory.has_factor(person):
            store.end_all(conn, caller.name, "session", "half", but=session.id)
            codes = self.recovery(conn, caller.name, now)
        store.freshen(conn, session.id, now)
        self.record(conn, caller, "passkey.add", now, detail=ask.name)
        found = keyring.mine(conn, caller.name, str(row["id"]))
        added = PasskeyAdded(passkey=keyring.view(found), codes=codes)
        return added, self.touched(conn, caller, now)

    @answers(RENAME_PASSKEY)
    async def rename_passkey(self, ask: RenamePasskey, caller: Caller) -> Nothing:
        """Call one of the caller's passkeys something else."""

        def rename(conn: Connection) -> None:
            self.session_of(conn, caller)
            before = _mine(conn, caller, ask.id)
            keyring.rename(conn, ask.id, ask.name)
            detail = f"{before.name} -> {ask.name}"
            self.record(conn, caller, "passkey.rename", self.tools.now(), detail=detail)

        await self.tools.db.write(rename)
        return NOTHING

    @answers(DROP_PASSKEY)
    async def drop_passkey(self, ask: DropPasskey, caller: Caller) -> Nothing:
        """Forget one of the caller's passkeys."""
        await self.proven(caller, ask.password)
        now = self.tools.now()

        def drop(conn: Connection) -> RightsChanged:
            gone = _mine(conn, caller, ask.id)
            if not self.is_fresh(self.session_of(conn, caller)):
                raise Denied("show your second factor first: at /passkeys, or: muster factor show")
            keyring.drop(conn, ask.id)
            if not directory.has_factor(directory.person(conn, caller.name)):
                store.end_all(conn, caller.name, "recovery", "half")
            self.record(conn, caller, "passkey.drop", now, detail=gone.name)
            return self.touched(conn, caller, now)

        await self.tell(await self.tools.db.write(drop))
        return NOTHING

    @answers(ASK_FOR_PASSKEY)
    async def ask_for_passkey(self, ask: AskForPasskey, caller: Caller) -> PasskeyAsked:  # noqa: ARG002
        """Ask a stranger's browser for any passkey; that of half a login for one of its person."""
        known: list[str] = []
        if ask.half:
            known = await self.tools.db.read(
                lambda conn: keyring.known(conn, self.half_of(conn, ask.half).person)
            )
            if not known:
                raise NotFound("you have no passkey: type a code")
        bound = digest(ask.half) if ask.half else ""
        return await self._ask(
            _Question("login", bound),
            lambda party, challenge: authenticators.request(party, challenge, known),
        )

    @answers(LOGIN_BY_PASSKEY)
    async def login_by_passkey(self, ask: LoginByPasskey, caller: Caller) -> Session:  # noqa: ARG002
        """Begin a session, or finish a login that still needs its second factor."""
        who = _STRANGER
        try:
            said, _ = self._answered(ask.response, "login", digest(ask.half) if ask.half else "")
            row = await self._known_passkey(said)
            who = row.person
            uses = await self._genuine(said, row)
            begin = partial(self._begin_with, ask=ask, said=said, uses=uses)
            session = await self.tools.db.write(begin)
        except MusterError as error:
            await self.note(who, "login", "refused", ask.origin.address, f"passkey: {error}")
            raise
        if session is None:
            raise Denied(_COPY)
        return session

    async def _known_passkey(self, said: Heard) -> Any:
        row = await self.tools.db.read(lambda conn: keyring.find(conn, said.credential))
        if row is None:
            raise Unauthenticated(_UNKNOWN)
        return row

    async def _genuine(self, said: Heard, row: Any) -> int:
        """Return how often the passkey says it was used, if it is itself that says so."""
        return await asyncio.to_thread(authenticators.asserted, self._party, said, row.public_key)

    def _begin_with(
        self, conn: Connection, *, ask: LoginByPasskey, said: Heard, uses: int
    ) -> Session | None:
        """Begin a session; none if the passkey seems to have a copy, which stays on record."""
        row, began = keyring.find(conn, said.credential), ""
        if row is None or row.disabled:
            raise Unauthenticated(_UNKNOWN)
        if ask.half:
            half = self.half_of(conn, ask.half)
            if half.person != row.person:
                raise Unauthenticated("this is the passkey of somebody else")
            store.end(conn, half.id)
            began = f"{half.name}, " if half.name else ""
        elif not row.password:
            raise Denied("your passkey is your second factor: log in as you always do first")
        elif not hmac.compare_digest(row.handle.encode(), said.handle.encode()):
            raise Unauthenticated(_UNKNOWN)
        if not self._counts(conn, row, uses, ask.origin):
            return None
        return self.begin(
            conn, row.person, ask.origin, fresh=True, detail=f"{began}passkey {row.name}"
        )

    def _counts(self, conn: Connection, row: Any, uses: int, origin: Origin) -> bool:
        """Note that a passkey was used; an alert, if it was a copy of it."""
        now = self.tools.now()
        if authenticators.went_back(row.uses, uses):
            chain.append(
                conn, row.person, "passkey.copy", now=now, result="alert",
                detail=f"{row.name}: it says {uses} after {row.uses}", address=origin.address,
            )  # fmt: skip
            return False
        keyring.used(conn, row.id, uses, now)
        return True

    @answers(ASK_FOR_MY_PASSKEY)
    async def ask_for_my_passkey(self, ask: Nothing, caller: Caller) -> PasskeyAsked:  # noqa: ARG002
        """Ask the caller's browser for one of their passkeys."""

        def look(conn: Connection) -> tuple[Any, list[str]]:
            return self.session_of(conn, caller), keyring.known(conn, caller.name)

        session, known = await self.tools.db.read(look)
        if not known:
            raise NotFound("you have no passkey")
        return await self._ask(
            _Question("show", session.id),
            lambda party, challenge: authenticators.request(party, challenge, known),
        )

    @answers(SHOW_PASSKEY)
    async def show_passkey(self, ask: ShowPasskey, caller: Caller) -> Nothing:
        """Let the session do, for a while, what needs a fresh second factor."""
        session = await self.tools.db.read(lambda conn: self.session_of(conn, caller))
        said, _ = self._answered(ask.response, "show", session.id)
        uses = await self._genuine(said, await self._known_passkey(said))
        now = self.tools.now()

        def show(conn: Connection) -> RightsChanged | None:
            row, bearer = keyring.find(conn, said.credential), self.session_of(conn, caller)
            if row is None or row.person != caller.name:
                raise Denied("this is not a passkey of yours")
            if not self._counts(conn, row, uses, Origin(address=address_of(caller))):
                return None
            store.freshen(conn, bearer.id, now)
            self.record(conn, caller, "passkey.show", now, detail=row.name)
            return self.touched(conn, caller, now)

        change = await self.tools.db.write(show)
        if change is None:
            raise Denied(_COPY)
        await self.tell(change)
        return NOTHING


def _mine(conn: Connection, caller: Caller, passkey: str) -> Any:
    row = keyring.mine(conn, caller.name, passkey)
    if row is None:
        raise NotFound("you have no such passkey")
    return row
