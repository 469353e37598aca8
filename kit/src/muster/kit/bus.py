"""One connection to NATS, spoken in contracts instead of bytes.

Everything that crosses the bus passes here: questions (`ask`) and answers (`serving`),
lossy news (`tell`, `listening`), durable facts (`publish`, `consuming`), and raw subjects for
the few parts that speak to agents.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from muster.contracts.authority import FLOODS, REFUSED, Flood, Refusal, Ticket
from muster.contracts.base import Answer, Ask, Call, Event, Fact, Message, Nothing
from muster.contracts.errors import Malformed, MusterError, NoAnswer, TooLarge, Unavailable
from muster.kit import durable, serve, wire
from muster.kit.client import PLAIN, SLOWEST, AnswerLostError, Credentials, Trust, open_client
from muster.kit.flooding import Flooding, Pace
from muster.kit.rights import Rights
from muster.kit.serve import Caller, answers

__all__ = ["Bus", "Caller", "Raw", "answers", "connect"]

log = logging.getLogger(__name__)

_REFUSALS = 10
"""Of one person and in a second, that are worth a record in the audit."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as it came."""

    subject: str
    data: bytes
    reply: str
    headers: dict[str, str] | None

    @property
    def nobody(self) -> bool:
        """Whether this is the broker's word that nobody listens to what was sent."""
        return (self.headers or {}).get("Status") == "503" and not self.data


class AnswerLost(NoAnswer):  # a refusal, named as the contracts name theirs
    """The connection broke before the answer came."""


