"""The extension module below ``_core``."""

from typing import Any

def enqueue_build(
    options: Any, events: tuple[tuple[Any, ...], ...], /
) -> tuple[str, tuple[Any, ...], tuple[str, ...]]: ...
