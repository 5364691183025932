"""Progress is for people: a line on a terminal, nothing in a pipe."""

import io

import pytest

from kerastl import _progress
from kerastl._progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_nothing():
    stream = io.StringIO()
    with ProgressLine("reading", stream) as progress:
        progress(1, 1)
    assert not stream.getvalue()


def test_a_terminal_gets_a_line_redrawn_in_place_and_then_ended():
    stream = Terminal()
    with ProgressLine("reading", stream) as progress:
        progress(1, 2)
        progress(2, 2)
    assert stream.getvalue() == "\rreading: 1/2\rreading: 2/2\n"


def test_a_notebook_is_watched_although_it_is_no_terminal():
    stream_of_a_cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.x"})
    stream = stream_of_a_cell()
    ProgressLine("reading", stream)(1, 1)
    assert stream.getvalue() == "\rreading: 1/1"


def test_fast_loops_are_not_slowed_by_drawing(clock):
    stream = Terminal()
    progress = ProgressLine("reading", stream)
    for done in range(1, 100):
        progress(done, 100)
    assert stream.getvalue() == "\rreading: 1/100"
    clock[0] += 1
    progress(100, 200)
    assert stream.getvalue().endswith("\rreading: 100/200")


def test_the_last_step_is_always_drawn(clock):
    stream = Terminal()
    progress = ProgressLine("reading", stream)
    progress(1, 2)
    progress(2, 2)
    assert stream.getvalue().endswith("\rreading: 2/2")


def test_a_shorter_line_wipes_a_longer_one(clock):
    stream = Terminal()
    progress = ProgressLine("reading", stream)
    progress(100, 100)
    progress(2, 2)
    assert stream.getvalue().split("\r")[-1] == "reading: 2/2    "


def test_closing_without_work_writes_nothing():
    stream = Terminal()
    ProgressLine("reading", stream).close()
    assert not stream.getvalue()


def test_an_error_ends_the_line_first():
    stream = Terminal()
    with (
        pytest.raises(OSError, match="disk"),
        ProgressLine("reading", stream) as progress,
    ):
        progress(1, 2)
        raise OSError("disk")
    assert stream.getvalue().endswith("\n")


def test_standard_error_is_looked_up_when_the_work_begins(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    ProgressLine("reading")(1, 1)
    assert "reading" in stream.getvalue()
