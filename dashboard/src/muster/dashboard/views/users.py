"""People: who there is; invite somebody, and open one."""

from typing import Any, Final

import streamlit as st

from muster.contracts.people import Invitation, User, Users
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import heading, people, person
from muster.dashboard.views.picking import Picker, Turner, height
from muster.kit.text import clean

_OPEN: Final = "user"
_DAY: Final = 86400


def page() -> None:
    """Draw the list, or the person in the page's address."""
    if name := st.query_params.get(_OPEN, ""):
        if st.button(t("users.back"), icon=":material/arrow_back:"):
            Picker("users").settle((), anew=True)  # another table: nobody is ticked in it
            st.query_params.clear()
            st.rerun()
        person.show(name)
        return
    query = st.text_input(
        t("users.filter"), key="users_query", icon=":material/search:", max_chars=200
    )
    _table(query.strip())
    if heading.may("user.write"):
        _invite()


def _table(query: str) -> None:
    picker, turner = Picker("users"), Turner("users", query)
    if picker.ticked:  # a name of the table that the browser shows, whatever the list is by now
        st.query_params[_OPEN] = picker.ticked[0]
        st.rerun()
    ask = {"query": query, "people": True, "limit": 100, "cursor": turner.cursor}
    found = once(lambda: api().get(Users, "users", **ask))
    if found is None:
        return
    if not found.items:
        st.info(t("users.no_match"), icon=":material/search_off:")
    known = {user.name: user for user in found.items}
    shown = picker.settle(list(known), anew=turner.anew)
    if shown:
        st.dataframe(
            [_row(known[name]) for name in shown],
            key=picker.key,
            on_select="rerun",
            selection_mode=("single-row", "single-column"),
            hide_index=True,
            column_config=_columns(),
            height=height(len(shown)),
        )
        st.caption(t("users.open"))
    turner.buttons(found.next, t("fleet.previous"), t("fleet.next"))


def _row(user: User) -> dict[str, Any]:
    state = people.state_of(user)
    return {
        "name": user.name,
        "state": shapes.state(state, t(f"users.{state}")),
        "full_name": clean(user.full_name),
        "roles": ", ".join(sorted({*user.roles, *user.mapped_roles})),
        "groups": ", ".join(user.groups),
        "factor": user.second_factor,
        "seen": shapes.ago(user.seen),
    }


def _columns() -> dict[str, Any]:
    words = ("name", "full_name", "state", "roles", "groups", "seen")
    columns: dict[str, Any] = {key: st.column_config.TextColumn(t(f"users.{key}")) for key in words}
    columns["factor"] = st.column_config.CheckboxColumn(t("users.factor"))
    return columns


def _invite() -> None:
    with st.expander(t("users.invite"), icon=":material/person_add:"):
        there = people.choices()
        if there is None:
            return
        with st.form("invite", border=False):
            left, right = st.columns(2)
            name = left.text_input(t("users.name"), max_chars=63, placeholder="li")
            full_name = right.text_input(t("users.full_name"), max_chars=200)
            roles = left.multiselect(t("users.roles"), there[0], placeholder="")
            groups = right.multiselect(t("users.groups"), there[1], placeholder="")
            days = left.number_input(t("users.days"), min_value=1, max_value=30, value=3)
            if st.form_submit_button(t("users.make_link"), type="primary", icon=":material/link:"):
                body = {"name": name.strip(), "full_name": full_name.strip()}
                _made(body | {"roles": roles, "groups": groups, "ttl": days * _DAY})


def _made(body: dict[str, Any]) -> None:
    made = once(lambda: api().post(Invitation, "users", body=body))
    if made is not None:
        people.show_link(made, str(body["name"]))
