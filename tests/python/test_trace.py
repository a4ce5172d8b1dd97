"""Events carry the trace of OpenTelemetry that they belong to."""

import re
import subprocess
import sys

import outtray
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from outtray.testing import EnqueuedEvents

tracer = TracerProvider().get_tracer("shop")


@pytest.fixture
def enqueued(memory_outbox):
    """(enqueue, what came of it)"""
    found = EnqueuedEvents(memory_outbox)

    def enqueue(outbox, **options):
        found.clear()
        outbox.enqueue(memory_outbox, "t", **options)
        return found.all()[0].headers

    return enqueue


def test_the_active_span(enqueued):
    outbox = outtray.Outbox()
    assert enqueued(outbox) == {}
    with tracer.start_as_current_span("order") as span:
        context = span.get_span_context()
        trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        wanted = f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"
        assert enqueued(outbox) == {"traceparent": wanted}
        assert enqueued(outbox, headers={"a": "b"}) == {
            "traceparent": wanted,
            "a": "b",
        }
        # Who gives one knows better.
        own = {"TraceParent": "00-1-2-01"}
        assert enqueued(outbox, headers=own) == own
        assert enqueued(outtray.Outbox(trace=False)) == {}
    assert enqueued(outbox) == {}


def test_the_state_of_the_trace(enqueued):
    context = trace.SpanContext(
        trace_id=1,
        span_id=2,
        is_remote=True,
        trace_flags=trace.TraceFlags(0),
        trace_state=trace.TraceState([("vendor", "x")]),
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        headers = enqueued(outtray.Outbox())
        assert headers["tracestate"] == "vendor=x"
        assert re.fullmatch(r"00-0{31}1-0{15}2-00", headers["traceparent"])
        own = {"tracestate": "mine=y"}
        assert enqueued(outtray.Outbox(), headers=own)["tracestate"] == "mine=y"


def test_nothing_is_imported_for_it():
    code = (
        "import sqlite3, sys, outtray.testing\n"
        "conn = sqlite3.connect(':memory:')\n"
        "outtray.testing.create_outbox(conn)\n"
        "outtray.Outbox().enqueue(conn, 't')\n"
        "assert not [n for n in sys.modules if n.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
