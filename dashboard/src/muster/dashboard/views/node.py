"""One node: how it is now, the last hour, what it is, and what has run on it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import streamlit as st

from muster.contracts.errors import NotFound
from muster.contracts.nodes import History, Node
from muster.contracts.runs import RunPage
from muster.dashboard import shapes
from muster.dashboard.api import ApiError
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import changing, ordering
from muster.dashboard.views.charts import Axis, chart, points
from muster.dashboard.views.history import run_columns, run_rows
from muster.dashboard.views.names import label, names
from muster.dashboard.views.picking import height
from muster.kit.text import clean

_POINTS: Final = 360
_SKEW: Final = 30.0


def page() -> None:
    """Draw the page."""
    node_id = _chosen()
    if node_id is None:
        return
    head(node_id)
    hour(node_id)
    node = once(lambda: api().get(Node, "nodes", node_id))
    if node is None:
        return
    left, right = st.columns(2, gap="medium")
    with left:
        _disks(node)
        _interfaces(node)
        _runs(node_id)
    with right:
        _inventory(node)
        changing.show(node)


def _chosen() -> str | None:
    """Return the id of the node to show; it is in the page's address."""
    there = once(names)
    if there is None:
        return None
    wanted = st.query_params.get("id", "") or str(st.session_state.get("node_shown", ""))
    if wanted and wanted not in there:  # a revoked one, or one beyond the list
        there = _alone(wanted) | there
    if not there:
        st.info(t("fleet.nobody"), icon=":material/add_link:")
        return None
    ids = list(there)
    chosen = st.selectbox(
        t("nav.node"),
        ids,
        index=ids.index(wanted) if wanted in there else 0,
        format_func=lambda id_: label(*there[id_]),
        label_visibility="collapsed",
    )
    st.session_state.node_shown = chosen
    st.query_params["id"] = chosen
    return chosen


def _alone(node_id: str) -> dict[str, Any]:
    try:
        node = api().get(Node, "nodes", node_id)
    except ApiError as error:
        if error.status == NotFound.status:
            st.warning(t("node.unknown"))
        return {}
    return {node.id: (node.name, node.state)}


@st.fragment(run_every=5)
def head(node_id: str) -> None:
    """Show how the node is now."""
    node = once(lambda: api().get(Node, "nodes", node_id))
    if node is None:
        return
    metrics = node.metrics
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(
            shapes.state(node.state, t(f"state.{node.state}")), color=shapes.colour(node.state)
        )
        st.caption(t("node.since", ago=shapes.ago(node.state_since)), width="content")
        if st.button(t("fleet.run"), icon=":material/terminal:", key="node_run"):
            ordering.open_dialog([node.id])
    with st.container(horizontal=True, gap="small"):
        for key, value in (
            ("fleet.cpu", _share(metrics.cpu if metrics else None)),
            ("fleet.memory", _share(shapes.memory(metrics))),
            ("fleet.disk", _share(shapes.fullest(metrics))),
            ("fleet.load", f"{metrics.load[0]:.2f}" if metrics else "-"),
            ("node.processes", str(metrics.processes) if metrics else "-"),
            ("node.uptime", shapes.duration(metrics.uptime) if metrics else "-"),
            ("fleet.seen", shapes.ago(node.seen)),
        ):
            st.metric(t(key), value, border=True, width=125)
    if node.trouble or node.reason:
        st.warning(t("node.says"), icon=":material/report:")
        st.text(clean(node.trouble or node.reason))
    if abs(node.skew) > _SKEW:
        st.warning(t("node.skew", seconds=round(node.skew)), icon=":material/schedule:")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"


@st.fragment(run_every=15)
def hour(node_id: str) -> None:
    """Show the charts of the last hour."""
    end = datetime.now(UTC)
    start = end - timedelta(hours=1)
    history = once(
        lambda: api().get(
            History,
            "nodes",
            node_id,
            "metrics",
            start=start.isoformat(),
            end=end.isoformat(),
            points=_POINTS,
        )
    )
    if history is None:
        return
    if not history.items:
        st.caption(t("node.no_history"))
        return
    data = points(history.items)
    columns = st.columns(2, gap="medium")
    for place, (series, axis) in enumerate(_charts()):
        drawn = chart(data, series, axis, (start, end))
        columns[place % 2].altair_chart(drawn, alt=axis.title)


