"""The command line as a process, before a server that plays a script."""

import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.stage import TOKEN, Stage, playing


@dataclass
class Said:
    """What a command line has said, and how it ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode()

    @property
    def told(self) -> str:
        """Its stderr."""
        return self.err.decode()


@dataclass
class Muster:
    """Starts the command line with a data directory of its own."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def _env(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "VIRTUAL_ENV", "PYTHONPATH")
        plain = {name: os.environ[name] for name in kept if name in os.environ}
        settings = {"MUSTER_DATA_DIR": str(self.home), "LANG": "C.UTF-8", "TZ": "UTC"}
        return plain | settings | self.env

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> "subprocess.Popen[bytes]":
        """Start a command line."""
        return subprocess.Popen(
            [sys.executable, "-m", "muster.cli", *arguments],
            env=self._env,
            cwd=self.home,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Said:
        """Run a command line to its end."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        with self.start(*arguments, stdin=source) as process:
            try:
                out, err = process.communicate(stdin, timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Said(process.returncode, out, err)

    def on_a_terminal(
        self, *arguments: str, answer: bytes = b"", after: bytes = b"", columns: int = 100
    ) -> Said:
        """Run a command line on a terminal; everything that it shows is `Said.out`.

        It is given an *answer*, if need be *after* it has shown something: what is typed before
        somebody asks for a password is thrown away.
        """
        ours, theirs = pty.openpty()
        self.env["COLUMNS"] = str(columns)
        self.env.setdefault("TERM", "xterm-256color")
        seen = bytearray()

        def read() -> None:
            try:
                while data := os.read(ours, 65536):
                    seen.extend(data)
            except OSError:  # the other end is closed
                return

        reader = threading.Thread(target=read, daemon=True)
        with self.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            reader.start()
            end = time.monotonic() + 30
            while after not in seen and time.monotonic() < end:
                time.sleep(0.02)
            if answer:
                os.write(ours, answer)
            code = process.wait(40)
        reader.join(10)
        os.close(ours)
        return Said(code, bytes(seen).replace(b"\r\n", b"\n"), b"")


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Serve a script that the test writes."""
    stage = Stage()
    with playing(stage):
        yield stage


@pytest.fixture
def muster(stage: Stage, tmp_path: Path) -> Muster:
    """Return a command line that knows the server of this test."""
    context = tmp_path / "context.json"
    told = {"url": stage.url, "token": TOKEN, "ca": None, "person": "admin"}
    context.write_text(json.dumps(told))
    context.chmod(0o600)
    return Muster(tmp_path)


@pytest.fixture
def alone(tmp_path: Path) -> Muster:
    """Return a command line for which there is no server."""
    return Muster(tmp_path)
