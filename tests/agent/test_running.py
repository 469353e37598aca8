"""Commands that a real agent runs, over a real broker."""

import asyncio
import os
import random
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from muster.contracts.runs import Command, State, Stream
from tests.agent.stage import Process, Server, alive, shell, until


async def _line(path: Path) -> str:
    await until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path}")
    return path.read_text().strip()


def _has_lines(server: Server, run: str, number: int) -> bool:
    return server.runs[run].output().count(b"\n") >= number


@pytest.mark.usefixtures("agent")
async def test_a_short_command_is_told_of_in_one_report(server: Server) -> None:
    """Received, started, output and exit cost one message."""
    counts = []
    for _ in range(10):
        run = await server.start("echo out; echo err >&2")
        report = await server.final(run)
        assert (report.state, report.exit, report.signal) == (State.DONE, 0, None)
        told = server.runs[run]
        assert (told.output(), told.output(Stream.ERR)) == (b"out\n", b"err\n")
        assert (report.stdout, report.stderr) == (4, 4)
        assert report.started
        assert report.finished
        counts.append(len(told.reports))
    assert min(counts) == 1  # a loaded machine may need more now and then


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("command", "exit_code", "number", "reason"),
    [
        (shell("exit 3"), 3, None, ""),
        (shell("kill -9 $$"), None, 9, ""),
        (Command(argv=["no-such-program", "x"]), 127, None, "command not found: no-such-program"),
        (Command(argv=["/etc/passwd"]), 126, None, "cannot start /etc/passwd: Permission"),
        (Command(argv=["true"], cwd="/no/such"), 126, None, "cannot work in /no/such: No such"),
    ],
    ids=["exit", "signal", "unknown program", "no program", "no directory"],
)
async def test_a_failure_says_why(
    server: Server, command: Command, exit_code: int | None, number: int | None, reason: str
) -> None:
    """Exit code, signal, or the reason why nothing was started, as a shell has it."""
    report = await server.done(command)
    assert report.state is State.FAILED
    assert (report.exit, report.signal) == (exit_code, number)
    assert report.reason.startswith(reason)


async def test_a_command_gets_what_was_given_and_nothing_of_the_agents(
    server: Server, agent: Process
) -> None:
    """Its environment is made from nothing; stdin, directory and variables are as ordered."""
    command = shell(
        'pwd; cat; echo "$GREETING"; env | cut -d= -f1 | sort | tr "\\n" " "',
        stdin=bytes(range(256)),
        cwd="/usr",
        env={"GREETING": "hello 世界", "MUSTER_RUN": "forged"},
    )
    run = await server.start(command)
    await server.final(run)
    head, _, names = server.runs[run].output().rpartition("世界\n".encode())
    assert head == b"/usr\n" + bytes(range(256)) + b"hello "
    expected = "GREETING HOME LANG LOGNAME MUSTER_NODE MUSTER_RESULTS MUSTER_RUN PATH PWD SHELL"
    assert sorted({*names.decode().split()} - {"USER", "_", "SHLVL", "OLDPWD"}) == expected.split()
    run = await server.start('echo "$MUSTER_RUN $MUSTER_NODE $MUSTER_RESULTS"; pwd')
    await server.final(run)
    results = agent.home.jobs / run / "results"
    assert server.runs[run].output().decode().split() == [
        run,
        server.node,
        str(results),
        str(Path.home()),
    ]


@pytest.mark.usefixtures("agent")
async def test_a_command_starts_with_signals_and_descriptors_as_they_should_be(
    server: Server,
) -> None:
    """Nothing is ignored or blocked, and nothing is open but the three."""
    run = await server.start("grep -E 'SigBlk|SigIgn' /proc/self/status; ls /proc/self/fd; umask")
    await server.final(run)
    words = server.runs[run].output().decode().split()
    assert int(words[1], 16) == 0
    assert int(words[3], 16) & ~(3 << 31) == 0  # 32 and 33 belong to glibc, which ignores them
    assert words[4:] == ["0", "1", "2", "3", "0022"]  # 3 is the directory that ls reads


@pytest.mark.usefixtures("agent")
async def test_output_survives_byte_for_byte(server: Server) -> None:
    """Whatever the bytes are, and on both outputs at once."""
    data = random.Random(1).randbytes(1_500_000)
    run = await server.start(shell("tee /dev/stderr", stdin=data[:300_000]))
    await server.final(run)
    for stream in Stream:
        assert server.runs[run].output(stream) == data[:300_000]
    script = "import random,sys; sys.stdout.buffer.write(random.Random(1).randbytes(1500000))"
    run = await server.start(Command(argv=["python3", "-c", script]))
    await server.final(run)
    assert server.runs[run].output() == data


@pytest.mark.usefixtures("agent")
async def test_opening_an_output_anew_loses_nothing(server: Server) -> None:
    """``> /dev/stderr`` truncates a file; our commands write into pipes."""
    run = await server.start("echo one >&2; echo two > /dev/stderr; echo three >> /dev/stderr")
    await server.final(run)
    assert server.runs[run].output(Stream.ERR) == b"one\ntwo\nthree\n"


@pytest.mark.usefixtures("agent")
async def test_output_is_seen_while_the_command_runs(server: Server) -> None:
    """Each line arrives soon after it was written, before the end."""
    run = await server.start("for i in 1 2 3; do date +%s.%N; sleep 0.4; done")
    lags = []
    for number in range(1, 4):
        await until(partial(_has_lines, server, run, number), "a line")
        lags.append(time.time() - float(server.runs[run].output().split()[-1]))
        assert not server.runs[run].last.state.final
    await server.final(run)
    assert min(lags) < 0.2


