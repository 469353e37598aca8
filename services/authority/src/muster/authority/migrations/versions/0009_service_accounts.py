"""service accounts.

Revision 0009, after 0008, of 2026-11-21.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("account", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    with op.batch_alter_table("secrets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("key", sa.String(56), server_default="", nullable=False))
        batch_op.add_column(sa.Column("signer", sa.String(56), server_default="", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("secrets", schema=None) as batch_op:
        batch_op.drop_column("signer")
        batch_op.drop_column("key")
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.drop_column("account")
