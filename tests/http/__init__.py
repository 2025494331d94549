"""The HTTP server: bytes on the wire, processes, TLS, health and telemetry, with a small endpoint in the place of a registry."""
