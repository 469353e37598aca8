"""Answering questions: marked methods of a service become `nats.micro` endpoints.

Each request runs in its own bounded task, after its caller has been proven: by a signed ticket,
by the node's or the service account's own subject, or by the broker's permissions alone. On the way
out, intake stops first and what has begun is finished.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import Service

from muster.contracts.authority import CHANGE_PASSWORD, Ticket
from muster.contracts.base import ACCOUNT, NODE, SERVICE, Answer, Ask, Call, Message
from muster.contracts.errors import Denied, MusterError, TooLarge, TooMany, Unauthenticated
from muster.contracts.names import TOKEN
from muster.kit import policy, wire
from muster.kit.flooding import Flooding, Pace
from muster.kit.identity import tickets
from muster.kit.rights import Rights
from muster.kit.tasks import Crew

log = logging.getLogger(__name__)

_MARK: Final = "__muster_call__"
_NODE_ID: Final = re.compile(r"^n[a-z2-7]{16}$")
_ACCOUNT: Final = re.compile(TOKEN)
_ABROAD: Final = "_R_."
"""Where the broker takes answers that go to another of its accounts: it makes these itself."""
_TICKETS: Final = 50
"""Questions of one service account about itself in a second."""
_REMEMBERED: Final = 4096

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, proven."""

    ticket: Ticket | None = None
    token: str = ""
    """The ticket as it was signed, to be passed on in questions to other services."""
    node: str | None = None
    account: str | None = None

    @property
    def name(self) -> str:
        """The person's name, the node's id, the service account's name, or ``@service``."""
        return self.ticket.person.name if self.ticket else self.node or self.account or SERVICE

    def reach(self, action: str) -> policy.Reach:
        """Return on which nodes the caller may do *action*, now; nowhere without a ticket."""
        grants = self.ticket.person.grants if self.ticket else []
        return policy.reach(grants, policy.Request(action, datetime.now(UTC)))


def answers(
    call: Call[Ask, Answer],
) -> Callable[
    [Callable[[S, Ask, Caller], Awaitable[Answer]]], Callable[[S, Ask, Caller], Awaitable[Answer]]
]:
    """Mark a method as the one that answers *call*; the types must match the contract."""

    def mark(
        method: Callable[[S, Ask, Caller], Awaitable[Answer]],
    ) -> Callable[[S, Ask, Caller], Awaitable[Answer]]:
        setattr(method, _MARK, call)
        return method

    return mark


def marked(service: type) -> Iterator[tuple[str, Call[Any, Any]]]:
    """Yield the name of every marked method of *service* and the call that it answers."""
    for name in dir(service):
        call: Call[Any, Any] | None = getattr(getattr(service, name), _MARK, None)
        if call is not None:
            yield name, call


