"""Play one lesson in this process as a script, with the network blocked.

    python notebooks/play.py LESSON [--copy student] [--online]

`run.py` calls this in a fresh process for each copy. In the solution copy each exercise
is tried with its stub and its typical wrong answers before the solution runs. What
`kerastl.teach` says goes to the file `KERASTL_RECORD`.
"""

import argparse
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from lesson_files import Cell, Exercise, Lesson, lesson_paths, read_lesson


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; an error in a cell is raised with its source line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lesson", metavar="LESSON")
    parser.add_argument("--copy", choices=("solution", "student"), default="solution")
    parser.add_argument("--online", action="store_true", help="leave the network open")
    options = parser.parse_args(arguments)
    (path,) = lesson_paths([options.lesson])
    if not options.online:
        block_network()
    play(read_lesson(path), path, options.copy)
    return 0


def play(lesson: Lesson, path: Path, kind: str) -> None:
    """Run the code cells of one copy in order."""
    exercises = {each.solution.line: each for each in lesson.exercises}
    checks = {each.check.line for each in lesson.exercises}
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in lesson.copy(kind):
        if cell.markdown:
            continue
        start, busy = time.monotonic(), time.process_time()
        if cell.line in exercises:
            _try_answers(exercises[cell.line], path, namespace)
        if cell.line in checks and kind == "solution":
            _note("answer", which="solution")
        _run(cell, path, namespace)
        # Less than the wall time where the machine has other work.
        used = min(time.monotonic() - start, time.process_time() - busy)
        _note("cell", line=cell.line, seconds=round(used, 2))
    _note("end")


def block_network() -> None:
    """Let no connection leave this machine; sockets between processes stay."""

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise OSError("A lesson runs without a network: nothing may be downloaded.")

    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> Any:
        local = isinstance(address, (str, bytes)) or address[0] in ("127.0.0.1", "::1")
        return connect(self, address) if local else refuse()

    socket.socket.connect = connect_here  # type: ignore[method-assign]
    socket.getaddrinfo = refuse
    socket.create_connection = refuse
    # For what opens its sockets in C: nobody listens there.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        os.environ[name] = "http://127.0.0.1:9"


def _try_answers(exercise: Exercise, path: Path, namespace: dict[str, Any]) -> None:
    """Check the stub and each wrong answer, each in a copy of the names."""
    answers = [("stub", exercise.stub)]
    answers += [(f"wrong {i}", cell) for i, cell in enumerate(exercise.wrong, 1)]
    for which, cell in answers:
        names = dict(namespace)
        _run(cell, path, names)
        _note("answer", which=which)
        _run(exercise.check, path, names)


def _run(cell: Cell, path: Path, names: dict[str, Any]) -> None:
    # The blank lines make a traceback point into the source file.
    code = compile("\n" * (cell.line - 1) + cell.text, str(path), "exec")
    exec(code, names)


def _note(kind: str, **facts: Any) -> None:
    record = os.environ.get("KERASTL_RECORD")
    if record:
        with Path(record).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "key": "", **facts}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
