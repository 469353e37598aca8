"""Every text of the dashboard, in English and Chinese: keys, not sentences."""

import json
from functools import lru_cache
from importlib import resources
from typing import Final

import streamlit as st

LANGUAGES: Final = {"en": "English", "zh": "中文"}
_COOKIE: Final = "muster_lang"
"""Set by the gateway's pages, where a person may have chosen already."""


@lru_cache(maxsize=4)
def catalogue(language: str) -> dict[str, str]:
    """Return the texts in ``locale/<language>.json``."""
    path = resources.files("muster.dashboard") / "locale" / f"{language}.json"
    found: dict[str, str] = json.loads(path.read_text("utf-8"))
    return found


def language() -> str:
    """Return the language of this session: chosen here, chosen at the gateway, the browser's."""
    wishes = (
        st.session_state.get("language"),
        st.context.cookies.get(_COOKIE),
        (st.context.locale or "").lower().split("-")[0],
    )
    return next((str(wish) for wish in wishes if wish in LANGUAGES), "en")


def has(key: str) -> bool:
    """Whether there is such a text."""
    return key in catalogue("en")


def t(key: str, **values: object) -> str:
    """Return the text *key* with *values* filled in."""
    text = catalogue(language())[key]
    return text.format(**values) if values else text
