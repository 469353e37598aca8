"""Live messages for many clients: one subscription on the bus per topic, encoded once.

A client has a bounded queue; one that does not keep up is cut and resumes from where it was. A
follower (one client on one topic) sends what follows its mark in order and without holes: what
was missed is asked for, and what comes live meanwhile is asked for as well.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from muster.contracts.errors import NoAnswer, TooMany, Unavailable
from muster.contracts.people import RightsChanged
from muster.gateway.people import Visitor, key_of
from muster.gateway.topics import Live, Mark, Page, Topic
from muster.kit.bus import Bus

log = logging.getLogger(__name__)

BEAT: Final = 15.0
"""Seconds between two looks at a session, and at what a follower may have missed."""

QUEUE: Final = 1_000
"""Messages that may wait for one client."""

QUEUE_BYTES: Final = 4 * 1024 * 1024
_PATIENCE: Final = 30.0
"""Seconds for which a follower waits for a service that does not answer."""

_SHARED: Final = 0.2
"""Seconds for which an answer to one follower is good for another at the same mark."""


class Client:
    """One WebSocket: what waits to be sent to it, and whether it has been cut."""

    def __init__(self, visitor: Visitor) -> None:
        """Begin with nothing to send."""
        self.visitor = visitor
        self.cut: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        """Resolved with a close code and a reason when the client has to go."""
        self._suspect = asyncio.Event()
        self._waiting: deque[tuple[str, int]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def offer(self, text: str, size: int = 0) -> None:
        """Queue a message; a client that has too much waiting is cut."""
        size = size or len(text.encode())
        if len(self._waiting) >= QUEUE or self._bytes + size > max(QUEUE_BYTES, size):
            self.end(1013, "too slow: reconnect and resume")
            return
        self._waiting.append((text, size))
        self._bytes += size
        self._some.set()
        if len(self._waiting) * 2 > QUEUE or self._bytes * 4 > QUEUE_BYTES:
            self._room.clear()

    def end(self, code: int, reason: str) -> None:
        """Cut the client."""
        if not self.cut.done():
            self.cut.set_result((code, reason))

    async def next(self) -> str:
        """Return the next message, once there is one."""
        await self._some.wait()
        text, size = self._waiting.popleft()
        self._bytes -= size
        if not self._waiting:
            self._some.clear()
            self._room.set()
        return text

    def suspect(self) -> None:
        """Note that the person's rights, or the session, may have changed."""
        self._suspect.set()

    async def next_look(self, seconds: float) -> None:
        """Wait until the session has to be looked at: after some time, or when it is suspect."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._suspect.wait()
        self._suspect.clear()

    async def room(self) -> None:
        """Wait until what waits has been sent: pages are sent at the client's own pace."""
        await self._room.wait()


class Feed:
    """A topic that somebody follows."""

    def __init__(self, topic: Topic) -> None:
        """Begin without followers."""
        self.topic = topic
        self.followers: set[Follower] = set()
        self.stack = AsyncExitStack()
        self._asking = asyncio.Lock()
        self._page: tuple[float, tuple[object, ...], Page] | None = None
        self._news = 0

    def hear(self, live: Live) -> None:
        """Pass a live message to every follower."""
        self.renew()
        for follower in list(self.followers):
            follower.hear(live)

    def renew(self) -> None:
        """Share no answer from before this moment: something has happened, or may have."""
        self._news += 1
        self._page = None

    async def page(self, visitor: Visitor, mark: Mark) -> Page:
        """Return what came after *mark*; followers at one mark with the same rights share it."""
        key = (mark, visitor.person.model_dump_json(include={"grants"}))
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._page and self._page[1] == key and now - self._page[0] < _SHARED:
                return self._page[2]
            news = self._news
            page = await self.topic.page(visitor, mark)
            if news == self._news:
                self._page = (now, key, page)
            return page


