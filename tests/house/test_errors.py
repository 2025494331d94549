"""The error tree: every refusal says what it means, carries a code that clients know, and stands in the reference."""

from __future__ import annotations

import inspect

import pytest

from cargohold import errors
from cargohold.errors import CargoholdError
from tests.house.sources import ROOT

# OCI Distribution 1.1, table "Error codes", and the four that registry:2 adds to it.
CODES = {
    *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID"),
    *("UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
    *("UNKNOWN", "UNAVAILABLE", "TAG_INVALID", "PAGINATION_NUMBER_INVALID"),
}


def tree(kind: type[CargoholdError] = CargoholdError) -> list[type[CargoholdError]]:
    return [kind] + [found for child in kind.__subclasses__() for found in tree(child)]


TREE = [kind for kind in tree() if kind.__module__.startswith("cargohold.")]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_refusal_says_what_it_means(kind: type[CargoholdError]) -> None:
    assert kind.__module__ == "cargohold.errors", "the whole tree is drawn in one file"
    assert len((kind.__doc__ or "").split()) >= 4
    assert kind.__doc__ != (kind.__base__.__doc__ if kind.__base__ else ""), "a class of its own has words of its own"


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_refusal_has_a_code_that_clients_know(kind: type[CargoholdError]) -> None:
    assert kind.code in CODES
    assert 400 <= kind.status <= 599


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_refusal_is_drawn_in_the_tree_and_stands_in_the_reference(kind: type[CargoholdError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    assert kind.__name__ in page and kind.code in page and str(kind.status) in page


def test_only_the_error_file_makes_errors_of_the_tree() -> None:
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, CargoholdError)]
    assert set(classes) == set(TREE)
