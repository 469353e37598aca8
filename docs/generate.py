"""Write the reference pages: ``uv run python docs/generate.py``.

Everything in them is read from the code, so that the pages cannot say anything else; a test of
the house fails when they are stale.
"""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

import muster.contracts
from muster.contracts import names, nodes
from muster.contracts.base import ACCOUNT, NODE, SERVICE, Call, Event, Message
from muster.contracts.errors import BY_CODE
from muster.kit.service import ServiceSettings
from muster.kit.settings import variable

ROOT: Final = Path(__file__).parents[1]
HERE: Final = ROOT / "docs" / "reference"
T = TypeVar("T")

_NEEDS: Final = {
    SERVICE: "services only",
    NODE: "the node itself",
    ACCOUNT: "the service account itself",
    "self": "anyone logged in",
}
_INTRODUCTION: Final = """\
# Contracts

Generated from `contracts/` by `uv run python docs/generate.py`; do not edit.

Messages are JSON. Readers ignore fields that they do not know, and new fields have defaults.
Times are ISO 8601 with an offset, bytes are base64, identifiers are made so that no wildcard
ever reaches a subject.
"""
_CALLS: Final = """\
Questions, each answered by one service over NATS request/reply (`nats.micro`). *Needs* is the
permission that the ticket in the header `Muster-Ticket` must carry. A question of *the node
itself* is asked on the subject with the node's id as one more token, one of *the service account
itself* with its name: the broker lets nobody use another's.
"""
_EVENTS: Final = """\
What has happened. `{0}` stands for the id of the thing. *Durable* events are kept by a stream
until every consumer has them; the others are lossy, and whoever needs all of them catches up
with a call.
"""
_ERRORS: Final = """\
A refusal crosses the bus in the headers `Nats-Service-Error-Code` and `Nats-Service-Error`, and
leaves the gateway as a problem document (RFC 9457) with its code and this status.
"""
_SETTINGS: Final = """\
# Settings

Generated from the packages by `uv run python docs/generate.py`; do not edit.

A setting is a key in the section of that name in `muster.toml`, or an environment variable,
which wins. A list in a variable is separated by commas. `muster config show` tells what holds
and why.
"""


def modules() -> Iterator[ModuleType]:
    """Yield the modules of the contracts, by name."""
    for found in sorted(pkgutil.iter_modules(muster.contracts.__path__), key=lambda m: m.name):
        yield importlib.import_module(f"muster.contracts.{found.name}")


def constants(kind: type[T]) -> dict[str, T]:
    """Return the constants of one *kind* (`Call`, `Event`) of all contracts, by name."""
    return {
        name: value
        for module in modules()
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, kind)
    }


def messages() -> list[type[Message]]:
    """Return every message, in the order of the modules and within them of the text."""
    return [
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Message)
        and value is not Message
        and value.__module__ == module.__name__
    ]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _link(message: type[Message]) -> str:
    return f"[{message.__name__}](#{message.__name__.lower()})"


def _first(text: str | None) -> str:
    """Return the first paragraph of a docstring, on one line."""
    paragraph = inspect.cleandoc(text or "").split("\n\n")[0]
    return re.sub(r"``?([^`]+)``?", r"`\1`", " ".join(paragraph.split())).replace("|", "\\|")


def _call_rows() -> list[list[str]]:
    return [
        [
            f"`{name}`",
            f"`{c.subject}`",
            _NEEDS.get(c.needs, f"`{c.needs}`"),
            _link(c.ask),
            _link(c.answer),
        ]
        for name, c in sorted(constants(Call).items(), key=lambda item: item[1].subject)
    ]


def _event_rows() -> list[list[str]]:
    return [
        [f"`{name}`", f"`{e.subject}`", "yes" if e.durable else "no", _link(e.fact)]
        for name, e in sorted(constants(Event).items(), key=lambda item: item[1].subject)
    ]


def _error_rows() -> list[list[str]]:
    kinds = sorted(BY_CODE.values(), key=lambda kind: (kind.status, kind.code))
    told = {"internal": "Something went wrong inside; the log of the service says what."}
    return [
        [f"`{kind.code}`", str(kind.status), told.get(kind.code) or _first(kind.__doc__)]
        for kind in kinds
    ]


class _Bare(ast.NodeTransformer):
    """Takes the constraints out of an annotation."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Replace ``Annotated[X, …]`` by ``X``, at any depth."""
        self.generic_visit(node)
        annotated = isinstance(node.value, ast.Name) and node.value.id == "Annotated"
        return node.slice.elts[0] if annotated and isinstance(node.slice, ast.Tuple) else node


