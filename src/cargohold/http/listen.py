"""Addresses and listening sockets, bound once by the supervisor before any worker is forked.

`host:port`, `[::1]:port`, `:port` (every address of the machine, IPv4 and IPv6), `localhost:port` (each address of that name), or the
path of a unix socket. Whatever cannot be bound is a `StartRefused` that says in words what to do.

Callers: supervisor.py, tests.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

BACKLOG = 2048


class StartRefused(Exception):
    """The server cannot start as it is configured. The message is one line for the operator; the CLI prints it and exits with 2."""


def split_address(address: str) -> tuple[str, int]:
    """`host:port` as a pair; the host is empty for all addresses."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise StartRefused(f"{address!r} is not an address to listen on: write host:port, such as 127.0.0.1:5000 or [::1]:5000")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise StartRefused(f"{address!r} is not an address to listen on: an IPv6 address stands in brackets, such as [::1]:5000")
    return host, int(port)


def listen(address: str, net: str = "tcp", *, setting: str = "http.addr") -> list[socket.socket]:
    """Bound, listening, non-blocking sockets for the address."""
    if net == "unix":
        return [_listen_unix(address, setting)]
    if net != "tcp":
        raise StartRefused(f"http.net is {net!r}; it is tcp or unix")
    host, port = split_address(address)
    if not host:
        return [_listen_all(port, setting)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartRefused(f"The host {host!r} of {setting} cannot be resolved: {error.strerror}") from None
    sockets: list[socket.socket] = []
    for family, _, _, _, place in found:
        if any(place[:1] == other.getsockname()[:1] for other in sockets):
            continue
        chosen = sockets[0].getsockname()[1] if sockets and port == 0 else port
        try:
            sockets.append(_listen_tcp(family, (place[0], chosen, *place[2:]), setting))
        except StartRefused:
            if not sockets:
                raise
    return sockets


def _listen_all(port: int, setting: str) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            # a kernel may know IPv6 and still have it switched off
            socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
            return _listen_tcp(socket.AF_INET6, ("::", port), setting)
    return _listen_tcp(socket.AF_INET, ("0.0.0.0", port), setting)  # noqa: S104  # the operator wrote `:port`, which says so


def _listen_tcp(family: int, place: tuple[object, ...], setting: str) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if place[0] == "::" else 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartRefused(_why(error, f"{place[0]}", f"port {place[1]}", setting)) from None
    listener.setblocking(False)
    return listener


def _why(error: OSError, host: str, what: str, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Another program listens on {what} of {host} already; stop it or set {setting} to another one"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to listen on {what} of {host}; ports below 1024 need privileges: set {setting} to a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; correct {setting}"
    return f"Cannot listen on {what} of {host} ({setting}): {error.strerror}"


def _listen_unix(path: str, setting: str) -> socket.socket:
    _remove_stale(path, setting)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, 0o660)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartRefused(f"Cannot make the socket {path} ({setting}): {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def _remove_stale(path: str, setting: str) -> None:
    """A socket file that nobody answers on is left from a crash; anything else at that path is not ours to remove."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"{path} ({setting}) is there already and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            return
    raise StartRefused(f"Another program listens on {path} already; stop it or set {setting} to another one")


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Where a person finds it: `http://127.0.0.1:5000`, or the path of the socket."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"
