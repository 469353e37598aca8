"""An agent that the server does not admit."""

import shutil

import pytest

from muster.agent.admission import QUICK, SLOWEST, Admission
from muster.agent.home import Home
from muster.contracts.names import new_node_id
from muster.contracts.runs import State
from muster.kit.client import Credentials
from muster.kit.identity.nkeys import Key
from muster.kit.testing import Broker
from tests.agent.stage import Process, join, serving, until

CREDENTIALS = Credentials("jwt", Key.generate("U"))


def _tries(admission: Admission, clock: list[float], until: float) -> list[float]:
    """Knock each second, and return when that was allowed."""
    allowed = []
    while clock[0] < until:
        try:
            admission.credentials()
            admission.credentials()  # the bus asks twice in one try
            allowed.append(clock[0])
        except ConnectionRefusedError:
            pass
        clock[0] += 1
    return allowed


def test_a_refused_agent_knocks_rarer_and_rarer() -> None:
    """The first tries are quick; in the end it is one in five minutes, for ever."""
    clock = [0.0]
    admission = Admission(lambda: CREDENTIALS, lambda: clock[0])
    allowed = _tries(admission, clock, 7200)
    assert allowed[:QUICK] == [float(n) for n in range(QUICK)]
    gaps = [b - a for a, b in zip(allowed[QUICK - 1 :], allowed[QUICK:], strict=False)]
    assert gaps[:3] == [5, 10, 20]
    assert gaps == sorted(gaps)
    assert gaps[-1] == SLOWEST


def test_an_admitted_agent_knocks_quickly_again() -> None:
    """A later break of the network is not taken for a refusal."""
    clock = [0.0]
    admission = Admission(lambda: CREDENTIALS, lambda: clock[0])
    _tries(admission, clock, 1000)
    admission.admitted()
    assert _tries(admission, clock, 1000 + QUICK) == [1000.0 + n for n in range(QUICK)]


@pytest.mark.parametrize("connected", [True, False], ids=["in mid-life", "from the start"])
async def test_rights_that_come_back_are_noticed(
    broker: Broker, home: Home, *, connected: bool
) -> None:
    """A revoked agent lives on, says so once, and works again when it may."""
    node = new_node_id()
    key = join(broker, home, node)

    def admit(revoked: dict[str, int]) -> None:
        broker.kill()
        broker.world.account_file.write_text(broker.world.account_jwt(revoked))
        broker.write_config()
        shutil.rmtree(broker.data_dir / "nats" / "jwt")
        broker.start()

    async with serving(broker, node, key.public) as server:
        process = Process(home, server)
        if connected:
            await process.start()
        admit({key.public: 4_000_000_000})
        if not connected:
            await process.spawn()
        await until(lambda: process.logged().count("Authorization Violation") > 0)
        syncs = len(server.syncs)
        admit({})
        await until(lambda: len(server.syncs) > syncs)
        assert (await server.done("true")).state is State.DONE
        assert process.logged().count("Authorization Violation") <= 2
        assert "Traceback" not in process.logged()
        await process.end()
