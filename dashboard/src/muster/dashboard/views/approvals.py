"""What waits for another person: mine, and what I may approve or refuse."""

import streamlit as st

from muster.contracts.approvals import Approval, Approvals
from muster.contracts.base import Nothing
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import heading
from muster.kit import policy
from muster.kit.text import clean, shorten

_NAMED = 200


def page() -> None:
    """Draw the page."""
    found = once(lambda: api().get(Approvals, "approvals", limit=50))
    if found is None:
        return
    if not found.items:
        st.info(t("approvals.none"))
    for one in found.items:
        _card(one)
    st.caption(t("approvals.shell"))


def _card(one: Approval) -> None:
    """Draw one, with what decides: who, on which nodes, and the command as it is."""
    with st.container(border=True):
        st.text(f"{clean(one.by)} · {shapes.ago(one.created)}")
        st.code(clean(one.summary, keep="\n"), language=None, wrap_lines=True)
        names = shorten(clean(", ".join(one.nodes)), _NAMED)
        st.text(t("approvals.nodes", number=len(one.nodes), names=names))
        if one.run_as:
            st.text(t("approvals.run_as", user=clean(one.run_as)))
        me = heading.person()
        if me is None or one.by == me.name or not policy.allows(me.permissions, "run.approve"):
            st.caption(t("approvals.waits"))
            return
        _decide(one)


def _decide(one: Approval) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reason = st.text_input(t("approvals.reason"), key=f"reason-{one.run}", max_chars=200)
        yes = st.button(t("approvals.approve"), key=f"yes-{one.run}", icon=":material/check:")
        no = st.button(
            t("approvals.refuse"),
            key=f"no-{one.run}",
            icon=":material/close:",
            disabled=not reason.strip(),
            help=t("approvals.why"),
        )
    if not (yes or no):
        return
    verb, body = "approve" if yes else "refuse", {"reason": reason.strip()}
    if once(lambda: api().post(Nothing, "approvals", one.run, verb, body=body)) is not None:
        st.rerun()
