"""The fleet: how every node is, live; tick some, and act on exactly those."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st

from muster.contracts.nodes import FleetStats, Node, NodePage, NodeState
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.settings import settings
from muster.dashboard.views import heading, ordering
from muster.dashboard.views.picking import ROW, Picker, Turner, height
from muster.kit import policy
from muster.kit.text import clean

_SIZES: Final = (50, 100, 250, 1000)
_MOST: Final = 1000
"""So many nodes are put in order by load; an order by name has no limit."""
_CALM: Final = 15.0
"""Seconds for which an order by load stays, so that rows do not dance."""

_ORDERS: Final[dict[str, Callable[[Node], Any]]] = {
    "cpu": lambda node: node.metrics and node.metrics.cpu,
    "memory": lambda node: shapes.memory(node.metrics),
    "disk": lambda node: shapes.fullest(node.metrics),
    "load": lambda node: node.metrics and node.metrics.load[0],
    "seen": lambda node: node.seen and node.seen.timestamp(),
    "state": lambda node: list(NodeState).index(node.state),
}


def page() -> None:
    """Draw the page."""
    numbers()
    left, middle, right = st.columns([3, 3, 1], vertical_alignment="bottom")
    left.text_input(
        t("fleet.filter"),
        key="fleet_query",
        placeholder=t("fleet.filter_hint"),
        icon=":material/search:",
        max_chars=200,
    )
    middle.pills(
        t("fleet.state"),
        list(NodeState),
        key="fleet_state",
        format_func=lambda word: shapes.state(word, t(f"state.{word}")),
    )
    right.selectbox(t("fleet.rows"), _SIZES, key="fleet_size", index=1)
    st.fragment(table, run_every=settings().refresh)()


@st.fragment(run_every=2)
def numbers() -> None:
    """Show the fleet in four numbers."""
    stats = once(lambda: api().get(FleetStats, "fleet", "stats"))
    if stats is None:
        return
    with st.container(horizontal=True, gap="small"):
        for word in ("nodes", "online", "offline", "new"):
            st.metric(t(f"fleet.{word}"), getattr(stats, word), border=True, width=150)


def table() -> None:
    """Show one page of nodes; while some are ticked, rows stay where they are."""
    picker = Picker("fleet")
    pressed = _press(picker.pressed)
    asked = (st.session_state.get("fleet_query") or "", st.session_state.get("fleet_state") or "")
    order = st.session_state.get("fleet_order")
    size = int(st.session_state.get("fleet_size") or _SIZES[1])
    turner = Turner("fleet", *asked, order, size)
    found = once(lambda: _nodes(asked, order, size, turner.cursor))
    if found is None:
        return
    anew = pressed or turner.anew
    if not found.items and asked == ("", "") and not turner.cursor:
        _nobody()
        return
    ids = picker.settle(_calm(found.items, order, picker.frame.ids, anew=anew), anew=anew)
    known = _known(ids, found.items)
    if not ids:
        st.info(t("fleet.no_match"), icon=":material/search_off:")
    else:
        listed = {node.id for node in found.items}
        _draw(picker, [_row(known[id_], here=id_ in listed) for id_ in ids], order)
    turner.buttons(found.next, t("fleet.previous"), t("fleet.next"))
    _act([known[id_] for id_ in picker.ticked])


def _press(column: str) -> bool:
    """Order by the column whose head was pressed: falling, rising, by name again."""
    if not column:
        return False
    before = st.session_state.get("fleet_order")
    if column not in _ORDERS:
        after = None
    elif before == (column, True):
        after = (column, False)
    else:
        after = None if before == (column, False) else (column, True)
    st.session_state.fleet_order = after
    return True


def _nodes(
    asked: tuple[str, str], order: tuple[str, bool] | None, size: int, cursor: str
) -> NodePage:
    query, state = asked
    if order is None:
        return api().get(
            NodePage, "nodes", query=query, state=state, limit=size, cursor=cursor, brief=True
        )
    found = api().get(NodePage, "nodes", query=query, state=state, limit=_MOST, brief=True)
    column, falling = order
    value = _ORDERS[column]
    there = sorted(
        (node for node in found.items if value(node) is not None), key=value, reverse=falling
    )
    nodes = there + [node for node in found.items if value(node) is None]
    begin = int(cursor or 0)
    more = str(begin + size) if begin + size < len(nodes) else ""
    return NodePage(items=nodes[begin : begin + size], next=more)


def _calm(
    nodes: Sequence[Node],
    order: tuple[str, bool] | None,
    before: Sequence[str],
    *,
    anew: bool,
) -> list[str]:
    """Return the ids in order; an order by load is kept for a while when the nodes are the same."""
    ids = [node.id for node in nodes]
    now = time.monotonic()
    kept = now - st.session_state.get("fleet_ordered", 0.0) < _CALM
    if order is not None and not anew and kept and set(ids) == set(before):
        return list(before)
    st.session_state.fleet_ordered = now
    return ids


def _known(ids: Sequence[str], fresh: Sequence[Node]) -> dict[str, Node]:
    """Return the latest that is known of each row: a ticked node may have left the list."""
    before: dict[str, Node] = st.session_state.get("fleet_known", {})
    known = before | {node.id: node for node in fresh}
    st.session_state.fleet_known = {id_: known[id_] for id_ in ids}
    return known


def _draw(picker: Picker, rows: list[dict[str, Any]], order: tuple[str, bool] | None) -> None:
    st.dataframe(
        rows,
        key=picker.key,
        on_select="rerun",
        # with columns to press, the browser does not sort: positions are those of the frame
        selection_mode=("multi-row", "single-column"),
        hide_index=True,
        column_config=_columns(order),
        height=height(len(rows)),
        row_height=ROW,
        placeholder="",
        alt=t("fleet.table"),
    )


def _act(ticked: Sequence[Node]) -> None:
    """Offer what can be done with the ticked nodes; only their ids are handed on."""
    if not ticked:
        st.caption(t("fleet.tick"))
        return
    names = ", ".join(node.name for node in ticked[:8]) + (" …" if len(ticked) > 8 else "")  # noqa: PLR2004
    with st.container(horizontal=True, vertical_alignment="center", key="fleet_actions"):
        if st.button(t("fleet.run"), type="primary", icon=":material/terminal:"):
            ordering.open_dialog([node.id for node in ticked])
        if len(ticked) == 1 and st.button(t("fleet.open"), icon=":material/monitoring:"):
            st.switch_page(st.session_state.pages["node"], query_params={"id": ticked[0].id})
        st.text(t("fleet.ticked", count=len(ticked), names=names))


def _row(node: Node, *, here: bool) -> dict[str, Any]:
    metrics, inventory = node.metrics, node.inventory
    label = shapes.state(node.state, t(f"state.{node.state}")) if here else t("state.gone")
    return {
        "name": clean(node.name),
        "state": label,
        "cpu": metrics.cpu if metrics else None,
        "memory": shapes.memory(metrics),
        "disk": shapes.fullest(metrics),
        "load": metrics.load[0] if metrics else None,
        "seen": shapes.ago(node.seen),
        "groups": clean(", ".join(node.groups)),
        "tags": clean(", ".join(f"{key}={value}" for key, value in node.tags.items())),
        "os": clean(inventory.os if inventory else ""),
        "trouble": clean(node.trouble or node.reason)[:80],
    }


def _columns(order: tuple[str, bool] | None) -> dict[str, Any]:
    column, falling = order or ("name", False)

    def label(key: str) -> str:
        arrow = ("↓ " if falling else "↑ ") if key == column else ""
        return arrow + t(f"fleet.{key}")

    def bar(key: str) -> Any:
        return st.column_config.ProgressColumn(
            label(key), min_value=0, max_value=100, format="%.0f%%", width=110
        )

    def text(key: str, width: int) -> Any:
        return st.column_config.TextColumn(label(key), width=width)

    return {
        "name": st.column_config.TextColumn(label("name"), width=150, pinned=True),
        "state": text("state", 95),
        "cpu": bar("cpu"),
        "memory": bar("memory"),
        "disk": bar("disk"),
        "load": st.column_config.NumberColumn(label("load"), format="%.2f", width=70),
        "seen": text("seen", 70),
        "groups": text("groups", 120),
        "tags": text("tags", 140),
        "os": text("os", 190),
        "trouble": text("trouble", 160),
    }


def _nobody() -> None:
    """Say how the first host joins."""
    if not policy.allows(_permissions(), "node.join"):
        st.info(t("fleet.unseen"))
        return
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(t("fleet.nobody"), text_alignment="center")
        st.code("muster node token", language="sh", width="content")
        st.page_link(
            st.session_state.pages["join"], label=t("fleet.invite"), icon=":material/add_link:"
        )


def _permissions() -> list[str]:
    who = heading.person()
    return who.permissions if who else []
