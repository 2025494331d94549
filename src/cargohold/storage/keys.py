"""Every key that we write, in one place: the tree of `registry:2`, and one folder of our own that it never walks.

    <root>/
      docker/registry/v2/
        blobs/<alg>/<hex[:2]>/<hex>/data                                  bytes of a layer, config or manifest
        repositories/<name>/
          _layers/<alg>/<hex>/link                                        this repository holds that blob
          _manifests/revisions/<alg>/<hex>/link                           this repository holds that manifest
          _manifests/tags/<tag>/current/link                              what the tag points to
          _manifests/tags/<tag>/index/<alg>/<hex>/link                    all that it ever pointed to
      _cargohold/
        uploads/<id>/...                                                  bytes on their way (the driver's own layout)
        check/<random>/...                                                scratch of the self test

A link holds the digest as text without a newline. Names cannot clash: a component of a repository never starts with `_`.
"""

from __future__ import annotations

from cargohold.names import Digest, RepoName, Tag

TREE = "docker/registry/v2/"
BLOBS = TREE + "blobs/"
REPOSITORIES = TREE + "repositories/"
OWN = "_cargohold/"
UPLOADS = OWN + "uploads/"
CHECK = OWN + "check/"


def blob(digest: Digest) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{BLOBS}{algorithm}/{encoded[:2]}/{encoded}/data"


def repository(name: RepoName) -> str:
    return f"{REPOSITORIES}{name}/"


def layer(name: RepoName, digest: Digest) -> str:
    return f"{REPOSITORIES}{name}/_layers/{digest.replace(':', '/')}/link"


def layers(name: RepoName) -> str:
    return f"{REPOSITORIES}{name}/_layers/"


def revision(name: RepoName, digest: Digest) -> str:
    return f"{REPOSITORIES}{name}/_manifests/revisions/{digest.replace(':', '/')}/link"


def revisions(name: RepoName) -> str:
    return f"{REPOSITORIES}{name}/_manifests/revisions/"


def tags(name: RepoName) -> str:
    return f"{REPOSITORIES}{name}/_manifests/tags/"


def tag_current(name: RepoName, tag: Tag) -> str:
    return f"{REPOSITORIES}{name}/_manifests/tags/{tag}/current/link"


def tag_history(name: RepoName, tag: Tag, digest: Digest) -> str:
    return f"{REPOSITORIES}{name}/_manifests/tags/{tag}/index/{digest.replace(':', '/')}/link"


def tag(name: RepoName, tag: Tag) -> str:
    return f"{REPOSITORIES}{name}/_manifests/tags/{tag}/"


def staging(upload: str) -> str:
    return f"{UPLOADS}{upload}/"
