"""The agent in two parts: who has taken over the one on the network executes nothing of their own.

The helper is a real process of root; the part on the network is one of a user without rights.
"""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.agent.home import Home
from muster.agent.policy import allowing
from muster.agent.privileged import splitting
from muster.agent.privileged.messages import Answer, Ask, framed, next_frame
from muster.agent.privileged.trust import Trust
from muster.contracts.authority import KeyNotice
from muster.contracts.errors import Conflict
from muster.contracts.names import new_id
from muster.contracts.runs import Cancel, Command, Read, ReadAsk, ResultFiles, State
from muster.kit import wire
from muster.kit.identity import natsjwt
from muster.kit.identity.seals import seal
from tests.agent.stage import Process, Server, alive, end_all, shell, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to separate")

USER = pwd.getpwnam("daemon") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
ROOT = pwd.getpwuid(0)
DROPPED = str(Path(__file__).with_name("dropped.py"))
TRUE = Command(argv=["true"])
SLEEP = Command(argv=["sleep", "6"])


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    """Give an agent a directory that others can reach: those of pytest are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="muster-") as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "agent")
        home.make()
        yield home
        await end_all()


@pytest.fixture
async def helper(server: Server, home: Home) -> Process:
    """Split the agent of *home*, and run its helper."""
    home.write(home.policy, allowing("root,nobody"))
    splitting.split(home, USER)
    process = Process(home.helper, server, ["-m", "muster.agent", "helper"])
    await process.spawn()
    await until(home.helper.socket.exists, "the helper's socket")
    return process


@pytest.fixture
async def split(server: Server, home: Home, helper: Process) -> Process:
    """Run the part on the network beside its helper."""
    del helper
    process = Process(home, server, _words(home))
    await process.start()
    return process


def _words(home: Home) -> list[str]:
    return [DROPPED, USER.pw_name, "run", "--helper", str(home.helper.root)]


class Line:
    """A caller of the helper, who says what they like."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over a socket."""
        self.reader = reader
        self.writer = writer
        self.number = 0

    opened: ClassVar[list["Line"]] = []

    @classmethod
    async def to(cls, home: Home) -> "Line":
        """Connect to the helper of *home*."""
        line = cls(*await asyncio.open_unix_connection(home.helper.socket))
        cls.opened.append(line)
        return line

    async def ask(self, **fields: object) -> Answer:
        """Return the answer to one question."""
        self.number += 1
        ask = Ask.model_validate({"number": self.number, **fields})
        self.writer.write(framed(ask))
        async with asyncio.timeout(20):
            while True:
                answer = wire.unpack(Answer, await next_frame(self.reader))
                if answer.number == self.number:
                    return answer


@pytest.fixture(autouse=True)
async def _hung_up() -> AsyncIterator[None]:
    """Close every line that the test has opened."""
    yield
    while Line.opened:
        Line.opened.pop().writer.close()
    await asyncio.sleep(0)


async def test_commands_run_as_whom_the_policy_names(split: Process, server: Server) -> None:
    """Root where it says so, by the helper; the process on the network is nobody's."""
    status = Path(f"/proc/{split.pid}/status").read_text()
    assert f"Uid:\t{USER.pw_uid}\t{USER.pw_uid}" in status
    assert "CapEff:\t0000000000000000" in status
    run = await server.start(shell("id -un; echo err >&2; exit 3"))
    report = await server.final(run)
    assert (report.state, report.exit) == (State.FAILED, 3)
    assert server.runs[run].output() == b"root\n"
    run = await server.start("id -un; id -Gn", run_as="nobody")
    assert (await server.final(run)).state is State.DONE
    assert server.runs[run].output() == b"nobody\nnogroup\n"
    refused = await server.done(TRUE, run_as="daemon")
    assert refused.state is State.REFUSED
    assert "local policy" in refused.reason


async def test_the_inventory_says_that_it_is_split(split: Process, server: Server) -> None:
    """And as whom commands may run."""
    del split
    await until(lambda: server.inventories)
    told = server.inventories[0]
    assert told.allowed
    assert (told.allowed.helper, told.allowed.users) == (True, ["root", "nobody"])
    assert told.user == USER.pw_name


async def test_long_output_and_results_come_through(split: Process, server: Server) -> None:
    """Followed live, whole at the end; result files of root are read by whoever may."""
    del split
    run = await server.start(
        'for i in 1 2 3; do echo $i; sleep 0.2; done; echo hi > "$MUSTER_RESULTS/f"; '
        "head -c 3000000 /dev/zero"
    )
    await server.state(run, State.STARTED)
    report = await server.final(run)
    assert (report.state, report.stdout) == (State.DONE, 3_000_006)
    assert server.runs[run].output()[:6] == b"1\n2\n3\n"
    found = await server.read(run)
    assert isinstance(found, ResultFiles)
    assert [one.path for one in found.items] == ["f"]


