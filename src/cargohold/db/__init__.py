"""Metadata: what the rest may say to it (work.py), how a statement is compiled once (query.py), the engines, tables and migrations.

One query function serves SQLite and PostgreSQL; every branch on the dialect is inside this room.
"""
