"""The directory of one run: what the supervisor reads and leaves there.

``spec`` (what to start, for the supervisor), ``stdin``, ``started.json``, ``stdout``, ``stderr``,
``exit.json``, ``told.json`` (how much of the output the scheduler has) and ``results/``.
Whatever the command can reach it can also replace: nothing here is opened through a link.
"""

import errno
import json
import marshal
import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from muster.agent.home import Home
from muster.agent.journal import Ended
from muster.agent.policy import own_name
from muster.contracts.errors import Denied
from muster.contracts.runs import Command, Stream

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SMALL: Final = 65536
_NOFOLLOW: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Started:
    """Which process supervises, by more than its pid, which is used again."""

    pid: int
    ticks: int
    boot: str


@dataclass(frozen=True, slots=True)
class Job:
    """One run's directory."""

    path: Path
    notes: Path
    """Where the agent itself notes what it has told: the same, or its own if this is a helper's."""

    @classmethod
    def of(cls, home: Home, run: str, notes: Home | None = None) -> "Job":
        """Return the directory of *run*, which may not be there."""
        return cls(home.jobs / run, (notes or home).jobs / run)

    @property
    def run(self) -> str:
        """The run."""
        return self.path.name

    @property
    def results(self) -> Path:
        """The run's result folder."""
        return self.path / "results"

    def make(
        self, command: Command, node: str, run_as: str, *, reserve: int, readers: int = -1
    ) -> None:
        """Lay out everything that the supervisor needs.

        *reserve* are the bytes to be left on the disk, *readers* the group that may read outputs.
        """
        user = _user(run_as)
        self.path.mkdir(mode=0o700)
        self.results.mkdir(mode=0o700)
        if command.stdin:
            _write(self.path / "stdin", command.stdin)
        env = _environment(user, command.env)
        env |= {"MUSTER_RUN": self.run, "MUSTER_NODE": node, "MUSTER_RESULTS": str(self.results)}
        home = user.pw_dir if Path(user.pw_dir).is_dir() else "/"
        spec = {
            "argv": command.argv or ["/bin/sh", "-c", command.shell],
            "env": env,
            "cwd": str(Path(home) / command.cwd) if command.cwd else home,
            "stdin": bool(command.stdin),
            "timeout": command.timeout,
            "reserve": reserve,
            "readers": readers,
            "user": None,
        }
        if user.pw_uid != os.geteuid():
            groups = os.getgrouplist(user.pw_name, user.pw_gid)
            spec["user"] = {"uid": user.pw_uid, "gid": user.pw_gid, "groups": groups}
            os.chown(self.results, user.pw_uid, user.pw_gid)
        if spec["user"] or readers >= 0:
            self.path.chmod(0o711)  # the way to results and outputs, and nothing else
        _write(self.path / "spec", marshal.dumps(spec))

    def started(self) -> Started | None:
        """Return who supervises; None if nobody has begun."""
        try:
            found = json.loads(_small(self.path / "started.json"))
            return Started(int(found["pid"]), int(found["ticks"]), str(found["boot"]))
        except OSError as error:
            _raise_if_short(error)
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def ended(self) -> Ended | None:
        """Return how the command ended; None as long as it has not."""
        try:
            return Ended.model_validate_json(_small(self.path / "exit.json"))
        except OSError as error:
            _raise_if_short(error)
            return None
        except ValidationError:
            return None

    def claim(self) -> bool:
        """Make sure that the command is never started from now on; False if it has been."""
        try:
            os.close(os.open(self.path / "started.json", os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        except FileNotFoundError:
            return True  # without its directory it cannot be started either
        return True

    def size(self, stream: Stream) -> int:
        """Return how many bytes of an output are there."""
        try:
            found = os.lstat(self.path / stream.value)
        except OSError:
            return 0
        return found.st_size if stat.S_ISREG(found.st_mode) else 0

    def read(self, stream: Stream, spans: list[tuple[int, int]]) -> list[bytes]:
        """Return parts of an output; what is not there any more is empty."""
        if not spans:
            return []
        try:
            handle = os.open(self.path / stream.value, _NOFOLLOW)
        except OSError:
            return [b""] * len(spans)
        try:
            return [os.pread(handle, length, offset) for offset, length in spans]
        except OSError:
            return [b""] * len(spans)
        finally:
            os.close(handle)

    def told(self) -> Any:
        """Return what `note_told` wrote, if it is there and whole."""
        try:
            return json.loads(_small(self.notes / "told.json", 1 << 20))
        except (OSError, ValueError):
            return None

    def note_told(self, news: Any) -> None:
        """Write down, for a later life of the agent, how much is told."""
        path = self.notes / "told.json.new"
        try:
            self.notes.mkdir(mode=0o700, exist_ok=True)
            _write(path, json.dumps(news).encode())
            path.replace(self.notes / "told.json")
        except OSError:
            return  # then the same is told again

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def _raise_if_short(error: OSError) -> None:
    """Take a file that cannot be opened for none, unless it is we who are short of something."""
    if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
        raise error


def _small(path: Path, most: int = _SMALL) -> bytes:
    handle = os.open(path, _NOFOLLOW)
    try:
        return os.read(handle, most)
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)


def _user(run_as: str) -> pwd.struct_passwd:
    if run_as == own_name():
        return _myself()
    try:
        return pwd.getpwnam(run_as)
    except KeyError as error:
        raise Denied(f"there is no user {run_as} on this host") from error


def _myself() -> pwd.struct_passwd:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid)
    except KeyError:  # in a container a user need not have a name
        return pwd.struct_passwd((str(uid), "x", uid, os.getegid(), "", "/", "/bin/sh"))


def _environment(user: pwd.struct_passwd, more: Mapping[str, str]) -> dict[str, str]:
    """Return an environment made from nothing, so that none of the agent's own leaks."""
    return {
        "PATH": PATH,
        "HOME": user.pw_dir,
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell or "/bin/sh",
        **more,
    }
