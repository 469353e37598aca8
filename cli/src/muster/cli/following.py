"""The events of a run, each once and in order, whatever happens to the connection.

A run that is over at once is read in one answer: opening a WebSocket would take longer. A longer
one is followed live, and resumed from the last event number after a broken connection.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import click

from muster.cli.client import Client, failure_of, path
from muster.cli.failures import Failure
from muster.cli.i18n import t
from muster.cli.outcome import settled
from muster.cli.printing import FINAL
from muster.kit.text import clean

_PATIENCE: Final = 60.0
"""Seconds for which a server that has gone is waited for."""

_PAUSE: Final = 0.5
_FRAME: Final = 16 << 20
_PAGE: Final = 200

Answer = TypeVar("Answer")


def _before(target: dict[str, Any]) -> str:
    """Return the state that a target had before its first event."""
    return "waiting" if target["state"] == "waiting" else "accepted"


class Following:
    """One run, and how far its events have been read."""

    def __init__(self, client: Client, view: dict[str, Any], *, output: bool = True) -> None:
        """Follow the run *view* from its first event on."""
        self._client = client
        self.run = str(view["id"])
        self.expires: str | None = view.get("expires")
        self.over = False
        self.targets: dict[str, dict[str, Any]] = {
            str(target["node"]): {**target, "state": _before(target)} for target in view["targets"]
        }
        """What the events read so far say of each target."""
        self._output = output
        self._seq = 0

    @property
    def names(self) -> dict[str, str]:
        """The names of the nodes, safe to show."""
        return {node: clean(str(target["name"])) for node, target in self.targets.items()}

    def settled(self, *, wait: bool) -> bool:
        """Whether there is nothing more to wait for."""
        return self.over or settled(self.targets.values(), wait=wait)

    def soon(self, seconds: float, *, wait: bool) -> bool:
        """Wait a moment for the end; whether it came, or only nodes that are away are left."""
        view = self._client.get(path("runs", self.run), wait=seconds)
        return view.get("finished") is not None or settled(view["targets"], wait=wait)

    def told(self) -> Iterator[dict[str, Any]]:
        """Yield what has happened so far and was not read yet."""
        more = True
        while more:
            page = self._client.get(
                path("runs", self.run, "events"),
                after=self._seq,
                limit=_PAGE,
                output=str(self._output).lower(),
            )
            for event in page["items"]:
                if self._note(event):
                    yield event
            more = bool(page.get("more")) and bool(page["items"])
            self._seq = max(self._seq, int(page["seq"]))

    def live(self) -> Iterator[dict[str, Any]]:
        """Yield everything that was not read yet until the run is over."""
        give_up = time.monotonic() + _PATIENCE
        said = False
        while not self.over:
            try:
                for event in self._socket():
                    give_up = time.monotonic() + _PATIENCE
                    yield event
                if not self.over:
                    yield from self._resume()
                    give_up = time.monotonic() + _PATIENCE
            except Failure as error:
                if not error.passing or time.monotonic() > give_up:
                    raise
                if not said:
                    click.echo(t("run.lost_line"), err=True)
                said = True
            if not self.over:
                time.sleep(_PAUSE)

    def _resume(self) -> Iterator[dict[str, Any]]:
        """Ask for what the broken connection did not bring."""
        yield from self.told()
        if not self.over:
            view = self._client.get(path("runs", self.run))
            self.over = view.get("finished") is not None and int(view["seq"]) <= self._seq

    def _socket(self) -> Iterator[dict[str, Any]]:
        """Yield events from a WebSocket until it breaks or the run is over."""
        from websockets.exceptions import WebSocketException  # noqa: PLC0415  # start-up time
        from websockets.sync.client import connect  # noqa: PLC0415

        url = self._client.context.url
        try:
            with connect(
                f"ws{url.removeprefix('http')}/api/v1/events",
                additional_headers=self._client.headers,
                ssl=self._client.tls(),
                max_size=_FRAME,
                compression=None,
                close_timeout=1,
                proxy=None,
            ) as socket:
                socket.send(json.dumps({"subscribe": f"run:{self.run}", "after": self._seq}))
                for message in socket:
                    told = json.loads(message)
                    _refused(told)
                    if told.get("reset"):
                        return
                    if self._note(told["event"]):
                        yield told["event"]
                    if self.over:
                        return
        except (OSError, WebSocketException):
            return

    def _note(self, event: dict[str, Any]) -> bool:
        """Remember what *event* says; whether it is news of a target that is followed."""
        if int(event["seq"]) <= self._seq:
            return False
        self._seq = int(event["seq"])
        self.over = self.over or event.get("finished") is not None
        target = event["target"]
        known = self.targets.get(str(target["node"]))
        if known is None:  # only some of the run's targets are followed
            return False
        if known["state"] not in FINAL or target["state"] in FINAL:
            self.targets[str(target["node"])] = target
        return True


def _refused(told: dict[str, Any]) -> None:
    if error := told.get("error"):
        raise failure_of(str(error.get("code")), str(error.get("detail")))


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again while the server is away, but not for ever."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask()
        except Failure as error:
            if not error.passing or time.monotonic() > give_up:
                raise
        time.sleep(_PAUSE)


def hint(run: str, *, waits: bool = False) -> None:
    """Tell how to follow a run that goes on, and how to end it."""
    if waits:
        click.echo(t("run.hint.away", run=run), err=True)
    else:
        click.echo(t("run.hint.detached", run=run), err=True)
