"""Who is asking, and may they?

    authenticator.py   authenticator(settings.auth) -> Authenticator; admit(auth, call, wants) -> Actor, or the refusal to raise
    permissions.py     can(actor, action, target); Action, repository(name), CATALOG, wants(target, *actions)
    identity.py        Actor, ANONYMOUS, ANYONE
    challenge.py       the WWW-Authenticate header, scopes
    tokens.py          bearer tokens and the keys that verify them
    providers/         anyone (open), htpasswd, token: one for each `auth.kind`
    watched.py         files that are read again when they change
    recent.py          a bounded memory of what was verified

Callers: app.py makes the authenticator; registry/dispatch.py admits; content/ binds uploads to `Actor.principal`.
"""
