"""A run and what it says on every node, while it says it."""

from functools import partial
from typing import Any, Final
from urllib.parse import quote

import streamlit as st

from muster.contracts.runs import ResultFile, ResultFiles, RunEvents, RunView, Stream, TargetView
from muster.dashboard import shapes
from muster.dashboard.api import where
from muster.dashboard.following import Following, Shown
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import dialogs
from muster.dashboard.views.picking import height
from muster.kit.text import clean

_SIDE: Final = 6
"""So many nodes are shown under each other; of more, one at a time beside a table."""
_ROUNDS: Final = 8
_HIGH: Final = 12
"""Lines of output that are shown without a scroll bar."""


def show(run_id: str) -> None:
    """Show a run; while it goes on, once a second again."""
    following: Following | None = st.session_state.get("following")
    if following is None or following.run != run_id:
        following = Following(run_id)
        st.session_state.following = following
    st.fragment(_watch, run_every=None if following.over else 1)(following)


def _watch(following: Following) -> None:
    was_over = following.over
    if not once(lambda: _look(following)) or following.view is None:
        return
    _head(following.view)
    for shown in _watched(following):
        _target(following.view, shown)
    if following.over and not was_over:
        st.rerun()  # the page stops asking


def _look(following: Following) -> bool:
    """Read the run and what is new in it."""
    was = following.seq
    following.begin(api().get(RunView, "runs", following.run))
    watched = [shown.target.node for shown in _in_view(following)]
    for node in watched:
        following.targets[node].catch_up(lambda *ask: api().output(following.run, *ask))
    for _ in range(_ROUNDS if was is not None else 1):
        path = ("runs", following.run, "events")
        events = api().get(RunEvents, *path, after=following.seq, limit=100)
        following.take(events, watched)
        if not events.more:
            break
    return True


def _in_view(following: Following) -> list[Shown]:
    """Return the targets whose output is shown."""
    every = list(following.targets.values())
    if len(every) <= _SIDE:
        return every
    chosen = str(st.session_state.get(f"watched-{following.run}", ""))
    return [following.targets.get(chosen) or _interesting(every)]


def _interesting(every: list[Shown]) -> Shown:
    """Return the first that went wrong, or the first."""
    wrong = (one for one in every if shapes.colour(one.target.state) == "red")
    return next(wrong, every[0])


def _head(view: RunView) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for state, number in view.counts.items():
            if number:
                word = shapes.state(state, t(f"state.{state}"))
                st.badge(f"{word} {number}", color=shapes.colour(state))
        facts = t("run.by", who=clean(view.by), ago=shapes.ago(view.created))
        st.text(f"{facts} · {clean(view.note)}" if view.note else facts, width="content")
        if not view.over and st.button(t("run.cancel"), icon=":material/stop:", key="cancel"):
            dialogs.ask(t("run.cancel"), partial(_cancel, view))
    text = view.command.shell or " ".join(view.command.argv)
    st.code(clean(text, keep="\n\t")[:4000], language=None, wrap_lines=True)


def _cancel(view: RunView) -> None:
    left = sum(not target.state.final for target in view.targets)
    st.markdown(t("run.cancel_what", count=left))
    st.code(shapes.command(view.command), language=None, wrap_lines=True)
    if st.button(t("run.cancel_now"), type="primary", icon=":material/stop:", key="cancel_now"):
        done = once(lambda: api().post(RunView, "runs", view.id, "cancel", body={}))
        if done is not None:
            st.rerun()


def _watched(following: Following) -> list[Shown]:
    """Show the table of many targets and let one be chosen; return those to draw."""
    every = list(following.targets.values())
    if len(every) > _SIDE:
        rows = [_line(one.target) for one in every]
        columns: dict[str, Any] = {
            "name": t("fleet.name"),
            "state": t("fleet.state"),
            "exit": t("run.exit_code"),
            "took": t("run.took"),
            "stdout": "stdout",
            "stderr": "stderr",
            "reason": t("run.reason"),
        }
        st.dataframe(rows, hide_index=True, column_config=columns, height=height(len(rows), 10))
        key = f"watched-{following.run}"
        st.session_state.setdefault(key, _interesting(every).target.node)
        st.selectbox(
            t("run.show"),
            [one.target.node for one in every],
            format_func=lambda id_: _choice(following.targets[id_].target),
            key=key,
            width=420,
        )
    return _in_view(following)


