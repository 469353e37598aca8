"""identities and roles by groups.

Revision 0007, after 0006, of 2026-11-21.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("person", sa.String(length=63), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["people.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("issuer", "subject"),
    )
    with op.batch_alter_table("identities", schema=None) as batch_op:
        batch_op.create_index("identities_by_person", ["person", "issuer"], unique=True)

    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.add_column(sa.Column("mapped", sa.JSON(), server_default="[]", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("people", schema=None) as batch_op:
        batch_op.drop_column("mapped")

    with op.batch_alter_table("identities", schema=None) as batch_op:
        batch_op.drop_index("identities_by_person")

    op.drop_table("identities")
