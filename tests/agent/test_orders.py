"""Which orders an agent obeys, which it refuses, and to what it does not even answer."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.agent.home import Home
from muster.agent.policy import allowing, own_name
from muster.contracts.names import new_id
from muster.contracts.runs import Cancel, Command, State
from tests.agent.stage import Process, Server, shell, until

TRUE = Command(argv=["true"])
PAST = datetime.now(UTC) - timedelta(seconds=1)


@pytest.mark.usefixtures("agent")
async def test_what_is_not_meant_or_not_genuine_is_dropped(server: Server) -> None:
    """Wrong key, wrong node, wrong verb, changed arguments, garbage: no report, no harm."""
    own, server.key = server.key, Ed25519PrivateKey.generate()
    foreign = server.sign("run", new_id(), TRUE)
    server.key = own
    good = server.sign("run", new_id(), TRUE)
    bad = [
        foreign,
        server.sign("run", new_id(), TRUE, node="naaaaaaaaaaaaaaaa"),
        server.sign("cancel", new_id(), Cancel()),
        server.sign("sleep", new_id(), TRUE),
        good.replace(b"true", b"fals"),
        good[:-1],
        good[:80],
        bytes([good[0] ^ 1]) + good[1:],
        good[:100] + bytes([good[100] ^ 1]) + good[101:],
        b"",
        b"M1",
        b"\xff" * 5000,
        os.urandom(100_000),
    ]
    for blob in bad:
        await server.send("run", blob)
    for _ in range(2000):
        await server.bus.send(f"muster.cmd.{server.node}.run", os.urandom(200))
    run = await server.start(TRUE)
    await server.final(run)
    assert set(server.runs) == {run}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"expires": PAST}, "expired"),
        ({"epoch": 0}, "epoch"),
        ({"args": b'{"argv": ["true"], "timeout": -1}'}, "timeout"),
        ({"args": b"not even JSON"}, "does not fit"),
        ({"run_as": "nobody"}, "does not run commands as nobody"),
    ],
    ids=["expired", "epoch", "timeout", "garbage", "user"],
)
async def test_a_genuine_order_that_cannot_be_obeyed_is_refused(
    server: Server, values: dict[str, object], reason: str
) -> None:
    """The scheduler is told why; an order that comes again is not answered differently."""
    run = new_id()
    args = values.pop("args", TRUE)
    await server.send("run", server.sign("run", run, args, **values))  # type: ignore[arg-type]
    report = await server.final(run)
    assert report.state is State.REFUSED
    assert reason in report.reason
    await server.start(TRUE, run=run)
    assert (await server.final(run)).state is State.REFUSED


async def test_a_newer_epoch_is_pinned(server: Server, agent: Process) -> None:
    """After a restore of the server nothing older is obeyed, also after a restart."""
    assert (await server.done(TRUE, epoch=7)).state is State.DONE
    assert (await server.done(TRUE, epoch=6)).state is State.REFUSED
    await agent.kill()
    await agent.start()
    assert (await server.done(TRUE, epoch=6)).state is State.REFUSED


async def test_a_replay_is_never_executed(server: Server, agent: Process) -> None:
    """Neither a hundred times at once, nor after a restart, nor in another envelope."""
    ledger = agent.home.root / "ledger"
    run = new_id()
    command = shell(f"echo x >> {ledger}")
    blob = server.sign("run", run, command)
    for _ in range(100):
        await server.send("run", blob)
    await server.final(run)
    await agent.kill()
    await agent.start()
    for again in (blob, server.sign("run", run, command), server.sign("run", run, command)):
        await server.send("run", again)
    await server.done("true")
    assert ledger.read_text() == "x\n"


async def test_the_local_policy_has_the_last_word(server: Server, agent: Process) -> None:
    """And it holds from the moment at which it is written."""
    assert (await server.done(TRUE)).state is State.DONE
    agent.home.policy.write_text("run = false\n")
    report = await server.done(TRUE)
    assert report.state is State.REFUSED
    assert "local policy" in report.reason
    agent.home.policy.write_text("run = perhaps\n")
    report = await server.done(TRUE)
    assert report.state is State.REFUSED
    assert "policy.toml" in report.reason
    agent.home.policy.write_text(allowing(own_name()))
    assert (await server.done(TRUE)).state is State.DONE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
async def test_a_command_runs_as_the_user_that_policy_allows(
    server: Server, agent: Process
) -> None:
    """With that user's rights and home, a result folder of its own, and nobody else's files."""
    agent.home.policy.write_text('users = ["nobody"]\n')
    agent.home.root.parent.chmod(0o755)
    for parent in agent.home.root.parents[1:4]:
        parent.chmod(0o755)
    command = shell(
        'id -un; id -Gn; echo "$HOME $USER"; touch "$MUSTER_RESULTS/mine" || echo no; '
        f"cat {agent.home.identity} || echo closed; exit 4"
    )
    run = await server.start(command, run_as="nobody")
    report = await server.final(run)
    assert (report.state, report.exit) == (State.FAILED, 4)
    said = server.runs[run].output().decode().splitlines()
    assert said == ["nobody", "nogroup", "/nonexistent nobody", "closed"]
    assert (agent.home.jobs / run / "results" / "mine").exists()
    missing = await server.done(Command(argv=["no-such-program"]), run_as="nobody")
    assert (missing.exit, missing.reason) == (127, "command not found: no-such-program")


async def test_a_full_disk_refuses_commands_and_the_heartbeat_says_so(
    server: Server, home: Home
) -> None:
    """Better no command than one whose end cannot be written down."""
    process = Process(home, server, min_free=str(1 << 60), heartbeat="0.2")
    await process.start()
    report = await server.done(TRUE)
    assert report.state is State.REFUSED
    assert "disk is full" in report.reason
    await until(lambda: server.heartbeats and "disk is full" in server.heartbeats[-1].trouble)
    await process.end()


async def test_without_a_journal_nothing_is_executed(server: Server, home: Home) -> None:
    """It fails closed, says so in the heartbeat, and works again once the journal does."""
    home.journal.mkdir()
    process = Process(home, server, heartbeat="0.2")
    await process.spawn()
    await until(lambda: server.heartbeats)
    mark = home.root / "mark"
    report = await server.done(f"touch {mark}")
    assert report.state is State.REFUSED
    assert "journal" in report.reason
    assert not mark.exists()
    await until(lambda: "journal" in server.heartbeats[-1].trouble)
    home.journal.rmdir()
    await asyncio.sleep(0.1)
    assert (await server.done(f"touch {mark}")).state in {State.DONE, State.REFUSED}
    assert (await server.done(f"touch {mark}")).state is State.DONE
    await until(lambda: not server.heartbeats[-1].trouble)
    await process.end()


async def test_what_was_missed_is_fetched(server: Server, home: Home) -> None:
    """An agent that comes back asks, and gets everything, page by page."""
    for _ in range(3):
        run = new_id()
        server.pending[run] = server.sign("run", run, TRUE)
    runs = list(server.pending)
    process = Process(home, server)
    await process.start()
    for run in runs:
        assert (await server.final(run)).state is State.DONE
    assert len(server.syncs) >= 3
    await process.end()


async def test_a_broker_restart_is_survived(server: Server, agent: Process) -> None:
    """The agent is back by itself, has missed nothing, and tells what happened meanwhile."""
    run = await server.start("sleep 1; echo meanwhile")
    await server.state(run, State.STARTED)
    await asyncio.to_thread(server.broker.kill)
    await until(lambda: agent.status().get("connected") is False)
    await asyncio.sleep(1)
    await asyncio.to_thread(server.broker.start)
    assert (await server.final(run)).state is State.DONE
    assert server.runs[run].output() == b"meanwhile\n"
    assert (await server.done(TRUE)).state is State.DONE


async def test_a_server_that_repeats_itself_is_not_asked_for_ever(
    server: Server, home: Home
) -> None:
    """What cannot be obeyed is not fetched again and again."""
    own, server.key = server.key, Ed25519PrivateKey.generate()
    server.pending = {run: server.sign("run", run, TRUE) for run in (new_id(), new_id())}
    server.key = own
    process = Process(home, server)
    await process.start()
    assert (await server.done(TRUE)).state is State.DONE
    await asyncio.sleep(0.5)
    assert len(server.syncs) == 1
    await process.end()
