"""Presence as rules: what is believed follows from what was told, in whatever order."""

import asyncio
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from muster.registry.presence import Change, Presence
from muster.registry.watching import Watch

ONE, TWO, THREE = ("S1", 1), ("S1", 2), ("S2", 1)


def test_a_connection_is_presence() -> None:
    """Online with the first one, offline with the last one, and each change is told once."""
    presence = Presence(30)
    assert presence.connected("a", ONE) == [Change("a", online=True, reason="")]
    assert presence.connected("a", TWO) == []
    assert presence.connected("a", TWO) == []
    assert presence.disconnected("a", ONE, "x") == []
    assert presence.online("a")
    assert presence.disconnected("a", TWO, "Stale Connection") == [
        Change("a", online=False, reason="Stale Connection")
    ]
    assert presence.disconnected("a", TWO, "again") == []
    assert not presence.online("a")


def test_a_new_connection_may_come_before_the_end_of_the_old_one() -> None:
    """As with a frozen cable: in neither order does the node flicker off."""
    presence = Presence(30)
    presence.connected("a", ONE)
    assert presence.connected("a", TWO) == []
    assert presence.disconnected("a", ONE, "") == []
    assert presence.online("a")


def test_news_that_overtake_each_other_leave_no_ghost() -> None:
    """The end of a connection is told before its beginning: it has ended all the same."""
    presence = Presence(30)
    assert presence.disconnected("a", ONE, "") == []
    assert presence.connected("a", ONE) == []
    assert presence.reconcile([("a", ONE)], presence.now()) == []
    assert not presence.online("a")


def test_a_list_is_older_than_what_is_told_while_it_is_read() -> None:
    """Who came is there although the list has not got it; who went is gone although it has."""
    presence = Presence(30)
    presence.connected("went", ONE)
    since = presence.now()
    presence.disconnected("went", ONE, "")
    presence.connected("came", TWO)
    assert presence.reconcile([("went", ONE)], since) == []
    assert presence.online("came")
    assert not presence.online("went")


def test_a_list_replaces_what_was_believed_before() -> None:
    """The connections of a broker that was restarted are gone, those of the new one are there."""
    presence = Presence(30)
    presence.connected("a", ONE)
    presence.connected("b", TWO)
    changes = presence.reconcile([("b", THREE), ("c", ("S2", 2))], presence.now())
    assert set(changes) == {
        Change("a", online=False, reason="no connection"),
        Change("c", online=True, reason=""),
    }
    assert presence.disconnected("b", THREE, "end") == [Change("b", online=False, reason="end")]


def test_heartbeats_count_for_who_cannot_be_seen() -> None:
    """Behind a bridge: online while they come, offline after the silence, and back again."""
    presence = Presence(30)
    assert presence.heartbeat("a", 100.0) == [Change("a", online=True, reason="")]
    assert presence.heartbeat("a", 110.0) == []
    assert presence.silent(140.0) == []
    assert presence.reconcile([], presence.now()) == []
    assert presence.silent(140.1) == [Change("a", online=False, reason="no heartbeat")]
    assert presence.silent(150.0) == []
    assert presence.heartbeat("a", 151.0) == [Change("a", online=True, reason="")]


def test_a_heartbeat_raises_nobody_from_the_dead() -> None:
    """It may have waited in a buffer of a connection that is gone; and silence means nothing."""
    presence = Presence(30)
    presence.connected("a", ONE)
    presence.heartbeat("a", 1.0)
    assert presence.silent(1000.0) == []
    presence.disconnected("a", ONE, "killed")
    assert presence.heartbeat("a", 2.0) == []
    assert not presence.online("a")


def test_who_is_forgotten_is_unknown() -> None:
    """A revoked key leaves nothing behind."""
    presence = Presence(30)
    presence.connected("a", ONE)
    presence.forget("a")
    presence.forget("a")
    assert not presence.online("a")
    assert presence.reconcile([], presence.now()) == []


