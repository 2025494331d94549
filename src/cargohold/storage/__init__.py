"""Where bytes live: the protocol (driver.py), every key (keys.py), and the drivers that keep the protocol's promises (drivers/).

Nothing here knows a manifest or a tag; content/ decides what is written, storage/ that it is whole and durable.
"""
