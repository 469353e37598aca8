"""The texts of the server-rendered pages, by key, in English and Chinese."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Final

from starlette.requests import HTTPConnection

LANGUAGES: Final = {"en": "English", "zh": "中文"}
_COOKIE: Final = "muster_lang"


def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Return the texts of every language."""
    folder = resources.files("muster.gateway") / "texts"
    return {code: json.loads((folder / f"{code}.json").read_text("utf-8")) for code in LANGUAGES}


def language_of(conn: HTTPConnection) -> str:
    """Return the language that the person has chosen, or that the browser prefers."""
    chosen = conn.cookies.get(_COOKIE, "")
    return chosen if chosen in LANGUAGES else _preferred(conn.headers.get("accept-language", ""))


def _preferred(header: str) -> str:
    wishes: list[tuple[float, str]] = []
    for wish in header[:500].split(","):
        tag, _, quality = wish.strip().lower().partition(";q=")
        code = tag.split("-")[0]
        if code in LANGUAGES:
            wishes.append((_number(quality), code))
    return max(wishes, key=lambda wish: wish[0], default=(1.0, "en"))[1]


def _number(quality: str) -> float:
    try:
        return float(quality) if quality else 1.0
    except ValueError:
        return 0.0
