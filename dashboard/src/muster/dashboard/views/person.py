"""One person: what they may do, whether they may come in, and by which ways they have."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from muster.contracts.people import Credential, Credentials, Invitation, User
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import dialogs, heading, people
from muster.dashboard.views.picking import height
from muster.kit.text import clean


def show(name: str) -> None:
    """Draw everything about one person."""
    user = once(lambda: api().get(User, "users", name))
    if user is None:
        return
    state = people.state_of(user)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text(" · ".join(filter(None, (user.name, clean(user.full_name)))), width="content")
        st.badge(shapes.state(state, t(f"users.{state}")), color=shapes.colour(state))
        st.caption(t("users.seen_ago", ago=shapes.ago(user.seen)), width="content")
    if heading.may("user.write"):
        _change(user)
        _come_in(user)
    else:
        st.text(
            t("users.has_roles", roles=", ".join(sorted({*user.roles, *user.mapped_roles})) or "-")
        )
        st.text(t("users.has_groups", groups=", ".join(user.groups) or "-"))
    _ways_in(user)


def _change(user: User) -> None:
    """Offer name, roles and groups; what is no longer there can still be taken away."""
    there = people.choices()
    if there is None:
        return
    with st.form(f"user-{user.name}"):
        full_name = st.text_input(t("users.full_name"), value=user.full_name, max_chars=200)
        left, right = st.columns(2)
        roles = left.multiselect(
            t("users.roles"), _with(there[0], user.roles), user.roles, placeholder=""
        )
        groups = right.multiselect(
            t("users.groups"), _with(there[1], user.groups), user.groups, placeholder=""
        )
        if st.form_submit_button(t("node.save"), icon=":material/check:"):
            body = {"full_name": full_name.strip(), "roles": roles, "groups": groups}
            _patch(user, body)


def _with(known: Sequence[str], held: Sequence[str]) -> list[str]:
    return [*known, *(one for one in held if one not in known)]


def _patch(user: User, body: dict[str, Any]) -> None:
    if once(lambda: api().patch(User, "users", user.name, body=body)) is not None:
        st.rerun()


def _come_in(user: User) -> None:
    """Offer what decides whether somebody may come in at all."""
    with st.container(horizontal=True):
        if user.disabled:
            if st.button(t("users.enable"), icon=":material/lock_open:", key="enable"):
                _patch(user, {"disabled": False})
        elif st.button(t("users.disable_ask"), icon=":material/block:", key="disable"):
            dialogs.ask(t("users.disable"), partial(_disable, user))
        if st.button(t("users.reset_ask"), icon=":material/lock_reset:", key="reset"):
            dialogs.ask(t("users.reset"), partial(_reset, user))


def _disable(user: User) -> None:
    st.markdown(t("users.disable_what"))
    st.text(user.name)
    if st.button(t("users.disable"), type="primary", icon=":material/block:", key="disable_now"):
        _patch(user, {"disabled": True})


def _reset(user: User) -> None:
    st.markdown(t("users.reset_what"))
    st.text(user.name)
    factor = user.second_factor and st.checkbox(t("users.reset_factor"), key="reset_factor")
    if st.button(t("users.make_link"), type="primary", icon=":material/link:", key="reset_now"):
        path, body = ("users", user.name, "reset"), {"factor": factor}
        made = once(lambda: api().post(Invitation, *path, body=body))
        if made is not None:
            people.show_link(made, user.name)


def _ways_in(user: User) -> None:
    """Show sessions, tokens and app passwords; each can be ended."""
    found = once(lambda: api().get(Credentials, "users", user.name, "credentials"))
    if found is None:
        return
    st.markdown(t("users.ways"))
    if not found.items:
        st.caption(t("users.no_ways"))
        return
    rows = [_way(one) for one in found.items]
    columns: dict[str, Any] = {key: t(f"ways.{key}") for key in rows[0]}
    for key in ("created", "expires"):
        columns[key] = st.column_config.DatetimeColumn(t(f"ways.{key}"), format="YYYY-MM-DD HH:mm")
    st.dataframe(rows, hide_index=True, column_config=columns, height=height(len(rows), 10))
    me = heading.person()
    if heading.may("user.write") or (me is not None and me.name == user.name):
        _end(found.items)


def _way(one: Credential) -> dict[str, Any]:
    return {
        "kind": t(f"ways.{one.kind}") if one.kind in {"session", "token", "app", "key"} else "-",
        "name": clean(one.name or one.agent),
        "scopes": ", ".join(one.scopes) if one.kind in {"token", "app"} else "",
        "seen": shapes.ago(one.seen),
        "address": clean(one.address),
        "created": one.created,
        "expires": one.expires,
    }


def _end(ways: Sequence[Credential]) -> None:
    labels = {one.id: _label(one) for one in ways}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            t("ways.which"),
            list(labels),
            format_func=labels.__getitem__,
            index=None,
            width=400,
            placeholder="",
        )
        pressed = st.button(t("ways.end"), icon=":material/logout:", disabled=chosen is None)
    if pressed and once(lambda: api().delete("credentials", str(chosen))) is not None:
        st.rerun()


def _label(one: Credential) -> str:
    way = _way(one)
    words = (way["kind"], way["name"], way["address"], way["seen"], t("ways.own") * one.current)
    return " · ".join(word for word in words if word)
