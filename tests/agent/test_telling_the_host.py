"""Heartbeats, inventory, and credentials that do not grow old."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest

from muster.agent.agent import Agent
from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.contracts.authority import Renewed, RenewJwt
from muster.contracts.names import new_node_id
from muster.contracts.runs import State
from muster.kit.testing import Broker
from tests.agent.stage import Process, Server, join, serving, until


async def test_heartbeats_come_regularly(server: Server, home: Home) -> None:
    """Counted from 0, with the version, the boot id and the metrics of the host."""
    process = Process(home, server, heartbeat="0.3")
    await process.start()
    await until(lambda: len(server.heartbeats) >= 4)
    await process.end()
    beats = server.heartbeats
    assert [beat.seq for beat in beats] == list(range(len(beats)))
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(beats[1:])]
    assert min(gaps) > 0.2
    assert beats[-1].metrics.memory_total > 0
    assert beats[-1].boot
    assert beats[-1].version
    assert beats[-1].trouble == ""


async def test_the_inventory_is_told_at_start_and_when_it_changes(
    server: Server, home: Home
) -> None:
    """A policy that forbids commands shows in the capabilities."""
    process = Process(home, server, inventory="0.3")
    await process.start()
    await until(lambda: server.inventories)
    await asyncio.sleep(1)
    assert len(server.inventories) == 1
    assert server.inventories[0].capabilities == ["run", "read"]
    assert server.inventories[0].hostname
    home.policy.write_text("run = false\n")
    await until(lambda: len(server.inventories) > 1)
    assert server.inventories[1].capabilities == ["read"]
    await process.end()


async def test_credentials_are_renewed_in_time(broker: Broker, home: Home) -> None:
    """At two thirds of their life; the pinned keys stay, whatever the answer says."""
    node = new_node_id()
    key = join(broker, home, node, life=timedelta(seconds=6))
    before = Identity.load(home)
    async with serving(broker, node, key.public) as server:
        process = Process(home, server)
        await process.start()
        await until(lambda: Identity.load(home).jwt != before.jwt, "a fresh JWT")
        after = Identity.load(home)
        assert server.renewals >= 1
        assert after.authority_keys == before.authority_keys
        assert (after.renew_in(0) or 0) > 86400
        await asyncio.sleep(4)  # the broker ends the connection of the old JWT
        assert (await server.done("true")).state is State.DONE
        await process.end()
        assert "other keys" in process.logged()


async def test_a_clock_that_runs_ahead_makes_nobody_ask_again_and_again() -> None:
    """By such a clock fresh credentials are due as soon as they are there."""
    asked: list[RenewJwt] = []

    async def ask(_call: object, question: RenewJwt, **_more: object) -> Renewed:
        asked.append(question)
        return Renewed(jwt="j", authority_keys=[], epoch=1)

    identity = SimpleNamespace(renew_in=lambda _now: 0.0, authority_keys=[], newest_ca="")
    identity.renewed = lambda _news: identity
    identity.model_copy = lambda **_more: identity

    async def learn(_notices: object) -> None:
        return

    agent = SimpleNamespace(
        place=SimpleNamespace(
            settings=SimpleNamespace(renew=86400.0), hands=SimpleNamespace(learn=learn)
        ),
        me=SimpleNamespace(identity=identity, become=lambda _fresh: None),
        bus=SimpleNamespace(ask=ask),
        _node="n",
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await Agent._renew(cast("Agent", agent))  # noqa: SLF001
    assert len(asked) == 1
