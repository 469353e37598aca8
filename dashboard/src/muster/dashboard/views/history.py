"""What has been run: newest first; open one to see it again."""

from typing import Any

import streamlit as st

from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.kit.text import clean


def page() -> None:
    """Draw the page."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    node = left.text_input(t("history.node"), key="history_node")
    active = right.toggle(t("history.active"))
    befores: list[str] = st.session_state.setdefault("history_befores", [""])
    if st.session_state.get("history_asked") != (node, active):
        st.session_state.history_asked = (node, active)
        befores[:] = [""]
    found = once(
        lambda: api().get(
            "/runs", node=node or None, active=active or None, limit=50, before=befores[-1] or None
        )
    )
    if found is None:
        return
    if not found["items"]:
        st.info(t("history.none"))
        return
    st.dataframe(
        run_rows(found["items"]),
        hide_index=True,
        column_config={t("history.run"): st.column_config.LinkColumn(display_text=r"run=(\w+)$")},
        height=min(38 + 35 * len(found["items"]), 640),
    )
    with st.container(horizontal=True):
        if st.button(t("fleet.previous"), disabled=len(befores) == 1):
            befores.pop()
            st.rerun()
        if st.button(t("fleet.next"), disabled=not found["next"]):
            befores.append(found["next"])
            st.rerun()


def run_rows(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return runs as rows of a table, each with a link to it."""
    return [
        {
            t("history.run"): f"/dashboard/run?run={run['id']}",
            t("history.command"): shapes.command(run),
            t("history.result"): ", ".join(
                f"{number} {t('state.' + state)}" for state, number in run["counts"].items()
            ),
            t("history.by"): clean(run["by"]),
            t("history.when"): shapes.moment(run["created"]),
            t("run.note"): clean(run["note"]),
        }
        for run in runs
    ]