class Follower:
    """One client on one topic."""

    def __init__(self, feed: Feed, client: Client, mark: Mark) -> None:
        """Follow *feed* for *client* from *mark* on."""
        self.feed = feed
        self.client = client
        self.mark = mark
        self._heard: Mark | None = None
        self._catching = True
        self._behind = asyncio.Event()
        self._behind.set()

    def hear(self, live: Live) -> None:
        """Send a live message if it is the next one; else remember that something is missing."""
        if live.mark.epoch == self.mark.epoch and live.mark.seq <= self.mark.seq:
            return
        self._heard = live.mark
        if self._catching or self._behind.is_set():
            return
        if not self.client.visitor.unlimited(self.feed.topic.needs):
            self._behind.set()  # what is for others too has to be asked for, and is filtered
        elif live.mark.epoch == self.mark.epoch and live.first <= self.mark.seq + 1:
            self.client.offer(live.text, live.size)
            self.mark = live.mark
        else:
            self._behind.set()

    def nudge(self) -> None:
        """Ask whether something was missed: the last message of all may have been lost."""
        self._behind.set()

    async def follow(self) -> None:
        """Fill every hole, until cancelled."""
        pause = _SHARED
        while True:
            await self._behind.wait()
            self._catching = True
            self._behind.clear()
            await self._catch_up()
            if self._is_behind():
                await asyncio.sleep(pause)  # it was told live before it could be asked for
                pause = min(pause * 2, 5.0)
                self._behind.set()
            else:
                self._catching = False
                pause = _SHARED

    def _is_behind(self) -> bool:
        heard, mark = self._heard, self.mark
        return heard is not None and (heard.epoch != mark.epoch or heard.seq > mark.seq)

    async def _catch_up(self) -> None:
        more = True
        while more:
            await self.client.room()
            page = await _patiently(lambda: self.feed.page(self.client.visitor, self.mark))
            for text in page.texts:
                self.client.offer(text)
            self.mark = page.mark
            more = page.more


class Hub:
    """All clients, and the feeds that they follow."""

    def __init__(self, bus: Bus) -> None:
        """Follow over *bus*."""
        self._bus = bus
        self._feeds: dict[str, Feed] = {}
        self._door = asyncio.Lock()
        self._clients: set[Client] = set()
        bus.on_connect(self._reconnected)
        bus.rights.watch(self.recheck)

    @asynccontextmanager
    async def client(self, visitor: Visitor) -> AsyncGenerator[Client]:
        """Hold the place of one WebSocket."""
        client = Client(visitor)
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)

    @asynccontextmanager
    async def following(self, topic: Topic, client: Client, mark: Mark) -> AsyncGenerator[Follower]:
        """Let *client* follow *topic*; the first one subscribes, the last one unsubscribes."""
        async with self._door:
            feed = self._feeds.get(topic.name) or await self._open(topic)
            follower = Follower(feed, client, mark)
            feed.followers.add(follower)
        try:
            yield follower
        finally:
            feed.followers.discard(follower)
            if not feed.followers and self._feeds.get(topic.name) is feed:
                del self._feeds[topic.name]
                await feed.stack.aclose()

    def recheck(self, change: RightsChanged) -> None:
        """Let every client whose rights have changed be looked at, now."""
        for client in self._clients:
            if change.everyone or client.visitor.person.name in change.names:
                client.suspect()

    def cut(self, secret: str) -> None:
        """Cut every client of a session that has ended."""
        key = key_of(secret)
        for client in self._clients:
            if key_of(client.visitor.secret) == key:
                client.end(1008, "the session has ended")

    async def _open(self, topic: Topic) -> Feed:
        feed = Feed(topic)
        await feed.stack.enter_async_context(topic.listening(self._bus, feed.hear))
        self._feeds[topic.name] = feed
        return feed

    async def _reconnected(self) -> None:
        for feed in self._feeds.values():
            feed.renew()
            for follower in feed.followers:
                follower.nudge()


async def _patiently(ask: Callable[[], Awaitable[Page]]) -> Page:
    """Ask again while a service is away; what it refuses is raised at once."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _PATIENCE
    while True:
        try:
            return await ask()
        except (Unavailable, NoAnswer, TooMany) as error:
            if loop.time() >= give_up:
                raise
            log.debug("a follower waits: %s", error)
            await asyncio.sleep(1)
