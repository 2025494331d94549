"""One module per way to log in; each passes the same contract and is chosen by the setting `auth.kind` in app.py."""
