"""Service accounts: external systems at the broker, what each may do, and how to shut one out."""

from functools import partial
from typing import Any

import streamlit as st

from muster.contracts.accounts import Account, Accounts
from muster.contracts.people import User
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import dialogs, heading
from muster.dashboard.views.picking import height
from muster.kit.text import clean


def page() -> None:
    """Draw the page."""
    found = once(lambda: api().get(Accounts, "accounts"))
    if found is None:
        return
    if found.items:
        rows = [_row(one) for one in found.items]
        st.dataframe(rows, hide_index=True, column_config=_columns(), height=height(len(rows)))
        names = {one.name: one for one in found.items}
        chosen = st.selectbox(
            t("accounts.which"), list(names), index=None, key="account_chosen", placeholder=""
        )
        if chosen in names:
            _one(names[chosen])
    else:
        st.info(t("accounts.none"), icon=":material/smart_toy:")
    st.caption(t("accounts.how"))
    st.code("muster account new NAME --role ROLE", language=None)


def _state(account: Account) -> str:
    if account.disabled:
        return "disabled"
    return "active" if account.expires else "ended"


def _row(account: Account) -> dict[str, Any]:
    state = _state(account)
    return {
        "name": account.name,
        "state": shapes.state(state, t(f"accounts.{state}")),
        "expires": account.expires,
        "roles": ", ".join(account.roles),
        "groups": ", ".join(account.groups),
        "seen": shapes.ago(account.seen),
        "note": clean(account.note),
    }


def _columns() -> dict[str, Any]:
    words = ("name", "note", "state", "roles", "groups", "seen")
    columns: dict[str, Any] = {
        key: st.column_config.TextColumn(t(f"accounts.{key}")) for key in words
    }
    columns["expires"] = st.column_config.DatetimeColumn(
        t("accounts.expires"), format="YYYY-MM-DD HH:mm"
    )
    return columns


def _one(account: Account) -> None:
    """Draw one, with what the broker lets it do at this moment."""
    with st.container(border=True):
        state = _state(account)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(account.name, width="content")
            st.badge(shapes.state(state, t(f"accounts.{state}")), color=shapes.colour(state))
        if account.note:
            st.text(clean(account.note))
        st.text(t("users.has_roles", roles=", ".join([*account.roles, *account.groups]) or "-"))
        if account.subjects:
            st.caption(t("accounts.subjects"))
            st.code("\n".join(account.subjects), language=None)
        if heading.may("user.write"):
            _act(account)


def _act(account: Account) -> None:
    with st.container(horizontal=True):
        if account.disabled:
            if st.button(t("users.enable"), icon=":material/lock_open:", key="enable"):
                _patch(account, disabled=False)
        elif st.button(t("users.disable_ask"), icon=":material/block:", key="disable"):
            dialogs.ask(t("users.disable"), partial(_disable, account))
        if st.button(t("accounts.revoke_ask"), icon=":material/delete:", key="revoke"):
            dialogs.ask(t("accounts.revoke"), partial(_revoke, account))


def _patch(account: Account, *, disabled: bool) -> None:
    """Disable it, or let it in again, as any user."""
    body = {"disabled": disabled}
    if once(lambda: api().patch(User, "users", account.name, body=body)) is not None:
        st.rerun()


def _disable(account: Account) -> None:
    st.markdown(t("accounts.disable_what"))
    st.text(account.name)
    if st.button(t("users.disable"), type="primary", icon=":material/block:", key="disable_now"):
        _patch(account, disabled=True)


def _revoke(account: Account) -> None:
    """Take the name as proof that this one is meant."""
    st.markdown(t("accounts.revoke_what"))
    typed = st.text_input(t("node.type_name", name=account.name), key="revoke_typed")
    if st.button(t("accounts.revoke"), type="primary", icon=":material/delete:", key="revoke_now"):
        if typed != account.name:
            st.warning(t("node.other_name"))
        elif once(lambda: api().delete("accounts", account.name)) is not None:
            st.rerun()
