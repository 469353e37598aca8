"""The WebSocket: live changes of nodes and runs.

The client sends ``{"subscribe": "nodes"}`` or ``{"subscribe": "run:<id>", "after": 12}`` and
``{"unsubscribe": …}``. The server sends ``{"topic": …, "event": …}``; ``{"topic": …, "reset":
true}`` when everything has to be read anew; ``{"topic": …, "error": {"code", "detail"}}``.
"""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Final

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError

from muster.contracts.base import Message
from muster.contracts.errors import Denied, Malformed, MusterError, TooMany, Unauthenticated
from muster.contracts.names import ShortText
from muster.gateway.gate import Gate, gate_of
from muster.gateway.live import BEAT, Client, Follower
from muster.gateway.origins import is_own
from muster.gateway.people import Visitor
from muster.gateway.problems import problem
from muster.gateway.topics import Mark, Topic, topic_of
from muster.kit.text import clean

log = logging.getLogger(__name__)
router = APIRouter()

_TOPICS: Final = 64
_MESSAGE: Final = 4096


class Wish(Message):
    """What a client wants."""

    subscribe: ShortText = ""
    unsubscribe: ShortText = ""
    after: int = Field(default=0, ge=0)
    epoch: ShortText = ""


async def admit(websocket: WebSocket) -> Visitor | None:
    """Return who opens a WebSocket; refuse, before it is accepted, whoever may not."""
    gate = gate_of(websocket)
    try:
        visitor = await gate.people.visitor(websocket)
        foreign = not is_own(websocket, gate.settings.public_url)
        if foreign and (visitor.cookie or "origin" in websocket.headers):
            raise Denied("this connection comes from another site's page")
        if visitor.cookie and visitor.person.must_change_password:
            raise Denied("change your password first")
    except MusterError as error:
        await websocket.send_denial_response(problem(type(error), str(error)))
        return None
    return visitor


@router.websocket("/events")
async def events(websocket: WebSocket) -> None:
    """Follow topics until the client goes, or has to go."""
    visitor = await admit(websocket)
    if visitor is None:
        return
    await websocket.accept()
    gate = gate_of(websocket)
    async with gate.hub.client(visitor) as client:
        code, reason = await _Conversation(gate, client, websocket).hold()
    with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(5):
            await websocket.close(code, reason)


class _Conversation:
    """What goes back and forth on one WebSocket."""

    def __init__(self, gate: Gate, client: Client, websocket: WebSocket) -> None:
        self._gate = gate
        self._client = client
        self._websocket = websocket
        self._following: dict[str, tuple[Topic, asyncio.Task[None]]] = {}
        self._followers: dict[str, Follower] = {}

    async def hold(self) -> tuple[int, str]:
        """Converse until somebody ends it; return the close code and the reason."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (self._send(), self._beat())]
            tasks.append(group.create_task(self._hear(group)))
            ended = await self._client.cut
            for task in [*tasks, *(task for _, task in self._following.values())]:
                task.cancel()
        return ended

    async def _send(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._websocket.send_text(await self._client.next())
        self._client.end(1000, "")

    async def _hear(self, group: asyncio.TaskGroup) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, KeyError):
            while True:
                text = await self._websocket.receive_text()
                wish = Wish()
                try:
                    wish = _wish(text)
                    await self._fulfil(wish, group)
                except MusterError as error:
                    self._complain(wish.subscribe, error)
        self._client.end(1000, "")

    async def _fulfil(self, wish: Wish, group: asyncio.TaskGroup) -> None:
        if wish.unsubscribe:
            await self._stop(wish.unsubscribe)
        if not wish.subscribe:
            return
        topic = topic_of(wish.subscribe)
        self._allow(topic)
        await self._stop(topic.name)
        if len(self._following) >= _TOPICS:
            raise TooMany(f"at most {_TOPICS} topics at a time: unsubscribe from some")
        task = group.create_task(self._follow(topic, Mark(wish.after, wish.epoch)))
        self._following[topic.name] = (topic, task)

    async def _follow(self, topic: Topic, mark: Mark) -> None:
        try:
            async with self._gate.hub.following(topic, self._client, mark) as follower:
                self._followers[topic.name] = follower
                await follower.follow()
        except MusterError as error:
            self._complain(topic.name, error)
        except Exception:
            log.exception("following %s failed", topic.name)
            self._complain(topic.name, MusterError("something went wrong in the server"))
        if self._following.get(topic.name, (None, None))[1] is asyncio.current_task():
            del self._following[topic.name]
            self._followers.pop(topic.name, None)

    async def _stop(self, name: str) -> None:
        self._followers.pop(name, None)
        _, task = self._following.pop(name, (None, None))
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5)

    def _allow(self, topic: Topic) -> None:
        if not self._client.visitor.may(topic.needs):
            raise Denied(f"{self._client.visitor.person.name} may not {topic.needs}")

    async def _beat(self) -> None:
        """Look again and again whether the session lives, its rights hold, nothing was missed."""
        while True:
            await self._client.next_look(BEAT)
            try:
                self._client.visitor = await self._gate.people.again(self._client.visitor)
            except Unauthenticated:
                self._client.end(1008, "the session has ended")
            except MusterError as error:
                log.debug("the session could not be checked: %s", error)
                if self._client.visitor.expired:
                    self._client.end(1013, "the session cannot be checked: try again later")
            for topic, _ in list(self._following.values()):
                await self._check(topic)

    async def _check(self, topic: Topic) -> None:
        try:
            self._allow(topic)
        except Denied as error:
            await self._stop(topic.name)
            self._complain(topic.name, error)
        else:
            if follower := self._followers.get(topic.name):
                follower.nudge()

    def _complain(self, topic: str, error: MusterError) -> None:
        told = {"code": error.code, "detail": clean(str(error))}
        self._client.offer(json.dumps({"topic": clean(topic), "error": told}))


def _wish(text: str) -> Wish:
    if len(text) > _MESSAGE:
        raise Malformed("the message is too long")
    try:
        return Wish.model_validate_json(text)
    except ValidationError as error:
        raise Malformed('send {"subscribe": <topic>} or {"unsubscribe": <topic>}') from error
