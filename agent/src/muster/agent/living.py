"""The life of `muster-agent run`: the lock, the journal, the fork server, the bus, the agent."""

import asyncio
import ctypes
import json
import logging
import os
import time
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Final

from muster.agent.admission import Admission
from muster.agent.agent import Agent, Self
from muster.agent.hands import Hands, own_hands
from muster.agent.home import Home, boot_id
from muster.agent.identity import Identity
from muster.agent.journal import Journal
from muster.agent.policy import own_name
from muster.agent.privileged.asking import helper_hands
from muster.agent.runs import Place
from muster.agent.settings import Settings
from muster.agent.telling import Reporter
from muster.agent.trusting import Trusting
from muster.contracts.errors import Conflict, MusterError, Unavailable
from muster.kit.bus import Bus, connect
from muster.kit.client import Trust
from muster.kit.files import locked
from muster.kit.tasks import until

log = logging.getLogger(__name__)

_SWEEP: Final = 300.0
_STATUS: Final = 1.0


async def live(
    home: Home, settings: Settings, stop: asyncio.Event, helper: Home | None = None
) -> None:
    """Be the agent of *home* until *stop* is set; orders are carried out by *helper*, or here."""
    home.check()
    if home.root.stat().st_uid != os.geteuid():
        raise Conflict(f"{home.root} is another user's: the agent there has to run as that user")
    me = Self(home, Identity.load(home))
    home.make()
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(locked(home.lock))
        except Unavailable as error:
            raise Conflict(f"an agent is running already in {home.root}") from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        await _locked(me, settings, stop, helper)


async def _locked(me: Self, settings: Settings, stop: asyncio.Event, helper: Home | None) -> None:
    async with (
        Journal(me.home.journal) as journal,
        _hands(me, settings, journal, helper) as hands,
    ):
        await until(stop, _connected(me, settings, journal, hands), "agent")


def _hands(
    me: Self, settings: Settings, journal: Journal, helper: Home | None
) -> AbstractAsyncContextManager[Hands]:
    if helper is not None:
        return helper_hands(helper, me.home, settings)
    log.warning(
        "network and commands are one process of the user %s%s",
        own_name(),
        ": `muster-agent install` splits it" if os.geteuid() == 0 else "",
    )
    return own_hands(me.identity.node, me.home, settings, journal)


async def _connected(me: Self, settings: Settings, journal: Journal, hands: Hands) -> None:
    identity = me.identity
    expired = identity.renew_in(time.time()) == 0.0
    log.info("node %s: connecting to %s", identity.node, ", ".join(identity.urls))
    if expired:
        log.warning("the credentials are old: if the server refuses them, join again")
    admission = Admission(lambda: me.identity.credentials)
    trusting = Trusting(me)

    async def admitted() -> None:
        admission.admitted()

    async with connect(
        identity.urls,
        name=identity.node,
        creds=admission.credentials,
        trust=Trust(trusting.context, trusting.failed),
    ) as bus:
        admission.admitted()
        bus.on_connect(admitted)
        place = Place(
            node=identity.node,
            boot=boot_id(),
            home=me.home,
            settings=settings,
            hands=hands,
            journal=journal,
            reporter=Reporter(bus, identity.node),
            epoch=me.epoch,
        )
        async with asyncio.TaskGroup() as tasks:
            agent = Agent(me, bus, place, tasks)
            async with agent.living():
                log.info("node %s: connected", identity.node, extra={"action": "agent_ready"})
                tasks.create_task(_janitor(agent), name="janitor")
                await _tell_status(bus, place)


async def _janitor(agent: Agent) -> None:
    """Take away what is old, and forget what nobody can ask for."""
    place = agent.place
    while True:
        try:
            keep = frozenset(agent.runs.live)
            removed = await place.hands.sweep(keep)
            forgotten = await place.journal.forget()
            if removed or forgotten:
                log.info("%d job directories removed, %d entries forgotten", removed, forgotten)
        except (MusterError, OSError) as error:
            log.warning("the janitor could not work: %s", error)
        _give_memory_back()
        await asyncio.sleep(_SWEEP)


def _give_memory_back() -> None:
    """Let the C library return what importing and long outputs have freed; glibc alone has it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def _tell_status(bus: Bus, place: Place) -> None:
    """Keep the status file true, for `muster-agent status`."""
    last = ""
    while True:
        now = {"pid": os.getpid(), "connected": bus.connected, "trouble": place.trouble()}
        if json.dumps(now) != last:
            last = json.dumps(now)
            try:
                place.home.write(place.home.status, json.dumps({**now, "since": time.time()}))
            except OSError as error:
                log.warning("the status cannot be written: %s", error)
        await asyncio.sleep(_STATUS)
