"""The runner: what is not as taught is named, what is as taught is not."""

import copy
import os
import shutil
import subprocess
import sys

import pytest
from lesson_files import FOLDER, lesson_paths, read_lesson
from run import BUDGETS, CELL_BUDGET, Played, faults, run_lesson

LESSONS = [path.stem for path in lesson_paths()]
CLAIM = {"kind": "claim", "key": "09.gain", "value": 0.5, "low": 0, "high": 1}


def check(outcome, hint=""):
    return {"kind": "check", "key": "09.1", "outcome": outcome, "hint": hint}


def answer(which):
    return {"kind": "answer", "key": "", "which": which}


SOLUTION = [
    {"kind": "guess", "key": "09.a", "stored": True},
    {"kind": "reveal", "key": "09.a"},
    answer("stub"),
    check("todo"),
    answer("wrong 1"),
    check("hint", "Even."),
    answer("wrong 2"),
    check("hint", "Above zero."),
    answer("solution"),
    check("passed"),
    {**CLAIM, "holds": True},
    {"kind": "figure", "key": "", "alt": "Bars: one is longer than the other by far."},
    {"kind": "cell", "key": "", "line": 12, "seconds": 1.0},
    {"kind": "end", "key": ""},
]
STUDENT = [
    {"kind": "guess", "key": "09.a", "stored": False},
    {"kind": "reveal", "key": "09.a"},
    check("todo"),
    {"kind": "end", "key": ""},
]


def played(notes, kind="solution", status=0, seconds=5.0):
    return Played(kind, status, seconds, "the log", copy.deepcopy(notes))


@pytest.fixture
def lesson(source):
    return read_lesson(source)


def test_a_good_run_has_no_fault(lesson):
    assert faults(lesson, [played(SOLUTION)]) == []
    assert faults(lesson, [played(STUDENT, "student")]) == []


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"stored": False}, "a guess in the solution copy"),
        (1, {"key": "09.b"}, "09.b is revealed before it is asked"),
        (1, {"key": "09.b"}, "09.a is never revealed"),
        (3, {"outcome": "hint"}, "09.1, stub: hint instead of todo"),
        (3, {"outcome": "passed"}, "09.1, stub: passed instead of todo"),
        (5, {"outcome": "passed"}, "09.1, wrong 1: passed instead of hint"),
        (7, {"hint": "Even."}, "two wrong answers get the same hint"),
        (8, {"which": "other"}, "09.1, solution: no check instead of passed"),
        (9, {"outcome": "hint", "hint": "x"}, "09.1, solution: hint instead of passed"),
        (10, {"holds": False}, "claim 09.gain does not hold"),
        (11, {"alt": "Bars."}, "alt text is too short"),
        (12, {"seconds": 46.0}, "the cell at line 12 took 46 s"),
        (13, {"kind": "other"}, "it stopped with status 0\nthe log"),
    ],
)
def test_each_fault_is_named(lesson, index, changes, message):
    notes = copy.deepcopy(SOLUTION)
    notes[index].update(changes)
    found = faults(lesson, [played(notes)])
    assert any(message in fault for fault in found), found


def test_a_crash_is_named_with_its_log(lesson):
    (found,) = faults(lesson, [played(SOLUTION, status=1)])
    assert "status 1\nthe log" in found


def test_a_budget_counts_where_time_is_measured(lesson):
    slow = [played(SOLUTION, seconds=1000.0)]
    assert any("1000 s" in fault for fault in faults(lesson, slow))
    assert faults(lesson, slow, timed=False) == []


@pytest.mark.parametrize(("slack", "slow"), [(1.0, 2), (2.0, 1), (3.0, 0)])
def test_slack_multiplies_every_budget(lesson, slack, slow):
    notes = copy.deepcopy(SOLUTION)
    notes[12]["seconds"] = 1.5 * CELL_BUDGET
    runs = [played(notes, seconds=2.5 * BUDGETS["09"])]
    assert len(faults(lesson, runs, slack=slack)) == slow


def test_the_student_has_no_guess_and_nothing_solved(lesson):
    notes = copy.deepcopy(STUDENT)
    notes[0]["stored"] = True
    notes[2]["outcome"] = "passed"
    found = faults(lesson, [played(notes, "student")])
    assert len(found) == 2


@pytest.mark.parametrize(("misses", "good"), [(0, True), (1, True), (2, False)])
def test_a_claim_may_miss_on_one_seed_in_five(lesson, misses, good):
    runs = [played(SOLUTION) for _ in range(5)]
    for run in runs[:misses]:
        run.of("claim")[0]["holds"] = False
    assert (faults(lesson, runs) == []) == good


