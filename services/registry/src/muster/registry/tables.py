"""What the registry keeps: nodes, and the history of their metrics."""

from typing import Final

from sqlalchemy import JSON, Column, Float, LargeBinary, MetaData, String, Table, Text

from muster.kit.outbox import inbox_table
from muster.kit.sql import UtcTime

metadata: Final = MetaData()

nodes: Final = Table(
    "nodes",
    metadata,
    Column("id", String(17), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("public_key", String(56), nullable=False, unique=True),
    Column("groups", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("joined", UtcTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("state_since", UtcTime, nullable=False),
    Column("seen", UtcTime),
    Column("reason", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("inventory", Text),  # JSON of the contract
    Column("metrics", Text),  # JSON of the contract: the latest
    Column("metrics_at", UtcTime),
)

samples: Final = Table(
    "samples",
    metadata,
    Column("node", String(17), primary_key=True),
    Column("at", Float, primary_key=True),  # Unix time by our clock
    Column("data", LargeBinary, nullable=False),  # zlib of the metrics' JSON
)

inbox: Final = inbox_table(metadata)
