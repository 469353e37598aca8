"""Roles: what each of them allows, on which nodes, as whom, and when."""

from functools import partial

import streamlit as st

from muster.contracts.people import Roles
from muster.contracts.policy import Grant, Role
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import dialogs, granting, heading
from muster.kit.text import clean
from muster.kit.windows import show as show_window


def page() -> None:
    """Draw the roles, or the one that is being changed."""
    found = once(lambda: api().get(Roles, "roles"))
    if found is None:
        return
    if granting.open_draft():
        return
    writes = heading.may("role.write")
    if writes and st.button(t("roles.new"), icon=":material/add:", key="role_new"):
        granting.begin(Role(name="new"), fresh=True)
    for role in found.items:
        _card(role, writes=writes)


def _card(role: Role, *, writes: bool) -> None:
    """Draw one role with everything that it allows."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(role.name, width="content")
            if role.builtin:
                st.badge(t("roles.builtin"), color="gray")
            st.text(clean(role.note))
            if writes and not role.builtin:
                if st.button(t("roles.change"), icon=":material/edit:", key=f"edit-{role.name}"):
                    granting.begin(role)
                if st.button(t("roles.delete"), icon=":material/delete:", key=f"rm-{role.name}"):
                    dialogs.ask(t("roles.delete"), partial(_delete, role))
        for grant in role.grants:
            _grant(grant)
        if not role.grants:
            st.caption(t("roles.nothing"))


def _grant(grant: Grant) -> None:
    """Draw what a grant allows in one line that wraps, and its conditions in another."""
    with st.container(gap=None):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            for action in grant.actions:
                st.badge(action, color="green")
            st.text(t("roles.on", nodes=clean(grant.nodes)), width="content")
        if conditions := [clean(one) for one in _conditions(grant)]:
            st.text(" · ".join(conditions))


def _conditions(grant: Grant) -> list[str]:
    found = [show_window(one.model_dump(mode="json")) for one in grant.during]
    if grant.run_as:
        found.insert(0, t("roles.as", users=", ".join(grant.run_as)))
    if grant.most is not None:
        found.append(t("roles.at_most", number=grant.most))
    if grant.approval:
        found.append(t("roles.approval"))
    if grant.fresh:
        found.append(t("roles.fresh"))
    return found


def _delete(role: Role) -> None:
    st.markdown(t("roles.delete_what"))
    st.text(role.name)
    pressed = st.button(
        t("roles.delete"), type="primary", icon=":material/delete:", key="delete_now"
    )
    if pressed and once(lambda: api().delete("roles", role.name)) is not None:
        st.rerun()