class Serving:
    """The answering side of one connection."""

    def __init__(  # noqa: PLR0913  # what a door needs
        self,
        client: Client,
        keys: Sequence[bytes],
        rights: Rights,
        flooding: Flooding,
        refused: Callable[[Ticket, Call[Any, Any], str], None],
        *,
        at_once: int,
        grace: float,
    ) -> None:
        """Answer over *client*; *keys* verify tickets, *rights* say which are too old.

        Tell *refused* whom the door did not open to.
        """
        self._client = client
        self._keys = keys
        self._rights = rights
        self._flooding = flooding
        self._refused = refused
        self._at_once = at_once
        self._crews: list[Crew] = []
        self._grace = grace
        self._proven: dict[str, Ticket] = {}
        self._accounts = Pace(_TICKETS)

    @asynccontextmanager
    async def of(self, service: object, name: str, version: str) -> AsyncGenerator[None]:
        """Answer every marked method of *service*."""
        micro = await add_service(self._client, name=name, version=version)
        try:
            for method_name, call in marked(type(service)):
                own = call.needs in {NODE, ACCOUNT}
                subject = f"{call.subject}.*" if own else call.subject
                await micro.add_endpoint(
                    name=method_name,
                    subject=subject,
                    handler=self._handing(call, getattr(service, method_name)),
                    metadata={"needs": call.needs, "ask": call.ask.__name__},
                )
            await self._client.flush()
            yield
        finally:
            await self._stop(micro)

    async def _stop(self, micro: Service) -> None:
        """Stop intake, finish what has begun, and only then let go.

        `Service.stop` alone would discard requests that wait and cut off those that run.
        """
        for endpoint in micro._endpoints:  # noqa: SLF001
            with suppress(nats.errors.Error):
                if endpoint._subscription is not None:  # noqa: SLF001
                    await endpoint._subscription.drain()  # noqa: SLF001
        await asyncio.gather(*(crew.go_home(self._grace) for crew in self._crews))
        with suppress(nats.errors.Error, AssertionError):
            await micro.stop()
        with suppress(nats.errors.Error):
            await self._client.flush(timeout=2)

    def _handing(
        self, call: Call[Any, Any], method: Callable[[Any, Caller], Awaitable[Message]]
    ) -> Callable[[Request], Awaitable[None]]:
        crew = Crew(self._at_once)  # of its own: those who wait here must not hold up the others
        self._crews.append(crew)

        async def take(request: Request) -> None:
            msg: Msg = request._msg  # noqa: SLF001  # the reply subject is nowhere else
            if self._admits(call, msg):
                await crew.take(self._answer(call, method, msg), msg.subject)
            elif call.needs != NODE or not self._flooding.floods(_last(msg)):
                refusal = wire.refusal(TooMany("too often: wait a second"))
                await self._respond(call, msg, b"", refusal)

        return take

    def _admits(self, call: Call[Any, Any], msg: Msg) -> bool:
        """Whether who asks about itself does not do so too often."""
        if call.needs == NODE:
            return self._flooding.admits(_last(msg))
        return call.needs != ACCOUNT or self._accounts.admits(_last(msg))

    async def _answer(
        self,
        call: Call[Any, Any],
        method: Callable[[Any, Caller], Awaitable[Message]],
        msg: Msg,
    ) -> None:
        try:
            caller = self._prove(call, msg)
            body = wire.pack(await method(wire.unpack(call.ask, msg.data), caller))
            if len(body) > self._client.max_payload:
                raise TooLarge(f"the answer has {len(body)} bytes: ask for less at a time")  # noqa: TRY301
        except MusterError as error:
            await self._respond(call, msg, b"", wire.refusal(error))
        except Exception:
            log.exception("%s failed", msg.subject)
            await self._respond(call, msg, b"", wire.refusal(MusterError("internal error")))
        else:
            await self._respond(call, msg, body, None)

    async def _respond(
        self, call: Call[Any, Any], msg: Msg, body: bytes, headers: dict[str, str] | None
    ) -> None:
        """Answer, but never to a subject that is not an inbox of the one who asked.

        The broker does not check reply subjects: a node could make a service publish its
        answer on another node's command subject.
        """
        if not msg.reply.startswith(_inboxes(call, msg)):
            if msg.reply:
                log.warning("%s: no answer to a foreign reply subject", msg.subject)
            return
        with suppress(nats.errors.Error):
            await self._client.publish(msg.reply, body, headers=headers)

    def _prove(self, call: Call[Any, Any], msg: Msg) -> Caller:
        if call.needs in _BY_SUBJECT:
            return _BY_SUBJECT[call.needs](_last(msg))
        token = (msg.headers or {}).get(wire.TICKET, "")
        if not token:
            raise Unauthenticated("log in first")
        ticket = self._verify(token)
        self._rights.check(ticket)
        if ticket.person.must_change_password and call is not CHANGE_PASSWORD:
            raise Denied("change your password first")
        if not policy.allows(ticket.person.permissions, call.needs):
            why = f"{ticket.person.name} may not {call.needs}"
            self._refused(ticket, call, why)
            raise Denied(why)
        return Caller(ticket=ticket, token=token)

    def _verify(self, token: str) -> Ticket:
        known = self._proven.get(token)
        if known is not None and known.expires.timestamp() > time.time():
            return known
        ticket = tickets.verify(token, self._keys, datetime.now(UTC))
        if len(self._proven) >= _REMEMBERED:
            self._proven.clear()
        self._proven[token] = ticket
        return ticket


def _node(name: str) -> Caller:
    if not _NODE_ID.match(name):
        raise Denied("this is for nodes")
    return Caller(node=name)


def _account(name: str) -> Caller:
    if not _ACCOUNT.match(name):
        raise Denied("this is for service accounts")
    return Caller(account=name)


_BY_SUBJECT: Final[dict[str, Callable[[str], Caller]]] = {
    SERVICE: lambda _: Caller(),
    NODE: _node,
    ACCOUNT: _account,
}
"""Callers whom the broker's permissions prove: by the subject on which they may ask."""


def _last(msg: Msg) -> str:
    """Return the last token of a subject: who asks, where the broker holds them to it."""
    return str(msg.subject).rsplit(".", 1)[-1]


def _inboxes(call: Call[Any, Any], msg: Msg) -> tuple[str, ...]:
    """Return what the reply subject of a question may begin with."""
    if call.needs == NODE and _NODE_ID.match(_last(msg)):
        return (f"_INBOX_{_last(msg)}.",)
    return (_ABROAD,) if call.needs == ACCOUNT else ("_INBOX_", _ABROAD)