class Bus:
    """Ask, tell and serve."""

    def __init__(self, client: Client, name: str, keys: Sequence[bytes] = ()) -> None:
        """Speak over *client*, which the caller owns; *keys* verify tickets."""
        self.client = client
        self.inbox = f"_INBOX_{name}"
        self.rights = Rights()
        self.flooding = Flooding(self._flooded)
        self._name = name
        self._news: set[asyncio.Task[None]] = set()
        self._refusals = Pace(_REFUSALS)
        self._keys = tuple(keys)
        self._awaiting_connection: list[Callable[[], Awaitable[None]]] = []

    def _flooded(self, node: str) -> None:
        self._tell_authority(FLOODS, Flood(node=node, service=self._name))

    def _refused(self, ticket: Ticket, call: Call[Any, Any], why: str) -> None:
        """Have it written into the audit; who tries again and again is there often enough."""
        who = ticket.person.name
        if self._refusals.admits(who):
            refusal = Refusal(
                who=who,
                action=call.needs,
                service=self._name,
                detail=why[:200],
                address=ticket.origin.address,
            )
            self._tell_authority(REFUSED, refusal)

    def _tell_authority(self, call: Call[Any, Nothing], told: Message) -> None:
        """Tell the authority something, beside what is being done."""

        async def tell() -> None:
            try:
                await self.ask(call, told)
            except MusterError as error:
                log.warning("the authority does not know of %s: %s", told, error)

        task = asyncio.create_task(tell(), name=call.subject)  # noqa: TID251
        self._news.add(task)
        task.add_done_callback(self._news.discard)

    @property
    def connected(self) -> bool:
        """Whether there is a live connection at this moment."""
        return self.client.is_connected

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await *callback* after every reconnect (not for the connection that stands now)."""
        self._awaiting_connection.append(callback)

    async def reconnected(self) -> None:
        """Tell everybody who asked that the connection is back."""
        for callback in self._awaiting_connection:
            try:
                await callback()
            except Exception:
                log.exception("after the reconnect: %r failed", callback)

    async def ask(
        self,
        call: Call[Ask, Answer],
        ask: Ask,
        *,
        ticket: str = "",
        node: str = "",
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> Answer:
        """Send *ask* and wait for its answer, or raise the error that it came back as.

        When the connection breaks in between, a safe call is asked again within *timeout*.
        """
        data = await self.ask_raw(call, ask, ticket=ticket, node=node, timeout=timeout)
        return wire.unpack(call.answer, data)

    async def ask_raw(
        self,
        call: Call[Ask, Answer],
        ask: Ask,
        *,
        ticket: str = "",
        node: str = "",
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> bytes:
        """Do as `ask`, and return the answer as the service has written it."""
        subject = f"{call.subject}.{node}" if node else call.subject
        headers = {wire.TICKET: ticket} if ticket else None
        body = wire.pack(ask)
        until = asyncio.get_running_loop().time() + timeout
        while True:
            left = max(0.001, until - asyncio.get_running_loop().time())
            try:
                return await self.request(subject, body, headers=headers, timeout=left)
            except AnswerLost:
                if not call.safe:
                    raise

    async def request(
        self,
        subject: str,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109
        patience: float = 3.0,
    ) -> bytes:
        """Send raw *body* and return the raw answer.

        While nobody listens it is tried again for *patience* seconds, because a service may be
        restarting; that is harmless, because it has not been delivered.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + min(patience, timeout)
        while True:
            try:
                reply = await self.client.request(subject, body, timeout=timeout, headers=headers)
            except nats.errors.NoRespondersError as error:
                if loop.time() >= give_up:
                    raise Unavailable(f"nobody answers on {_service(subject)}") from error
                await asyncio.sleep(0.05)
            except nats.errors.Error as error:
                raise self._trouble(error, subject, timeout) from error
            else:
                wire.raise_refusal(reply.headers)
                return reply.data

    def _trouble(self, error: nats.errors.Error, subject: str, waited: float) -> MusterError:
        if isinstance(error, nats.errors.MaxPayloadError):
            return TooLarge("it does not fit in one message")
        if isinstance(error, AnswerLostError):
            return AnswerLost(f"the connection was lost before {_service(subject)} had answered")
        if isinstance(error, nats.errors.TimeoutError) and self.connected:
            return NoAnswer(f"no answer from {_service(subject)} in {waited:g} s")
        return Unavailable(f"there is no connection to the bus: {error}")

    async def tell(self, event: Event[Fact], fact: Fact, *tokens: str) -> None:
        """Announce that *fact* has happened, to whoever listens now."""
        await self.send(event.at(*tokens), wire.pack(fact))

    async def send(
        self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish raw *body*, lossy."""
        try:
            await self.client.publish(subject, body, reply=reply, headers=headers)
        except nats.errors.Error as error:
            raise self._trouble(error, subject, 0) from error

    async def publish(self, subject: str, body: bytes, *, msg_id: str) -> None:
        """Publish into a stream; return once it is on the broker's disk (15 s of trying)."""
        await durable.publish(self.client, subject, body, msg_id)

    async def keep(self, event: Event[Fact], fact: Fact, *tokens: str, msg_id: str) -> None:
        """Publish a durable *event* into its stream; return once it is on the broker's disk."""
        await self.publish(event.at(*tokens), wire.pack(fact), msg_id=msg_id)

    def stored(self, event: Event[Any]) -> AsyncGenerator[bytes]:
        """Yield everything that the stream of *event* holds, oldest first."""
        stream = event.subject.split(".")[1].upper()
        return durable.stored(self.client, stream, event.everything)

    async def refuse(self, message: Raw, error: MusterError) -> None:
        """Answer a raw request with an error."""
        if message.reply:
            await self.send(message.reply, b"", headers=wire.refusal(error))

    @asynccontextmanager
    async def hearing(
        self, subject: str, take: Callable[[Raw], Awaitable[None]], *, queue: str = ""
    ) -> AsyncGenerator[None]:
        """Hear every raw message on *subject*, one after another."""

        async def heard(msg: Msg) -> None:
            try:
                await take(Raw(msg.subject, msg.data, msg.reply, msg.headers))
            except Exception:
                log.exception("%s: a message could not be taken", msg.subject)

        subscription = await self.client.subscribe(subject, queue=queue, cb=heard)
        await self.flush()
        try:
            yield
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    @asynccontextmanager
    async def listening(
        self, event: Event[Fact], hear: Callable[[Fact, tuple[str, ...]], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        """Hear every *event* told from the moment the block begins; what does not fit is dropped.

        *hear* also gets the subject's tokens that the event's pattern leaves open.
        """
        places = [i for i, token in enumerate(event.subject.split(".")) if token.startswith("{")]

        async def take(message: Raw) -> None:
            tokens = message.subject.split(".")
            try:
                fact = wire.unpack(event.fact, message.data)
            except Malformed as error:
                log.warning("%s: dropped: %s", message.subject, error)
            else:
                await hear(fact, tuple(tokens[i] for i in places))

        async with self.hearing(event.everything, take):
            yield

    def serving(
        self,
        service: object,
        *,
        name: str,
        version: str,
        at_once: int = 256,
        grace: float = 4.0,
    ) -> AbstractAsyncContextManager[None]:
        """Answer every marked method of *service*; on the way out, finish what has begun."""
        crew = serve.Serving(
            self.client,
            self._keys,
            self.rights,
            self.flooding,
            self._refused,
            at_once=at_once,
            grace=grace,
        )
        return crew.of(service, name, version)

    def consuming(
        self,
        event: Event[Fact],
        take: Callable[[Fact, str], Awaitable[None]],
        *,
        durable: str,
    ) -> AbstractAsyncContextManager[None]:
        """Take every durable *event*, each at least once, in order of its stream.

        *durable* is ``<service>_<what>``. *take* gets the message id and de-duplicates with the
        inbox in the transaction of its effect; what it raises is tried again with a growing
        delay, then laid among the dead letters.
        """
        return _consuming(self.client, event, take, durable)

    async def flush(self) -> None:
        """Wait until the broker has seen all that was sent, subscriptions too."""
        with suppress(nats.errors.Error):
            await self.client.flush(timeout=5)


_consuming = durable.consuming


def _service(subject: str) -> str:
    return ".".join(subject.split(".")[1:4])


@asynccontextmanager
async def connect(
    urls: str | Sequence[str],
    *,
    name: str,
    creds: Path | Callable[[], Credentials] | None = None,
    trust: Trust = PLAIN,
    keys: Sequence[bytes] = (),
    slowest: float = SLOWEST,
) -> AsyncGenerator[Bus]:
    """Open a bus and drain it on the way out; waits for the broker without end.

    *name* is also the inbox: ``_INBOX_<name>``. *creds* is a file, read anew at every attempt,
    or a function that returns credentials.
    """
    opened: list[Bus] = []

    async def reconnected() -> None:
        for bus in opened:
            await bus.reconnected()

    source: Callable[[], Credentials] | None
    if isinstance(creds, Path):
        path = creds
        source = lambda: Credentials.from_file(path)  # noqa: E731
    else:
        source = creds
    client = await open_client(
        [urls] if isinstance(urls, str) else urls,
        name=name,
        credentials=source,
        trust=trust,
        slowest=slowest,
        reconnected=reconnected,
    )
    opened.append(Bus(client, name, keys))
    try:
        yield opened[0]
    finally:
        await _leave(client)


async def _leave(client: Client) -> None:
    """Drain if there is somebody to drain to; never hang."""
    try:
        async with asyncio.timeout(3):
            if client.is_connected:
                await client.drain()
            else:
                await client.close()
    except (TimeoutError, nats.errors.Error, OSError) as error:
        log.debug("the connection did not drain: %s", error)
