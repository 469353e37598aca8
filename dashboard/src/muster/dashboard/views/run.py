"""Run a command, and see what it says on every node while it says it."""

import shlex
from typing import Any

import streamlit as st

from muster.dashboard import shapes
from muster.dashboard.following import FINAL, Following
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.kit.text import clean


def page() -> None:
    """Draw the page: the form, or the run that was chosen."""
    wanted = st.query_params.get("run") or st.session_state.pop("run", None)
    if wanted:
        st.query_params["run"] = wanted
        if st.button(t("run.another"), icon=":material/add:"):
            del st.query_params["run"]
            st.session_state.pop("following", None)
            st.rerun()
        show(wanted)
    else:
        _form()


def _form() -> None:
    found = once(lambda: api().get("/nodes", limit=1000, brief=True))
    if found is None:
        return
    names = {node["id"]: node for node in found["items"]}
    preset = [id_ for id_ in st.session_state.get("run_nodes", []) if id_ in names]
    with st.form("run"):
        chosen = st.multiselect(
            t("run.nodes"), list(names), default=preset, format_func=lambda id_: _label(names[id_])
        )
        text = st.text_input(t("run.command"), placeholder="df -h")
        left, middle, right = st.columns(3)
        shell = left.toggle(t("run.shell"), value=True, help=t("run.shell_help"))
        timeout = middle.number_input(t("run.timeout"), min_value=1, value=3600)
        note = right.text_input(t("run.note"), max_chars=200)
        started = st.form_submit_button(
            t("run.start"), type="primary", icon=":material/play_arrow:"
        )
    if started:
        _start(chosen, text, shell=shell, timeout=timeout, note=note)


def _label(node: dict[str, Any]) -> str:
    return f"{clean(node['name'])} · {t('state.' + node['state'])}"


def _start(chosen: list[str], text: str, *, shell: bool, timeout: float, note: str) -> None:
    if not chosen or not text.strip():
        st.warning(t("run.missing"))
        return
    try:
        words = shlex.split(text)
    except ValueError as error:
        st.warning(str(error))
        return
    command = {"shell": text} if shell else {"argv": words}
    body = {
        "command": {**command, "timeout": timeout},
        "targets": {"names": chosen},
        "note": note,
    }
    made = once(lambda: api().post("/runs", body))
    if made is not None:
        st.session_state.run_nodes = chosen
        st.query_params["run"] = made["id"]
        st.rerun()


def show(run_id: str) -> None:
    """Show a run; while it goes on, once a second again."""
    following: Following | None = st.session_state.get("following")
    if following is None or following.run != run_id:
        following = Following(run_id)
        st.session_state.following = following
    st.fragment(lambda: _watch(following), run_every=None if following.over else 1)()


def _watch(following: Following) -> None:
    was_over = following.over
    view = once(lambda: _look(following))
    if view is None:
        return
    st.subheader(shapes.command(view), anchor=False)
    st.caption(
        t(
            "run.by",
            run=view["id"],
            who=view["by"],
            ago=shapes.ago(view["created"]),
            note=clean(view["note"]) or "-",
        )
    )
    words = [f"{shapes.state(s, t('state.' + s))} {n}" for s, n in sorted(view["counts"].items())]
    st.markdown("  ·  ".join(words))
    if not following.over and st.button(t("run.cancel"), icon=":material/stop:"):
        once(lambda: api().post(f"/runs/{following.run}/cancel", {}))
    _targets(following)
    if following.over and not was_over:
        st.rerun()  # the page stops asking


def _look(following: Following) -> dict[str, Any]:
    """Read the run and what is new in it."""
    view: dict[str, Any] = api().get(f"/runs/{following.run}")
    while True:
        events = api().get(f"/runs/{following.run}/events", after=following.seq, limit=100)
        following.take(events)
        if not events["more"]:
            break
    following.begin(view)
    return view


def _targets(following: Following) -> None:
    """Show every node's outputs; for many nodes, a table and one of them."""
    many = len(following.targets) > 12  # noqa: PLR2004
    shown = list(following.targets.values())
    if many:
        st.dataframe([_line(one.target) for one in shown], hide_index=True)
        names = {one.target["node"]: clean(one.target["name"]) for one in shown}
        chosen = st.selectbox(t("nav.node"), list(names), format_func=names.__getitem__)
        shown = [following.targets[chosen]]
    for one in shown:
        target = one.target
        with st.container(border=True):
            st.markdown(f"**{clean(target['name'])}**  {_ending(target)}")
            for stream in ("stdout", "stderr"):
                if one.outputs[stream]:
                    st.caption(stream)
                    st.code(_text(one.outputs[stream]), language=None, wrap_lines=True)
            if one.cut:
                st.caption(t("run.cut"))
            if target["stdout"] or target["stderr"]:
                path = f"/api/v1/runs/{following.run}/output/{target['node']}"
                st.markdown(f"[stdout]({path}/stdout) · [stderr]({path}/stderr)")


def _text(data: bytes) -> str:
    return "\n".join(clean(line) for line in data.decode("utf-8", "replace").split("\n"))


def _ending(target: dict[str, Any]) -> str:
    words = [shapes.state(target["state"], t(f"state.{target['state']}"))]
    if target["exit"] is not None and target["state"] in FINAL:
        words.append(t("run.exit", code=target["exit"]))
    if target["signal"] is not None:
        words.append(t("run.signal", number=target["signal"]))
    if target["reason"]:
        words.append(clean(target["reason"]).replace("[", "\\["))
    return " · ".join(words)


def _line(target: dict[str, Any]) -> dict[str, Any]:
    return {
        t("fleet.name"): clean(target["name"]),
        t("fleet.state"): shapes.state(target["state"], t(f"state.{target['state']}")),
        t("run.exit_code"): target["exit"],
        t("run.reason"): clean(target["reason"]),
    }
