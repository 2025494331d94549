"""The protocol of the data plane, spoken over HTTP to a registry in this process, on both database engines."""
