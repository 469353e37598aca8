"""What the scheduler keeps: runs, their targets, and the stored copy of their output."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from muster.kit.outbox import inbox_table, outbox_table
from muster.kit.sql import UtcTime

metadata: Final = MetaData()

runs: Final = Table(
    "runs",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("created", UtcTime, nullable=False),
    Column("by", String(200), nullable=False),
    Column("key", String(200)),
    Column("note", String(200), nullable=False),
    Column("args", LargeBinary, nullable=False),  # the command's JSON, as it was signed
    Column("expires", UtcTime, nullable=False),
    Column("finished", UtcTime),
    Column("output_cap", BigInteger, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("open", Integer, nullable=False),  # targets that are not in a final state
    UniqueConstraint("by", "key"),
)

targets: Final = Table(
    "targets",
    metadata,
    Column("run", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("node", String(17), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("exit", BigInteger),
    Column("signal", Integer),
    Column("sent", UtcTime),  # set as soon as the node may have got it
    Column("started", UtcTime),
    Column("finished", UtcTime),
    Column("changed", UtcTime, nullable=False),
    Column("stdout", BigInteger, nullable=False),
    Column("stderr", BigInteger, nullable=False),
    Column("pieces", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("cancel", LargeBinary),  # the signed order to end it, until it has ended
)
Index("targets_by_node", targets.c.node, targets.c.state)
Index("targets_by_state", targets.c.state)

output: Final = Table(
    "output",
    metadata,
    Column("run", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("node", String(17), primary_key=True),
    Column("stream", String(6), primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
Index("output_by_seq", output.c.run, output.c.seq)

outbox: Final = outbox_table(metadata)
inbox: Final = inbox_table(metadata)
