"""pending nodes.

Revision 0005, after 0004, of 2026-11-21.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("join_tokens", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("approve", sa.Boolean(), server_default=sa.false(), nullable=False)
        )

    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("pending", sa.Boolean(), server_default=sa.false(), nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_column("pending")

    with op.batch_alter_table("join_tokens", schema=None) as batch_op:
        batch_op.drop_column("approve")
