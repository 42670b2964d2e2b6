"""A pool in a file with the instances ``web`` and ``db``, for each test and each docstring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import terrarium
from terrarium.testing import make_pool, write


@pytest.fixture
def tm(tmp_path: Path) -> terrarium.Terrarium:
    made = make_pool(tmp_path / "pool", "web", "db")
    write(made, "web", "note", "one")
    return made


@pytest.fixture(autouse=True)
def names_of_docstrings(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]
) -> Iterator[None]:
    if isinstance(request.node, pytest.DoctestItem):
        made: terrarium.Terrarium = request.getfixturevalue("tm")
        assert made.pool_file is not None
        doctest_namespace.update(tm=made, pool=made.pool_file, folder=made.pool_file.parent)
    yield
