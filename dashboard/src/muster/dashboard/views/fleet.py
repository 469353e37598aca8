"""The fleet: how every node is, live; tick some, and act on exactly those."""

from typing import Any, Final

import streamlit as st

from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.selection import Frame
from muster.dashboard.session import api, once
from muster.dashboard.settings import settings
from muster.kit.text import clean

_STATES: Final = ("online", "offline", "new")
_SIZES: Final = (50, 100, 250, 1000)


def page() -> None:
    """Draw the page."""
    numbers()
    left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
    left.text_input(t("fleet.filter"), key="fleet_query", placeholder=t("fleet.filter_hint"))
    middle.pills(
        t("fleet.state"), _STATES, key="fleet_state", format_func=lambda word: t(f"state.{word}")
    )
    right.selectbox(t("fleet.rows"), _SIZES, key="fleet_size", index=1)
    st.fragment(table, run_every=settings().refresh)()


@st.fragment(run_every=2)
def numbers() -> None:
    """Show the fleet in four numbers."""
    stats = once(lambda: api().get("/fleet/stats"))
    if stats is None:
        return
    with st.container(horizontal=True):
        for word in ("nodes", "online", "offline", "new"):
            st.metric(t(f"fleet.{word}"), stats[word], border=True)


def table() -> None:
    """Show one page of nodes; while some are ticked, rows stay where they are."""
    found = once(_nodes)
    if found is None:
        return
    nodes = {node["id"]: node for node in found["items"]}
    if not nodes and not st.session_state.get("fleet_query"):
        _nobody()
        return
    names: dict[str, str] = st.session_state.setdefault("fleet_names", {})
    names.update({id_: clean(node["name"]) for id_, node in nodes.items()})
    shown: Frame = st.session_state.get("fleet_frame", Frame())
    rows = _rows(shown)
    frame = shown.next(list(nodes), rows)
    st.session_state.fleet_frame = frame
    st.dataframe(
        [_row(nodes.get(id_), names[id_]) for id_ in frame.ids],
        key=frame.key("fleet"),
        on_select="rerun",
        selection_mode="multi-row",
        hide_index=True,
        column_config=_columns(),
        height=min(38 + 35 * max(len(frame.ids), 1), 640),
        alt=t("fleet.table"),
    )
    _turn(found)
    _act(frame.ticked(_rows(frame)), names)


def _rows(frame: Frame) -> list[int]:
    """Return the positions that are ticked in the widget that shows *frame*."""
    state = st.session_state.get(frame.key("fleet"))
    return list(state["selection"]["rows"]) if state else []


def _nodes() -> dict[str, Any]:
    cursors: list[str] = st.session_state.setdefault("fleet_cursors", [""])
    asked = (st.session_state.get("fleet_query"), st.session_state.get("fleet_state"))
    if st.session_state.get("fleet_asked") != asked:  # another filter: back to the first page
        st.session_state.fleet_asked = asked
        cursors[:] = [""]
    found: dict[str, Any] = api().get(
        "/nodes",
        query=asked[0] or None,
        state=asked[1] or None,
        limit=st.session_state.get("fleet_size", 100),
        cursor=cursors[-1] or None,
        brief=True,
    )
    return found


def _turn(found: dict[str, Any]) -> None:
    """Offer the next and the previous page."""
    cursors: list[str] = st.session_state.fleet_cursors
    if not found["next"] and len(cursors) == 1:
        return
    with st.container(horizontal=True):
        if st.button(t("fleet.previous"), disabled=len(cursors) == 1):
            cursors.pop()
            st.rerun(scope="fragment")
        if st.button(t("fleet.next"), disabled=not found["next"]):
            cursors.append(found["next"])
            st.rerun(scope="fragment")


def _act(ticked: tuple[str, ...], names: dict[str, str]) -> None:
    """Offer what can be done with the ticked nodes; only their ids are handed on."""
    if not ticked:
        st.caption(t("fleet.tick"))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.write(t("fleet.ticked", count=len(ticked)), ", ".join(names[id_] for id_ in ticked[:10]))
        if st.button(t("fleet.run"), type="primary", icon=":material/terminal:"):
            st.session_state.run_nodes = list(ticked)
            confirm(ticked)
        if len(ticked) == 1 and st.button(t("fleet.open"), icon=":material/monitoring:"):
            st.session_state.node = ticked[0]
            st.switch_page(_page("node"))


@st.dialog(t("fleet.run"))
def confirm(ids: tuple[str, ...]) -> None:
    """Show the names as the server knows them now, take the command, and start it."""
    found = once(lambda: [api().get(f"/nodes/{id_}") for id_ in ids[:50]])
    if found is None:
        return
    st.write(t("fleet.on", count=len(ids)))
    st.code("\n".join(f"{node['name']}  ({node['id']})" for node in found))
    text = st.text_input(t("run.command"), key="fleet_command", placeholder="uptime")
    if st.button(t("run.start"), type="primary", disabled=not text.strip()):
        body = {"command": {"shell": text}, "targets": {"names": list(ids)}}
        run = once(lambda: api().post("/runs", body))
        if run is not None:
            st.session_state.run = run["id"]
            st.switch_page(_page("run"))


def _page(name: str) -> Any:
    """Return a page of the navigation, to go to."""
    from muster.dashboard.views import node, run  # noqa: PLC0415  # they lead back here

    pages = {"node": node.page, "run": run.page}
    return st.Page(pages[name], title=t(f"nav.{name}"), url_path=name)


def _row(node: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if node is None:  # it is ticked, so its row stays, but it is not in the list any more
        return {"state": t("state.gone"), "name": name}
    metrics = node.get("metrics") or {}
    inventory = node.get("inventory") or {}
    return {
        "state": shapes.state(node["state"], t(f"state.{node['state']}")),
        "name": name,
        "cpu": metrics.get("cpu"),
        "memory": shapes.percent(metrics.get("memory_used", 0), metrics.get("memory_total", 0)),
        "disk": shapes.fullest(node),
        "load": (metrics.get("load") or [None])[0],
        "seen": shapes.ago(node.get("seen")),
        "groups": clean(", ".join(node["groups"])),
        "tags": clean(", ".join(f"{key}={value}" for key, value in node["tags"].items())),
        "os": clean(inventory.get("os") or ""),
        "trouble": clean(node.get("trouble") or node.get("reason") or "")[:80],
    }


def _columns() -> dict[str, Any]:

    def bar(key: str) -> Any:
        return st.column_config.ProgressColumn(
            t(key), min_value=0, max_value=100, format="%.0f%%", width="small"
        )

    return {
        "state": st.column_config.TextColumn(t("fleet.state"), width="small"),
        "name": st.column_config.TextColumn(t("fleet.name")),
        "cpu": bar("fleet.cpu"),
        "memory": bar("fleet.memory"),
        "disk": bar("fleet.disk"),
        "load": st.column_config.NumberColumn(t("fleet.load"), format="%.2f", width="small"),
        "seen": st.column_config.TextColumn(t("fleet.seen"), width="small"),
        "groups": st.column_config.TextColumn(t("fleet.groups")),
        "tags": st.column_config.TextColumn(t("fleet.tags")),
        "os": st.column_config.TextColumn(t("fleet.os")),
        "trouble": st.column_config.TextColumn(t("fleet.trouble")),
    }


def _nobody() -> None:
    """Say how the first host joins."""
    st.info(t("fleet.nobody"), icon=":material/add_link:")
    st.code("muster node token", language="sh")
