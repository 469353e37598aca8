"""What a kill -9 of the agent, of its fork server or of a supervisor leaves, and what follows."""

import asyncio
import os
import random
import signal
import sqlite3
from functools import partial
from pathlib import Path

import psutil

from muster.agent.journal import Entry, Journal
from muster.agent.supervisor import as_json
from muster.contracts.names import new_id
from muster.contracts.runs import Command, State, Stream
from tests.agent.stage import Process, Server, alive, shell, until

_LEDGER = 'python3 -c "import os,sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600); os.write(f, (sys.argv[2] + chr(10)).encode()); os.fsync(f)"'  # noqa: E501


def _more_than(server: Server, run: str, size: int) -> bool:
    return len(server.runs[run].output()) > size


def _once(ledger: Path, run: str) -> str:
    """Return a command that writes *run* into the ledger, for good."""
    return f"{_LEDGER} {ledger} {run}"


def _entries(agent: Process) -> dict[str, tuple[str, int]]:
    with sqlite3.connect(f"file:{agent.home.journal}?mode=ro", uri=True) as conn:
        rows = conn.execute("select run, state, acked from runs").fetchall()
    conn.close()
    return {run: (state, acked) for run, state, acked in rows}


async def test_a_command_survives_the_agent(server: Server, agent: Process) -> None:
    """The agent is killed and comes back: the command ran on, and its output is whole."""
    run = await server.start("for i in $(seq 30); do echo $i; sleep 0.1; done; exit 5")
    await until(server.runs[run].output)
    await agent.kill()
    await asyncio.sleep(0.5)
    await agent.start()
    report = await server.final(run)
    assert (report.state, report.exit) == (State.FAILED, 5)
    assert server.runs[run].output() == "".join(f"{i}\n" for i in range(1, 31)).encode()


async def test_an_end_without_the_agent_is_told_later(server: Server, agent: Process) -> None:
    """The supervisor writes it down; the next agent tells it, with all the output."""
    run = await server.start("echo first; sleep 0.7; echo second; exit 3")
    await until(server.runs[run].output)
    await agent.kill()
    await until((agent.home.jobs / run / "exit.json").exists)
    await agent.start()
    report = await server.final(run)
    assert (report.state, report.exit) == (State.FAILED, 3)
    assert server.runs[run].output() == b"first\nsecond\n"


async def test_an_end_that_nobody_heard_is_told_after_a_restart(
    server: Server, agent: Process
) -> None:
    """Finished, but not acknowledged: the journal and the files keep it."""
    server.deaf = True
    run = await server.start("echo kept")
    await until(lambda: _entries(agent).get(run) == ("done", 0), "the end in the journal")
    await agent.kill()
    server.deaf = False
    await agent.start()
    assert (await server.final(run)).state is State.DONE
    assert server.runs[run].output() == b"kept\n"
    await until(lambda: _entries(agent)[run] == ("done", 1), "the acknowledgement")


async def test_a_cancel_reaches_a_command_of_an_earlier_agent(
    server: Server, agent: Process
) -> None:
    """The agent finds the supervisor again, and has it end the tree."""
    run = await server.start("sleep 300 & echo $!; wait")
    await until(server.runs[run].output)
    pid = int(server.runs[run].output())
    await agent.kill()
    await agent.start()
    await until(lambda: len(server.syncs) > 1)
    await server.cancel(run)
    assert (await server.final(run)).state is State.CANCELLED
    assert not alive(pid)


async def test_a_time_out_holds_without_the_agent(server: Server, agent: Process) -> None:
    """It is the supervisor that keeps it."""
    run = await server.start(Command(argv=["sleep", "300"], timeout=1.5))
    await server.state(run, State.STARTED)
    await agent.kill()
    await until((agent.home.jobs / run / "exit.json").exists)
    await agent.start()
    assert (await server.final(run)).state is State.TIMED_OUT


async def test_a_killed_supervisor_is_an_interruption(server: Server, agent: Process) -> None:
    """And what it has left behind is ended: an interrupted command does not run on."""
    run = await server.start("echo up; sleep 300 & echo $!; wait")
    await until(lambda: server.runs[run].output().count(b"\n") == 2)
    pid = int(server.runs[run].output().split()[1])
    supervisor = psutil.Process(pid).parents()[1]
    supervisor.kill()
    report = await server.final(run)
    assert report.state is State.INTERRUPTED
    assert "supervisor was killed" in report.reason
    await until(lambda: not alive(pid))
    assert agent.process


async def test_the_fork_server_may_be_killed(server: Server, agent: Process) -> None:
    """Commands that run are not touched, and the next ones find a new one."""
    run = await server.start("sleep 1.5; echo still here")
    await server.state(run, State.STARTED)
    for child in psutil.Process(agent.pid).children():
        child.kill()
    runs = [await server.start(f"echo {number}") for number in range(5)]
    for number, one in enumerate(runs):
        assert (await server.final(one)).state is State.DONE
        assert server.runs[one].output() == f"{number}\n".encode()
    assert (await server.final(run)).state is State.DONE
    assert server.runs[run].output() == b"still here\n"


