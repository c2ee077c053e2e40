"""What is seen of a build: a live bar on a terminal, lines in a log."""

import io
import sys
from contextlib import redirect_stderr

from export.compilers.display import BuildDisplay


class Terminal(io.StringIO):
    def isatty(self):
        return True


def seen(stream, monkeypatch):
    """What a build that is redirected half-way writes to a stream."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with BuildDisplay() as display:
        display.began("denoiser", "tracing")
        with redirect_stderr(io.StringIO()) as elsewhere:
            display.began("denoiser", "building", 4)
            display.advanced(3)
            display.began("denoiser", "tracing")
            display.began("decoder", "tracing")
    assert elsewhere.getvalue() == ""
    return stream.getvalue()


def test_a_log_has_a_line_for_each_stage(monkeypatch):
    lines = seen(io.StringIO(), monkeypatch).splitlines()
    assert lines == ["denoiser: tracing", "denoiser: building", "decoder: tracing"]


def test_a_terminal_shows_the_stage_that_a_build_is_at(monkeypatch):
    assert "decoder: tracing" in seen(Terminal(), monkeypatch)


def test_a_stage_of_unknown_length_has_none_of_the_stage_before(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with BuildDisplay() as display:
        display.began("denoiser", "building", 4)
        display.advanced(3)
        display.began("denoiser", "tracing")
        (task,) = display._bar.tasks
        assert (task.total, task.completed) == (None, 0)