async def test_a_cancel_ends_a_command_of_root(split: Process, server: Server) -> None:
    """The whole tree, though the part on the network could not touch it itself."""
    del split
    run = await server.start("echo $$; sleep 600 & sleep 600")
    await until(server.runs[run].output, "its pid")
    pid = int(server.runs[run].output())
    await server.cancel(run)
    assert (await server.final(run)).state is State.CANCELLED
    await until(lambda: not alive(pid))


@pytest.mark.parametrize("victim", ["helper", "agent", "both"])
async def test_commands_outlive_both_parts(
    victim: str, split: Process, helper: Process, server: Server
) -> None:
    """Killed and started again, they find each other and what was going on; nothing runs twice."""
    marks = helper.home.root / "marks"
    run = await server.start(f"echo x >> {marks}; sleep 2; echo over")
    await server.state(run, State.STARTED)
    if victim in {"agent", "both"}:
        await split.kill()
    if victim in {"helper", "both"}:
        await helper.kill()
        await helper.spawn()
    if victim in {"agent", "both"}:
        await split.start()
    report = await server.final(run)
    assert (report.state, server.runs[run].output()) == (State.DONE, b"over\n"), report
    assert marks.read_text() == "x\n"
    assert (await server.done(TRUE)).state is State.DONE


async def test_without_its_helper_it_says_so(
    split: Process, helper: Process, server: Server
) -> None:
    """In the heartbeat, and to whoever orders something; nothing is lost, nothing done later."""
    await helper.end()
    await until(lambda: "helper" in split.status().get("trouble", ""))
    mark = helper.home.root / "mark"
    report = await server.done(f"touch {mark}")
    assert report.state is State.REFUSED
    assert "helper" in report.reason
    await helper.spawn()
    await until(lambda: not split.status().get("trouble"))
    assert (await server.done(TRUE)).state is State.DONE
    assert not mark.exists()


async def test_the_helper_verifies_everything_again(
    helper: Process, server: Server, home: Home
) -> None:
    """Unsigned, changed, retargeted, old, of another verb: to the helper they all are refused."""
    del helper
    line = await Line.to(home)
    mark = home.root.parent / "mark"
    args = shell(f"touch {mark}")
    good = server.sign("run", new_id(), args)
    now = datetime.now(UTC)
    bad = [
        b"",
        good[:-1] + b"x",
        good.replace(b"touch", b"t0uch"),
        bytes([good[0] ^ 1]) + good[1:],
        server.sign("run", new_id(), args, node="n" + "a" * 16),
        server.sign("run", new_id(), args, expires=now - timedelta(seconds=1)),
        server.sign("run", new_id(), args, epoch=0),
        server.sign("cancel", new_id(), args),
        server.sign("read", new_id(), args),
    ]
    for blob in bad:
        assert (await line.ask(do="start", order=blob)).error in {"denied", "expired"}, blob[:40]
    for do in ("start", "cancel"):
        blob = server.sign("read", new_id(), Read())
        assert (await line.ask(do=do, order=blob)).error == "denied"
    ask = ReadAsk(command=server.sign("run", new_id(), args))
    assert (await line.ask(do="read", read=ask)).error == "denied"
    assert not mark.exists()
    assert (await line.ask(do="start", order=good)).error == ""


async def test_the_helper_executes_nothing_twice(
    helper: Process, server: Server, home: Home
) -> None:
    """The same order a hundred times, another envelope of the same run, and after a restart."""
    marks = home.root.parent / "marks"
    run = new_id()
    args = shell(f"echo x >> {marks}")
    blob = server.sign("run", run, args)
    line = await Line.to(home)
    assert (await line.ask(do="start", order=blob)).error == ""
    for _ in range(100):
        assert (await line.ask(do="start", order=blob)).error == "conflict"
    ended = (await line.ask(do="wait", run=run)).ended
    assert ended
    assert ended.exit == 0
    again = server.sign("run", run, args)
    assert (await line.ask(do="start", order=again)).error == "conflict"
    await helper.kill()
    await helper.spawn()
    await until(lambda: _listens(home))
    line = await Line.to(home)
    for one in (blob, again):
        assert (await line.ask(do="start", order=one)).error == "conflict"
    assert marks.read_text() == "x\n"
    ended = (await line.ask(do="wait", run=run)).ended
    assert ended
    assert ended.exit == 0


