"""Output at the end: identical outputs once, or one JSON document."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from muster.cli.folding import fold
from muster.cli.printing import FINAL, Targets, streams, tell_gap
from muster.cli.spool import Shelf, Spool
from muster.cli.tables import to_json
from muster.cli.tape import STREAMS, Chunk, Tape
from muster.cli.terminals import is_person
from muster.cli.visible import Visible

_FIELDS: Final = ("node", "name", "state", "reason", "exit", "signal", "started", "finished")


class _Kept:
    """Everything that every target has written."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._tape = Tape()
        self.spools: dict[tuple[str, str], Spool] = {}

    def take(self, event: dict[str, Any]) -> None:
        for chunk in self._tape.read(event):
            self._add(chunk)

    def close(self, targets: Targets) -> None:
        for target in targets.values():
            if target["state"] in FINAL:
                for chunk in self._tape.rest(target):
                    self._add(chunk)

    def _add(self, chunk: Chunk) -> None:
        place = (chunk.node, chunk.stream)
        if place not in self.spools:
            self.spools[place] = Spool(self._shelf)
        self.spools[place].add(chunk.data, chunk.missing)


class Grouped:
    """Shows identical outputs once, under the names of all who gave them."""

    def __init__(self, run: str, names: Mapping[str, str], shelf: Shelf) -> None:
        """Gather the outputs of *run* on *shelf*."""
        self._run = run
        self._names = names
        self._kept = _Kept(shelf)
        self._over: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        """Keep what is new, and tell a waiting person how far it is."""
        self._kept.take(event)
        target = event["target"]
        if target["state"] in FINAL:
            self._over.add(target["node"])
            self._progress(f"{len(self._over)}/{len(self._names)}")

    def finish(self, targets: Targets) -> None:
        """Show the groups, the largest first."""
        self._progress("")
        self._kept.close(targets)
        for stream in STREAMS:
            groups: dict[bytes, list[str]] = {}
            for (node, name), spool in self._kept.spools.items():
                if name == stream:
                    groups.setdefault(spool.digest, []).append(node)
            for nodes in sorted(groups.values(), key=lambda nodes: (-len(nodes), nodes)):
                self._show(stream, nodes)

    def _show(self, stream: str, nodes: list[str]) -> None:
        out = streams()[stream]
        names = [self._names.get(node, node) for node in nodes]
        spool = self._kept.spools[nodes[0], stream]
        out.write(f"---- {fold(names)} ({len(nodes)}) ----\n".encode())
        shown = Visible() if is_person(out) else None
        last = b"\n"
        for data in (*spool.pieces(), b""):
            written = shown.feed(data, final=not data).encode() if shown else data
            out.write(written)
            last = written[-1:] or last
        if last != b"\n":
            out.write(b"\n")
        out.flush()
        if spool.missing:
            tell_gap(Chunk(nodes[0], stream, b"", spool.missing), fold(names), self._run)

    @staticmethod
    def _progress(text: str) -> None:
        if is_person(sys.stderr):
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)


class Document:
    """One JSON document at the end."""

    def __init__(self, view: dict[str, Any], shelf: Shelf) -> None:
        """Gather the outputs of the run *view* on *shelf*."""
        self._view = {key: view.get(key) for key in ("id", "note", "created", "by", "expires")}
        self._command = view.get("command")
        self._kept = _Kept(shelf)
        self._finished: str | None = view.get("finished")

    def take(self, event: dict[str, Any]) -> None:
        """Keep what is new."""
        self._kept.take(event)
        self._finished = event.get("finished") or self._finished

    def finish(self, targets: Targets) -> None:
        """Write the document, one target after another: together they may be large."""
        self._kept.close(targets)
        counts: dict[str, int] = {}
        for target in targets.values():
            counts[target["state"]] = counts.get(target["state"], 0) + 1
        head = {
            **self._view,
            "command": self._command,
            "finished": self._finished,
            "counts": counts,
        }
        click.echo(to_json(head)[:-1] + ', "targets": [')
        for index, target in enumerate(targets.values()):
            click.echo(("," if index else "") + to_json(self._target(target)))
        click.echo("]}")

    def _target(self, target: dict[str, Any]) -> dict[str, Any]:
        document = {key: target.get(key) for key in _FIELDS}
        for stream in STREAMS:
            spool = self._kept.spools.get((target["node"], stream))
            document |= _content(stream, spool) if spool else {stream: ""}
        return document


def _content(stream: str, spool: Spool) -> dict[str, Any]:
    """Return an output for JSON: text, or base64 and a flag that says so."""
    data = spool.whole()
    told: dict[str, Any]
    try:
        told = {stream: data.decode()}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415  # start-up time

        told = {stream: base64.b64encode(data).decode(), f"{stream}_encoding": "base64"}
    if spool.missing:
        told[f"{stream}_missing"] = spool.missing
    return told
