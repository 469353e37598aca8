"""Every word has its key, in both languages; what strangers write is text and nothing else."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter

import pytest

from muster.contracts.errors import BY_CODE
from muster.contracts.nodes import DiskUse, Metrics, NodeState
from muster.contracts.runs import State
from muster.dashboard import app, shapes

ROOM = Path(app.__file__).parent
SOURCES = {path: path.read_text() for path in ROOM.rglob("*.py")}
UNTRANSLATED = {
    "muster node token", "muster account new NAME --role ROLE",
    "sudo muster agent install --users root", "stderr", "Muster",
}  # fmt: skip
"""What people type, and names."""


def texts(language: str) -> dict[str, str]:
    """Return a catalogue."""
    found: dict[str, str] = json.loads((ROOM / "locale" / f"{language}.json").read_text("utf-8"))
    return found


def fields(text: str) -> set[str]:
    """Return the placeholders of a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_say_everything() -> None:
    """The same keys, the same placeholders, none empty, and Chinese is Chinese."""
    en, zh = texts("en"), texts("zh")
    assert set(en) == set(zh)
    for key, text in en.items():
        assert text
        assert fields(text) == fields(zh[key]), key
        assert re.search(r"[\u4e00-\u9fff]", zh[key]) or key == "fleet.cpu", key


def test_every_key_is_known_and_used() -> None:
    """No text without a translation, and no translation without a text."""
    source = "\n".join(SOURCES.values())
    used = set(re.findall(r"\bt\(\s*[\"']([a-z_.]+)[\"']", source))
    prefixes = set(re.findall(r"f[\"']([a-z]+\.)\{", source))
    words = set(re.findall(r"[\"']([a-z_]+)[\"']", source)) | {*NodeState, *State, *BY_CODE}
    for key in set(texts("en")) - used:
        head, _, tail = key.partition(".")
        named = tail in words and any(prefix.startswith(head) for prefix in prefixes)
        assert named or f'"{key}"' in source, key
    assert used <= set(texts("en"))


@pytest.mark.parametrize("state", [*NodeState, *State])
def test_every_state_has_a_word_and_a_sign(state: str) -> None:
    """States are told by word and sign, never by colour alone."""
    assert f"state.{state}" in texts("en")
    assert re.match(r"\S word", shapes.state(state, "word"))


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield the bare words that are given to Streamlit to show."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        shown = [*call.args[:1], *(k.value for k in call.keywords if k.arg in {"label", "help"})]
        root = call.func.value
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in {"st", "left", "middle", "right"}:
            for one in shown:
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield one.value


def test_streamlit_shows_nothing_but_translated_words() -> None:
    """A bare literal in a call that shows something is a text without a translation."""
    plain = {"form", "set_page_config", "get", "pop", "setdefault"}
    found = {
        word
        for source in SOURCES.values()
        for word in literals(ast.parse(source))
        if re.search(r"[A-Za-z\u4e00-\u9fff]{3}", word)
    }
    keys = {word for word in found if re.fullmatch(r"[a-z_]+", word)} | plain
    assert found - keys - UNTRANSLATED == set()


@pytest.mark.parametrize("banned", ["unsafe_allow_html", "components", "st.html(", "javascript"])
def test_nothing_is_ever_html(banned: str) -> None:
    """No way for a node's words to become a page."""
    assert [path for path, source in SOURCES.items() if banned in source] == []


def test_numbers_read_well() -> None:
    """Sizes, shares and ages; nothing where there is nothing."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert shapes.size(1536) == "1.5 KiB"
    assert shapes.percent(1, 0) is None
    assert shapes.ago(None) == "-"
    assert shapes.ago(now - timedelta(hours=30), now) == "1 d"
    disks = [DiskUse(mount="/", used=1, total=4), DiskUse(mount="/d", used=3, total=4)]
    assert shapes.fullest(Metrics(cpu=0, memory_total=1, memory_used=0, disks=disks)) == 75
    assert shapes.fullest(None) is None
