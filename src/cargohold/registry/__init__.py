"""The data plane: the `/v2/` API, one file per OCI noun. dispatch.py picks the handler and renders its errors.

A handler parses its request, calls content/, and makes a `Reply`; rules about images live below, not here.
"""
