"""A log line is one line, whatever is in it, and says who speaks."""

import asyncio
import json
import logging
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.kit.logs import Form, file_of, setup, speaking_as

HOSTILE = "a\nb\x1b[2J\u202e\u2028\udcff"
log = logging.getLogger("muster.registry.presence")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give logging back as it was."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, threading.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name the log file."""
    return tmp_path / "a.log"


def lines(file: Path) -> list[dict[str, object]]:
    """Return the JSON lines of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_json_line_has_everything(file: Path) -> None:
    """Time, level, who, what, and the extra fields."""
    setup("info", "json", file)
    log.debug("not this")
    log.info("node %s is back", "led", extra={"action": "presence", "node": {"id": 1}})
    (line,) = lines(file)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "info",
        "service": "registry",
        "logger": "muster.registry.presence",
        "message": "node led is back",
        "action": "presence",
        "node": {"id": 1},
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_message_stays_on_its_line(file: Path, form: Form) -> None:
    """Nobody forges a second line, or moves the cursor of the one who reads."""
    setup("info", form, file)
    log.info("%s", HOSTILE, extra={"who": HOSTILE, HOSTILE: 1})
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert len(text.splitlines()) == 1
    assert not set("\x1b\u202e\u2028") & set(text)
    assert r"\x1b" in text.replace("\\\\", "\\")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_kept(file: Path, form: Form) -> None:
    """In JSON inside the line, on the console indented."""
    setup("info", form, file)
    try:
        int(HOSTILE)
    except ValueError:
        log.exception("it failed")
    text = file.read_text(encoding="utf-8")
    assert "ValueError" in text
    assert not set("\x1b\u202e\u2028") & set(text)
    if form == "json":
        assert "Traceback" in str(lines(file)[0]["error"])
    else:
        assert all(line.startswith("    ") for line in text.splitlines()[1:])


async def test_a_task_speaks_for_its_service(file: Path) -> None:
    """In one process with many services, each line names the right one."""
    setup("info", "json", file)

    async def work() -> None:
        await asyncio.sleep(0)
        logging.getLogger("muster.kit.bus").info("hello")

    with speaking_as("registry"):
        task = asyncio.ensure_future(work())
    with speaking_as("scheduler"):
        await work()
    await task
    logging.getLogger("elsewhere").info("hello")
    assert {line["service"] for line in lines(file)} == {"registry", "scheduler", ""}


def test_a_service_has_its_own_file(file: Path, tmp_path: Path) -> None:
    """Its lines are there and nowhere else; private."""
    setup("info", "console", file)
    own = tmp_path / "registry.log"
    with file_of("registry", own, "json"):
        log.info("mine")
        logging.getLogger("muster.scheduler").info("theirs")
    log.info("after")
    assert [line["message"] for line in lines(own)] == ["mine"]
    assert ["theirs" in line for line in file.read_text().splitlines()] == [True, False]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (own, file)} == {0o600}


def test_files_rotate_and_stay_private(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files at most, each full when it goes over the limit."""
    monkeypatch.setattr("muster.kit.logs._FILE_SIZE", 2000)
    setup("info", "json", file)
    for number in range(200):
        log.info("line %d", number)
    files = sorted(tmp_path.glob("a.log*"))
    assert [path.name for path in files] == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 2200 for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_others_are_tamed(file: Path) -> None:
    """What libraries chat about is not in our log, but for their warnings."""
    setup("info", "json", file)
    logging.getLogger("alembic.runtime").info("chat")
    logging.getLogger("nats.aio").warning("chat")
    logging.getLogger("sqlalchemy.engine").warning("important")
    assert [line["message"] for line in lines(file)] == ["important"]


def test_a_wrong_format_keeps_the_line(file: Path) -> None:
    """A mistake in a call is no reason to lose what it wanted to say."""
    setup("info", "json", file)
    log.info("%d %s", "led")  # noqa: PLE1206
    assert lines(file)[0]["message"] == "%d %s ('led',)"


@pytest.mark.filterwarnings("default")
def test_what_dies_elsewhere_is_logged(file: Path) -> None:
    """A thread that dies, and a warning, end in the log."""
    setup("info", "json", file)

    def die() -> None:
        raise ZeroDivisionError

    thread = threading.Thread(target=die, name="worker")
    thread.start()
    thread.join()
    warnings.warn("old", stacklevel=1)
    messages = [str(line["message"]) for line in lines(file)]
    assert messages[0] == "thread worker died"
    assert "old" in messages[1]
