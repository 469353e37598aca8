"""Child processes of the server: started, watched, and ended with it."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from muster.kit.tasks import running

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
_GRACE: Final = 6.0
_LOG_LIMIT: Final = 10 * 1024 * 1024


@dataclass(frozen=True)
class Child:
    """A program that runs beside us, its output in a file."""

    name: str
    argv: Sequence[str]
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    _alive: list[asyncio.subprocess.Process] = field(default_factory=list)

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        for process in self._alive:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until *stop* is set, which ends it; raise if it ends by itself."""
        process = await self._start()
        self._alive.append(process)
        try:
            async with running(_wait(stop), f"{self.name}: stop") as told:
                await _first(process, told)
        finally:
            self._alive.remove(process)
            ended = process.returncode
            await _end(process)
        if ended is not None:
            raise ChildProcessError(f"{self.name} ended with {_how(ended)}; see {self.log_file}")

    async def _start(self) -> asyncio.subprocess.Process:
        _rotate(self.log_file)
        out = os.open(self.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.env},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                pass_fds=self.pass_fds,
            )
        finally:
            os.close(out)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _first(process: asyncio.subprocess.Process, told: asyncio.Task[None]) -> None:
    """Wait until the process has ended or we are told to end it."""
    async with running(_ended(process), "child") as ended:
        await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)


async def _ended(process: asyncio.subprocess.Process) -> None:
    await process.wait()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to end; insist after a while."""
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _die_with_parent() -> None:
    """Let the kernel end the child if we are killed: an orphan broker would hold the store."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_suffix(".1.log"))
