"""English and Chinese from the first help text on."""

import ast
import gettext
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import muster.cli
from muster.cli import i18n
from muster.cli.app import TABLE
from muster.cli.formatting import wrap
from muster.contracts.nodes import NodeState
from muster.contracts.runs import State
from muster.kit.text import width
from tests.cli.conftest import Muster

SOURCES = sorted(
    path
    for path in Path(str(muster.cli.__file__)).parent.rglob("*.py")
    if "migrations" not in path.parts
)
ENGLISH, CHINESE = i18n.catalogue("en"), i18n.catalogue("zh")


def _calls(*names: str) -> Iterator[ast.Call]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in names:
                    yield node


def _used() -> tuple[set[str], set[str]]:
    """Return the keys that the sources use, and the beginnings of those they put together."""
    keys = {key for _, _, key in TABLE.values()}
    families = set()
    for call in _calls("t", "plural"):
        if not call.args:
            continue
        ends = [".one", ".other"] if getattr(call.func, "id", "") == "plural" else [""]
        for node in ast.walk(call.args[0]):
            if isinstance(node, ast.JoinedStr):
                head = node.values[0]
                if isinstance(head, ast.Constant):
                    families.add(str(head.value))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                keys |= {node.value + end for end in ends}
    strings = {
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return keys | (strings & set(ENGLISH)), families


def test_every_text_is_there_in_both_languages() -> None:
    """And nothing is translated that nobody says."""
    assert set(ENGLISH) == set(CHINESE)
    keys, families = _used()
    asked = {key for key in keys if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", key)}
    missing = {key for key in asked - set(ENGLISH) if not any(map(key.startswith, families))}
    assert missing == set()
    unused = {key for key in set(ENGLISH) - keys if not any(key.startswith(f) for f in families)}
    assert unused == set()


@pytest.mark.parametrize("family", ["column", "state", "node_state", "hint"])
def test_families_of_texts_are_whole(family: str) -> None:
    """What is put together at run time has a text as well."""
    named = {
        "column": {
            str(call.args[0].value)
            for call in _calls("Column")
            if call.args and isinstance(call.args[0], ast.Constant)
        },
        "state": {state.value for state in State},
        "node_state": {state.value for state in NodeState},
        "hint": {"unauthenticated", "denied", "unavailable", "no_answer", "too_many", "expired"},
    }[family]
    assert named
    assert {f"{family}.{name}" for name in named} <= set(ENGLISH)


@pytest.mark.parametrize("key", sorted(ENGLISH))
def test_a_translation_fills_in_the_same(key: str) -> None:
    """No placeholder is lost or made up; and it is Chinese, unless it is a name."""

    def fields(text: str) -> list[str]:
        return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)

    assert fields(ENGLISH[key]) == fields(CHINESE[key])
    assert CHINESE[key].strip()
    words = re.sub(r"\{[^}]*\}", "", CHINESE[key])
    assert re.search(r"[\u4e00-\u9fff]", words) or key in {"column.cpu", "summary.count"}


def test_no_help_is_a_bare_literal() -> None:
    """Every help, prompt and epilogue goes through the catalogue."""
    declares = ("command", "group", "option", "argument")
    bare = [
        f"{call.lineno}: {keyword.arg}={keyword.value.value!r}"
        for call in _calls(*declares, "confirm", "prompt")
        for keyword in call.keywords
        if keyword.arg in {"help", "short_help", "epilog", "prompt"}
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
    ]
    assert bare == []
    without = [
        call.lineno
        for call in _calls("command", "group")
        if getattr(getattr(call.func, "value", None), "id", "") == "click"
        and not any(keyword.arg == "help" for keyword in call.keywords)
    ]
    assert without == []


def test_what_click_says_is_chinese_too() -> None:
    """Every translated sentence is one that click says; those that people meet are there."""
    told = i18n.catalogue("zh.click")
    folder = Path(str(click.__file__)).parent
    said = {
        node.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert set(told) - said == set()
    met = {"Usage:", "Options", "Missing argument", "No such option {name!r}."}
    assert met <= set(told)


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["run", "--help"],
        ["node", "--help"],
        ["runs", "fetch", "--help"],
        ["rum"],
        ["run"],
    ],
)
def test_a_chinese_reader_reads_chinese(line: list[str], alone: Muster) -> None:
    """By the option, our variable or the locale; no line is wider than the terminal."""
    alone.env["LANG"] = "zh_CN.UTF-8"
    said = alone(*line)
    shown = said.text + said.told
    assert not {"Usage", "Options:", "Error", "Show this"} & set(re.findall(r"[A-Za-z ]+:?", shown))
    assert max(width(line) for line in shown.splitlines()) <= 80
    alone.env["MUSTER_LANG"] = "en"
    assert "Usage:" in alone(*line).text + alone(*line).told
    assert "用法" in alone("--lang", "zh", *line).text + alone("--lang", "zh", *line).told


def test_the_language_of_a_command_is_not_ours() -> None:
    """What stands behind -- belongs to the command."""
    assert i18n.choose(["run", "n1", "--", "x", "--lang", "zh"], {}) == "en"
    assert i18n.choose(["run", "--lang", "zh"], {"LANG": "en_US"}) == "zh"
    assert i18n.choose([], {"LC_ALL": "zh_TW.UTF-8", "LANG": "de_DE"}) == "zh"
    assert i18n.choose([], {"LANG": "de_DE.UTF-8"}) == "en"
    assert i18n.choose([], {}) == "en"


def test_wrapping_breaks_chinese_anywhere_and_words_nowhere() -> None:
    """And no line begins with a full stop."""
    text = "超过此时间则终止命令\uff0c包括整个进程树。 muster runs ls"
    lines = wrap(text, 16)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(width(line) <= 18 for line in lines)
    assert not any(line[0] in "\uff0c。" for line in lines)
    assert wrap("", 10) == []


def test_the_catalogues_are_tidy() -> None:
    """One text per line, so that changes can be read."""
    for name in ("en", "zh", "zh.click"):
        path = Path(str(muster.cli.__file__)).parent / "locale" / f"{name}.json"
        text = path.read_text("utf-8")
        assert len(json.loads(text)) == len(text.splitlines()) - 2


def test_gettext_itself_is_untouched_in_english() -> None:
    """Only a translated process gives click other words."""
    assert gettext.gettext("Usage:") == "Usage:"