KEYS = st.sampled_from("abc")
CONNECTIONS = st.integers(0, 5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["+", "-", "list"]), KEYS, CONNECTIONS)))
def test_belief_is_what_is_open(steps: list[tuple[str, str, int]]) -> None:
    """Whatever happens: who has an open connection is online, and changes alternate."""
    presence, open_now, ended = Presence(30), set[tuple[str, int]](), set[tuple[str, int]]()
    told: dict[str, bool] = {}
    for verb, key, number in steps:
        one = (key, number)
        changes: list[Change] = []
        if verb == "+" and one not in ended:
            open_now.add(one)
            changes = presence.connected(key, ("S" + key, number))
        elif verb == "-" and one in open_now:
            open_now.discard(one)
            ended.add(one)
            changes = presence.disconnected(key, ("S" + key, number), "")
        elif verb == "list":
            live = [(k, ("S" + k, n)) for k, n in open_now]
            changes = presence.reconcile(live, presence.now())
        for change in changes:
            assert told.get(change.key, False) is not change.online
            told[change.key] = change.online
        for name in "abc":
            assert presence.online(name) == any(k == name for k, _ in open_now)


class Churn:
    """A broker whose connections come and go while its list is being read."""

    def __init__(self, seed: int, most: int) -> None:
        """Begin with some connections."""
        self._chance = random.Random(seed)
        self._most = most
        self.next = 0
        self.open: dict[int, str] = {}
        self.watch: Watch
        for _ in range(900):
            self.come()

    def on_connect(self, callback: object) -> None:
        """Never reconnect."""

    def come(self) -> int:
        """Open a connection."""
        self.next += 1
        self.open[self.next] = f"U{self.next}"
        return self.next

    async def request(self, _subject: str, body: bytes) -> bytes:
        """Answer as the broker does, after some have come and many have gone."""
        ask = json.loads(body)
        cids = sorted(self.open)[ask["offset"] :][: ask["limit"]]
        found = [{"cid": cid, "authorized_user": self.open[cid]} for cid in cids]
        answer = {"server": {"id": "S"}, "data": {"connections": found}}
        for _ in range(self._chance.randrange(self._most)):
            if not self.open:
                break
            gone = self._chance.choice(list(self.open))
            key = self.open.pop(gone)
            await self.watch.disconnected(_event(key, gone))
            if self._chance.random() < 0.5:
                cid = self.come()
                await self.watch.connected(_event(self.open[cid], cid))
        return json.dumps(answer).encode()


def _event(key: str, cid: int) -> Any:
    data = {"server": {"id": "S"}, "client": {"user": key, "id": cid}, "reason": "r"}
    return type("Message", (), {"data": json.dumps(data).encode()})


@settings(max_examples=25, deadline=None)
@given(st.integers(), st.sampled_from([2, 20, 60, 200]))
def test_nobody_is_left_out_between_two_pages(seed: int, most: int) -> None:
    """However many go while the list is read, those that stay are in it, and only those."""

    async def play() -> None:
        broker, presence = Churn(seed, most), Presence(30)
        broker.watch = Watch(broker, "A", presence, lambda _: None, 0)  # type: ignore[arg-type]
        for _ in range(3):
            await broker.watch.reconcile()
            for cid, key in broker.open.items():
                assert presence.online(key), cid
            assert sum(seen.online for seen in presence._seen.values()) == len(broker.open)  # noqa: SLF001

    asyncio.run(play())


def test_two_that_live_are_an_alert_and_a_late_end_is_none() -> None:
    """After a while, once; and it is taken back when one of them has gone."""
    presence = Presence(30)
    presence.connected("k", ("s", 1))
    assert presence.doubled(0.0, 10) == []
    presence.connected("k", ("s", 2))
    assert presence.doubled(1.0, 10) == []
    presence.disconnected("k", ("s", 1), "stale")
    assert presence.doubled(12.0, 10) == []
    presence.connected("k", ("s", 3))
    assert presence.doubled(20.0, 10) == []
    assert presence.doubled(30.0, 10) == [("k", True)]
    assert presence.doubled(40.0, 10) == []
    presence.disconnected("k", ("s", 2), "closed")
    assert presence.doubled(50.0, 10) == [("k", False)]
