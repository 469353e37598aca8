"""Facts that must not be lost: the stream `FACTS`, publishing into it, consuming from it.

A publish that timed out may have been stored, so every message carries an id and is sent again
with the same id until the broker has acknowledged it (NATS de-duplicates; consumers do too).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    Header,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError, NotFoundError
from nats.js.errors import Error as JetStreamError

from muster.contracts.accounts import INGRESS
from muster.contracts.base import Event, Fact
from muster.contracts.errors import Malformed, NoAnswer, Unavailable
from muster.kit import wire
from muster.kit.tasks import running

log = logging.getLogger(__name__)

FACTS: Final = StreamConfig(
    name="FACTS",
    subjects=["muster.fact.>"],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.NEW,
    max_bytes=512 * 1024 * 1024,
    max_age=14 * 86400,
    duplicate_window=600,
    deny_delete=True,
)
DEAD: Final = StreamConfig(
    name="DEAD",
    subjects=["muster.dead.>"],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_bytes=64 * 1024 * 1024,
)
AUDIT: Final = StreamConfig(
    name="AUDIT",
    subjects=["muster.audit.>"],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.NEW,
    deny_delete=True,
    deny_purge=True,
    allow_direct=True,
)

IN: Final = StreamConfig(
    name="IN",
    subjects=[f"{INGRESS}.>"],
    retention=RetentionPolicy.LIMITS,
    storage=StorageType.FILE,
    discard=DiscardPolicy.NEW,
    max_bytes=256 * 1024 * 1024,
    max_msgs_per_subject=100_000,
    discard_new_per_subject=True,
    max_msg_size=256 * 1024,
    max_age=86400,
    duplicate_window=0.1,
    deny_delete=True,
)
"""What external systems tell. A full stream refuses what is new, so that whatever was acknowledged
is there until it is a day old; who shouts on one subject fills that one first. All sources share
one memory of message ids, in which one could make another's message a duplicate that is
acknowledged and dropped: so it remembers for a tenth of a second, the least that there is, and who
takes messages knows them by source and id."""

ATTEMPTS: Final = 5
_DELAYS: Final = (0.5, 2.0, 10.0, 30.0)
_PUBLISH_FOR: Final = 15.0


async def ensure_streams(client: Client, streams: Sequence[StreamConfig] = (FACTS, DEAD)) -> None:
    """Create *streams*, or bring them to what they should be; waits for JetStream."""
    js = client.jetstream(timeout=5)
    for config in streams:
        async with asyncio.timeout(60):
            while not await _ensured(js, config):
                await asyncio.sleep(0.2)


async def _ensured(js: JetStreamContext, config: StreamConfig) -> bool:
    try:
        await js.add_stream(config)
    except BadRequestError:
        await js.update_stream(config)  # it is there, as an older release has made it
    except (nats.errors.Error, JetStreamError, OSError) as error:
        log.info("stream %s is not there yet: %s", config.name, error)
        return False
    return True


async def purge(client: Client, stream: str, subject: str) -> None:
    """Drop what *stream* holds on *subject*; raises `Unavailable`."""
    try:
        await client.jetstream(timeout=5).purge_stream(stream, subject=subject)
    except (nats.errors.Error, JetStreamError) as error:
        raise Unavailable(f"the stream {stream} cannot be purged: {error}") from error


async def publish(client: Client, subject: str, body: bytes, msg_id: str) -> None:
    """Publish into a stream, trying for 15 s; raises `Unavailable` when it stays unknown."""
    js = client.jetstream(timeout=2)
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _PUBLISH_FOR
    delay = 0.1
    while True:
        try:
            await js.publish(subject, body, headers={Header.MSG_ID: msg_id})
        except (nats.errors.Error, JetStreamError) as error:
            if loop.time() + delay > give_up:
                raise Unavailable(f"the broker did not take {subject}: {error}") from error
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)
        else:
            return


async def stored(client: Client, stream: str, subject: str) -> AsyncGenerator[bytes]:
    """Yield what *stream* holds on *subject*, oldest first; raises `Unavailable`."""
    js = client.jetstream(timeout=5)
    seq = 1
    while True:
        try:
            found = await js.get_msg(stream, seq=seq, subject=subject, next=True, direct=True)
        except NotFoundError:
            return
        except (nats.errors.Error, JetStreamError) as error:
            raise Unavailable(f"the stream {stream} cannot be read: {error}") from error
        yield found.data or b""
        seq = (found.seq or seq) + 1


@asynccontextmanager
async def consuming(
    client: Client,
    event: Event[Fact],
    take: Callable[[Fact, str], Awaitable[None]],
    durable: str,
) -> AsyncGenerator[None]:
    """Take every durable *event*; survives restarts of the broker and of this process."""
    consumer = _Consumer(client, event, take, durable)
    async with running(consumer.run(), f"consumer {durable}"):
        yield


class _Consumer:
    """One durable pull consumer on `FACTS`."""

    def __init__(
        self,
        client: Client,
        event: Event[Fact],
        take: Callable[[Fact, str], Awaitable[None]],
        durable: str,
    ) -> None:
        self._js = client.jetstream(timeout=5)
        self._event = event
        self._take = take
        self._durable = durable

    async def run(self) -> None:
        """Fetch and take, for ever."""
        while True:
            try:
                await self._pull()
            except (nats.errors.Error, JetStreamError, OSError) as error:
                log.warning("%s: %s", self._durable, error, extra={"action": "consumer_retry"})
                await asyncio.sleep(0.5)

    async def _pull(self) -> None:
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_deliver=-1, max_ack_pending=1000
        )
        subscription = await self._js.pull_subscribe(
            self._event.everything, durable=self._durable, stream="FACTS", config=config
        )
        try:
            while True:
                try:
                    batch = await subscription.fetch(100, timeout=5)
                except nats.errors.TimeoutError:
                    continue
                for msg in batch:
                    await self._handle(msg)
        finally:
            await subscription.unsubscribe()

    async def _handle(self, msg: Msg) -> None:
        tries = msg.metadata.num_delivered or 1
        msg_id = (msg.headers or {}).get(Header.MSG_ID) or str(msg.metadata.sequence.stream)
        try:
            await self._take(wire.unpack(self._event.fact, msg.data), msg_id)
        except Malformed as error:
            await self._bury(msg, msg_id, str(error))
        except (
            Unavailable,
            NoAnswer,
        ) as error:  # not the message's fault: until there is who is needed for it
            log.warning("%s waits: %s, attempt %d", msg.subject, error, tries)
            await msg.nak(delay=_DELAYS[min(tries, len(_DELAYS)) - 1])
        except Exception as error:
            if tries >= ATTEMPTS:
                await self._bury(msg, msg_id, repr(error))
            else:
                log.exception("%s could not be taken, attempt %d", msg.subject, tries)
                await msg.nak(delay=_DELAYS[min(tries, len(_DELAYS)) - 1])
        else:
            await msg.ack()

    async def _bury(self, msg: Msg, msg_id: str, reason: str) -> None:
        """Lay a message that nobody can take among the dead letters, with the reason."""
        headers = {
            Header.MSG_ID: f"{self._durable}:{msg_id}",
            "Muster-Subject": msg.subject,
            "Muster-Reason": " ".join(reason.split())[:500].encode("unicode_escape").decode(),
        }
        service = self._durable.split("_")[0]
        log.error("%s: dead letter: %s", msg.subject, reason, extra={"action": "dead_letter"})
        await self._js.publish(f"muster.dead.{service}.{self._durable}", msg.data, headers=headers)
        await msg.term()