def _charts() -> list[tuple[dict[str, str], Axis]]:
    use = {"cpu": t("fleet.cpu"), "memory": t("fleet.memory")}
    net = {"received": t("node.received"), "sent": t("node.sent")}
    disk = {"read": t("node.read"), "written": t("node.written")}
    return [
        (use, Axis(t("node.use"), 100)),
        ({"load": t("fleet.load")}, Axis(t("fleet.load"), form="~g")),
        (net, Axis(t("node.network"))),
        (disk, Axis(t("node.disk_io"))),
    ]


def _disks(node: Node) -> None:
    disks = node.metrics.disks if node.metrics else []
    if not disks:
        return
    st.markdown(t("node.disks"))
    rows = [
        {
            "mount": clean(disk.mount),
            "used": shapes.full(disk),
            "free": shapes.size(shapes.free(disk)),
            "size": shapes.size(disk.total),
            "kind": clean(disk.kind),
        }
        for disk in disks
    ]
    columns: dict[str, Any] = {key: t(f"node.{key}") for key in rows[0]}
    columns["used"] = st.column_config.ProgressColumn(
        t("node.used"), min_value=0, max_value=100, format="%.0f%%"
    )
    st.dataframe(rows, hide_index=True, column_config=columns, height=height(len(rows), 7))


def _interfaces(node: Node) -> None:
    addresses = node.inventory.addresses if node.inventory else []
    rates = {net.name: net for net in node.metrics.net} if node.metrics else {}
    found = dict.fromkeys([*rates, *(one.interface for one in addresses)])
    if not found:
        return
    st.markdown(t("node.interfaces"))
    rows = []
    for name in found:
        net = rates.get(name)
        own = [one.address for one in addresses if one.interface == name]
        rows.append(
            {
                "interface": clean(name),
                "received": f"{shapes.size(net.received)}/s" if net else "",
                "sent": f"{shapes.size(net.sent)}/s" if net else "",
                "address": clean(", ".join(own)),
            }
        )
    columns = {key: t(f"node.{key}") for key in rows[0]}
    st.dataframe(rows, hide_index=True, column_config=columns, height=height(len(rows), 7))


def _inventory(node: Node) -> None:
    st.markdown(t("node.inventory"))
    found = node.inventory
    rows: list[tuple[str, str]] = [("id", node.id)]
    if found is not None:
        keys = ("hostname", "os", "kernel", "architecture", "cpu", "cores", "timezone", "user")
        rows += [(key, str(getattr(found, key))) for key in keys if getattr(found, key)]
        rows.append(("memory", shapes.size(found.memory)))
        rows.append(("capabilities", ", ".join(found.capabilities)))
        if found.allowed and found.allowed.users:
            by = t("node.by_helper") if found.allowed.helper else t("node.by_agent")
            rows.append(("runs_as", f"{', '.join(found.allowed.users)} ({by})"))
    rows.append(("agent", node.version))
    table = [{"what": t(f"node.{key}"), "value": clean(value)} for key, value in rows if value]
    columns: dict[str, Any] = {
        "what": st.column_config.TextColumn(t("node.what"), width="small"),
        "value": st.column_config.TextColumn(t("node.value"), width="large"),
    }
    st.dataframe(table, hide_index=True, column_config=columns, height=height(len(table), 14))


def _runs(node_id: str) -> None:
    st.markdown(t("node.runs"))
    found = once(lambda: api().get(RunPage, "runs", node=node_id, limit=10))
    if found is not None and found.items:
        st.dataframe(
            run_rows(found.items, link=True), hide_index=True, column_config=run_columns(link=True)
        )
    elif found is not None:
        st.caption(t("history.none"))
