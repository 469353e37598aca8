"""Output as it comes: bytes of one target, lines of several, or events for a program.

What a command wrote to stdout goes to stdout and what it wrote to stderr to stderr; what we say
ourselves goes to stderr.
"""

import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, Protocol

import click

from muster.cli import human
from muster.cli.i18n import t
from muster.cli.tables import to_json
from muster.cli.tape import Chunk, Tape, as_text, decode
from muster.cli.terminals import colours, is_person, paint
from muster.cli.visible import Visible, visible

LONGEST_LINE: Final = 256 * 1024
"""Bytes; a longer line is broken."""

Target = dict[str, Any]
Targets = Mapping[str, Target]


class Printer(Protocol):
    """Shows the events of a run."""

    def take(self, event: dict[str, Any]) -> None:
        """Show what is new in *event*."""

    def finish(self, targets: Targets) -> None:
        """Show what has been held back: nothing more will come."""


def streams() -> dict[str, BinaryIO]:
    """Return our own outputs, for bytes."""
    return {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}


def tell_gap(chunk: Chunk, name: str, run: str) -> None:
    """Say that a part of an output is missing, and where it is."""
    sys.stdout.flush()
    click.echo(
        t("gap", name=name, size=human.size(chunk.missing), stream=chunk.stream, run=run), err=True
    )


class Exact:
    """The output of a single target: the very bytes, unless a person's terminal is before us."""

    def __init__(self, run: str, names: Mapping[str, str], *, raw: bool = False) -> None:
        """Show the target of *run*; *raw*: obey what it says even on a terminal."""
        self._run = run
        self._names = names
        self._streams = streams()
        self._tape = Tape()
        self._visible = {
            name: Visible()
            for name, stream in self._streams.items()
            if is_person(stream) and not raw
        }
        self._last = b"\n"

    def take(self, event: dict[str, Any]) -> None:
        """Write what is new."""
        for chunk in self._tape.read(event):
            self._write(chunk)

    def finish(self, targets: Targets) -> None:
        """Write what is left of a broken character, and end the last line of a terminal."""
        for target in targets.values():
            if outcome_known(target):
                for chunk in self._tape.rest(target):
                    self._write(chunk)
        for name, shown in self._visible.items():
            self._put(name, shown.feed(b"", final=True).encode())
        if not self._last.endswith(b"\n") and is_person(sys.stdout) and is_person(sys.stderr):
            click.echo(err=True)

    def _write(self, chunk: Chunk) -> None:
        if chunk.missing:
            tell_gap(chunk, self._names.get(chunk.node, chunk.node), self._run)
        shown = self._visible.get(chunk.stream)
        self._put(chunk.stream, shown.feed(chunk.data).encode() if shown else chunk.data)

    def _put(self, name: str, data: bytes) -> None:
        if data:
            self._last = data
            self._streams[name].write(data)
            self._streams[name].flush()


class Lines:
    """The outputs of several targets, each line behind the name of its node."""

    def __init__(self, run: str, names: Mapping[str, str]) -> None:
        """Show the targets of *run* by their *names*."""
        self._run = run
        self._names = names
        self._streams = streams()
        self._tape = Tape()
        self._begun: dict[tuple[str, str], bytearray] = {}
        self._heads = {name: self._head(stream) for name, stream in self._streams.items()}

    def _head(self, stream: BinaryIO) -> dict[str, bytes]:
        """Return what stands before the lines: aligned and in colours for people."""
        wide = max(map(len, self._names.values()), default=0) if is_person(stream) else 0
        heads = {}
        for index, (node, name) in enumerate(self._names.items()):
            shown = paint(name, index) if colours(stream) else name
            heads[node] = f"{shown}:{' ' * (wide - len(name))} ".encode()
        return heads

    def take(self, event: dict[str, Any]) -> None:
        """Write the lines that are whole now."""
        for chunk in self._tape.read(event):
            self._write(chunk)
        if outcome_known(event["target"]):
            self._end(event["target"])
        for stream in self._streams.values():
            stream.flush()

    def finish(self, targets: Targets) -> None:
        """Write the lines that never got their end."""
        for target in targets.values():
            self._end(target)
        for stream in self._streams.values():
            stream.flush()

    def _end(self, target: Target) -> None:
        for stream in self._streams:
            self._flush(str(target["node"]), stream)
        if outcome_known(target):
            for chunk in self._tape.rest(target):
                tell_gap(chunk, self._names.get(chunk.node, chunk.node), self._run)

    def _write(self, chunk: Chunk) -> None:
        begun = self._begun.setdefault((chunk.node, chunk.stream), bytearray())
        if chunk.missing:
            self._flush(chunk.node, chunk.stream)
            tell_gap(chunk, self._names.get(chunk.node, chunk.node), self._run)
        begun += chunk.data
        *whole, rest = begun.split(b"\n")
        for line in whole:
            self._line(chunk.node, chunk.stream, bytes(line))
        begun[:] = rest
        if len(begun) > LONGEST_LINE:
            self._flush(chunk.node, chunk.stream)

    def _flush(self, node: str, stream: str) -> None:
        if begun := self._begun.get((node, stream)):
            line = bytes(begun)
            begun.clear()
            self._line(node, stream, line)

    def _line(self, node: str, stream: str, line: bytes) -> None:
        out = self._streams[stream]
        if is_person(out):
            line = visible(line.removesuffix(b"\r"))
        out.write(self._heads[stream].get(node, node.encode() + b": ") + line + b"\n")


class JsonLines:
    """Every event as one line of JSON, as it comes."""

    def __init__(self, view: dict[str, Any]) -> None:
        """Begin with the run itself."""
        self._write({"event": "run", **view})

    def take(self, event: dict[str, Any]) -> None:
        """Write the event; output is text where it is text."""
        pieces = [
            {"stream": piece["stream"], "offset": piece["offset"], **as_text(decode(piece["data"]))}
            for piece in event.get("pieces") or ()
        ]
        self._write({"event": "target", **event, "pieces": pieces})

    def finish(self, targets: Targets) -> None:
        """Write how many targets are in which state."""
        counts: dict[str, int] = {}
        for target in targets.values():
            counts[target["state"]] = counts.get(target["state"], 0) + 1
        self._write({"event": "end", "counts": counts})

    def _write(self, document: dict[str, Any]) -> None:
        click.echo(to_json(document))


class Silent:
    """Shows nothing."""

    def take(self, event: dict[str, Any]) -> None:
        """Leave it."""

    def finish(self, targets: Targets) -> None:
        """Leave it."""


FINAL: Final = frozenset(
    ("done", "failed", "timed_out", "cancelled", "expired", "refused", "interrupted", "lost")
)


def outcome_known(target: Target) -> bool:
    """Whether nothing can follow."""
    return target["state"] in FINAL
