"""The tables of the shelf."""

from sqlalchemy import Column, ForeignKey, String, Table

from muster.contracts.nodes import Target
from muster.kit.outbox import inbox_table, outbox_table
from muster.kit.sql import BigId, Document, Json, UtcTime, new_metadata

metadata = new_metadata()
outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
books = Table(
    "books",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("title", String(200), nullable=False, unique=True),
    Column("bought", UtcTime),
    Column("about", Json),
    Column("target", Document(Target)),
)
pages = Table(
    "pages",
    metadata,
    Column("book", ForeignKey("books.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigId, primary_key=True, autoincrement=False),
)
