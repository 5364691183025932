"""The limits that every lesson keeps, read off its source."""

import ast
import itertools
import re

import pytest
from lesson_files import lesson_paths, read_lesson

LESSONS = {path.stem: read_lesson(path) for path in lesson_paths()}
# The badge and the install cell, which the generator adds.
GENERATED = 2
SECTIONS = ["You will be able to", "At full scale", "What we saw", "Words", "Sources"]
SETTINGS = {
    "dataset",
    "licence",
    "backbone",
    "weights",
    "download",
    "minutes",
}
# Numbers that a run gives: they belong into claims. `code` may hold any.
RESULT = (
    r"\d\s?%|\d+\.\d|\b\d+(\.\d+)? (percent|points|seconds?|times|ms)\b"
    r"|\b(one|two|three|four|five|six|seven|eight|nine|ten|twenty|fifty) "
    r"(percent|points)\b"
)

each_lesson = pytest.mark.parametrize("lesson", LESSONS.values(), ids=list(LESSONS))


def prose(lesson):
    """The text that a learner reads, without code and links."""
    cells = [cell.text for cell in lesson.copy("student") if cell.markdown]
    return re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", "\n".join(cells), flags=re.S)


def visible_code(lesson):
    """The code cells that are not folded, of both copies."""
    cells = {*lesson.copy("student"), *lesson.copy("solution")}
    folded = {"check", "plumbing"}
    return [cell for cell in cells if not cell.markdown and cell.tag not in folded]


