"""The columns of the matrix, and how each kind of caller is made."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """Status of one operation for each caller. `-` in `CALLERS` stands for the repository of the cell."""

    anonymous: int
    """Tokens wanted, none sent."""
    other: int
    """A token with every right on another repository."""
    pull: int
    push: int
    """pull and push, as clients ask for them."""
    pushonly: int
    delete: int
    """delete alone."""
    every: int
    """`*` on the repository."""
    catalog: int
    expired: int
    """A token with every right, whose time is over."""
    forged: int
    """A token with every right, signed by somebody else."""
    user: int
    """htpasswd: a right password."""
    wrong: int
    stranger: int
    """htpasswd wanted, nothing sent."""
    open: int
    """Everybody, in a registry without auth."""


SCOPES: dict[str, tuple[str, ...]] = {
    "other": ("repository:other/app:*", "repository:{0}x:*", "repository:x{0}:*"),
    "pull": ("repository:{0}:pull",),
    "push": ("repository:{0}:pull,push",),
    "pushonly": ("repository:{0}:push",),
    "delete": ("repository:{0}:delete",),
    "every": ("repository:{0}:*",),
    "catalog": ("registry:catalog:*",),
    "expired": ("repository:{0}:pull,push,delete,*", "registry:catalog:*"),
    "forged": ("repository:{0}:pull,push,delete,*", "registry:catalog:*"),
}
"""What the token of a column grants; `{0}` is the repository of the cell."""