def _choice(target: TargetView) -> str:
    return f"{clean(target.name)} · {shapes.state(target.state, t(f'state.{target.state}'))}"


def _target(view: RunView, shown: Shown) -> None:
    target = shown.target
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(clean(target.name), width="content")
            word = shapes.state(target.state, t(f"state.{target.state}"))
            st.badge(word, color=shapes.colour(target.state))
            st.text(_ending(target), width="content")
            for stream in Stream:
                if shown.size(stream):
                    path = where("runs", view.id, "output", target.node, stream)
                    label = f"{stream} · {shapes.size(shown.size(stream))}"
                    st.link_button(
                        label, f"/api/v1/{path}", icon=":material/download:", type="tertiary"
                    )
            if target.started is not None:
                with st.popover(t("run.files"), icon=":material/folder_open:", type="tertiary"):
                    _files(view.id, target.node)
        _outputs(shown)


def _outputs(shown: Shown) -> None:
    for stream, output in shown.outputs.items():
        if not output.data:
            continue
        if stream is Stream.ERR:
            st.caption("stderr")
        if output.cut:
            st.caption(t("run.cut"))
        text = clean(output.data.decode("utf-8", "replace"), keep="\n\t").rstrip("\n")
        if text.count("\n") < _HIGH:
            st.code(text, language=None, wrap_lines=True)
        else:
            with st.container(height=320, border=False, autoscroll=True):
                st.code(text, language=None, wrap_lines=True)
    if shown.target.state.final and not any(o.data for o in shown.outputs.values()):
        st.caption(t("run.silent"))


def _files(run: str, node: str) -> None:
    """List the result files, when asked: the node itself must answer."""
    key = f"listed-{run}-{node}"
    if st.button(t("run.list_files"), key=f"files-{node}", icon=":material/refresh:"):
        st.session_state[key] = once(lambda: api().get(ResultFiles, "runs", run, "files", node))
    found: ResultFiles | None = st.session_state.get(key)
    if found is None:
        return
    rows = [_file(run, node, one, output=False) for one in found.items]
    rows += [_file(run, node, one, output=True) for one in found.outputs]
    if not rows:
        st.caption(t("run.no_files"))
        return
    columns: dict[str, Any] = {
        "path": t("run.file"),
        "size": t("node.size"),
        "link": st.column_config.LinkColumn(t("run.fetch"), display_text=":material/download:"),
    }
    st.dataframe(rows, hide_index=True, column_config=columns, height=height(len(rows), 9))
    if found.truncated:
        st.caption(t("run.more_files"))


def _file(run: str, node: str, file: ResultFile, *, output: bool) -> dict[str, Any]:
    path = where("runs", run, "files", node, "content")
    query = f"path={quote(file.path, safe='')}&output={str(output).lower()}"
    return {
        "path": clean(file.path) + (f" ({t('run.full')})" if output else ""),
        "size": shapes.size(file.size),
        "link": f"/api/v1/{path}?{query}",
    }


def _ending(target: TargetView) -> str:
    words = []
    if target.exit is not None and target.state.final:
        words.append(t("run.exit", code=target.exit))
    if target.signal is not None:
        words.append(t("run.signal", number=target.signal))
    if took := _took(target):
        words.append(took)
    if target.reason:
        words.append(clean(target.reason))
    return " · ".join(words)


def _took(target: TargetView) -> str:
    if target.started is None or target.finished is None:
        return ""
    seconds = max(0.0, (target.finished - target.started).total_seconds())
    return f"{seconds:.2f} s" if seconds < 60 else shapes.duration(seconds)  # noqa: PLR2004


def _line(target: TargetView) -> dict[str, Any]:
    return {
        "name": clean(target.name),
        "state": shapes.state(target.state, t(f"state.{target.state}")),
        "exit": target.exit,
        "took": _took(target),
        "stdout": shapes.size(target.stdout),
        "stderr": shapes.size(target.stderr),
        "reason": clean(target.reason)[:120],
    }
