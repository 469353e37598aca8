"""Choosing nodes by name: the list of names, kept for a few seconds, for one person alone."""

from typing import Final

import streamlit as st

from muster.contracts.nodes import NodePage, NodeState
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, person_key

_PAGES: Final = 10
Names = dict[str, tuple[str, NodeState]]
"""Name and state, by id."""


def names() -> Names:
    """Return the nodes that can be chosen, ordered by name."""
    return _names(person_key())


@st.cache_data(ttl=10, scope="session", show_spinner=False)
def _names(person: str) -> Names:
    """Read the list; *person* is only a part of the key."""
    del person
    found: Names = {}
    cursor = ""
    for _ in range(_PAGES):
        page = api().get(NodePage, "nodes", limit=1000, cursor=cursor, brief=True)
        found |= {n.id: (n.name, n.state) for n in page.items if n.state != NodeState.REVOKED}
        cursor = page.next
        if not cursor:
            break
    return found


def label(name: str, state: NodeState) -> str:
    """Return how a node stands in a list."""
    return (
        name
        if state == NodeState.ONLINE
        else f"{name} · {shapes.state(state, t(f'state.{state}'))}"
    )
