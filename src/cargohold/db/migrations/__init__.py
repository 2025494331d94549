"""The history of the schema, run by Alembic: runner.py runs it, env.py is what Alembic asks for, versions/ holds the revisions.

A revision stands on its own: it names types and columns itself and imports nothing of tables/, which goes on changing. After
all of them the schema is that of tables/, on both engines (tests/db/test_migrations.py). Prefer ADD COLUMN to batch mode.
A new revision also goes into REVISIONS of db/migrate.py, so that a start can tell what is missing without loading Alembic.
"""
