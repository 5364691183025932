"""Run lessons offline, each copy in a fresh process, and say what is not as taught.

    python notebooks/run.py [LESSON ...] [--copy student] [--all-copies]
                            [--backend jax] [--seeds 5] [--scale full] [--slack 3]
                            [--jobs 2]

A LESSON is the beginning of a name, such as 03. At the scale "full" the network is open
and there is no time budget. `--slack` multiplies every budget: on a machine with other
work, caches and cores are shared, and even processor time grows. `--jobs` runs so many
lessons at once: each keeps one core busy.
"""

import argparse
import collections
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesson_files import FOLDER, Lesson, lesson_paths, read_lesson

#: Seconds for a solution with all its trials, on two cores, with TensorFlow. On a busy
#: machine processor time counts instead, where that is less.
BUDGETS = {
    "00": 25,
    "01": 110,
    "02": 180,
    "03": 60,
    "04": 60,
    "05": 90,
    "06": 90,
    "07": 120,
    "08": 90,
    "09": 110,
    "10": 120,
    "11": 120,
    "12": 110,
    "13": 120,
}
CELL_BUDGET = 45
_SHORTEST_ALT = 40


@dataclass
class Played:
    """What one run left behind.

    Attributes:
        copy: "solution" or "student".
        status: Exit status of the process.
        seconds: Wall time, or processor time where that is less: other work on the
            machine then does not count.
        log: What it wrote, both streams.
        notes: The lines of the record.
    """

    copy: str
    status: int
    seconds: float
    log: str
    notes: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The notes of one kind."""
        return [note for note in self.notes if note["kind"] == kind]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 when anything is not as taught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON")
    parser.add_argument("--copy", choices=("solution", "student"), default="solution")
    parser.add_argument("--all-copies", action="store_true")
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--scale", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--slack", type=float, default=1.0, metavar="FACTOR")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    options = parser.parse_args(arguments)
    backend = options.backend or os.environ.get("KERAS_BACKEND", "tensorflow")
    copies = ("solution", "student") if options.all_copies else (options.copy,)
    failed = 0
    lessons = [read_lesson(path) for path in lesson_paths(options.lessons)]
    given = {"backend": backend, "scale": options.scale}
    with ThreadPoolExecutor(options.jobs) as pool:
        asked = [
            [
                pool.submit(run_lesson, lesson, copy, seed=seed, **given)
                for seed in range(options.seeds)
            ]
            for lesson in lessons
            for copy in copies
        ]
        for number, waiting in enumerate(asked):
            lesson, runs = lessons[number // len(copies)], [w.result() for w in waiting]
            timed = backend == "tensorflow" and options.scale == "tiny"
            found = faults(lesson, runs, timed=timed, slack=options.slack)
            failed += bool(found)
            report(lesson, runs, found)
    return int(failed > 0)


def run_lesson(
    lesson: Lesson, copy: str, *, backend: str, scale: str = "tiny", seed: int = 0
) -> Played:
    """Play one copy in a fresh process."""
    online = ["--online"] if scale == "full" else []
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "record.jsonl")
        settings = {
            "KERASTL_SCALE": scale,
            "KERASTL_SEED": str(seed),
            "KERASTL_RECORD": str(record),
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "MPLBACKEND": "agg",
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")])
            ),
        }
        command = [sys.executable, FOLDER / "play.py", lesson.name, "--copy", copy]
        log, start = Path(folder, "log.txt"), time.monotonic()
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [*command, *online],
                env={**os.environ, **settings},
                cwd=folder,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            status, processor = _wait(process)
        seconds = min(time.monotonic() - start, processor)
        lines = record.read_text("utf-8").splitlines() if record.exists() else []
        said = log.read_text("utf-8", errors="replace")
    notes = [json.loads(line) for line in lines]
    return Played(copy, status, seconds, said, notes)


def faults(
    lesson: Lesson, runs: list[Played], *, timed: bool = True, slack: float = 1.0
) -> list[str]:
    """What is not as taught in runs of one copy, one sentence each.

    Args:
        lesson: The lesson.
        runs: One run a seed. A claim must hold on four in five of them.
        timed: Whether the time budgets count.
        slack: Factor on every time budget.
    """
    found = []
    for seed, run in enumerate(runs):
        seen = _crash(run) or [*_figures(run), *_guesses(run), *_answers(lesson, run)]
        if timed and run.copy == "solution":
            seen += _slowness(lesson, run, slack)
        found += [f"seed {seed}: {each}" for each in seen]
    return found + _claims(runs)


def report(lesson: Lesson, runs: list[Played], found: list[str]) -> None:
    """Print what a lesson's runs took and found."""
    seconds = ", ".join(f"{run.seconds:.0f}" for run in runs)
    state = "not as taught" if found else "as taught"
    print(f"{lesson.name} ({runs[0].copy}): {state}, {seconds} s", flush=True)
    cells = sorted(runs[0].of("cell"), key=lambda note: -note["seconds"])[:3]
    slow = ", ".join(f"line {note['line']}: {note['seconds']:.1f} s" for note in cells)
    print(f"  slowest cells: {slow}")
    values = collections.defaultdict(list)
    for note in (note for run in runs for note in run.of("claim")):
        values[note["key"], note["low"], note["high"]].append(note["value"])
    for (key, low, high), each in values.items():
        measured = " ".join(f"{value:.4g}" for value in each)
        print(f"  {key} in [{low:g}, {high:g}]: {measured}")
    for fault in found:
        print(f"  FAULT {fault}")


