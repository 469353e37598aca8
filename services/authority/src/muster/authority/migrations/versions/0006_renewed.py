"""renewed.

Revision 0006, after 0005, of 2026-11-21.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "renewed",
                sa.DateTime(timezone=True),
                server_default="1970-01-01 00:00:00",
                nullable=False,
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_column("renewed")
