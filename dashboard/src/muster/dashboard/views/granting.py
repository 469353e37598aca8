"""Changing a role: a draft in this session, kept at the server only if nobody was faster."""

from collections.abc import Sequence
from typing import Any, Final, NoReturn
from uuid import uuid4

import streamlit as st

from muster.contracts.policy import ACTIONS, Role
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.kit.windows import parse as parse_window
from muster.kit.windows import show as show_window

_DRAFT: Final = "role_draft"
_WHOLE: Final = ("*", "node.*", "run.*", "user.*")
Draft = dict[str, Any]


def begin(role: Role, *, fresh: bool = False) -> NoReturn:
    """Begin to change *role*, as it was read; its version goes with it."""
    grants = [grant.model_dump(mode="json") for grant in role.grants]
    st.session_state[_DRAFT] = {
        "name": "" if fresh else role.name,
        "fresh": fresh,
        "note": role.note,
        "version": role.version,
        "grants": {uuid4().hex: grant for grant in grants} or {uuid4().hex: _empty()},
    }
    st.rerun()


def open_draft() -> bool:
    """Draw the role that is being changed; whether there is one."""
    draft: Draft | None = st.session_state.get(_DRAFT)
    if draft is None:
        return False
    name = draft["name"]
    if draft["fresh"]:
        name = st.text_input(t("roles.name"), key="role_name", max_chars=63).strip()
    else:
        st.text(name)
    note = st.text_input(t("roles.note"), value=draft["note"], key="role_note", max_chars=200)
    for key, grant in list(draft["grants"].items()):
        _grant(draft, key, grant)
    if st.button(t("roles.add"), icon=":material/add:", key="grant_add"):
        draft["grants"][uuid4().hex] = _empty()
        st.rerun()
    with st.container(horizontal=True):
        if st.button(t("roles.keep"), type="primary", icon=":material/check:", key="role_keep"):
            _keep(draft, name, note.strip())
        if st.button(t("roles.leave"), icon=":material/close:", key="role_leave"):
            _leave()
    st.caption(t("roles.hint"))
    return True


def _empty() -> Draft:
    return {"actions": [], "nodes": "all", "run_as": [], "during": [], "most": None}


def _grant(draft: Draft, key: str, grant: Draft) -> None:
    """Draw one grant; what is typed stays in its widgets."""
    with st.container(border=True):
        left, right = st.columns(2)
        known = [*_WHOLE, *ACTIONS, *(a for a in grant["actions"] if a not in {*_WHOLE, *ACTIONS})]
        left.multiselect(
            t("roles.actions"),
            known,
            grant["actions"],
            key=f"{key}-actions",
            placeholder="",
            help=_meanings(),
        )
        right.text_input(
            t("roles.nodes"), grant["nodes"], key=f"{key}-nodes", max_chars=1000,
            help=t("roles.nodes_help"),
        )  # fmt: skip
        with st.expander(t("roles.conditions"), expanded=_conditional(grant)):
            _conditions(key, grant)
        if st.button(t("roles.drop"), icon=":material/remove:", key=f"{key}-drop"):
            del draft["grants"][key]
            st.rerun()


def _conditional(grant: Draft) -> bool:
    names = ("run_as", "during", "most", "approval", "fresh")
    return any(grant.get(name) for name in names)


def _conditions(key: str, grant: Draft) -> None:
    left, right = st.columns(2)
    left.text_input(
        t("roles.run_as"), ", ".join(grant["run_as"]), key=f"{key}-run_as",
        help=t("roles.run_as_help"),
    )  # fmt: skip
    right.number_input(t("roles.most"), min_value=1, value=grant["most"], key=f"{key}-most", step=1)
    left.text_area(
        t("roles.during"), "\n".join(map(show_window, grant["during"])), key=f"{key}-during",
        placeholder="mon-fri 08:00-18:00 Asia/Shanghai", height=90,
    )  # fmt: skip
    right.toggle(t("roles.approval"), bool(grant.get("approval")), key=f"{key}-approval")
    right.toggle(t("roles.fresh"), bool(grant.get("fresh")), key=f"{key}-fresh")


def _meanings() -> str:
    return t("roles.actions_help", actions=", ".join(f"`{name}`" for name in ACTIONS))


def _typed(key: str) -> Draft:
    """Return a grant as it was typed; raises `ValueError` for hours that cannot be read."""
    said = {
        name: st.session_state[f"{key}-{name}"]
        for name in ("actions", "nodes", "run_as", "most", "during", "approval", "fresh")
    }
    return {
        **said,
        "nodes": said["nodes"].strip(),
        "run_as": _words(said["run_as"].split(",")),
        "during": [parse_window(line) for line in _words(said["during"].splitlines())],
    }


def _words(parts: Sequence[str]) -> list[str]:
    return [one.strip() for one in parts if one.strip()]


def _keep(draft: Draft, name: str, note: str) -> None:
    try:
        grants = [_typed(key) for key in draft["grants"]]
    except ValueError as error:
        st.warning(t("roles.bad_hours"))
        st.text(str(error))
        return
    if not name or any(not (one["actions"] and one["nodes"]) for one in grants):
        st.warning(t("roles.missing"))
        return
    body = {"grants": grants, "note": note, "version": draft["version"]}
    if once(lambda: api().put(Role, "roles", name, body=body)) is not None:
        _leave()


def _leave() -> NoReturn:
    st.session_state.pop(_DRAFT, None)
    st.rerun()
