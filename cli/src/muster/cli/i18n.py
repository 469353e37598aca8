"""Every text that a person reads, in the person's language.

``t("run.help")`` looks up ``locale/<language>.json``. The language is chosen once per process,
before any command is imported, because help texts are looked up while commands are declared.
"""

import gettext
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("en", "zh")
_LOCALE: Final = Path(__file__).parent / "locale"
_VARIABLES: Final = ("MUSTER_LANG", "LC_ALL", "LC_MESSAGES", "LANG")

_texts: dict[str, str] = {}


def choose(arguments: Sequence[str], env: Mapping[str, str] = os.environ) -> str:
    """Return the language that ``--lang`` or the environment asks for."""
    for wish in (_option(arguments), *(env.get(name, "") for name in _VARIABLES)):
        if wish:
            language = wish.lower()[:2]
            return language if language in LANGUAGES else "en"
    return "en"


def _option(arguments: Sequence[str]) -> str:
    """Return the value of ``--lang``; what stands behind ``--`` is not ours."""
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--lang="):
            return argument.removeprefix("--lang=")
        if argument == "--lang" and index + 1 < len(arguments):
            return arguments[index + 1]
    return ""


def use(language: str) -> None:
    """Speak *language* from now on."""
    _texts.clear()
    _texts.update(catalogue(language))
    if language != "en":
        _translate_click(catalogue(f"{language}.click"))


def catalogue(name: str) -> dict[str, str]:
    """Return the texts in ``locale/<name>.json``."""
    found: dict[str, str] = json.loads((_LOCALE / f"{name}.json").read_text("utf-8"))
    return found


def t(key: str, **values: object) -> str:
    """Return the text *key* with *values* filled in; a test finds keys without a text."""
    if not _texts:
        use("en")
    text = _texts.get(key, key)
    return text.format(**values) if values else text


def plural(key: str, n: int, **values: object) -> str:
    """Return the text ``<key>.one`` or ``<key>.other``, with *n* filled in."""
    return t(f"{key}.one" if n == 1 else f"{key}.other", n=n, **values)


def _translate_click(texts: Mapping[str, str]) -> None:
    """Let click speak as well: it binds these two functions when it is imported."""

    def one(message: str) -> str:
        return texts.get(message, message)

    def either(single: str, many: str, n: int) -> str:
        return one(single if n == 1 else many)

    setattr(gettext, "gettext", one)  # noqa: B010  # mypy forbids to assign to a function
    setattr(gettext, "ngettext", either)  # noqa: B010
