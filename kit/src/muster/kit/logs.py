"""Logs: one line per event, as JSON for machines or as text for people.

Whatever a message holds, it stays on its line: control and bidirectional characters are made
visible. Which service speaks is known from `speaking_as`, or from the logger's name.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, Literal

from muster.kit.text import clean

Form = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_SERVICE: Final = ContextVar("muster_service", default="")
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CHATTY: Final = {
    "nats": logging.ERROR,  # the bus tells what matters, once
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "websockets": logging.WARNING,
}
_APART: Final[set[str]] = set()
"""Services whose lines go to a file of their own."""

_FILE_SIZE: Final = 10 * 1024 * 1024
_FILES: Final = 3


@contextmanager
def speaking_as(service: str) -> Generator[None]:
    """Name the service in every line logged in this block and in the tasks it begins."""
    token = _SERVICE.set(service)
    try:
        yield
    finally:
        _SERVICE.reset(token)


def _service_of(record: logging.LogRecord) -> str:
    if service := _SERVICE.get():
        return service
    parts = record.name.split(".")
    return parts[1] if parts[0] == "muster" and len(parts) > 1 else ""


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {
        clean(key): _shown(value)
        for key, value in vars(record).items()
        if key not in _PLAIN and not key.startswith("_")
    }


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {clean(str(key)): _shown(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(one) for one in value]
    return clean(str(value))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a wrong format must not lose the line
        return f"{record.msg} {record.args}"


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": _service_of(record),
            "logger": clean(record.name),
            "message": clean(_message(record), keep="\n\t"),
        }
        line |= {key: value for key, value in _extras(record).items() if key not in line}
        if record.exc_info:
            line["error"] = clean(self.formatException(record.exc_info), keep="\n\t")
        return json.dumps(line, ensure_ascii=False, default=str)


class Console(logging.Formatter):
    """One line of text per event; a traceback follows indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        moment = datetime.fromtimestamp(record.created).astimezone()
        extras = " ".join(f"{key}={value}" for key, value in _extras(record).items())
        parts = [
            moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}",
            f"{record.levelname:<7}",
            f"{_service_of(record) or clean(record.name)}:",
            clean(_message(record)),
            f"({extras})" if extras else "",
        ]
        text = " ".join(part for part in parts if part)
        if record.exc_info:
            trace = clean(self.formatException(record.exc_info), keep="\n\t")
            text += "".join(f"\n    {line}" for line in trace.split("\n"))
        return text


def setup(level: Level = "info", form: Form = "console", file: Path | None = None) -> None:
    """Send every log line to standard error, or to *file*, which is private and rotates.

    Replaces what was set up before, and catches what dies in threads.
    """
    handler: logging.Handler = (
        logging.StreamHandler(sys.stderr) if file is None else _rotating(file)
    )
    handler.setFormatter(_formatter(form))
    handler.addFilter(lambda record: _service_of(record) not in _APART)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(capture=True)
    # nothing of this is in our lines, and finding it out is half of what a line costs
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    threading.excepthook = _in_a_thread


@contextmanager
def file_of(service: str, path: Path, form: Form = "console") -> Generator[None]:
    """Keep what *service* says in a file of its own, for as long as the block lasts."""
    handler = _rotating(path)
    handler.setFormatter(_formatter(form))
    handler.addFilter(lambda record: _service_of(record) == service)
    root = logging.getLogger()
    root.addHandler(handler)
    _APART.add(service)
    try:
        yield
    finally:
        _APART.discard(service)
        root.removeHandler(handler)
        handler.close()


def _formatter(form: Form) -> logging.Formatter:
    return JsonLines() if form == "json" else Console()


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> Any:
        # every new file of the rotation is readable by its owner alone
        os.close(os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY, 0o600))
        return super()._open()

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: ARG002, N802
        # the one of the standard library formats each record twice, to know its length
        if self.stream is None:
            self.stream = self._open()
        return bool(self.stream.tell() >= self.maxBytes)


def _rotating(path: Path) -> logging.Handler:
    return _PrivateFile(
        path, maxBytes=_FILE_SIZE, backupCount=_FILES - 1, encoding="utf-8", errors="replace"
    )


def _in_a_thread(what: threading.ExceptHookArgs) -> None:
    name = what.thread.name if what.thread else "?"
    error = what.exc_value
    info = (what.exc_type, error, what.exc_traceback) if error else None
    logging.getLogger(__name__).error("thread %s died", name, exc_info=info)