def _listens(home: Home) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(home.helper.socket)) == 0


async def test_only_a_signed_cancel_ends_a_command(
    helper: Process, server: Server, home: Home
) -> None:
    """Half an upgrade can be worse than none: the part on the network may not break it off."""
    del helper
    line = await Line.to(home)
    run = new_id()
    start = server.sign("run", run, shell("sleep 60"))
    assert (await line.ask(do="start", order=start)).error == ""
    other = server.sign("cancel", new_id(), Cancel())
    await line.ask(do="cancel", order=other)
    assert (await line.ask(do="cancel", order=b"M1")).error == "denied"
    waiting = framed(Ask(number=99, do="wait", run=run))
    line.writer.write(waiting)
    await asyncio.sleep(0.3)
    second = await Line.to(home)
    assert (await second.ask(do="cancel", order=server.sign("cancel", run, Cancel()))).error == ""
    ended = wire.unpack(Answer, await next_frame(line.reader)).ended
    assert ended
    assert ended.why == "cancelled"


async def test_the_kernel_says_who_calls(helper: Process, home: Home) -> None:
    """Another user is not answered, even where the socket's mode would let them in."""
    home.helper.socket.chmod(0o666)
    script = (
        "import os, socket, sys\n"
        "os.setresgid(65534, 65534, 65534); os.setresuid(*[int(sys.argv[2])] * 3)\n"
        "line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1])\n"
        f"line.sendall({framed(Ask(number=1, do='allowed'))!r})\n"
        "sys.stdout.buffer.write(line.recv(4))\n"
    )

    async def said(uid: int) -> bytes:
        words = [sys.executable, "-c", script, str(home.helper.socket), str(uid)]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        return (await process.communicate())[0]

    assert len(await said(USER.pw_uid)) == 4
    assert await said(pwd.getpwnam("games").pw_uid) == b""
    assert "has no business" in helper.logged()


async def test_who_hangs_up_leaves_nobody_waiting(
    helper: Process, server: Server, home: Home
) -> None:
    """A part that comes and goes for months must not fill the helper; a start goes on."""
    del helper
    run = new_id()
    line = await Line.to(home)
    line.writer.write(framed(Ask(number=1, do="start", order=server.sign("run", run, SLEEP))))
    line.writer.close()
    for _ in range(50):
        line = await Line.to(home)
        with contextlib.suppress(OSError):  # so many lines at once are not let in
            for number in range(600):  # 50 times 600 are more than may wait at once
                line.writer.write(framed(Ask(number=number, do="wait", run=run)))
            await line.writer.drain()
            line.writer.close()
            await line.writer.wait_closed()
    await asyncio.sleep(1)
    line = await Line.to(home)
    ended = (await line.ask(do="wait", run=run)).ended
    assert ended
    assert ended.exit == 0


