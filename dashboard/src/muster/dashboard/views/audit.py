"""Who did what: the audit, newest first, and whether its chain is whole."""

from typing import Any

import streamlit as st

from muster.contracts.authority import AuditPage, AuditRecord, AuditVerdict
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views.picking import Turner, height
from muster.kit.text import clean


def page() -> None:
    """Draw the page."""
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    who = left.text_input(t("audit.who"), key="audit_who", max_chars=200).strip()
    action = middle.text_input(
        t("audit.action"), key="audit_action", placeholder="run.", max_chars=200
    ).strip()
    if right.button(t("audit.verify"), icon=":material/verified:", width="stretch"):
        _verify()
    turner = Turner("audit", who, action)
    found = once(
        lambda: api().get(
            AuditPage, "audit", who=who, action=action, limit=100, before=turner.cursor
        )
    )
    if found is None:
        return
    if not found.items:
        st.info(t("audit.none"))
    else:
        rows = [_row(record) for record in found.items]
        st.dataframe(rows, hide_index=True, column_config=_columns(), height=height(len(rows)))
    turner.buttons(str(found.next or ""), t("fleet.previous"), t("fleet.next"))


def _verify() -> None:
    verdict = once(lambda: api().get(AuditVerdict, "audit", "verify"))
    if verdict is None:
        return
    if verdict.broken_at is None:
        text = t("audit.whole", records=verdict.records, head=verdict.head[:16])
        st.success(text, icon=":material/verified:")
    else:
        st.error(t("audit.broken", at=verdict.broken_at), icon=":material/gpp_bad:")


def _row(record: AuditRecord) -> dict[str, Any]:
    return {
        "no": record.seq,
        "when": record.at,
        "who": clean(record.who),
        "action": clean(record.action),
        "result": clean(record.result),
        "nodes": clean(", ".join(record.nodes))[:200],
        "detail": clean(record.detail)[:300],
        "from": clean(record.address),
    }


def _columns() -> dict[str, Any]:
    words = ("who", "action", "result", "nodes", "detail", "from")
    columns: dict[str, Any] = {key: st.column_config.TextColumn(t(f"audit.{key}")) for key in words}
    columns["detail"] = st.column_config.TextColumn(t("audit.detail"), width="large")
    columns["no"] = st.column_config.NumberColumn(t("audit.no"), width=60, format="%d")
    columns["when"] = st.column_config.DatetimeColumn(
        t("history.when"), format="YYYY-MM-DD HH:mm:ss"
    )
    return columns
