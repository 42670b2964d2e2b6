from collections.abc import Callable
from typing import Any, Optional

__version__: str

def call(
    site: str,
    request: str,
    progress: Optional[Callable[[int, int, str], Any]],
) -> str: ...
