"""Progress is for people: a line on a terminal, a few in a log of long work."""

import io
import re

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


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1, []), (20, [1, 3]), (31, [0, 1, 2, 3]), (100, [0, 1, 2, 3])],
)
def test_a_log_of_long_work_gets_a_line_every_half_minute(clock, seconds, shown):
    stream = io.StringIO()
    with ProgressLine("reading", stream) as progress:
        for done in range(4):
            clock[0] += seconds
            progress(done, 4)
    assert stream.getvalue() == "".join(f"reading: {done}/4\n" for done in shown)


def test_without_standard_error_nothing_is_written(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with ProgressLine("reading") as progress:
        clock[0] += 100
        progress(1, 2)


def drawn(stream):
    """The drawings of a bar on a terminal, without their colours."""
    return [
        re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text).strip()
        for text in re.split(r"\r|\n", stream.getvalue())
    ]


def test_a_terminal_gets_a_bar_redrawn_in_place_and_then_ended():
    stream = Terminal()
    with ProgressLine("reading", stream) as progress:
        progress(1, 2)
        progress(2, 2)
    shown = [text for text in drawn(stream) if text]
    assert all(text.startswith("reading ") for text in shown)
    assert "1/2" in shown[0]
    assert "2/2" in shown[-1]
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().rpartition("\n")[2] == "\x1b[?25h"


class Notebook(io.StringIO):
    """The stream of a cell."""


Notebook.__module__ = "ipykernel.iostream"


def test_a_notebook_gets_a_line_redrawn_in_place_and_then_ended():
    stream = Notebook()
    with ProgressLine("reading", stream) as progress:
        progress(1, 2)
        progress(2, 2)
    assert stream.getvalue() == "\rreading: 1/2\rreading: 2/2\n"


@pytest.mark.parametrize("kind", [Terminal, Notebook])
def test_fast_loops_are_not_slowed_by_drawing(clock, kind):
    stream = kind()
    with ProgressLine("reading", stream) as progress:
        for done in range(1, 100):
            progress(done, 100)
        text = stream.getvalue()
        assert "1/100" in text
        assert "2/100" not in text
        clock[0] += 1
        progress(100, 200)
    assert "100/200" in stream.getvalue()


@pytest.mark.parametrize("kind", [Terminal, Notebook])
def test_the_last_step_is_always_drawn(clock, kind):
    stream = kind()
    with ProgressLine("reading", stream) as progress:
        progress(1, 2)
        progress(2, 2)
    assert "2/2" in stream.getvalue()


def test_a_shorter_line_wipes_a_longer_one(clock):
    stream = Notebook()
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
    assert "1/2" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_standard_error_is_looked_up_when_the_work_begins(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with ProgressLine("reading") as progress:
        progress(1, 1)
    assert "reading" in stream.getvalue()
