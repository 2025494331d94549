"""Who may do what: a row for every operation, a column for every kind of caller, each cell tried against a real registry.

One file of rows for each noun of registry/; `ROWS` joins them. Policy behind the numbers:
- without credentials, and with such that prove nothing: 401 with the challenge, also on `/v2/`;
- with a good token that lacks the right: 401 insufficient_scope (clients fetch a token with that scope), never 403;
- any user of an htpasswd, and everybody in an open registry, may do everything.
"""
