"""The trace of OpenTelemetry that an event belongs to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_propagator: Any = None


def traced(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The headers, with traceparent and tracestate of the active span unless
    the caller gives a traceparent.

    Nothing is imported for who does not use OpenTelemetry: whoever has a span
    has its API loaded.
    """
    global _propagator
    if "opentelemetry.trace" not in sys.modules:
        return headers
    if _propagator is None:
        from opentelemetry.trace.propagation.tracecontext import (
            TraceContextTextMapPropagator,
        )

        _propagator = TraceContextTextMapPropagator()
    found: dict[str, str] = {}
    _propagator.inject(found)
    if not found or not headers:
        return found or headers
    if not isinstance(headers, Mapping):
        return headers  # refused by who reads them
    given = {name.lower() for name in headers if isinstance(name, str)}
    if "traceparent" in given:
        return headers
    return {
        **{name: value for name, value in found.items() if name not in given},
        **headers,
    }
