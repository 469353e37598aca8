"""What the agent's supervisor costs a command: beside a bare spawn, in the same run.

``python -m bench.spawning`` prints one line of JSON per figure.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, middle
from muster.agent.home import Home, boot_id
from muster.agent.jobs import Job
from muster.agent.policy import own_name
from muster.agent.spawning import Forge
from muster.contracts.names import new_id
from muster.contracts.runs import Command

ROUNDS = 200
PAUSE = 0.005


def _bare() -> float:
    began = time.perf_counter()
    subprocess.run(["true"], stdin=subprocess.DEVNULL, start_new_session=True, check=True)
    return time.perf_counter() - began


def _job(home: Home, *argv: str) -> Job:
    job = Job.of(home, new_id())
    job.make(Command(argv=list(argv)), "n" + "a" * 16, own_name(), reserve=0)
    return job


async def _supervised(home: Home, forge: Forge) -> float:
    job = _job(home, "true")
    began = time.perf_counter()
    await (await forge.spawn(job)).ended
    return time.perf_counter() - began


def _private(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("Private_")]
    return sum(int(words[1]) for words in lines) / 1000


async def measure() -> list[Figure]:
    """Return the time and the memory that a supervisor adds."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "agent")
        home.make()
        async with Forge(boot_id()).open() as forge:
            bare, ours = [], []
            for _ in range(ROUNDS):
                bare.append(await asyncio.to_thread(_bare))
                await asyncio.sleep(PAUSE)
                ours.append(await _supervised(home, forge))
                await asyncio.sleep(PAUSE)
            job = _job(home, "sleep", "30")
            running = await forge.spawn(job)
            while not (started := job.started()):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            memory = _private(started.pid)
            forge.look(running)
            running.cancel()
            await running.ended
    best = {"best": round(min(ours) * 1000, 2), "best_bare": round(min(bare) * 1000, 2)}
    return [
        Figure("a supervised spawn of true", "ms", middle(ours), "bare", middle(bare), "", best),
        Figure("private memory of a supervisor", "MB", memory, goal="1"),
    ]


def main() -> None:
    """Print the figures."""
    for figure in asyncio.run(measure()):
        sys.stdout.write(figure.line() + "\n")


if __name__ == "__main__":
    main()
