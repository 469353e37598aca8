"""Output that is kept until the end: in memory while it is small, in files when it is not.

A thousand nodes may answer with megabytes each; the command line must not grow with them.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_IN_MEMORY: Final = 32 * 1024
_READ: Final = 1 << 20


class Shelf:
    """Where the spools put what they do not hold in memory; gone when the block ends."""

    def __init__(self) -> None:
        """Make nothing yet."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def file(self) -> Path:
        """Return the path of a new file."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="muster-")
        self._files += 1
        return Path(self._folder.name) / str(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()


class Spool:
    """One output of one target."""

    def __init__(self, shelf: Shelf) -> None:
        """Begin empty."""
        self._shelf = shelf
        self._memory = bytearray()
        self._file: Path | None = None
        self._digest = hashlib.sha256()
        self.size = 0
        self.missing = 0
        """Bytes that are not here because the server does not keep them."""

    def add(self, data: bytes, missing: int = 0) -> None:
        """Append *data*, behind a hole of *missing* bytes."""
        if missing:
            self.missing += missing
            self._digest.update(b"\0hole %d\0" % missing)
        self._digest.update(data)
        self._memory += data
        self.size += len(data)
        if len(self._memory) > _IN_MEMORY:
            self._file = self._file or self._shelf.file()
            with self._file.open("ab") as file:
                file.write(self._memory)
            self._memory.clear()

    @property
    def digest(self) -> bytes:
        """The same for the same content."""
        return self._digest.digest()

    def pieces(self) -> Iterator[bytes]:
        """Yield the content from the beginning."""
        if self._file is not None:
            with self._file.open("rb") as file:
                while data := file.read(_READ):
                    yield data
        yield bytes(self._memory)

    def whole(self) -> bytes:
        """Return the content at once."""
        return b"".join(self.pieces())