async def test_a_time_out_ends_the_whole_tree(server: Server, agent: Process) -> None:
    """Also children in sessions of their own; the state says why."""
    command = shell('setsid sleep 300 & echo $! > "$MUSTER_RESULTS/pid"; sleep 300', timeout=1)
    run = await server.start(command)
    pid = int(await _line((agent.home.jobs / run / "results") / "pid"))
    assert alive(pid)
    report = await server.final(run)
    assert report.state is State.TIMED_OUT
    assert report.signal == 15
    assert not alive(pid)


async def test_a_cancel_ends_daemons_too(server: Server, agent: Process) -> None:
    """A double fork, a session of its own and a blocked SIGTERM do not help them."""
    script = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        sys.stdout.close(); os.close(1); os.close(2)
        open(os.environ["MUSTER_RESULTS"] + "/pid", "w").write(f"{os.getpid()}\\n")
        time.sleep(300)
    os._exit(0)
time.sleep(300)
"""
    run = await server.start(Command(argv=["python3", "-c", script]))
    pid = int(await _line((agent.home.jobs / run / "results") / "pid"))
    await server.cancel(run)
    report = await server.final(run)
    assert (report.state, report.signal) == (State.CANCELLED, 9)
    assert not alive(pid)


@pytest.mark.usefixtures("agent")
async def test_a_cancel_is_quick_for_those_who_heed_it(server: Server) -> None:
    """SIGTERM comes first, and nobody waits once all are gone."""
    run = await server.start("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done")
    await until(lambda: server.runs[run].output() == b"up\n")
    began = time.monotonic()
    await server.cancel(run)
    report = await server.final(run)
    assert time.monotonic() - began < 4
    assert (report.state, report.exit) == (State.CANCELLED, 7)
    assert server.runs[run].output() == b"up\nbye\n"


async def test_a_cancel_may_come_before_its_run(server: Server, agent: Process) -> None:
    """Then it is told at once, and the command is never started."""
    mark = agent.home.root / "mark"
    run = await server.start(f"touch {mark}", run="0" * 26, node="naaaaaaaaaaaaaaaa")  # lost
    await server.cancel(run)
    assert (await server.final(run)).state is State.CANCELLED
    await server.start(f"touch {mark}", run=run)
    await server.final(run)
    await server.done("true")
    assert server.runs[run].last.state is State.CANCELLED
    assert not mark.exists()


async def test_children_that_outlive_the_command_are_left_alone(
    server: Server, agent: Process
) -> None:
    """As with cron: the run is over, the daemon lives, and may go on writing."""
    out = agent.home.root / "daemon"
    loop = f"while :; do echo noise; date > {out}; sleep 0.05; done"
    run = await server.start(f"({loop}) & echo $!")
    report = await server.final(run)
    assert report.state is State.DONE
    pid = int(server.runs[run].output().split()[0])
    await asyncio.sleep(0.5)
    assert alive(pid)
    assert time.time() - out.stat().st_mtime < 0.4
    assert (out.parent / "jobs" / run / "stdout").stat().st_size == report.stdout
    os.kill(pid, 9)


async def test_a_flood_of_output_keeps_memory_flat_and_head_and_tail(
    server: Server, agent: Process
) -> None:
    """256 MiB: a few MiB of memory, the stored copy is head and tail, the node has all."""
    await server.done("true")
    await server.done("seq 200000")  # warm
    process = psutil.Process(agent.pid)
    before, most = process.memory_info().rss, 0
    total, cap = 256 << 20, 4 << 20
    command = shell(f"seq -w 99999999 | head -c {total}", output_cap=cap)
    run = await server.start(command)
    while not server.runs[run].reports or not server.runs[run].last.state.final:
        most = max(most, process.memory_info().rss)
        await asyncio.sleep(0.02)
    assert most - before < 16 << 20
    told = server.runs[run]
    assert told.last.stdout == total
    assert told.spans() == [(0, cap // 4), (total - cap // 4, total)]
    file = agent.home.jobs / run / "stdout"
    assert file.stat().st_size == total
    with file.open("rb") as full:
        head = full.read(cap // 4)
        full.seek(total - cap // 4)
        tail = full.read()
    assert told.output() == head + tail
    assert len(told.reports) < 100


async def test_many_commands_at_once(server: Server, agent: Process) -> None:
    """Each ends once, and the agent has nothing open afterwards."""
    await server.done("true")
    process = psutil.Process(agent.pid)
    before = process.num_fds()
    runs = [await server.start(f"echo {number}") for number in range(60)]
    for number, run in enumerate(runs):
        assert (await server.final(run)).state is State.DONE
        assert server.runs[run].output() == f"{number}\n".encode()
    await until(lambda: process.num_fds() <= before + 2, "closed descriptors")


@pytest.mark.usefixtures("agent")
async def test_a_quick_command_with_a_daemon_does_not_hold_up_the_next(server: Server) -> None:
    """Its supervisor lingers for the daemon's sake; the next command has one of its own."""
    runs = [await server.start("sleep 5 &") for _ in range(5)]
    began = time.monotonic()
    for run in runs:
        assert (await server.final(run)).state is State.DONE
    assert (await server.done("true")).state is State.DONE
    assert time.monotonic() - began < 4
