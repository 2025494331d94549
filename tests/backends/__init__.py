"""The running server on object storage and on PostgreSQL: what a push and a pull do there, and what a death or an outage leaves."""
