"""One node: the last hour, what it is, what has run on it, and what can be changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views.charts import chart, points
from muster.dashboard.views.history import run_rows
from muster.kit.text import clean


def page() -> None:
    """Draw the page."""
    found = once(lambda: api().get("/nodes", limit=1000, brief=True))
    if found is None:
        return
    names = {node["id"]: clean(node["name"]) for node in found["items"]}
    if not names:
        st.info(t("fleet.nobody"))
        return
    wanted = st.query_params.get("id") or st.session_state.get("node")
    index = list(names).index(wanted) if wanted in names else 0
    chosen = st.selectbox(t("nav.node"), list(names), index=index, format_func=names.__getitem__)
    st.session_state.node = chosen
    st.query_params["id"] = chosen
    head(chosen)
    hour(chosen)
    left, right = st.columns(2)
    with left:
        _inventory(chosen)
    with right:
        _runs(chosen)
        _change(chosen, names[chosen])


@st.fragment(run_every=5)
def head(node_id: str) -> None:
    """Show how the node is now."""
    node = once(lambda: api().get(f"/nodes/{node_id}"))
    if node is None:
        return
    metrics = node.get("metrics") or {}
    memory = shapes.percent(metrics.get("memory_used", 0), metrics.get("memory_total", 0))
    label = t(f"state.{node['state']}")
    with st.container(horizontal=True):
        st.metric(t("fleet.state"), shapes.state(node["state"], label), border=True)
        st.metric(t("fleet.cpu"), _number(metrics.get("cpu"), "%"), border=True)
        st.metric(t("fleet.memory"), _number(memory, "%"), border=True)
        st.metric(t("fleet.disk"), _number(shapes.fullest(node), "%"), border=True)
        st.metric(t("node.uptime"), _uptime(metrics.get("uptime")), border=True)
        st.metric(t("fleet.seen"), shapes.ago(node.get("seen")), border=True)
    if node.get("trouble"):
        st.warning(clean(node["trouble"]))
    if abs(node.get("skew") or 0) > 30:  # noqa: PLR2004
        st.warning(t("node.skew", seconds=round(node["skew"])))


@st.fragment(run_every=15)
def hour(node_id: str) -> None:
    """Show the charts of the last hour."""
    end = datetime.now(UTC)
    start = end - timedelta(hours=1)
    history = once(
        lambda: api().get(
            f"/nodes/{node_id}/metrics", start=start.isoformat(), end=end.isoformat(), points=360
        )
    )
    if history is None:
        return
    if not history["items"]:
        st.caption(t("node.no_history"))
        return
    data = points(history["items"])
    left, right = st.columns(2)
    use = {"cpu": t("fleet.cpu"), "memory": t("fleet.memory")}
    left.altair_chart(chart(data, use, t("node.use"), 100))
    right.altair_chart(chart(data, {"load": t("fleet.load")}, t("fleet.load")))
    net = {"received": t("node.received"), "sent": t("node.sent")}
    left.altair_chart(chart(data, net, t("node.network")))
    disk = {"read": t("node.read"), "written": t("node.written")}
    right.altair_chart(chart(data, disk, t("node.disk_io")))


def _inventory(node_id: str) -> None:
    node = once(lambda: api().get(f"/nodes/{node_id}"))
    if node is None:
        return
    st.markdown(f"**{t('node.inventory')}**")
    found = node.get("inventory") or {}
    rows: list[tuple[str, Any]] = [("id", node["id"])]
    rows += [
        (key, found[key])
        for key in ("hostname", "os", "kernel", "architecture", "cpu", "cores", "timezone", "user")
        if found.get(key)
    ]
    rows.append(("memory", shapes.size(found.get("memory") or 0)))
    rows.append(("agent", node.get("version") or ""))
    rows += [
        ("address", f"{one['interface']}  {one['address']}") for one in found.get("addresses", [])
    ]
    rows.append(("capabilities", ", ".join(found.get("capabilities", []))))
    table = [
        {t("node.what"): t(f"node.{key}"), t("node.value"): clean(str(value))}
        for key, value in rows
    ]
    st.dataframe(table, hide_index=True)
    disks = (node.get("metrics") or {}).get("disks") or []
    if disks:
        st.dataframe([_disk(disk) for disk in disks], hide_index=True)


def _disk(disk: dict[str, Any]) -> dict[str, Any]:
    return {
        t("node.mount"): clean(disk["mount"]),
        t("node.size"): shapes.size(disk["total"]),
        t("node.used"): f"{shapes.percent(disk['used'], disk['total']) or 0:.0f}%",
    }


def _runs(node_id: str) -> None:
    st.markdown(f"**{t('node.runs')}**")
    found = once(lambda: api().get("/runs", node=node_id, limit=10))
    if found and found["items"]:
        st.dataframe(run_rows(found["items"]), hide_index=True)
    elif found:
        st.caption(t("history.none"))


def _change(node_id: str, name: str) -> None:
    """Name, groups, tags, and the end."""
    node = once(lambda: api().get(f"/nodes/{node_id}"))
    if node is None:
        return
    with st.expander(t("node.change"), icon=":material/edit:"), st.form("change"):
        new = st.text_input(t("fleet.name"), value=name)
        groups = st.text_input(t("fleet.groups"), value=", ".join(node["groups"]))
        tags = st.text_input(
            t("fleet.tags"),
            value=", ".join(f"{key}={value}" for key, value in node["tags"].items()),
        )
        if st.form_submit_button(t("node.save")) and _saved(node, new, groups, tags):
            st.rerun()
    with st.expander(t("node.revoke"), icon=":material/block:"):
        st.write(t("node.revoke_what"))
        typed = st.text_input(t("node.type_name", name=name), key="revoke_name")
        if st.button(t("node.revoke"), type="primary", disabled=typed != name):
            done = once(lambda: (api().post(f"/nodes/{node_id}/revoke", {}), "done"))
            if done:
                st.success(t("node.revoked"))


def _saved(node: dict[str, Any], name: str, groups: str, tags: str) -> bool:
    """Bring the node in line with the form."""
    wanted = {one.strip() for one in groups.split(",") if one.strip()}
    pairs = dict(one.strip().partition("=")[::2] for one in tags.split(",") if one.strip())
    path = f"/nodes/{node['id']}"

    def save() -> bool:
        if name != node["name"]:
            api().patch(path, {"name": name})
        has = set(node["groups"])
        if wanted != has:
            api().post(
                f"{path}/groups", {"add": sorted(wanted - has), "remove": sorted(has - wanted)}
            )
        if pairs != node["tags"]:
            gone = [key for key in node["tags"] if key not in pairs]
            api().post(f"{path}/tags", {"put": pairs, "remove": gone})
        return True

    return bool(once(save))


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def _uptime(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    days, rest = divmod(int(seconds), 86400)
    return f"{days}d {rest // 3600}h" if days else f"{rest // 3600}h {rest % 3600 // 60}m"
