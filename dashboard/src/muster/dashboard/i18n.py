"""Every text of the dashboard, in English and Chinese: keys, not sentences."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Final

import streamlit as st

LANGUAGES: Final = {"en": "English", "zh": "中文"}


@lru_cache(maxsize=4)
def catalogue(language: str) -> dict[str, str]:
    """Return the texts in ``locale/<language>.json``."""
    path = Path(__file__).parent / "locale" / f"{language}.json"
    found: dict[str, str] = json.loads(path.read_text("utf-8"))
    return found


def language() -> str:
    """Return the language of this session: chosen, or the browser's."""
    chosen = st.session_state.get("language")
    if chosen in LANGUAGES:
        return str(chosen)
    return "zh" if (st.context.locale or "").lower().startswith("zh") else "en"


def t(key: str, **values: object) -> str:
    """Return the text *key* with *values* filled in."""
    text = catalogue(language()).get(key, key)
    return text.format(**values) if values else text
