"""Who did what: the audit, newest first, and whether its chain is whole."""

from typing import Any

import streamlit as st

from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.kit.text import clean


def page() -> None:
    """Draw the page."""
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    who = left.text_input(t("audit.who"))
    action = middle.text_input(t("audit.action"), placeholder="run.")
    if right.button(t("audit.verify"), icon=":material/verified:", width="stretch"):
        _verify()
    befores: list[int | None] = st.session_state.setdefault("audit_befores", [None])
    if st.session_state.get("audit_asked") != (who, action):
        st.session_state.audit_asked = (who, action)
        befores[:] = [None]
    found = once(
        lambda: api().get(
            "/audit", who=who or None, action=action or None, limit=100, before=befores[-1]
        )
    )
    if found is None:
        return
    rows = [_row(record) for record in found["items"]]
    st.dataframe(rows, hide_index=True, height=min(38 + 35 * max(len(rows), 1), 640))
    with st.container(horizontal=True):
        if st.button(t("fleet.previous"), disabled=len(befores) == 1):
            befores.pop()
            st.rerun()
        if st.button(t("fleet.next"), disabled=found["next"] is None):
            befores.append(found["next"])
            st.rerun()


def _verify() -> None:
    verdict = once(lambda: api().get("/audit/verify"))
    if verdict is None:
        return
    if verdict["broken_at"] is None:
        st.success(t("audit.whole", records=verdict["records"], head=verdict["head"][:16]))
    else:
        st.error(t("audit.broken", at=verdict["broken_at"]))


def _row(record: dict[str, Any]) -> dict[str, Any]:
    return {
        t("audit.no"): record["seq"],
        t("history.when"): shapes.moment(record["at"]),
        t("audit.who"): clean(record["who"]),
        t("audit.action"): clean(record["action"]),
        t("audit.result"): clean(record["result"]),
        t("audit.nodes"): clean(", ".join(record["nodes"]))[:200],
        t("audit.detail"): clean(record["detail"])[:300],
        t("audit.from"): clean(record["address"]),
    }
