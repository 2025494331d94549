"""Who is asking, and may they? Identity, scopes and challenges; the providers (htpasswd, token) are in providers/.

A provider turns the `Authorization` header into an actor or raises the error that carries its challenge. Callers: registry/dispatch.py.
"""