async def _written(agent: Process, **values: object) -> str:
    """Write a started entry into the journal of an agent that does not run."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    defaults = {"run": new_id(), "command": new_id(), "state": State.STARTED}
    entry = Entry.model_validate(
        {**defaults, "boot": boot, "cap": 1 << 20, "expires": 4e9, **values}
    )
    async with Journal(agent.home.journal) as journal:
        await journal.begin(entry)
    return entry.run


async def test_a_crash_before_the_start_is_an_interruption(server: Server, agent: Process) -> None:
    """Committed, not started: it is never started afterwards, whoever orders it again."""
    await agent.kill()
    mark = agent.home.root / "mark"
    bare = await _written(agent)
    laid_out = await _written(agent)
    (agent.home.jobs / laid_out).mkdir()
    await agent.start()
    for run in (bare, laid_out):
        report = await server.final(run)
        assert report.state is State.INTERRUPTED
        assert "before the command was started" in report.reason
        await server.start(f"touch {mark}", run=run)
        assert (await server.final(run)).state is State.INTERRUPTED
    assert not mark.exists()


async def test_a_reboot_is_an_interruption(server: Server, agent: Process) -> None:
    """Another boot id: no process of before can be alive, whatever has its number now."""
    await agent.kill()
    run = await _written(agent, boot="another")
    job = agent.home.jobs / run
    job.mkdir()
    me = as_json({"pid": os.getpid(), "ticks": 1, "boot": "another"})
    (job / "started.json").write_bytes(me)
    (job / "stdout").write_bytes(b"half a line")
    await agent.start()
    report = await server.final(run)
    assert (report.state, report.reason) == (State.INTERRUPTED, "interrupted by a reboot")
    assert server.runs[run].output() == b"half a line"


async def test_a_pid_of_somebody_else_is_not_taken_for_ours(server: Server, agent: Process) -> None:
    """A pid is used again: only together with its start time it is the supervisor."""
    await agent.kill()
    run = await _written(agent)
    job = agent.home.jobs / run
    job.mkdir()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (job / "started.json").write_bytes(as_json({"pid": os.getpid(), "ticks": 1, "boot": boot}))
    await agent.start()
    assert (await server.final(run)).state is State.INTERRUPTED  # and this test lives on


async def test_nothing_runs_twice_and_everything_ends(server: Server, agent: Process) -> None:
    """Killed at any moment, again and again, while every order is sent three times."""
    chance = random.Random(7)
    ledger = agent.home.root / "ledger"
    runs: list[str] = []

    async def order() -> None:
        for _ in range(60):
            run = new_id()
            blob = server.sign("run", run, shell(_once(ledger, run)))
            runs.append(run)
            server.pending[run] = blob  # as the real one does: until the agent knows it
            for _ in range(3):
                await server.send("run", blob)
            await asyncio.sleep(chance.uniform(0, 0.06))

    async with asyncio.TaskGroup() as group:
        ordering = group.create_task(order())
        while not ordering.done():
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            await agent.end(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            await agent.spawn()
    for run in runs:
        await server.final(run)
    done = [run for run in runs if server.runs[run].last.state is State.DONE]
    states = {server.runs[run].last.state for run in runs}
    written = ledger.read_text().split()
    assert len(written) == len(set(written))
    assert set(done) <= set(written) <= set(runs)
    assert states <= {State.DONE, State.INTERRUPTED}
    assert len(done) > 10


async def test_the_agent_ends_in_time_and_leaves_the_commands(
    server: Server, agent: Process
) -> None:
    """SIGTERM: exit code 0 within five seconds; what runs goes on."""
    run = await server.start("echo $$; sleep 2; echo over")
    await until(server.runs[run].output)
    pid = int(server.runs[run].output())
    async with asyncio.timeout(5):
        assert await agent.end() == 0
    assert alive(pid)
    await until((agent.home.jobs / run / "exit.json").exists)
    await agent.start()
    await server.final(run)
    assert server.runs[run].output(Stream.OUT).endswith(b"over\n")


async def test_output_told_before_a_kill_is_not_lost_or_doubled(
    server: Server, agent: Process
) -> None:
    """Pieces that were on their way are told again exactly as they were."""
    script = (
        "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo $i; "
        "[ $((i % 400)) = 0 ] && sleep 0.05; done; true"
    )
    run = await server.start(script)
    for _ in range(4):
        size = len(server.runs[run].output())
        await until(partial(_more_than, server, run, size))
        await agent.kill()
        await agent.start()
    await server.final(run)
    expected = "".join(f"{i}\n" for i in range(1, 40001)).encode()
    told = server.runs[run]
    assert told.last.stdout == len(expected)
    offsets = sorted(told.rows[Stream.OUT].items())
    position = 0
    for offset, data in offsets:
        assert offset == position
        position += len(data)
    assert told.output() == expected
