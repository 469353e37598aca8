"""What can be followed live: the nodes, and one run.

A topic knows its live event on the bus and the call that tells what was missed. Live messages
are lossy and numbered; a hole in the numbers is filled by asking.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import TypeAdapter, ValidationError

from muster.contracts.errors import Malformed
from muster.contracts.names import Id
from muster.contracts.nodes import NODES_CHANGED, NODES_SINCE, NodeChanges, NodesSince
from muster.contracts.runs import RUN_CHANGED, RUN_EVENTS, RunEvent, RunEventsAfter
from muster.gateway.people import Visitor
from muster.kit.bus import Bus, Raw
from muster.kit.wire import unpack

_RUN: Final = "run:"
_RUN_ID: Final = TypeAdapter(Id)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a follower has come."""

    seq: int = 0
    epoch: str = ""
    """Of the counter; where a topic has none, empty."""


@dataclass(frozen=True, slots=True)
class Live:
    """A message as it goes to every follower: encoded once."""

    first: int
    """The smallest number in it: a follower that is not at ``first - 1`` has missed something."""
    mark: Mark
    text: str
    size: int = field(default=0)


@dataclass(frozen=True, slots=True)
class Page:
    """What a follower has missed, encoded, and how far it is after that."""

    texts: list[str]
    mark: Mark
    more: bool


Hear = Callable[[Live], None]


class Topic(Protocol):
    """Something that can be followed."""

    name: str
    needs: str
    """The permission that a follower needs."""

    def listening(self, bus: Bus, hear: Hear) -> AbstractAsyncContextManager[None]:
        """Hear what is told live."""

    async def page(self, visitor: Visitor, mark: Mark) -> Page:
        """Return what came after *mark*, as far as the visitor may see it."""


def topic_of(name: str) -> Topic:
    """Return the topic called *name*, or raise `Malformed`."""
    if name == "nodes":
        return _Nodes()
    try:
        return _Run(_RUN_ID.validate_python(name.removeprefix(_RUN))) if _RUN in name else _none()
    except ValidationError as error:
        raise Malformed("the id of a run has 26 characters") from error


def _none() -> Topic:
    raise Malformed("there are the topics `nodes` and `run:<id>`")


def framed(topic: str, event: str) -> str:
    """Return the message that tells of an *event*, which is JSON already."""
    return f'{{"topic":"{topic}","event":{event}}}'


def _live(first: int, mark: Mark, text: str) -> Live:
    return Live(first, mark, text, len(text.encode()))


class _Run:
    """The states and the output of one run."""

    needs = RUN_EVENTS.needs

    def __init__(self, run: str) -> None:
        self.name = f"{_RUN}{run}"
        self._run = run

    def listening(self, bus: Bus, hear: Hear) -> AbstractAsyncContextManager[None]:
        async def take(message: Raw) -> None:
            event = unpack(RunEvent, message.data)
            text = framed(self.name, message.data.decode())
            hear(_live(event.seq, Mark(event.seq), text))

        return bus.hearing(RUN_CHANGED.at(self._run), take)

    async def page(self, visitor: Visitor, mark: Mark) -> Page:
        told = await visitor.ask(RUN_EVENTS, RunEventsAfter(run=self._run, after=mark.seq))
        texts = [framed(self.name, event.model_dump_json()) for event in told.items]
        return Page(texts, Mark(max(told.seq, mark.seq)), told.more)


class _Nodes:
    """The changes of all nodes."""

    name = "nodes"
    needs = "node.read"

    def listening(self, bus: Bus, hear: Hear) -> AbstractAsyncContextManager[None]:
        async def take(message: Raw) -> None:
            changes = unpack(NodeChanges, message.data)
            first = min((node.seq for node in changes.items), default=changes.seq)
            text = framed(self.name, message.data.decode())
            hear(_live(first, Mark(changes.seq, changes.epoch), text))

        return bus.hearing(NODES_CHANGED.subject, take)

    async def page(self, visitor: Visitor, mark: Mark) -> Page:
        ask = NodesSince(epoch=mark.epoch, after=mark.seq)
        told = await visitor.ask(NODES_SINCE, ask)
        now = Mark(told.seq, told.epoch)
        if told.reset or told.epoch != mark.epoch:
            return Page([reset(self.name, now)], now, more=False)
        texts = [framed(self.name, told.model_dump_json())] if told.items or told.gone else []
        return Page(texts, now, told.more)


def reset(topic: str, mark: Mark) -> str:
    """Return the message that tells a follower to read everything anew."""
    nodes = NodeChanges(epoch=mark.epoch, seq=mark.seq, reset=True)
    return f'{{"topic":"{topic}","reset":true,"event":{nodes.model_dump_json()}}}'
