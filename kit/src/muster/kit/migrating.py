"""What is done with alembic: run a service's migrations, write the next one.

``<package>/migrations/`` holds ``env.py``, which is no more than ::

    from muster.kit.migrating import run_here
    from muster.registry.tables import metadata

    run_here(metadata)

and ``versions/``. After a change of ``tables.py`` write the next step, and read it, with
``python -m muster.kit.migrating muster.registry "add the note of a node"``.
"""

import datetime as dt
import importlib
import re
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Final, Literal

from alembic import command, context
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.operations.ops import DowngradeOps, UpgradeOps
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from muster.contracts.errors import Unavailable
from muster.kit.migrations import bring_to_head, folder_of, head_of, version_table
from muster.kit.sql import create_engine

_STEP: Final = '''"""{message}.

Revision {revision}, after {down}, of {day}.
"""

import sqlalchemy as sa
from alembic import op
{imports}
revision = "{revision}"
down_revision = {down_literal}
branch_labels = None
depends_on = None


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
'''


_ONE_AT_A_TIME: Final = threading.Lock()  # alembic's context is one for the whole process


def upgrade(conn: Connection, folder: Path, table: str) -> None:
    """Run every step of *folder* that the database has not had, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=conn, version_table=table)
    try:
        with _ONE_AT_A_TIME:
            command.upgrade(config, "head")
        conn.commit()
    except CommandError as error:
        raise Unavailable(
            f"the database of {table.removesuffix('_version')} does not fit this version of"
            f" Muster ({error}): install the newer version, or restore a backup"
        ) from error


def run_here(metadata: MetaData) -> None:
    """Do what alembic expects of an ``env.py``."""
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=metadata,
        version_table=attributes["version_table"],
        **_options(),
    )
    with context.begin_transaction():
        context.run_migrations()


def _options() -> dict[str, Any]:
    return {
        "render_as_batch": True,
        "transactional_ddl": True,
        "compare_type": True,
        "render_item": _plain,
    }


def _plain(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write plain column types into the steps, so that old steps never depend on our code."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    if kind == "type" and isinstance(item, JSONB):  # its own repr is no valid code
        return f"postgresql.JSONB(none_as_null={item.none_as_null})"
    return False


def drift(conn: Connection, metadata: MetaData, package: str) -> list[Any]:
    """Return in what the tables of a migrated database differ from *metadata*: in nothing."""
    options = {**_options(), "version_table": version_table(package)}
    difference: list[Any] = compare_metadata(
        MigrationContext.configure(conn, opts=options), metadata
    )
    return difference


def write_step(package: str, message: str) -> Path:
    """Write the step from the newest revision of *package* to its ``tables.metadata``."""
    metadata: MetaData = importlib.import_module(f"{package}.tables").metadata
    folder = folder_of(package)
    versions = folder / "versions"
    versions.mkdir(exist_ok=True)
    known = list(versions.glob("[!_]*.py"))
    down = head_of(folder) if known else None
    revision = f"{len(known) + 1:04d}"
    up_text, down_text = _difference(package, metadata, from_nothing=down is None)
    imports = "from sqlalchemy.dialects import postgresql\n" if "postgresql." in up_text else ""
    path = versions / f"{revision}_{re.sub(r'[^a-z0-9]+', '_', message.lower()).strip('_')}.py"
    path.write_text(
        _STEP.format(
            message=message,
            revision=revision,
            down=down or "nothing",
            down_literal=f'"{down}"' if down else None,
            day=dt.datetime.now(dt.UTC).date(),
            imports=imports,
            upgrade=up_text,
            downgrade=down_text,
        ),
        encoding="utf-8",
    )
    return path


def _difference(package: str, metadata: MetaData, *, from_nothing: bool) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as place:
        engine = create_engine(f"sqlite:///{place}/empty.db", schema="any")
        if not from_nothing:
            bring_to_head(engine, package)
        with engine.connect() as conn:
            options = {**_options(), "version_table": version_table(package)}
            here = MigrationContext.configure(conn, opts=options)
            script = produce_migrations(here, metadata)
    up, down = script.upgrade_ops, script.downgrade_ops
    if up is None or down is None or up.is_empty():
        raise ValueError(f"the tables of {package} are as its migrations make them")
    return _rendered(up, here), _rendered(down, here)


def _rendered(operations: UpgradeOps | DowngradeOps, here: MigrationContext) -> str:
    code = render_python_code(
        operations, render_as_batch=True, render_item=_plain, migration_context=here
    )
    return re.sub(r"^ *#.*\n\s*|\n *#.*$", "", code, flags=re.MULTILINE)


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 (the program, the package, the message)
        sys.exit(__doc__)
    sys.stdout.write(f"{write_step(*sys.argv[1:])}\n")
