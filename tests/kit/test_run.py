"""A process ends in order and in time, and a part that crashes comes back."""

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from muster.contracts.errors import Unavailable
from muster.kit.run import supervise

PROGRAM = """
import asyncio, sys, time
from muster.kit.logs import setup
from muster.kit.run import run

async def orderly(stop):
    print("up", flush=True)
    await stop.wait()
    print("down", flush=True)

async def stubborn(stop):
    print("up", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cut", flush=True)

async def deaf(stop):
    print("up", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("no", flush=True)

async def hanging(stop):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    print("up", flush=True)
    await stop.wait()

async def crashing(stop):
    raise ZeroDivisionError

async def refusing(stop):
    from muster.contracts.errors import Conflict
    raise Conflict("it runs already")

async def done(stop):
    pass

setup()
factory = None
if "uvloop" in sys.argv:
    import uvloop
    factory = uvloop.new_event_loop
sys.exit(run(globals()[sys.argv[1]], grace=float(sys.argv[2]), loop_factory=factory))
"""


class Program:
    """A process under test."""

    def __init__(self, *arguments: str) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def line(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Return its exit code, and what it said from here on."""
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode(), errors.decode()


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Start programs that do not outlive the test."""
    programs: list[Program] = []

    def begin(*arguments: str) -> Program:
        programs.append(Program(*arguments))
        return programs[-1]

    yield begin
    for program in programs:
        program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_ends_it_in_order(
    start: Callable[..., Program], number: signal.Signals, loop: str
) -> None:
    """What it has to do at the end is done, and the exit code is 0."""
    program = start("orderly", "20", loop)
    assert program.line() == "up"
    program.tell(number)
    code, out, _ = program.end()
    assert (code, out) == (0, "down\n")


def test_one_that_does_not_end_is_cut_off(start: Callable[..., Program]) -> None:
    """After the grace it is cancelled, which runs its `finally`, and the code is 1."""
    program = start("stubborn", "0.3")
    assert program.line() == "up"
    program.tell(signal.SIGTERM)
    code, out, errors = program.end()
    assert (code, out) == (1, "cut\n")
    assert "did not end within 0.3 s" in errors


def test_the_second_signal_hurries(start: Callable[..., Program]) -> None:
    """Nobody must wait for the grace."""
    program = start("stubborn", "60")
    assert program.line() == "up"
    began = time.monotonic()
    program.tell(signal.SIGINT)
    time.sleep(0.3)  # two signals at the same moment are one
    program.tell(signal.SIGINT)
    code, out, _ = program.end()
    assert (code, out) == (1, "cut\n")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("what", ["deaf", "hanging"])
def test_nothing_outlives_the_end(start: Callable[..., Program], what: str) -> None:
    """Neither a task that ignores its cancellation nor a thread that hangs."""
    program = start(what, "0.2")
    assert program.line() == "up"
    program.tell(signal.SIGTERM)
    assert program.end()[0] == 1


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [("done", 0, ""), ("crashing", 1, "ZeroDivisionError"), ("refusing", 1, "it runs already")],
)
def test_the_exit_code_tells(
    start: Callable[..., Program], what: str, code: int, said: str
) -> None:
    """An end by itself is 0; a crash is 1, with its traceback; a refusal says why, without."""
    ended, _, errors = start(what, "5").end()
    assert ended == code
    assert said in errors
    assert ("Traceback" in errors) is (what == "crashing")


async def test_a_crashed_part_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Each crash is logged with its reason, the pauses grow, and `stop` ends it."""
    stop, lives = asyncio.Event(), list[float]()
    loop = asyncio.get_running_loop()

    async def work() -> None:
        lives.append(loop.time())
        if len(lives) == 1:
            raise ZeroDivisionError
        if len(lives) == 2:
            raise Unavailable("the broker is away")
        if len(lives) == 3:
            return
        if len(lives) == 4:
            raise asyncio.CancelledError  # of something that it waited for
        stop.set()

    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(30):
            await supervise("registry", work, stop, pauses=(0.01, 0.04))
    pauses = [after - before for before, after in pairwise(lives)]
    assert len(pauses) == 4
    assert all(p >= least for p, least in zip(pauses, (0.009, 0.019, 0.039, 0.039), strict=True))
    assert [message.split(";")[0] for message in caplog.messages] == [
        "registry crashed",
        "registry stopped: the broker is away",
        "registry ended by itself",
        "registry crashed",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False, True]


async def test_a_long_life_makes_the_next_pause_short() -> None:
    """A part that crashes once a day is back at once."""
    stop, lives = asyncio.Event(), list[float]()
    loop = asyncio.get_running_loop()

    async def work() -> None:
        lives.append(loop.time())
        if len(lives) == 8:
            stop.set()
            return
        raise ZeroDivisionError

    began = loop.time()
    async with asyncio.timeout(30):
        await supervise("registry", work, stop, pauses=(0.001, 20.0), healthy=0.0)
    assert loop.time() - began < 10


async def test_stop_ends_a_pause() -> None:
    """Nobody waits for a restart that will not come."""
    stop = asyncio.Event()

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.01, stop.set)
        raise ZeroDivisionError

    async with asyncio.timeout(10):
        await supervise("registry", work, stop, pauses=(60.0, 60.0))


async def test_a_cancelled_supervisor_ends() -> None:
    """It does not take its own cancellation for a crash."""
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.sleep(60)

    task = asyncio.ensure_future(supervise("registry", work, asyncio.Event()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
