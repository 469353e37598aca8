"""Let a host join: a token for one host, the one line to type there, and the tokens there are."""

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from muster.contracts.authority import JoinToken, JoinTokenCreated, JoinTokens
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views.picking import height
from muster.kit.text import clean


class Invitation(JoinTokenCreated):
    """What the gateway answers: the token, and the line to type."""

    command: str


def page() -> None:
    """Draw the page."""
    st.markdown(t("join.what"))
    with st.form("join", width=720):
        left, right = st.columns(2)
        name = left.text_input(t("fleet.name"), placeholder=t("join.name_hint"), max_chars=63)
        minutes = right.number_input(t("join.minutes"), min_value=1, max_value=10080, value=15)
        groups = left.text_input(t("fleet.groups"), placeholder="web, production")
        note = right.text_input(t("run.note"), max_chars=200)
        made = st.form_submit_button(t("join.make"), type="primary", icon=":material/key:")
    if made:
        body: dict[str, Any] = {"ttl": minutes * 60, "note": note}
        body["groups"] = [one.strip() for one in groups.split(",") if one.strip()]
        if name.strip():
            body["name"] = name.strip()
        _tell(body, minutes)
    _tokens()


def _tell(body: dict[str, Any], minutes: int) -> None:
    token = once(lambda: api().post(Invitation, "join-tokens", body=body))
    if token is not None:
        with st.container(border=True):
            st.markdown(t("join.type", minutes=minutes))
            st.code(token.command, language=None, wrap_lines=True)
            st.caption(t("join.then"))
            st.code("sudo muster agent install --users root", language=None)


def _tokens() -> None:
    """Show the tokens, without their secrets; those that still work can be taken back."""
    found = once(lambda: api().get(JoinTokens, "join-tokens"))
    if found is None or not found.items:
        return
    now = datetime.now(UTC)
    st.markdown(t("join.tokens"))
    shown = found.items[:100]
    rows = [
        {
            "state": t(f"join.{_state(token, now)}"),
            "created": token.created,
            "by": clean(token.created_by),
            "expires": token.expires,
            "node": token.node or "",
            "note": clean(token.note),
        }
        for token in shown
    ]
    columns: dict[str, Any] = {key: t(f"join.{key}") for key in rows[0]}
    for key in ("created", "expires"):
        columns[key] = st.column_config.DatetimeColumn(t(f"join.{key}"), format="YYYY-MM-DD HH:mm")
    st.dataframe(rows, hide_index=True, column_config=columns, height=height(len(rows), 10))
    _take_back([token for token in shown if _state(token, now) == "open"])


def _state(token: JoinToken, now: datetime) -> str:
    if token.used is not None:
        return "used"
    return "open" if token.expires > now else "expired"


def _take_back(tokens: list[JoinToken]) -> None:
    if not tokens:
        return
    labels = {token.id: _label(token) for token in tokens}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            t("join.which"),
            list(labels),
            format_func=labels.__getitem__,
            index=None,
            width=400,
            placeholder="",
        )
        pressed = st.button(t("join.revoke"), icon=":material/block:", disabled=chosen is None)
    if pressed and once(lambda: api().delete("join-tokens", str(chosen))) is not None:
        st.rerun()


def _label(token: JoinToken) -> str:
    words = (clean(token.note), clean(token.created_by), shapes.ago(token.created))
    return " · ".join(word for word in words if word)
