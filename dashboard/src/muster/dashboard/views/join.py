"""Let a host join: a token for one host, and the one line to type there."""

from typing import Any

import streamlit as st

from muster.dashboard.i18n import t
from muster.dashboard.session import api, once


def page() -> None:
    """Draw the page."""
    st.write(t("join.what"))
    with st.form("join"):
        left, right = st.columns(2)
        name = left.text_input(t("fleet.name"), placeholder=t("join.name_hint"))
        minutes = right.number_input(t("join.minutes"), min_value=1, max_value=10080, value=15)
        made = st.form_submit_button(t("join.make"), type="primary", icon=":material/key:")
    if made:
        body: dict[str, Any] = {"ttl": minutes * 60}
        if name.strip():
            body["name"] = name.strip()
        token = once(lambda: api().post("/join-tokens", body))
        if token is not None:
            st.success(t("join.type", minutes=minutes))
            st.code(token["command"], language="sh", wrap_lines=True)
            st.caption(t("join.then"))
            st.code("sudo muster-agent install", language="sh")
