"""An output of a command: a pipe that is emptied into a file.

The command does not get the file itself, because ``> /dev/stderr``, which is common in scripts,
would truncate it; and because a full disk must cost output, not the host.
"""

import os
from typing import Final

CHUNK: Final = 65536
_CHECK_DISK: Final = 16 * 1024 * 1024


class Sink:
    """One output: what comes out of the pipe goes into the file."""

    def __init__(self, reserve: int) -> None:
        """Make the pipe; stop storing when *reserve* bytes are left on the disk."""
        self.pipe, self.end = os.pipe2(os.O_CLOEXEC)
        self.file = -1
        self.size = 0
        self.lost = 0
        self._reserve = reserve
        self._check_at = 0

    def open(self, name: str, readers: int = -1) -> None:
        """Make the file, for *readers* (a group) too, and leave the pipe's end to the command."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self.file = os.open(name, flags, 0o600)
        if readers >= 0:
            os.fchown(self.file, -1, readers)
            os.fchmod(self.file, 0o640)
        os.close(self.end)

    def pump(self) -> int:
        """Move what is there; 0 at the end of the pipe."""
        data = os.read(self.pipe, CHUNK)
        if data and (self.lost or not self._room() or not self._write(data)):
            self.lost += len(data)
        return len(data)

    def _room(self) -> bool:
        if self.size >= self._check_at:
            self._check_at = self.size + _CHECK_DISK
            disk = os.fstatvfs(self.file)
            return disk.f_bavail * disk.f_frsize > self._reserve
        return True

    def _write(self, data: bytes) -> bool:
        """Store *data* whole or not at all, so that offsets stay true."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self.file, data[done:] if done else data)
        except OSError:
            os.ftruncate(self.file, self.size)
            return False
        self.size += done
        return True


def discard(pipe: int) -> bool:
    """Throw away what is there; false at the end of the pipe."""
    try:
        return bool(os.read(pipe, CHUNK))
    except BlockingIOError:
        return True
