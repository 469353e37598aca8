"""The warm fork server: `python -P -m muster.agent.forge LINE BOOT`.

A fresh interpreter for each command would cost 8 ms and 8 MB. This small process keeps one
forked *spare* ready instead, which waits on the line (a SOCK_SEQPACKET descriptor shared with
the agent) for the path of a job's directory, becomes its supervisor and asks for the next spare.
It ends with its agent; the supervisors do not. Nothing is imported that is not needed, because
every page that a supervisor touches is memory of its own.
"""

import gc
import os
import select
import signal
import sys
import time

from muster.agent import supervisor


class Forge:
    """Keeps a spare process."""

    def __init__(self, line: int, boot: str) -> None:
        """Take orders from *line*; *boot* is the kernel's boot id."""
        self.line = line
        self.boot = boot
        self.spare = 0
        self.bell, self.ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Keep a spare until the agent is gone."""
        signal.set_wakeup_fd(self.ring, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.bell, select.POLLIN)
        poll.register(self.line, 0)  # its end is told without asking
        while True:
            if not self.spare and not self._fork():
                time.sleep(0.1)
                continue
            for ready, _ in poll.poll():
                if ready == self.line:
                    return
                # whatever rang, the spare may be taken or dead
                rung = os.read(self.bell, 4096)
                if signal.SIGTERM in rung:
                    return
                if supervisor.TAKEN in rung:
                    self.spare = 0
            self._reap()

    def _fork(self) -> bool:
        try:
            self.spare = os.fork()
        except OSError as error:
            sys.stderr.write(f"cannot fork: {error.strerror}\n")
            return False
        if self.spare == 0:
            try:
                supervisor.Spare(self.line, self.boot, self.ring).wait()
            except BaseException as error:  # noqa: BLE001  # nothing may return into the loop
                sys.stderr.write(f"a supervisor failed: {error!r}\n")
            finally:
                os._exit(0)
        return True

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == self.spare:
                self.spare = 0
            if pid == 0:
                return


def main() -> None:
    """Serve."""
    line, boot = int(sys.argv[1]), sys.argv[2]
    # what the commands inherit must not depend on how the agent was started
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, supervisor.noticed)
    signal.signal(signal.SIGTERM, supervisor.noticed)
    os.umask(0o022)
    os.set_inheritable(line, False)  # noqa: FBT003
    forge = Forge(line, boot)
    supervisor.warm_up()
    gc.collect()
    gc.disable()
    gc.freeze()
    forge.serve()


if __name__ == "__main__":
    main()
