"""For tests, ours and other people's: images to push, a registry to push them to, an upstream that misbehaves, a token service.

    image.py      exact bytes of images, indexes, artifacts, caches; the same seed makes the same digests
    push.py       push and pull them over httpx, synchronous and asynchronous
    upstream.py   a registry in a thread that serves images and faults on demand
    tokens.py     a token service: keys, certificate, JWKS, signed tokens
    server.py     our registry: in this process, or as a process of its own

Needs httpx beside the package itself. Nothing outside tests imports this.
"""
