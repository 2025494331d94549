"""Settings: what they are (settings.py), where a value came from (load.py), and how a config.yml of `registry:2` says them (registry.py).

Nothing here is read at import time: app.py and cli/ load the settings once and hand each room its own part.
"""
