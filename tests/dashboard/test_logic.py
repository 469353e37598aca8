"""What the dashboard decides without a browser: who is ticked, what was told, which words."""

import base64
import json
import re
from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from muster.dashboard import app, following
from muster.dashboard.following import Following
from muster.dashboard.selection import Frame
from muster.dashboard.shapes import ago, fullest, percent, size

ROOM = Path(app.__file__).parent
IDS = some.lists(some.sampled_from("abcdefghij"), unique=True, max_size=10)


@given(IDS, IDS, some.lists(some.integers(-2, 12), max_size=4))
def test_ticks_are_kept_on_the_same_nodes_or_dropped(
    before: list[str], after: list[str], rows: list[int]
) -> None:
    """Whatever the fleet becomes: what is believed to be ticked is what was ticked, or nothing."""
    shown = Frame().next(before, [])
    ticked = shown.ticked(rows)
    then = shown.next(after, rows)
    kept_widget = then.key("t") == shown.key("t")
    believed = then.ticked(rows) if kept_widget else ()
    assert believed in {ticked, ()}
    if ticked:
        assert believed == ticked


def test_another_order_is_another_widget() -> None:
    """Streamlit keeps positions by key, so a new order must have a new key."""
    first = Frame().next(["a", "b"], [])
    assert first.next(["b", "a"], []).key("t") != first.key("t")
    assert first.next(["a", "b"], []).key("t") == first.key("t")
    assert first.next(["b", "a"], [0]) == first


def piece(offset: int, data: bytes) -> dict[str, object]:
    """Return a piece of standard output."""
    return {"stream": "stdout", "offset": offset, "data": base64.b64encode(data).decode()}


def events(*pieces: dict[str, object]) -> dict[str, object]:
    """Return one event with *pieces*."""
    target = {"node": "n1", "name": "one", "state": "started"}
    return {"items": [{"target": target, "pieces": list(pieces)}], "seq": 1, "more": False}


def test_output_is_shown_once_and_bounded() -> None:
    """Repeated pieces are dropped, gaps and the cut are said."""
    run = Following("r")
    run.take(events(piece(0, b"abc"), piece(0, b"abc"), piece(2, b"cde")))
    shown = run.targets["n1"]
    assert shown.outputs["stdout"] == b"abcde"
    assert not shown.cut
    run.take(events(piece(10, b"x" * following.SHOWN)))
    assert len(shown.outputs["stdout"]) == following.SHOWN
    assert shown.cut


def test_numbers_read_well() -> None:
    """Sizes, shares and ages; nothing where there is nothing."""
    assert size(1536) == "1.5 KiB"
    assert percent(1, 0) is None
    assert ago(None) == "-"
    assert fullest({"metrics": {"disks": [{"used": 1, "total": 4}, {"used": 3, "total": 4}]}}) == 75
    assert fullest({}) is None


def texts(language: str) -> dict[str, str]:
    """Return a catalogue."""
    found: dict[str, str] = json.loads((ROOM / "locale" / f"{language}.json").read_text("utf-8"))
    return found


def test_both_languages_say_everything() -> None:
    """The same keys, the same placeholders, none empty, and Chinese is Chinese."""
    en, zh = texts("en"), texts("zh")
    assert set(en) == set(zh)
    for key, text in en.items():
        fields = {name for _, name, _, _ in Formatter().parse(text) if name}
        assert fields == {name for _, name, _, _ in Formatter().parse(zh[key]) if name}, key
        assert text
        assert re.search(r"[\u4e00-\u9fff]", zh[key]) or key in {"fleet.cpu", "run.by"}, key


def test_every_key_is_used_and_every_text_has_a_key() -> None:
    """No text without a translation: what Streamlit shows comes from the catalogue."""
    source = "\n".join(path.read_text() for path in ROOM.rglob("*.py"))
    used = set(re.findall(r'\bt\(\s*f?"([a-z_.]+)"', source)) | set(
        re.findall(r'bar\("([a-z_.]+)"\)', source)
    )
    prefixes = ("state.", "node.", "fleet.", "nav.")
    known = set(texts("en"))
    assert used <= known
    unused = {key for key in known - used if not key.startswith(prefixes)}
    assert unused == set()
    shown = (
        r"st\.(?:button|error|info|warning|success|caption|subheader|write|title)\(\s*f?\"[A-Za-z]"
    )
    assert re.findall(shown, source) == []


@pytest.mark.parametrize("banned", ["unsafe_allow_html", "components.v1.html", "st.html("])
def test_agent_text_is_never_html(banned: str) -> None:
    """What a node says is shown as text."""
    assert all(banned not in path.read_text() for path in ROOM.rglob("*.py"))


def test_nothing_is_sent_home_and_nothing_is_shown_of_errors() -> None:
    """Telemetry, error details and the agent interface are off, whatever the environment says."""
    from streamlit import config  # noqa: PLC0415

    app.create()
    assert config.get_option("browser.gatherUsageStats") is False
    assert config.get_option("client.showErrorDetails") in {"none", False}
    assert config.get_option("server.enableAgentApi") is False
    assert config.get_option("server.address") == "127.0.0.1"
