"""The gateway's credentials and everything that it can read, in the hands of an attacker.

It can deny service and see what its users see. It can make no command, and use no
recorded one again.
"""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from docs.generate import constants
from muster.contracts.authority import SIGN
from muster.contracts.base import ACCOUNT, NODE, Call
from muster.contracts.errors import Denied, MusterError
from muster.contracts.names import new_id
from muster.contracts.runs import Command
from muster.kit import wire
from muster.kit.identity import envelope
from muster.kit.identity.world import INNER
from tests.contracts import examples
from tests.system.conftest import Server
from tests.trust.conftest import People, on_the_bus, ticket_of, world_of
from tests.trust.raw import Peer, order, recorded


def marks(folder: Path) -> int:
    """Return how often the command has run that leaves a mark each time."""
    ledger = folder / "ledger"
    return ledger.read_text().count("x") if ledger.exists() else 0


async def test_it_has_no_key_and_no_way_to_a_node(home: Server) -> None:
    """It cannot publish a command, answer for a service, change a stream, or ask inner calls."""
    node = home.node("one")["id"]
    secret = home.data_dir / "keys" / "authority.key"
    assert secret.stat().st_mode & 0o077 == 0
    async with on_the_bus(home, "gateway") as bus:
        peer = Peer(bus)
        open_ = [
            subject
            for subject in (
                *(f"muster.cmd.{node}.{verb}" for verb in ("run", "cancel", "read")),
                *(call.subject for call in INNER),
                *(
                    f"{call.subject}.{node}"
                    for call in constants(Call).values()
                    if call.needs in {ACCOUNT, NODE}
                ),
                "muster.fact.authority.node.x.revoked", f"muster.hb.{node}",
                "muster.live.scheduler.run.x", "muster.live.authority.rights",
                "$JS.API.STREAM.DELETE.FACTS", "$JS.API.STREAM.PURGE.FACTS",
                "$SYS.REQ.CLAIMS.UPDATE", f"_INBOX_{node}.x", "_INBOX_scheduler.x",
            )
            if await peer.may_say(subject)
        ]  # fmt: skip
        heard = [
            subject
            for subject in (
                f"muster.cmd.{node}.*", "muster.svc.authority.*", "muster.hb.*", "muster.>", ">",
                "muster.svc.scheduler.report.*", f"_INBOX_{node}.>", "_INBOX_scheduler.>",
            )
            if await peer.may_hear(subject)
        ]  # fmt: skip
    assert (open_, heard) == ([], [])


async def test_a_stolen_ticket_buys_no_signature(home: Server, people: People) -> None:
    """Even an administrator's: the gateway cannot ask for one, and who can needs a right too."""
    run, args = new_id(), wire.pack(Command(argv=["true"]))
    ask = order(home, run, args, "one")
    async with on_the_bus(home, "gateway") as bus:
        ticket = await ticket_of(bus, people.secrets["admin"])
        with pytest.raises(MusterError):
            await bus.ask(SIGN, ask, ticket=ticket, timeout=1)
    async with on_the_bus(home, "scheduler") as bus:  # who may ask needs the ticket all the same
        for bad in (people.secrets["viewer"], people.secrets["nobody"]):
            async with on_the_bus(home, "gateway") as gateway:
                weak = await ticket_of(gateway, bad)
            with pytest.raises(Denied):
                await bus.ask(SIGN, ask, ticket=weak)
    records = [r for r in home.api("GET", "/audit?action=run.run")["items"] if r["run"] == run]
    assert {(record["who"], record["result"]) for record in records} == {
        ("m-viewer", "denied"),
        ("m-nobody", "denied"),
    }