def test_a_claim_that_a_seed_does_not_reach_is_a_fault(lesson):
    runs = [played(SOLUTION), played([n for n in SOLUTION if n["kind"] != "claim"])]
    assert any("09.gain" in fault for fault in faults(lesson, runs))


@pytest.fixture
def small_course(course):
    """The real scripts around the small lesson, with a library of `teach` alone."""
    for name in ("lesson_files.py", "play.py", "run.py"):
        shutil.copy(FOLDER / name, course)
    package = course.parent / "kerastl"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(FOLDER.parent / "kerastl" / "teach.py", package)
    return course


def run_course(course, *arguments):
    return subprocess.run(
        [sys.executable, course / "run.py", *arguments],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )


def test_the_command_line_passes_the_slack_on(small_course):
    # Elsewhere the budgets do not count.
    timed = "09", "--backend", "tensorflow"
    slow = run_course(small_course, *timed, "--slack", "1e-9")
    assert "FAULT seed 0: " in slow.stdout and " s of 0 s\n" in slow.stdout
    assert slow.returncode == 1
    assert run_course(small_course, *timed, "--slack", "10").returncode == 0


@pytest.mark.parametrize("kind", ["solution", "student"])
def test_a_small_lesson_is_as_taught(small_course, kind):
    done = run_course(small_course, "09", "--copy", kind)
    assert f"09_a_lesson ({kind}): as taught" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_a_wrong_answer_that_passes_is_a_fault(small_course, source):
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("two = 3  # odd", "two = 4"), encoding="utf-8")
    done = run_course(small_course, "09")
    assert "FAULT seed 0: 09.1, wrong 1: passed instead of hint" in done.stdout
    assert done.returncode == 1


def test_a_wrong_answer_leaves_the_names_of_the_lesson_alone(small_course, source):
    text = source.read_text(encoding="utf-8")
    later = "\n# %%\nif two != 2 or L == 3:\n    raise ValueError(two)\n"
    source.write_text(text.replace("two = 3  # odd", "two = L = 3") + later, "utf-8")
    assert run_course(small_course, "09").returncode == 0


def test_an_error_is_told_with_its_line_in_the_source(small_course, source):
    text = source.read_text(encoding="utf-8") + "\n# %%\n1 / 0\n"
    source.write_text(text, encoding="utf-8")
    done = run_course(small_course, "09")
    number = len(text.splitlines())
    assert f'09_a_lesson.py", line {number}' in done.stdout
    assert "ZeroDivisionError" in done.stdout


def test_each_seed_and_scale_reaches_the_lesson(small_course, source):
    text = source.read_text(encoding="utf-8")
    later = '\n# %%\nteach.claim("09.seed", "{value}", L.seed, low=0, high=9)\n'
    later += "if L.dataset != 'flowers':\n    raise ValueError(L.scale)\n"
    source.write_text(text + later, encoding="utf-8")
    done = run_course(small_course, "09", "--seeds", "3", "--scale", "full")
    assert "09.seed in [0, 9]: 0 1 2\n" in done.stdout, done.stdout
    assert done.returncode == 0


def test_the_network_is_blocked():
    script = (
        "import play, socket\n"
        "play.block_network()\n"
        "for call in (lambda: socket.create_connection(('192.0.2.1', 80)),\n"
        "             lambda: socket.socket().connect(('192.0.2.1', 80)),\n"
        "             lambda: socket.getaddrinfo('example.org', 80)):\n"
        "    try:\n"
        "        call()\n"
        "    except OSError as error:\n"
        "        print('without a network' in str(error))\n"
        "    else:\n"
        "        print(False)\n"
        "left, right = socket.socketpair()\n"
        "left.send(b'x')\n"
        "print(right.recv(1) == b'x')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["True"] * 4, done.stderr


def test_each_lesson_has_a_budget():
    assert {name[:2] for name in LESSONS} <= set(BUDGETS)
    assert sum(BUDGETS.values()) <= 1410


@pytest.mark.notebook
@pytest.mark.parametrize("kind", ["solution", "student"])
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_as_taught(name, kind):
    (path,) = lesson_paths([name])
    lesson = read_lesson(path)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    run = run_lesson(lesson, kind, backend=backend)
    assert not faults(lesson, [run], timed=backend == "tensorflow"), run.log[-2000:]
