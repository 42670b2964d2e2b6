"""The README's example, word for word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import terrarium
from terrarium.testing import read, write

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("goes_well", [True, False])
def test_the_example_of_the_readme_runs(
    tm: terrarium.Terrarium, monkeypatch: pytest.MonkeyPatch, goes_well: bool
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    monkeypatch.setattr(terrarium, "Terrarium", lambda: tm)
    names: dict[str, Any] = {
        "deploy": lambda: write(tm, "web", "note", "deployed"),
        "healthy": lambda: goes_well,
    }
    if goes_well:
        exec(example, names)
    else:
        with pytest.raises(terrarium.CheckFailedError):
            exec(example, names)
    assert read(tm, "web", "note") == ("deployed" if goes_well else "one")
