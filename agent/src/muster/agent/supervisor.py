"""The small process that stands between the agent and one command.

It owns the command's pipes, files, deadline and process tree, and outlives the agent. In the
job's directory it leaves ``started.json`` (who it is), ``stdout``, ``stderr`` and, at the end,
``exit.json``. SIGTERM means: cancel.

Children that outlive the command are left alone, as by cron; they are ended only together with
the command, by a time-out or a cancel. What they print later is thrown away.
"""

import ctypes
import marshal
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from types import FrameType
from typing import Final

from muster.agent import tree
from muster.agent.sink import CHUNK, Sink, discard

GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""
HOPELESS: Final = 30.0
"""Seconds of SIGKILL after which a process is left behind (it hangs in the kernel)."""
TAKEN: Final = b"\xff"
"""What a spare rings when it has got a job; no signal has this number."""

_LOOK_EVERY: Final = 0.02
_BRIEF: Final = 0.003
"""A command that is over sooner is told of once, not twice."""
_SET_NAME: Final = 15
_SET_CHILD_SUBREAPER: Final = 36
_NOT_FOUND: Final = 127
_NOT_RUNNABLE: Final = 126

Fields = Mapping[str, str | float | None]

_prctl = ctypes.CDLL(None).prctl


class _Flag:
    is_set = False


_cancelled: Final = _Flag()


def noticed(number: int, _frame: FrameType | None) -> None:
    """Take a signal; installed before the fork, because that costs each supervisor less."""
    if number == signal.SIGTERM:
        _cancelled.is_set = True


def as_json(fields: Fields) -> bytes:
    """Return *fields* as a JSON object; the `json` module would touch 0.2 MB more."""
    inside = []
    for name, one in fields.items():
        text = quoted(one) if isinstance(one, str) else "null" if one is None else repr(one)
        inside.append(f'"{name}": {text}')
    return f"{{{', '.join(inside)}}}".encode()


class Spare:
    """A process that waits for a job to supervise."""

    def __init__(self, line: int, boot: str, ring: int) -> None:
        """Do beforehand all that does not depend on the job."""
        os.setsid()
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _prctl(_SET_NAME, b"muster-job", 0, 0, 0)
        self.line = line
        self.ring = ring
        self.poll = select.poll()
        self.poll.register(line, select.POLLIN)
        self.wake, bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        ticks = tree.started(os.getpid())
        self.me = as_json({"pid": os.getpid(), "ticks": ticks, "boot": boot})
        warm_up()

    def wait(self) -> None:
        """Supervise the next job that comes; nothing, when the agent is gone."""
        directory = self._order()
        if not directory:
            return
        if self.poll.poll(0):
            self.replace()  # more orders are waiting
        job = Supervisor(self, directory.decode())
        try:
            job.run()
        except FileExistsError:
            return  # somebody else has this job
        except BaseException as error:
            tree.kill(os.getpid())
            job.tell({"told": "broken", "reason": f"the supervisor failed: {error}"})
            raise
        finally:
            self.replace()

    def replace(self) -> None:
        """Have the next spare made; late, so that its making does not slow the command down."""
        if self.ring >= 0:
            _write(self.ring, TAKEN)  # if the server is gone, its successor makes a spare itself
            self.ring = -1

    def _order(self) -> bytes:
        """Wait for an order; the line does not block, because a stuck agent must not stick us."""
        while True:
            self.poll.poll()
            try:
                return os.read(self.line, CHUNK)
            except BlockingIOError:
                continue  # another spare was faster
            except ConnectionResetError:
                return b""


