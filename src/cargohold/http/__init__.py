"""The server: processes and sockets, the protocol on them, and the shapes that cross the border (call.py in, replies.py out).

It knows no registry: an `Endpoint` is handed in by app.py, and both ways in (protocol.py inline, asgi.py) drive the same one.
"""