async def test_what_is_no_message_hurts_only_who_sends_it(
    helper: Process, server: Server, home: Home
) -> None:
    """Garbage, a huge length, a question that is none: the line is cut, others are served."""
    for data in (b"\xff" * 8, b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x01", os.urandom(4096)):
        line = await Line.to(home)
        line.writer.write(data)
        line.writer.write_eof()
        async with asyncio.timeout(20):
            assert await line.reader.read() == b""
    line = await Line.to(home)
    assert (await line.ask(do="start", order=server.sign("run", new_id(), TRUE))).error == ""
    assert helper.process
    assert helper.process.returncode is None


async def test_another_key_must_be_vouched_for(helper: Process, server: Server, home: Home) -> None:
    """The part on the network passes notices on; it cannot make one."""
    del helper
    line = await Line.to(home)
    new = Ed25519PrivateKey.generate()
    old_text = natsjwt.text64(server.key.public_key().public_bytes_raw())
    new_text = natsjwt.text64(new.public_key().public_bytes_raw())
    at = datetime.now(UTC)
    said = f"muster keys|{at.isoformat()}|{old_text}|{new_text}".encode()
    for key in (new, server.key):
        notice = KeyNotice(keys=[old_text, new_text], at=at, seal=seal(said, key))
        await line.ask(do="learn", notices=[notice.model_dump()])
        pinned = Trust.load(home.helper).pinned.authority_keys
        assert pinned == ([old_text] if key is new else [old_text, new_text])


async def test_what_the_network_part_may_not_touch(split: Process, home: Home) -> None:
    """The helper's trust, journal, policy and jobs are beyond its reach; outputs can be read."""
    del split
    helper = home.helper
    for path in (helper.trust, helper.journal, helper.policy):
        assert path.stat().st_uid == 0
        assert path.stat().st_mode & 0o077 == 0
    for folder in (helper.root, helper.jobs):
        assert folder.stat().st_uid == 0
        assert folder.stat().st_mode & 0o077 == 0o011


async def test_what_one_process_has_done_the_helper_does_not_do_again(
    server: Server, home: Home
) -> None:
    """An agent that is split remembers what it has executed, and finds what is going on."""
    home.write(home.policy, allowing("root"))
    marks = home.root.parent / "marks"
    whole = Process(home, server)
    await whole.start()
    done, going = new_id(), new_id()
    args = shell(f"echo x >> {marks}")
    blob = server.sign("run", done, args)
    await server.send("run", blob)
    await server.final(done)
    await server.start("sleep 4; echo over", going)
    await server.state(going, State.STARTED)
    with pytest.raises(Conflict, match="stop it first"):
        splitting.split(home, USER)
    await whole.end()
    splitting.split(home, USER)
    helper = Process(home.helper, server, ["-m", "muster.agent", "helper"])
    await helper.spawn()
    await until(lambda: _listens(home))
    line = await Line.to(home)
    assert (await line.ask(do="start", order=blob)).error == "conflict"
    assert marks.read_text() == "x\n"
    await Process(home, server, _words(home)).start()
    report = await server.final(going)
    assert (report.state, report.stdout) == (State.DONE, 5)


async def test_a_burst_is_carried_out_whole(split: Process, server: Server) -> None:
    """Many starts at once, each with its end told; a lost datagram delays, and loses nothing."""
    del split
    runs = [await server.start(TRUE) for _ in range(600)]
    for run in runs:
        assert (await server.final(run, 50)).state is State.DONE


async def test_a_supervisor_that_is_killed_is_noticed(
    split: Process, helper: Process, server: Server
) -> None:
    """At once or a little later, but not never."""
    del split
    run = await server.start("sleep 300")
    started = helper.home.jobs / run / "started.json"
    await until(lambda: started.exists() and started.read_text(), "the supervisor")
    os.kill(json.loads(started.read_text())["pid"], signal.SIGKILL)
    report = await server.final(run)
    assert report.state is State.INTERRUPTED


async def test_a_cancel_that_comes_first_wins(helper: Process, server: Server, home: Home) -> None:
    """What was cancelled before it came is never started, also not by the helper."""
    del helper
    line = await Line.to(home)
    run, mark = new_id(), home.root.parent / "mark"
    assert (await line.ask(do="cancel", order=server.sign("cancel", run, Cancel()))).error == ""
    order = server.sign("run", run, shell(f"touch {mark}"))
    assert (await line.ask(do="start", order=order)).error == "conflict"
    ended = (await line.ask(do="wait", run=run)).ended
    assert ended
    assert ended.why == "cancelled"
    assert not mark.exists()


async def test_a_file_that_is_damaged_does_not_end_the_helper(
    helper: Process, server: Server, home: Home
) -> None:
    """A command of root can write anything; others are served, also after a restart."""
    line = await Line.to(home)
    run = new_id()
    path = home.helper.jobs / run / "exit.json"
    script = f"""echo '{{"why": "odd", "finished": 1}}' > {path}; kill -9 $PPID"""
    order = server.sign("run", run, shell(script))
    assert (await line.ask(do="start", order=order)).error == ""
    ended = (await line.ask(do="wait", run=run)).ended
    assert ended
    assert ended.why == "interrupted"
    await helper.kill()
    await helper.spawn()
    await until(lambda: _listens(home))
    line = await Line.to(home)
    assert (await line.ask(do="start", order=server.sign("run", new_id(), TRUE))).error == ""


async def test_a_stuck_helper_is_noticed(split: Process, helper: Process) -> None:
    """It is said in the heartbeat, after a while, though the line is there."""
    os.kill(helper.pid, signal.SIGSTOP)
    try:
        await until(lambda: "stuck" in split.status().get("trouble", ""), seconds=45)
    finally:
        os.kill(helper.pid, signal.SIGCONT)
    await until(lambda: not split.status().get("trouble"))


async def test_only_so_many_callers_at_once(helper: Process, home: Home) -> None:
    """Lines cost descriptors, of which commands need some."""
    del helper
    lines = [await Line.to(home) for _ in range(8)]
    for line in lines:
        assert (await line.ask(do="allowed")).allowed
    late = await Line.to(home)
    async with asyncio.timeout(10):
        assert await late.reader.read() == b""
    assert (await lines[0].ask(do="allowed")).allowed
