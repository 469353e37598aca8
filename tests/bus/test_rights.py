"""Changes of rights: older tickets are worthless everywhere, however a service hears of it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.contracts.authority import Person, Ticket
from muster.contracts.errors import Superseded
from muster.contracts.names import new_id
from muster.contracts.people import RIGHTS_AFTER, RIGHTS_CHANGED, RightsAfter, RightsChanged
from muster.kit.bus import Bus, Caller, answers
from muster.kit.rights import Rights
from muster.kit.service import keeping_up
from muster.kit.testing import Broker

NOW = datetime.now(UTC)
NAMES = ("li", "wang", "zhao")


def of(name: str, revision: int) -> Ticket:
    """Return the ticket of a person, of a revision."""
    later = NOW + timedelta(hours=1)
    person = Person(name=name)
    return Ticket(person=person, session=new_id(), issued=NOW, expires=later, revision=revision)


def accepted(rights: Rights, name: str, revision: int) -> bool:
    """Whether a ticket of that revision is good."""
    try:
        rights.check(of(name, revision))
    except Superseded:
        return False
    return True


_CHANGES = st.lists(st.tuples(st.lists(st.sampled_from(NAMES), max_size=2), st.booleans()))


@given(_CHANGES, st.randoms())
def test_a_ticket_is_good_if_nothing_has_changed_since(
    changes: list[tuple[list[str], bool]], chance: object
) -> None:
    """For its person; in whatever order, and however often, the changes are heard."""
    told = [
        RightsChanged(revision=number, names=names, everyone=everyone)
        for number, (names, everyone) in enumerate(changes, 1)
    ]
    shuffled = [*told, *told[:3]]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    rights = Rights()
    for change in shuffled:
        rights.heard(change)
    for name in NAMES:
        last = max([c.revision for c in told if c.everyone or name in c.names], default=0)
        assert [accepted(rights, name, n) for n in range(len(told) + 1)] == [
            n >= last for n in range(len(told) + 1)
        ]


class Authority:
    """The authority, as far as its revisions go."""

    def __init__(self) -> None:
        """Know of no change."""
        self.missed = RightsChanged(revision=0)
        self.asked: list[int] = []

    @answers(RIGHTS_AFTER)
    async def after(self, ask: RightsAfter, caller: Caller) -> RightsChanged:  # noqa: ARG002
        """Tell what came after."""
        self.asked.append(ask.revision)
        return self.missed


async def until(true: object) -> None:
    """Wait until something holds, but not long."""
    async with asyncio.timeout(15):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_a_service_hears_of_changes_and_asks_for_those_it_missed(broker: Broker) -> None:
    """At its start, live, and when it was away; without an authority it goes on asking."""
    authority = Authority()
    authority.missed = RightsChanged(revision=3, names=["wang"])
    async with broker.connect("registry") as line, keeping_up(line):
        await asyncio.sleep(0.2)
        assert accepted(line.rights, "wang", 0)
        async with (
            broker.connect("authority") as bus,
            bus.serving(authority, name="authority", version="0.0.1"),
        ):
            await until(lambda: not accepted(line.rights, "wang", 2))
            await bus.tell(RIGHTS_CHANGED, RightsChanged(revision=4, names=["li"]))
            await until(lambda: not accepted(line.rights, "li", 3))
            assert accepted(line.rights, "li", 4)
            authority.missed = RightsChanged(revision=6, names=["li"])
            broker.kill()
            broker.start()
            await until(lambda: not accepted(line.rights, "li", 5))
        assert authority.asked[0] == 0
        assert authority.asked[-1] == 4
        assert isinstance(line, Bus)
        with pytest.raises(Superseded):
            line.rights.check(of("li", 5))
