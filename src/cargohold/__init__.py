"""A private container registry: OCI Distribution 1.1 and Docker Registry v2 in one process.

Rooms, top to bottom; a room imports only what stands below it (docs/architecture.md, checked by `make check`):
testing > cli > app > registry > content > auth > events > jobs > http, db, storage > config > telemetry > errors > names.
"""
