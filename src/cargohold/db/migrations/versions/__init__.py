"""The revisions, in order of their numbers; each runs on SQLite and PostgreSQL and is never changed once released."""
