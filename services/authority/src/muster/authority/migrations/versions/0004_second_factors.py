"""second factors.

Revision 0004, after 0003, of 2026-11-21.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.add_column(sa.Column("totp", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("totp_next", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(
            sa.Column("totp_step", sa.BigInteger(), server_default="0", nullable=False)
        )

    with op.batch_alter_table("secrets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fresh", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("secrets", schema=None) as batch_op:
        batch_op.drop_column("fresh")

    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.drop_column("totp_step")
        batch_op.drop_column("totp_next")
        batch_op.drop_column("totp")