class Supervisor:
    """One job, from its spec to its end, in its directory."""

    def __init__(self, spare: Spare, home: str) -> None:
        """Prepare to work in the directory *home*."""
        self.spare = spare
        self.line = spare.line
        self.wake = spare.wake
        self.home = home
        self.pid = 0
        self.status: int | None = None
        self.why = ""
        self.reason = ""
        self.began = 0.0
        self.pipes: dict[int, Sink] = {}
        self.sinks: list[Sink] = []
        self.poll = select.poll()

    def run(self) -> None:
        """Do everything."""
        os.chdir(self.home)
        self.spec = marshal.loads(tree.read("spec"))  # noqa: S302  # ours; JSON would touch more
        # whoever makes this file may start the command, and nobody else ever
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        claim = os.open("started.json", flags, 0o600)
        self.sinks = [Sink(self.spec["reserve"]) for _ in "12"]
        # before the command can kill us: who finds nothing in it could not tell that we are gone
        os.write(claim, self.spare.me)
        os.close(claim)
        self.began = time.time()
        exit_code = self._spawn()
        os.chdir(self.home)
        for name, sink in zip(("stdout", "stderr"), self.sinks, strict=True):
            sink.open(name, self.spec["readers"])
            self.pipes[sink.pipe] = sink
            self.poll.register(sink.pipe, select.POLLIN)
        if exit_code is None:
            self._watch()
            self._drain()
        self._finish(exit_code)
        self.spare.replace()
        if self.pipes:
            self._linger()

    def _spawn(self) -> int | None:
        """Start the command; return an exit code if that is impossible."""
        argv, cwd = self.spec["argv"], self.spec["cwd"]
        stdin = os.open("stdin" if self.spec["stdin"] else os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.chdir(cwd)
        except OSError as error:
            self.reason = f"cannot work in {cwd}: {error.strerror}"
            return _NOT_RUNNABLE
        try:
            self.pid = self._posix_spawn(stdin) if self.spec["user"] is None else self._fork(stdin)
        except FileNotFoundError:
            self.reason = f"command not found: {argv[0]}"
            return _NOT_FOUND
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            self.reason = f"cannot start {argv[0]}: {text}"
            return _NOT_RUNNABLE
        finally:
            os.close(stdin)
        return None

    def _posix_spawn(self, stdin: int) -> int:
        env = self.spec["env"]
        os.environ["PATH"] = env.get("PATH", os.defpath)  # it is searched, not the child's
        return os.posix_spawnp(
            self.spec["argv"][0],
            self.spec["argv"],
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, self.sinks[0].end, 1),
                (os.POSIX_SPAWN_DUP2, self.sinks[1].end, 2),
            ],
            setsid=True,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def _fork(self, stdin: int) -> int:
        """Start the command as another user, which `posix_spawn` cannot."""
        heard, said = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                self._become_the_command(stdin)
            except OSError as error:
                os.write(said, str(error.errno).encode())
            finally:
                os._exit(_NOT_RUNNABLE)
        os.close(said)
        number = os.read(heard, 16)
        os.close(heard)
        if number:
            os.waitpid(pid, 0)
            raise OSError(int(number), os.strerror(int(number)))
        return pid

    def _become_the_command(self, stdin: int) -> None:
        os.setsid()
        for target, source in enumerate((stdin, self.sinks[0].end, self.sinks[1].end)):
            os.dup2(source, target)
        for number in (*_IGNORED_BY_PYTHON, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        user = self.spec["user"]
        os.setgroups(user["groups"])
        os.setresgid(user["gid"], user["gid"], user["gid"])
        os.setresuid(user["uid"], user["uid"], user["uid"])
        os.chdir(self.spec["cwd"])  # once more, with the rights that the command has
        os.execvpe(self.spec["argv"][0], self.spec["argv"], self.spec["env"])  # noqa: S606

    def _watch(self) -> None:
        """Pump and wait until the command is over, or all of its tree is dead."""
        self.poll.register(self.wake, select.POLLIN)
        deadline = time.monotonic() + self.spec["timeout"]
        brief_until = time.monotonic() + _BRIEF
        while self.status is None and brief_until > (now := time.monotonic()):
            self._turn(min(brief_until, deadline) - now)
        if self.status is not None:
            return
        self.spare.replace()
        self.tell({"told": "started", "pid": os.getpid(), "started": self.began})
        while self.status is None:
            now = time.monotonic()
            if _cancelled.is_set or now >= deadline:
                self.why = "cancelled" if _cancelled.is_set else "timed_out"
                self._end_the_tree()
                return
            self._turn(deadline - now)

    def _end_the_tree(self) -> None:
        """Ask all processes to end, and make them after a while."""
        tree.tell(tree.descendants(os.getpid()), signal.SIGTERM)
        killing = time.monotonic() + GRACE
        hopeless = killing + HOPELESS
        while tree.descendants(os.getpid()) or self.status is None:
            self._turn(_LOOK_EVERY)
            now = time.monotonic()
            if now >= hopeless:
                self.reason = "some of its processes cannot be killed"
                return
            if now >= killing:
                tree.kill(os.getpid())

    def _turn(self, seconds: float) -> None:
        """Wait for something to happen, but no longer than *seconds*."""
        for ready, _ in self.poll.poll(max(0.0, min(seconds, 3600.0)) * 1000):
            if ready == self.wake:
                os.read(ready, 4096)
                self._reap()
            elif not self.pipes[ready].pump():
                self.poll.unregister(ready)
                del self.pipes[ready]

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = status

    def _drain(self) -> None:
        """Take what the command has left in its pipes: no more than a pipe holds."""
        for ready, sink in list(self.pipes.items()):
            os.set_blocking(ready, False)
            left = 1024 * 1024
            while left > 0:
                try:
                    moved = sink.pump()
                except BlockingIOError:
                    break
                if not moved:
                    del self.pipes[ready]
                    break
                left -= moved

    def _finish(self, exit_code: int | None) -> None:
        """Tell the agent, and write ``exit.json`` in one step."""
        code = exit_code if self.status is None else os.waitstatus_to_exitcode(self.status)
        if lost := sum(sink.lost for sink in self.sinks):
            self.reason = self.reason or f"the disk is full: {lost} bytes of output were lost"
        end = {
            "exit": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "why": self.why,
            "reason": self.reason,
            "started": self.began,
            "finished": time.time(),
            "stdout": self.sinks[0].size,
            "stderr": self.sinks[1].size,
        }
        self.tell({"told": "ended", **end})  # first, because somebody waits
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        try:
            file = os.open("exit.json.new", flags, 0o600)
            os.write(file, as_json(end))
            os.close(file)
            os.rename("exit.json.new", "exit.json")  # noqa: PTH104
        except OSError as error:
            sys.stderr.write(f"no exit.json in {self.home}: {error.strerror}\n")

    def _linger(self) -> None:
        """Keep the pipes of children that outlive the command open, and throw away what comes."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self._reap()
        os.close(self.line)
        os.chdir("/")
        poll = select.poll()
        for ready, sink in self.pipes.items():
            os.close(sink.file)
            poll.register(ready, select.POLLIN)
        while self.pipes:
            for ready, _ in poll.poll():
                if not discard(ready):
                    poll.unregister(ready)
                    del self.pipes[ready]

    def tell(self, news: Fields) -> None:
        """Tell the agent, if there is one; it finds everything in the directory as well."""
        _write(self.line, as_json({"run": os.path.basename(self.home), **news}))  # noqa: PTH119


_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def _write(pipe: int, data: bytes) -> None:
    try:
        os.write(pipe, data)
    except OSError:
        return  # nobody is there, or too busy


def warm_up() -> None:
    """Do once what every supervisor does, so that their memory is filled before the fork."""
    marshal.loads(marshal.dumps({"one": 1, "two": [2.5, None, "three"]}))  # noqa: S302
    as_json({"one": 1, "two": 2.5, "three": None, "four": "five"})
    tree.started(os.getpid())