def _texts(body: list[ast.stmt]) -> dict[str, tuple[ast.expr, str]]:
    """Return what is assigned or annotated in *body*, with the docstring below it."""
    found: dict[str, tuple[ast.expr, str]] = {}
    for node, below in zip(body, [*body[1:], None], strict=True):
        said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        text = str(below.value.value) if said else ""  # type: ignore[union-attr]
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
                found[name] = kind, text
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = value, text
    return found


def _message_part(message: type[Message]) -> str:
    tree = ast.parse(inspect.getsource(message)).body[0]
    said = _texts(tree.body) if isinstance(tree, ast.ClassDef) else {}
    rows = []
    for name, info in message.model_fields.items():
        kind, text = said[name]
        shown = ast.unparse(_Bare().visit(kind)).replace("|", "\\|")
        rows.append([f"`{name}`", f"`{shown}`", "yes" if info.is_required() else "", _first(text)])
    head = f"### {message.__name__}\n\n{_first(message.__doc__)}\n"
    return head + ("\n" + _table(["field", "type", "required", ""], rows) if rows else "")


def _type_rows() -> list[list[str]]:
    rows = []
    for module in (names, nodes):
        said = _texts(ast.parse(inspect.getsource(module)).body)
        for name, (value, text) in said.items():
            if not ast.unparse(value).startswith("Annotated["):
                continue
            schema = TypeAdapter(getattr(module, name)).json_schema()
            rules = [f"{key} `{rule}`" for key, rule in schema.items() if key != "type"]
            rows.append([f"`{name}`", schema["type"], ", ".join(rules), _first(text)])
    return rows


def contracts_page() -> str:
    """Return the page of all subjects, calls, events, errors and messages."""
    parts = [
        _INTRODUCTION,
        "## Calls\n\n" + _CALLS,
        _table(["call", "subject", "needs", "ask", "answer"], _call_rows()),
        "## Events\n\n" + _EVENTS,
        _table(["event", "subject", "durable", "fact"], _event_rows()),
        "## Errors\n\n" + _ERRORS,
        _table(["code", "status", "meaning"], _error_rows()),
        "## Types\n",
        _table(["type", "", "rules", ""], _type_rows()),
        "## Messages\n",
        *(_message_part(message) for message in messages()),
    ]
    return "\n".join(parts)


def sections() -> dict[str, type[BaseModel]]:
    """Return the settings that packages declare, by the name of their section."""
    found: dict[str, type[BaseModel]] = {}
    for path in sorted(ROOT.glob("*/src/muster/**/settings.py")) + sorted(
        ROOT.glob("services/*/src/muster/*/settings.py")
    ):
        dotted = ".".join(path.with_suffix("").parts[path.parts.index("src") + 1 :])
        module = importlib.import_module(dotted)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            own = kind.__module__ == dotted and dotted != "muster.kit.settings"
            if own and issubclass(kind, BaseModel):
                found[path.parent.name] = kind
    return dict(sorted(found.items()))


def _setting_row(variable: str, name: str, info: FieldInfo) -> list[str]:
    default = "" if info.is_required() else json.dumps(info.get_default(), default=str)
    shown = {"null": "", '""': "", "": "*needed*"}.get(default, f"`{default}`")
    return [f"`{name}`", f"`{variable}`", shown, _first(info.description)]


def _settings_part(title: str, kind: type[BaseModel], known: Iterable[str] = ()) -> str:
    section = "<service>" if kind is ServiceSettings else title
    rows = [
        _setting_row(variable(section, name), name, info)
        for name, info in kind.model_fields.items()
        if name not in known
    ]
    table = _table(["setting", "variable", "default", ""], rows) if rows else "Nothing more.\n"
    return f"## {title}\n\n{_first(kind.__doc__)}\n\n{table}"


def settings_page() -> str:
    """Return the page of all settings."""
    parts = [_SETTINGS, _settings_part("Every service", ServiceSettings)]
    for section, kind in sections().items():
        common = ServiceSettings.model_fields if issubclass(kind, ServiceSettings) else ()
        parts.append(_settings_part(section, kind, common))
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Return the text of every reference page."""
    return {HERE / "contracts.md": contracts_page(), HERE / "settings.md": settings_page()}


def main() -> None:
    """Write the pages that are stale, and name them."""
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
