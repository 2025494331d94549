"""Alembic's home: forward only, one transaction under a lock, on both engines. Revisions are in versions/."""