def calls(cell, name):
    """The calls of `teach.<name>` in a cell."""
    return [
        node
        for node in ast.walk(ast.parse(cell.text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"teach.{name}"
    ]


def is_pair(node):
    return isinstance(node, ast.Tuple) and len(node.elts) == 2


def every_call(lesson, name):
    cells = [cell for cell in lesson.copy("solution") if not cell.markdown]
    return [call for cell in cells for call in calls(cell, name)]


def every_claim(lesson):
    return every_call(lesson, "claim") + every_call(lesson, "compare")


def headings(lesson):
    """(level, words) of every heading."""
    text = "\n".join(c.text for c in lesson.copy("student") if c.markdown)
    found = re.findall(r"^(#+) (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return [(len(marks), words) for marks, words in found]


def read_names(text):
    """The names that some code reads and does not bind itself."""
    every = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    read = {node.id for node in every if isinstance(node.ctx, ast.Load)}
    return read - {node.id for node in every if isinstance(node.ctx, ast.Store)}


def bound_names(node):
    """The names that some code binds for the cells after it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {each.asname or each.name for each in node.names}
    found = set()
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        found.add(node.id)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda | ast.comprehension):
            found |= bound_names(child)
    return found


@each_lesson
def test_the_number_of_cells(lesson):
    assert 25 <= len(lesson.copy("student")) + GENERATED <= 40


@each_lesson
def test_the_number_of_words(lesson):
    assert 900 <= len(re.findall(r"[A-Za-z][\w'-]*", prose(lesson))) <= 1600


@each_lesson
def test_visible_cells_are_short(lesson):
    long = {c.line: n for c in visible_code(lesson) if (n := c.text.count("\n")) >= 12}
    assert not long


@each_lesson
def test_the_number_of_figures(lesson):
    assert 5 <= len(every_call(lesson, "show")) <= 7


@each_lesson
def test_plumbing_stays_little(lesson):
    plumbing = [cell for cell in lesson.cells if cell.tag == "plumbing"]
    assert len(plumbing) <= 3
    assert all(cell.text.count("\n") < 60 for cell in plumbing)


@each_lesson
def test_the_number_of_exercises(lesson):
    assert 3 <= len(lesson.exercises) <= 4


@each_lesson
def test_exercises_are_numbered_in_order(lesson):
    wanted = [f"{lesson.number}.{i + 1}" for i in range(len(lesson.exercises))]
    assert [exercise.key for exercise in lesson.exercises] == wanted


@each_lesson
def test_each_exercise_has_its_heading(lesson):
    words = " ".join(words for _, words in headings(lesson))
    assert all(f"Exercise {each.key}:" in words for each in lesson.exercises)


@each_lesson
def test_each_exercise_stores_two_to_four_wrong_answers(lesson):
    assert all(2 <= len(exercise.wrong) <= 4 for exercise in lesson.exercises)


@each_lesson
def test_the_number_of_quick_questions(lesson):
    assert 4 <= sum(cell.tag == "quiz" for cell in lesson.cells) <= 6


@each_lesson
def test_there_are_guesses(lesson):
    asked = [ast.unparse(call.args[0]) for call in every_call(lesson, "predict")]
    answered = [ast.unparse(call.args[0]) for call in every_call(lesson, "reveal")]
    assert len(asked) >= 2
    assert sorted(asked) == sorted(answered)


@each_lesson
def test_the_students_guesses_are_open(lesson):
    cells = [cell for cell in lesson.copy("student") if not cell.markdown]
    for call in (call for cell in cells for call in calls(cell, "predict")):
        guess = {word.arg: ast.unparse(word.value) for word in call.keywords}["guess"]
        assert guess == "..."


@each_lesson
def test_keys_begin_with_the_lessons_number(lesson):
    for name in ("predict", "reveal", "check", "claim", "compare"):
        for call in every_call(lesson, name):
            assert ast.literal_eval(call.args[0]).startswith(f"{lesson.number}.")


@each_lesson
def test_headings_are_ordered_under_one_title(lesson):
    levels = [level for level, _ in headings(lesson)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


@each_lesson
def test_the_sections_are_there_in_order(lesson):
    found = [words for _, words in headings(lesson) if words in SECTIONS]
    assert found == SECTIONS


@each_lesson
def test_prose_says_no_result(lesson):
    # The name of an exercise or of a question is no number.
    text = re.sub(r"\b\d\d\.(\d|[a-z])\b", " ", prose(lesson).split("## Sources")[0])
    assert not [found[0] for found in re.finditer(RESULT, text)]


@each_lesson
def test_images_in_the_text_are_described(lesson):
    text = "\n".join(cell.text for cell in lesson.copy("student") if cell.markdown)
    assert all(len(alt) >= 40 for alt in re.findall(r"!\[(.*?)\]\(", text))
    assert "<img" not in text


@each_lesson
def test_links_stand_among_the_sources_alone(lesson):
    text = "\n".join(cell.text for cell in lesson.copy("student") if cell.markdown)
    assert "http" not in text.split("## Sources")[0]


@each_lesson
def test_one_cell_knows_the_scale(lesson):
    assert len(every_call(lesson, "lesson")) == 1
    code = "\n".join(cell.text for cell in lesson.cells if not cell.markdown)
    assert "L.scale" not in code
    assert "os.environ" not in code


@each_lesson
def test_the_settings_say_what_is_used(lesson):
    names = set()
    for cell in (cell for cell in lesson.cells if not cell.markdown):
        for node in ast.walk(ast.parse(cell.text)):
            if isinstance(node, ast.Dict) and all(map(is_pair, node.values)):
                names |= set(map(ast.literal_eval, node.keys))
    assert names >= SETTINGS
    # Images have a size, texts a length.
    assert names & {"image_size", "sequence_length"}


@each_lesson
def test_the_parts_are_proven_disjoint(lesson):
    keys = [ast.literal_eval(call.args[0]) for call in every_claim(lesson)]
    assert f"{lesson.number}.shared" in keys
    code = "\n".join(cell.text for cell in lesson.cells if not cell.markdown)
    assert re.search(r"teach\.shared_(images|texts)\(", code)


@each_lesson
def test_results_are_claimed(lesson):
    claims = every_claim(lesson)
    keys = [ast.literal_eval(call.args[0]) for call in claims]
    assert len(set(keys)) == len(keys)
    assert len(keys) >= 3
    assert all({word.arg for word in c.keywords} & {"low", "high"} for c in claims)


@each_lesson
def test_no_later_cell_needs_an_exercise(lesson):
    # The student has not solved it, and the notebook must still reach its end.
    answers = set()
    for cell in lesson.cells:
        if cell.markdown:
            continue
        if cell.tag in {"", "plumbing"}:
            used = answers & read_names(cell.text)
            assert not used, f"line {cell.line} uses {used}"
            answers -= bound_names(ast.parse(cell.text))
        elif cell.tag in {"stub", "wrong", "solution"}:
            answers |= bound_names(ast.parse(cell.text))


@each_lesson
def test_only_public_names_are_used(lesson):
    code = "\n".join(cell.text for cell in lesson.cells if not cell.markdown)
    assert not re.search(r"(from|import) kerastl\.", code)
    assert set(re.findall(r"from kerastl import (.+)", code)) <= {"teach"}
    used = set(re.findall(r"\bkerastl\.(\w+)", code))
    import kerastl

    assert used <= set(kerastl.__all__)


@each_lesson
def test_no_cell_hides_warnings_or_installs(lesson):
    code = "\n".join(cell.text for cell in lesson.cells if not cell.markdown)
    assert not re.search(r"filterwarnings|simplefilter|\bpip\b|^[%!]", code, re.M)


@each_lesson
def test_the_teachers_notes_are_whole(lesson):
    (notes,) = [cell.text for cell in lesson.cells if cell.tag == "teacher"]
    sections = re.split(r"^## (.+)$", notes, flags=re.M)
    parts = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(parts) == ["Timing", "Misconceptions", "Discussion"]
    assert len(re.findall(r"^- ", parts["Misconceptions"], flags=re.M)) >= 2
    assert "?" in parts["Discussion"]
    assert re.search(r"\d+ minutes", parts["Timing"])


@pytest.mark.parametrize(
    ("code", "bound", "read"),
    [
        ("a = b", {"a"}, {"b"}),
        ("def f(x):\n    y = x\n    return y + z", {"f"}, {"x", "z"}),
        ("a = [i for i in b]", {"a"}, {"b"}),
        ("import a.b as c\nfrom d import e", {"c", "e"}, set()),
        ("with o() as a, p() as b:\n    c = 1", {"a", "b", "c"}, {"o", "p"}),
    ],
)
def test_the_names_of_a_cell_are_found(code, bound, read):
    assert bound_names(ast.parse(code)) == bound
    assert read_names(code) >= read
    assert not read_names(code) & {"a", "i", "y"}