def _wait(process: subprocess.Popen) -> tuple[int, float]:
    """Exit status and processor time of this process alone; of Windows no time."""
    if not hasattr(os, "wait4"):
        return process.wait(), math.inf
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


def _crash(run: Played) -> list[str]:
    if run.status == 0 and run.of("end"):
        return []
    return [f"it stopped with status {run.status}\n{run.log[-3000:]}"]


def _figures(run: Played) -> list[str]:
    short = [n["alt"] for n in run.of("figure") if len(n["alt"]) < _SHORTEST_ALT]
    return [f"a figure's alt text is too short: {alt!r}" for alt in short]


def _guesses(run: Played) -> list[str]:
    """Each question is answered, after it was asked; the solution guesses."""
    wrong = []
    asked: set[str] = set()
    revealed = {note["key"] for note in run.of("reveal")}
    for note in run.notes:
        if note["kind"] == "guess":
            asked.add(note["key"])
            if note["stored"] != (run.copy == "solution"):
                wrong.append(f"{note['key']}: a guess in the {run.copy} copy?")
        if note["kind"] == "reveal" and note["key"] not in asked:
            wrong.append(f"{note['key']} is revealed before it is asked")
    return wrong + [f"{key} is never revealed" for key in sorted(asked - revealed)]


def _answers(lesson: Lesson, run: Played) -> list[str]:
    """The solution passes, the stub is open, each wrong answer has its own hint."""
    keys = [exercise.key for exercise in lesson.exercises]
    outcomes = {(key, "stub"): [] for key in keys}
    which = "stub"
    for note in run.notes:
        if note["kind"] == "answer":
            which = note["which"]
        elif note["kind"] == "check":
            outcomes.setdefault((note["key"], which), []).append(note)
    wrong = [] if len(set(keys)) == len(keys) else ["two exercises have one key"]
    for exercise in lesson.exercises:
        expected = {"stub": "todo"}
        if run.copy == "solution":
            numbers = range(1, len(exercise.wrong) + 1)
            expected |= {f"wrong {number}": "hint" for number in numbers}
            expected["solution"] = "passed"
        hints = []
        for answer, outcome in expected.items():
            notes = outcomes.get((exercise.key, answer), [])
            got = notes[-1]["outcome"] if notes else "no check"
            hints += [note["hint"] for note in notes if note["outcome"] == "hint"]
            if got != outcome:
                wrong.append(f"{exercise.key}, {answer}: {got} instead of {outcome}")
        if len(set(hints)) < len(hints):
            wrong.append(f"{exercise.key}: two wrong answers get the same hint")
    return wrong


def _slowness(lesson: Lesson, run: Played, slack: float) -> list[str]:
    budget = slack * BUDGETS.get(lesson.number, 180)
    slow = [f"{run.seconds:.0f} s of {budget:.0f} s"] if run.seconds > budget else []
    return slow + [
        f"the cell at line {note['line']} took {note['seconds']:.0f} s"
        for note in run.of("cell")
        if note["seconds"] > slack * CELL_BUDGET
    ]


def _claims(runs: list[Played]) -> list[str]:
    """Claims that hold on fewer than four runs in five."""
    held = collections.defaultdict(list)
    for run in runs:
        for note in run.of("claim"):
            held[note["key"]].append((note["holds"], note["value"]))
    finished = [run for run in runs if not _crash(run)]
    return [
        f"claim {key} does not hold: {[value for _, value in each]}"
        for key, each in held.items()
        if sum(holds for holds, _ in each) < 0.8 * len(each)
        or len(each) < len(finished)
    ]


if __name__ == "__main__":
    sys.exit(main())
