"""A lesson's source: a percent-format Python file, read into cells and exercises."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TAGS = ("quiz", "teacher", "plumbing", "stub", "wrong", "solution", "check")
_EXERCISE = TAGS[3:]
_OPENING = re.compile(r"# %%(?P<markdown> \[markdown\])?(?: tags=(?P<tags>\[.*\]))?")
_GUESS = re.compile(r"(?P<name>\bguess=)[^,()]+(?P<rest>.*# )guess\b(?P<hint>.*)")
_OPTION = re.compile(r"\[(?P<mark>[ x])\] (?P<option>.+?) :: (?P<why>.+)")


@dataclass(frozen=True)
class Cell:
    """One cell of a source file.

    Attributes:
        markdown: Whether it is text.
        tag: One of `TAGS`, or "" for what everyone sees.
        text: What it holds, without the comment marks of a text cell.
        line: Line of the file at which the text begins, counted from 1.
    """

    markdown: bool
    tag: str
    text: str
    line: int


@dataclass(frozen=True)
class Exercise:
    """The code cells of one exercise.

    Attributes:
        key: Its name, such as "03.1".
        stub: What the learner finds.
        wrong: Typical wrong answers.
        solution: The right answer.
        check: The call of `teach.check`.
    """

    key: str
    stub: Cell
    wrong: tuple[Cell, ...]
    solution: Cell
    check: Cell


@dataclass(frozen=True)
class Lesson:
    """A source file.

    Attributes:
        name: Name of the file without its ending, such as "03_feature_extraction".
        cells: All cells in order.
    """

    name: str
    cells: tuple[Cell, ...]

    @property
    def number(self) -> str:
        """The two digits that the name begins with."""
        return self.name[:2]

    @property
    def title(self) -> str:
        """The words of the first heading."""
        return self.cells[0].text.splitlines()[0].removeprefix("# ")

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        """The exercises in order."""
        return tuple(
            _exercise(self, [c for c in self.cells[: i + 1] if c.tag in _EXERCISE])
            for i, cell in enumerate(self.cells)
            if cell.tag == "check"
        )

    def copy(self, kind: str) -> tuple[Cell, ...]:
        """The cells of the "student" or the "solution" copy."""
        left_out = {"student": "solution", "solution": "stub"}[kind]
        kept = [c for c in self.cells if c.tag not in {"teacher", "wrong", left_out}]
        return tuple(_rewritten(cell, kind) for cell in kept)


def lesson_paths(names: list[str] | None = None) -> list[Path]:
    """The source files, all or those whose names begin with one of `names`."""
    every = sorted((FOLDER / "src").glob("[0-9][0-9]_*.py"))
    found = [p for p in every if not names or p.stem.startswith(tuple(names))]
    if not found:
        raise SystemExit(f"No lesson in {FOLDER.name}/src begins with {names}.")
    return found


def read_lesson(path: Path) -> Lesson:
    """A lesson from its source file; errors name the line.

    Raises:
        ValueError: If the file is not in the format that `README.md` describes.
    """
    cells: list[Cell] = []
    opening, body, start = None, [], 0
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, "# %%"], 1):
        if not line.startswith("# %%"):
            body.append(line)
            continue
        if opening is not None:
            cells.append(_cell(path, opening, body, start))
        elif any(body):
            raise ValueError(f"{path.name}:1: text before the first `# %%`")
        opening, body, start = line, [], number + 1
    lesson = Lesson(path.stem, tuple(cells))
    if not cells or not cells[0].text.startswith("# "):
        raise ValueError(f"{path.name}:1: the first cell must open with a title, `# #`")
    _ = lesson.exercises
    return lesson


def _cell(path: Path, opening: str, body: list[str], start: int) -> Cell:
    where = f"{path.name}:{start - 1}"
    match = _OPENING.fullmatch(opening)
    tags = ast.literal_eval(match["tags"] or "[]") if match else ["?"]
    if match is None or len(tags) > 1 or not set(tags) <= set(TAGS):
        raise ValueError(f"{where}: not a cell's first line: {opening}")
    tag = tags[0] if tags else ""
    markdown = bool(match["markdown"])
    if markdown == (tag in TAGS[2:]) and tag:
        raise ValueError(f"{where}: {tag!r} is for the other cell type")
    while body and not body[0].strip():
        body, start = body[1:], start + 1
    if markdown:
        bad = [
            i for i, text in enumerate(body) if text and not re.match("#( |$)", text)
        ]
        if bad:
            raise ValueError(f"{path.name}:{start + bad[0]}: text without `# `")
        body = [line[2:] for line in body]
    text = "\n".join(body).strip("\n")
    if not text:
        raise ValueError(f"{where}: an empty cell")
    return Cell(markdown, tag, text, start)


def _exercise(lesson: Lesson, cells: list[Cell]) -> Exercise:
    """The exercise that ends at the last of `cells`."""
    ends = [i for i, cell in enumerate(cells[:-1]) if cell.tag == "check"]
    parts = cells[ends[-1] + 1 if ends else 0 :]
    check = parts[-1]
    found = re.search(r"teach\.check\(\s*\"([^\"]+)\"", check.text)
    order = " ".join(cell.tag for cell in parts)
    if found is None or not re.fullmatch("stub( wrong)+ solution check", order):
        wanted = "stub, wrong (one or more), solution, check with teach.check"
        raise ValueError(f"{lesson.name}.py:{check.line}: {order} instead of {wanted}")
    return Exercise(found[1], parts[0], tuple(parts[1:-2]), parts[-2], check)


def _rewritten(cell: Cell, kind: str) -> Cell:
    """A cell as a copy shows it: guesses open for the student, quizzes folded."""
    text = cell.text
    if cell.tag == "quiz":
        text = quiz_text(cell)
    elif cell.tag == "check":
        text = f"# @title Check (open it to see what is tested)\n{text}"
    elif cell.tag == "plumbing":
        text = f"# @title Plumbing (run it; you need not read it)\n{text}"
    elif not cell.markdown and kind == "student":
        text = _GUESS.sub(r"\g<name>...\g<rest>your guess\g<hint>", text)
    elif not cell.markdown:
        text = re.sub(_GUESS, lambda m: m[0].split("  # guess")[0], text)
    return Cell(cell.markdown, cell.tag, text, cell.line)


def quiz_text(cell: Cell) -> str:
    """A quick question with each option's explanation folded away."""
    question, *options = re.split(r"^- (?=\[)", cell.text, flags=re.M)
    matches = [_OPTION.fullmatch(" ".join(option.split())) for option in options]
    if None in matches:
        wrong = options[matches.index(None)].splitlines()[0]
        raise ValueError(f"line {cell.line}: not `- [ ] option :: why`: {wrong}")
    if [match["mark"] for match in matches].count("x") != 1 or len(matches) < 3:
        raise ValueError(f"line {cell.line}: a quiz has 3 options or more, one of [x]")
    folded = [
        f"<details>\n<summary>{letter}. {match['option']}</summary>\n\n"
        f"{'Right.' if match['mark'] == 'x' else 'Not this one.'} {match['why']}\n\n"
        "</details>"
        for letter, match in zip("ABCDEF", matches, strict=False)
    ]
    return "\n".join([question.strip("\n") + "\n", *folded])
