"""Dialogs: opened beside the page, never inside a part that refreshes itself.

A dialog that is opened within a fragment belongs to it: when the fragment refreshes at the
moment of a click, Streamlit runs the fragment alone and the click is lost. So a page asks for a
dialog, the script runs once more, and opens it at its end.
"""

from collections.abc import Callable
from typing import Final, Literal, NoReturn

import streamlit as st

_ASKED: Final = "dialog_asked"


def ask(
    title: str, show: Callable[[], None], width: Literal["small", "medium"] = "small"
) -> NoReturn:
    """Open a dialog in which *show* draws; this run of the script ends here."""
    st.session_state[_ASKED] = (title, show, width)
    st.rerun()


def open_asked() -> None:
    """Open what was asked for, once."""
    asked = st.session_state.pop(_ASKED, None)
    if asked is not None:
        title, show, width = asked
        st.dialog(title, width=width)(show)()
