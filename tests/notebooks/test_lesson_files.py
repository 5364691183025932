"""Percent-format sources: cells, exercises, copies, and errors that name the line."""

import pytest
from lesson_files import lesson_paths, quiz_text, read_lesson


def change(source, old, new):
    text = source.read_text(encoding="utf-8")
    assert old in text
    source.write_text(text.replace(old, new, 1), encoding="utf-8")


def texts(lesson, kind):
    return [cell.text for cell in lesson.copy(kind)]


def test_the_cells_are_those_that_jupytext_reads(source):
    jupytext = pytest.importorskip("jupytext")
    theirs = jupytext.read(source, fmt="py:percent").cells
    ours = read_lesson(source).cells
    assert [cell.text for cell in ours] == [cell.source for cell in theirs]
    assert [cell.markdown for cell in ours] == [
        cell.cell_type == "markdown" for cell in theirs
    ]
    tags = [cell.metadata.get("tags", [""])[0] for cell in theirs]
    assert [cell.tag for cell in ours] == tags


def test_a_cell_knows_its_line(source):
    change(source, "# %%\nfrom", "# %%\n\nfrom")
    lines = source.read_text(encoding="utf-8").splitlines()
    for cell in read_lesson(source).cells:
        first = cell.text.splitlines()[0]
        assert lines[cell.line - 1] == (f"# {first}" if cell.markdown else first)


def test_number_and_title(source):
    lesson = read_lesson(source)
    assert (lesson.number, lesson.title) == ("09", "09 A lesson")


def test_an_exercise_holds_its_answers(source):
    (exercise,) = read_lesson(source).exercises
    assert exercise.key == "09.1"
    assert exercise.stub.text == "two = ..."
    assert [cell.text[:8] for cell in exercise.wrong] == ["two = 3 ", "two = -2"]
    assert exercise.solution.text == "two = 2"


def test_the_student_sees_the_stub_and_no_answer(source):
    found = "\n".join(texts(read_lesson(source), "student"))
    assert "two = ..." in found
    assert "two = 2" not in found
    assert "two = 3" not in found
    assert "Two minutes" not in found


def test_the_solution_shows_the_answer_alone(source):
    found = "\n".join(texts(read_lesson(source), "solution"))
    assert "two = 2" in found
    assert "two = ..." not in found
    assert "two = -2" not in found
    assert "Two minutes" not in found


def test_the_students_guess_is_open(source):
    found = "\n".join(texts(read_lesson(source), "student"))
    assert '"How many?", guess=...)  # your guess: a number' in found


def test_the_solutions_guess_stays_without_its_mark(source):
    assert any(
        '"How many?", guess=3)\n' in text
        for text in texts(read_lesson(source), "solution")
    )


def test_a_quiz_folds_each_option_with_its_reason(source):
    (cell,) = [cell for cell in read_lesson(source).cells if cell.tag == "quiz"]
    text = quiz_text(cell)
    assert text.startswith("Prose with\n\n- a list.\n\n**Quick question.** Which?")
    assert text.count("<details>") == text.count("</details>") == 3
    assert "<summary>A. This</summary>" in text
    assert "Not this one. Because of a reason in two lines." in text
    assert text.count("Right.") == 1
    assert "Right. It is." in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('tags=["stub"]', 'tags=["stubb"]', r":16: not a cell's first line"),
        ('# %% tags=["stub"]', '# %% [markdown] tags=["stub"]', ":16: 'stub' is for"),
        ('[markdown] tags=["teacher"]', 'tags=["teacher"]', "'teacher' is for"),
        ("# Its question.", "Its question.", ":4: text without"),
        ("two = ...\n", "\n", ":16: an empty cell"),
        ("# # 09", "# ## 09", "must open with a title"),
        ("# %% [markdown]\n# # 09", "x = 1\n# %%\n# # 09", "text before the first"),
        ('tags=["solution"]', 'tags=["wrong"]', "stub wrong wrong wrong check instead"),
        ("teach.check(", "check(", "check with teach.check"),
    ],
)
def test_a_fault_is_named_with_its_line(source, old, new, message):
    change(source, old, new)
    with pytest.raises(ValueError, match=message):
        read_lesson(source)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- [x] That", "- [ ] That", "one of"),
        ("# - [ ] Neither :: One of them is.\n", "", "3 options"),
        ("That :: It is.", "That, it is.", "option :: why"),
    ],
)
def test_a_quiz_without_reasons_or_one_right_option_is_refused(
    source, old, new, message
):
    change(source, old, new)
    with pytest.raises(ValueError, match=message):
        read_lesson(source).copy("student")


def test_lessons_are_found_by_the_beginning_of_their_name(course):
    assert [path.stem for path in lesson_paths(["09"])] == ["09_a_lesson"]
    assert lesson_paths() == lesson_paths(["0"])
    with pytest.raises(SystemExit, match="08"):
        lesson_paths(["08"])
