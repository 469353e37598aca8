"""Tables whose rows can be ticked, and what was ticked: always ids, see `selection`."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import streamlit as st

from muster.dashboard.selection import Frame

ROW: Final = 32
"""The height of a row, in pixels."""


class Picker:
    """The frame of one table in this session, and what the browser says of it."""

    def __init__(self, name: str) -> None:
        """Take up the frame that was shown last."""
        self.name = name
        self.frame: Frame = st.session_state.get(f"{name}_frame") or Frame()

    @property
    def key(self) -> str:
        """The key of the table's widget."""
        return self.frame.key(self.name)

    @property
    def ticked(self) -> tuple[str, ...]:
        """The ids that are ticked in the frame that the browser shows."""
        return self.frame.ticked(self._rows)

    @property
    def pressed(self) -> str:
        """The column whose head was pressed, or nothing."""
        return next(iter(self._said.get("columns", [])), "")

    def settle(self, fresh: Sequence[str], *, anew: bool = False) -> tuple[str, ...]:
        """Decide which rows are shown now, and return their ids."""
        self.frame = self.frame.next(fresh, self._rows, anew=anew)
        st.session_state[f"{self.name}_frame"] = self.frame
        return self.frame.ids

    @property
    def _rows(self) -> Sequence[int]:
        rows: Sequence[int] = self._said.get("rows", [])
        return rows

    @property
    def _said(self) -> dict[str, Any]:
        state = st.session_state.get(self.key)
        return dict(state["selection"]) if state else {}


class Turner:
    """The pages that were turned: the cursors up to the one that is shown."""

    def __init__(self, name: str, *asked: object) -> None:
        """Begin with the first page whenever something else is *asked* for."""
        self._key = f"{name}_turned"
        before, self._cursors, self.anew = st.session_state.get(self._key, (None, [""], False))
        if before != asked:
            self._cursors, self.anew = [""], True
        self._asked = asked
        self._keep(anew=False)

    @property
    def cursor(self) -> str:
        """The cursor of the page to show."""
        return str(self._cursors[-1])

    def _keep(self, *, anew: bool) -> None:
        st.session_state[self._key] = (self._asked, self._cursors, anew)

    def _turn(self, cursor: str) -> None:
        self._cursors = [*self._cursors, cursor] if cursor else self._cursors[:-1]
        self._keep(anew=True)

    def buttons(self, following: str, previous_label: str, next_label: str) -> None:
        """Offer the previous page and the one at the cursor *following*."""
        if not following and len(self._cursors) == 1:
            return
        with st.container(horizontal=True):
            st.button(
                previous_label,
                key=f"{self._key}_back",
                icon=":material/chevron_left:",
                disabled=len(self._cursors) == 1,
                on_click=self._turn,
                args=("",),
            )
            st.button(
                next_label,
                key=f"{self._key}_on",
                icon=":material/chevron_right:",
                disabled=not following,
                on_click=self._turn,
                args=(following,),
            )


def height(rows: int, most: int = 20) -> int | Literal["content"]:
    """Return how high a table with *rows* rows is: it scrolls beyond *most*."""
    return "content" if rows <= most else (most + 1) * ROW