async def test_no_command_is_forged_or_retargeted(home: Server, tmp_path: Path) -> None:
    """Delivered by the scheduler's own connection: other keys, other nodes, other arguments."""
    touch = Command(shell=f"echo x >> {tmp_path}/ledger")
    async with recorded(home) as tape:
        run = await asyncio.to_thread(home.run, [], "one", command={"shell": touch.shell})
        await asyncio.to_thread(home.over, run)
    genuine = next(data for subject, data in tape if subject.endswith(".run"))
    assert marks(tmp_path) == 1
    args = wire.pack(touch)
    two = home.node("two")["id"]
    forger = Ed25519PrivateKey.generate()
    model = envelope.open_command(
        genuine, [world_of(home).authority_key.public_key().public_bytes_raw()]
    )[0]
    fresh = model.model_copy(update={"id": new_id(), "run": new_id(), "node": two})
    forged = envelope.sign_many(fresh, [two], forger)[0] + args
    changed = genuine.replace(b"echo x", b"echo y")
    assert changed != genuine
    async with on_the_bus(home, "scheduler") as bus:
        for blob in (genuine, forged, changed):
            for subject in (f"muster.cmd.{two}.run", f"muster.cmd.{two}.cancel"):
                await bus.send(subject, blob)
        for blob in (forged, changed):
            await bus.send(f"muster.cmd.{model.node}.run", blob)
        await bus.flush()
    done = await asyncio.to_thread(home.over, home.run(["true"], "one", "two"))
    assert {target["state"] for target in done["targets"]} == {"done"}
    assert marks(tmp_path) == 1


async def several(home: Server, folder: Path) -> list[tuple[str, bytes]]:
    """Run four commands on one node, of which one is cancelled; return what went over the bus."""
    async with recorded(home) as tape:
        for number in range(3):
            shell = f"echo x >> {folder}/ledger; exit {number}"
            run = await asyncio.to_thread(home.run, [], "one", command={"shell": shell})
            await asyncio.to_thread(home.over, run)
        ended = await asyncio.to_thread(home.run, ["sleep", "60"], "one")
        await asyncio.to_thread(home.api, "POST", f"/runs/{ended}/cancel")
        await asyncio.to_thread(home.over, ended)
    return [(subject, data) for subject, data in tape if subject.startswith("muster.cmd.")]


async def replay(home: Server, commands: list[tuple[str, bytes]], times: int) -> None:
    """Deliver commands again, to their node and to another, as only the scheduler can."""
    two = home.node("two")["id"]
    async with on_the_bus(home, "scheduler") as bus:
        for _ in range(times):
            for subject, data in commands:
                await bus.send(subject, data)
                await bus.send(f"muster.cmd.{two}.{subject.rsplit('.', 1)[-1]}", data)
        await bus.flush()
    await asyncio.to_thread(home.over, home.run(["true"], "one", "two"))


async def test_every_recorded_command_is_executed_once(home: Server, tmp_path: Path) -> None:
    """Again 1 to 100 times, later, to another node, after a restart, after a reboot."""
    commands = await several(home, tmp_path)
    assert len([1 for subject, _ in commands if subject.endswith(".run")]) >= 4
    agent = next(one for one in home.agents if one.id == home.node("one")["id"])
    await replay(home, commands, 1)
    await replay(home, commands, 100)
    agent.kill()
    agent.start()
    await asyncio.to_thread(home.online, "one")
    await replay(home, commands, 10)
    agent.kill()
    with closing(sqlite3.connect(agent.data_dir / "journal.db")) as journal, journal:
        assert journal.execute("UPDATE runs SET boot = 'another'").rowcount >= 4
    agent.start()
    await asyncio.to_thread(home.online, "one")
    await replay(home, commands, 1)
    assert marks(tmp_path) == 3


async def test_garbage_wedges_nobody(home: Server) -> None:
    """A hundred thousand messages over all subjects; the next good question is answered at once."""
    odd = {"run": "../x", "nodes": ["*", ">"], "selector": "(" * 900}
    bodies = [b"", b"{", b"null", b"[" * 5000, b"\xff" * 100, b'{"x":' + b"9" * 4000 + b"}"]
    bodies.append(json.dumps(odd).encode())
    own = {ACCOUNT, NODE}
    known = constants(Call).values()
    calls = [call for call in known if call.needs not in own and call not in INNER]
    good = [json.dumps(examples.least(call.ask)).encode() for call in calls]
    async with on_the_bus(home, "gateway") as bus:
        number = 0
        while number < 100_000:
            for index, call in enumerate(calls):
                body = bodies[(number + index) % len(bodies)] or good[index]
                headers = {wire.TICKET: "x" * (number % 300)} if number % 3 else None
                await bus.client.publish(call.subject, body, headers=headers)
            number += len(calls)
            await bus.flush()
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(home.api, "GET", "/nodes")
        assert asyncio.get_running_loop().time() - began < 1.0
    done = await asyncio.to_thread(home.over, home.run(["true"], "one"))
    assert done["targets"][0]["state"] == "done"
