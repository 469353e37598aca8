"""Finding and ending the processes of one job, through ``/proc``.

A supervisor is a *subreaper*: whatever its command starts stays its descendant, even after a
double fork and ``setsid``. Imported by the fork server: the standard library's smallest only.
"""

import os
import signal

_GONE = (b"Z", b"X")


def read(path: str) -> bytes:
    """Return what a file holds, or raise `OSError`; the ``io`` module would touch more memory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(handle, 65536)
        while len(data) % 65536 == 0 and (more := os.read(handle, 1 << 20)):
            data += more
        return data
    finally:
        os.close(handle)


def _parents() -> dict[int, int]:
    """Return the parent of every living process."""
    parents = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib costs the fork server memory
        if name.isdigit():
            try:
                fields = read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            except OSError:
                continue
            if fields and fields[0] not in _GONE:
                parents[int(name)] = int(fields[1])
    return parents


def descendants(root: int) -> set[int]:
    """Return the living descendants of *root*, without itself."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    new = [root]
    while new:
        new = [child for pid in new for child in children.get(pid, ()) if child not in found]
        found.update(new)
    return found


def marked(mark: str) -> set[int]:
    """Return the living processes that have *mark* (``NAME=value``) in their environment."""
    wanted = mark.encode()
    found = set()
    for pid in _parents():
        try:
            if wanted in read(f"/proc/{pid}/environ").split(b"\0"):
                found.add(pid)
        except OSError:
            continue
    found.discard(os.getpid())
    return found


def tell(pids: set[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:  # gone, or grown beyond our rights: the next look will tell
            continue


def kill(root: int) -> None:
    """Kill the descendants of *root*; all are stopped first, so that none can fork meanwhile."""
    stopped: set[int] = set()
    for _ in range(20):
        new = descendants(root) - stopped
        if not new:
            break
        tell(new, signal.SIGSTOP)
        stopped |= new
    tell(stopped, signal.SIGKILL)


def started(pid: int) -> int | None:
    """Return when *pid* was started, in clock ticks since boot; None if it is gone.

    Together with the boot id this names a process for ever; a pid alone is used again.
    """
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _GONE else int(fields[19])
