"""The words of the lessons: guesses, checks, claims, and figures with descriptions."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kerastl import teach

SETTINGS = {"dataset": ("shapes", "flowers"), "minutes": (1, 9)}


@pytest.fixture
def record(tmp_path, monkeypatch):
    """What the calls of a test leave in the record."""
    path = tmp_path / "record.jsonl"
    monkeypatch.setenv("KERASTL_RECORD", str(path))
    return lambda: [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def shown(monkeypatch):
    """What a notebook is given to display."""
    given = []
    shell = SimpleNamespace(
        get_ipython=lambda: object(),
        display=SimpleNamespace(display=lambda data, **_: given.append(data)),
    )
    monkeypatch.setitem(sys.modules, "IPython", shell)
    return given


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("KERASTL_SCALE", "KERASTL_SEED", "KERASTL_RECORD"):
        monkeypatch.delenv(name, raising=False)


def test_teach_imports_nothing_but_the_standard_library():
    source = Path(teach.__file__)
    script = (
        "import runpy, sys\n"
        f"runpy.run_path({str(source)!r})\n"
        "third = {'numpy', 'keras', 'tensorflow', 'matplotlib', 'PIL', 'IPython'}\n"
        "print(sorted(third & set(sys.modules)), 'kerastl' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize(
    ("scale", "dataset"), [("tiny", "shapes"), ("full", "flowers")]
)
def test_a_scale_chooses_its_column(scale, dataset, capsys):
    found = teach.lesson("03", SETTINGS, scale=scale)
    assert (found.scale, found.dataset, found.number) == (scale, dataset, "03")
    assert f"dataset  {dataset}" in capsys.readouterr().out


def test_auto_is_tiny_until_the_environment_says_otherwise(monkeypatch):
    assert teach.lesson("03", SETTINGS).scale == "tiny"
    monkeypatch.setenv("KERASTL_SCALE", "full")
    assert teach.lesson("03", SETTINGS).scale == "full"
    assert teach.lesson("03", SETTINGS, scale="tiny").scale == "tiny"


def test_the_seed_comes_from_the_environment(monkeypatch):
    assert teach.lesson("03", SETTINGS).seed == 0
    monkeypatch.setenv("KERASTL_SEED", "4")
    assert teach.lesson("03", SETTINGS).seed == 4


@pytest.mark.parametrize("through", ["argument", "environment"])
def test_an_unknown_scale_is_refused(through, monkeypatch):
    monkeypatch.setenv("KERASTL_SCALE", "huge")
    scale = "huge" if through == "argument" else "auto"
    with pytest.raises(ValueError, match=r"'full'\. Received: scale='huge'"):
        teach.lesson("03", SETTINGS, scale=scale)


def test_a_guess_stands_beside_the_result(capsys):
    teach.predict("03.a", "Which?", ["left", "right"], guess=1)
    teach.reveal("03.a", 2)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "03.a  You guessed 1. left; it is 2. right."


def test_a_right_guess_is_said_to_be_right(capsys):
    teach.predict("03.a", "Which?", ["left", "right"], guess=2)
    teach.reveal("03.a", 2)
    assert capsys.readouterr().out.endswith("03.a  You guessed it: 2. right.\n")


def test_a_number_and_the_guess_share_a_format(capsys):
    teach.predict("03.a", "How many?", guess=0.5)
    teach.reveal("03.a", 0.17, form="{:.0%}")
    assert capsys.readouterr().out.endswith("You guessed 50%; it is 17%.\n")


@pytest.mark.parametrize("guess", [..., None, 0, 3, 1.5, "1", [1]])
def test_what_is_no_option_is_no_guess(guess, capsys):
    teach.predict("03.a", "Which?", ["left", "right"], guess=guess)
    assert "put a number from 1 to 2 in place of" in capsys.readouterr().out
    teach.reveal("03.a", 2)
    assert capsys.readouterr().out.startswith("03.a  It is 2. right. (Without")


def test_a_new_guess_replaces_the_old_one(capsys):
    teach.predict("03.a", "Which?", ["left", "right"], guess=1)
    teach.predict("03.a", "Which?", ["left", "right"], guess=2)
    teach.reveal("03.a", 2)
    assert "You guessed it" in capsys.readouterr().out


def test_a_result_without_its_question_is_shown(capsys):
    teach.reveal("03.never", 7)
    assert "It is 7." in capsys.readouterr().out


PROPERTIES = [
    (lambda n: n > 0, "Above zero."),
    (lambda n: n % 2 == 0, "Even."),
]


@pytest.mark.parametrize(
    ("answer", "outcome", "hint"),
    [
        (4, "passed", ""),
        (3, "hint", "Even."),
        (-3, "hint", "Above zero."),
        (None, "todo", "Above zero."),
        (..., "todo", "Above zero."),
        ("four", "hint", "Above zero."),
        (np.array([1, 2]), "hint", "Above zero."),
    ],
)
def test_the_first_hint_that_helps_is_the_only_one(
    answer, outcome, hint, record, capsys
):
    teach.check("03.1", answer, PROPERTIES)
    (note,) = record()
    assert (note["outcome"], note["hint"]) == (outcome, hint)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert [text in said for _, text in PROPERTIES] == [
        outcome == "hint" and text == hint for _, text in PROPERTIES
    ]


def test_an_error_in_the_answer_is_told_and_not_raised(capsys):
    def answer(n):
        return n / 0

    teach.check("03.1", answer, [(lambda f: f(1) == 1, "Divide by one.")])
    said = capsys.readouterr().out
    assert "Hint: Divide by one." in said
    assert "stopped with ZeroDivisionError: division by zero" in said


def test_a_stub_that_is_not_implemented_is_not_done_yet(record):
    def answer(n):
        raise NotImplementedError

    teach.check("03.1", answer, [(lambda f: f(1) == 1, "Return one.")])
    assert record()[0]["outcome"] == "todo"


def test_a_learner_may_still_interrupt():
    def answer():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach.check("03.1", answer, [(lambda f: f(), "Hint.")])


@pytest.mark.parametrize(
    ("value", "holds"), [(0.1, True), (0.3, True), (0.05, False), (0.31, False)]
)
def test_a_claim_holds_within_its_band(value, holds, record, capsys):
    teach.claim("03.gain", "It gained {value:.0%}.", value, low=0.1, high=0.3)
    assert record()[0]["holds"] is holds
    said = capsys.readouterr().out
    assert said.startswith(f"It gained {value:.0%}. (Claim 03.gain")
    assert ("does not hold on this run" in said) is not holds


def test_a_claim_that_is_no_number_does_not_hold(record):
    teach.claim("03.gain", "{value}", float("nan"), low=0)
    assert record()[0]["holds"] is False


def test_a_claims_band_is_said_in_its_own_format(capsys):
    teach.claim("03.a", "{value:.1%} more.", np.float32(0.25), low=0.1)
    assert capsys.readouterr().out == "25.0% more. (Claim 03.a: at least 10.0%.)\n"
    teach.claim("03.b", "{value} moved.", 0, low=0, high=0)
    assert capsys.readouterr().out == "0 moved. (Claim 03.b: exactly 0.)\n"


def stops(number):
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (stops, "(Your code stopped with KeyError: 'mine')"),
        (
            lambda number: None,
            "(Your function returned None: does it end with `return`?)",
        ),
        (lambda number: [number], "(Your answer cannot be used here. TypeError"),
        ("text", "(Your answer cannot be used here. TypeError"),
    ],
)
def test_a_check_blames_the_learners_code_for_its_own_errors_only(answer, said, capsys):
    holds = [(lambda f: (f(1) if callable(f) else f) + 1, "Hint.")]
    teach.check("03.1", answer, holds)
    assert said in capsys.readouterr().out


def test_a_difference_of_shares_is_said_in_points(capsys):
    teach.claim("03.a", "Ahead by {points}.", np.float32(0.25), low=0.1)
    said = capsys.readouterr().out
    assert said == "Ahead by 25.0 points. (Claim 03.a: at least 10.0 points.)\n"
    teach.claim("03.b", "Gained {points:+}.", -0.02, low=-0.03, high=0.3)
    said = (
        "Gained -2.0 points. (Claim 03.b: at least -3.0 points, at most +30.0 points.)"
    )
    assert capsys.readouterr().out == said + "\n"


def test_a_claim_without_a_place_for_its_value_is_refused():
    with pytest.raises(ValueError, match=r"in it\. Received: sentence='"):
        teach.claim("03.gain", "It gained a lot.", 0.1, low=0)


def test_shared_images_are_found_by_content(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"cat")
    (tmp_path / "b.jpg").write_bytes(b"dog")
    (tmp_path / "c.jpg").write_bytes(b"cat")
    first = SimpleNamespace(images=(str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")))
    second = SimpleNamespace(images=(str(tmp_path / "c.jpg"),))
    assert teach.shared_images(first, second) == 1
    assert teach.shared_images(second, first, None) == 1
    assert teach.shared_images(second) == 0


def test_shared_arrays_are_found_by_content():
    pixels = np.arange(3 * 12, dtype="uint8").reshape(3, 2, 2, 3)
    parts = [SimpleNamespace(images=pixels[rows]) for rows in ([0, 1], [1, 2], [2, 1])]
    assert teach.shared_images(*parts[:2]) == 1
    assert teach.shared_images(*parts[1:]) == 2


def test_a_copy_within_one_part_is_not_shared():
    pixels = np.zeros((2, 2, 2, 3), "uint8")
    assert teach.shared_images(SimpleNamespace(images=pixels)) == 0


def small_figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return figure


def test_a_figure_needs_its_description():
    with pytest.raises(ValueError, match="`alt` must be a description"):
        teach.show(small_figure())


def test_the_librarys_own_figures_know_their_description(record):
    from kerastl.evaluation.figures import alt_text
    from kerastl.evaluation.plots import plot_history

    figure = plot_history({"loss": [2.0, 1.0]})
    teach.show(figure)
    assert record()[0]["alt"] == alt_text(figure)


def test_a_shown_figure_is_not_shown_twice():
    from matplotlib import pyplot as plt

    figure, _ = plt.subplots(figsize=(2, 1))
    teach.show(figure, alt="An empty panel.")
    assert not plt.get_fignums()


def test_a_notebook_gets_the_picture_and_its_words(monkeypatch):
    shown = []

    def display(data, *, metadata, raw):
        shown.append((data, metadata, raw))

    shell = SimpleNamespace(
        get_ipython=lambda: object(), display=SimpleNamespace(display=display)
    )
    monkeypatch.setitem(sys.modules, "IPython", shell)
    teach.show(small_figure(), alt='A line "rises" & <ends>.')
    ((data, metadata, raw),) = shown
    assert raw
    words = 'alt="A line &quot;rises&quot; &amp; &lt;ends&gt;."'
    assert data["text/html"].startswith(f"<figure><img {words} width=")
    assert data["image/png"] in data["text/html"]
    assert data["text/plain"] == metadata["image/png"]["alt"]
    assert data["text/plain"] == 'A line "rises" & <ends>.'


def test_the_picture_is_what_was_drawn(shown):
    from PIL import Image

    figure, wanted = small_figure(), io.BytesIO()
    teach.show(figure, alt="A line.", dpi=50)
    figure.savefig(wanted, format="png", dpi=50, bbox_inches="tight")
    got = Image.open(io.BytesIO(base64.b64decode(shown[0]["image/png"])))
    difference = np.asarray(got.convert("RGB"), int) - np.asarray(
        Image.open(wanted).convert("RGB"), int
    )
    assert abs(difference).max() < 30


def test_without_a_record_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teach.check("03.1", 4, PROPERTIES)
    assert not list(tmp_path.iterdir())


def test_a_paired_interval_is_that_of_students_t_on_the_images(capsys, record):
    from scipy import stats

    right = np.random.default_rng(0).integers(0, 2, (2, 1, 40))
    wanted = stats.ttest_rel(right[0, 0], right[1, 0]).confidence_interval()
    teach.compare("03.a", "Ahead by {points:+}.", right[0], right[1])
    kept = record()
    assert kept[0]["value"] == right[0].mean() - right[1].mean()
    assert [kept[1]["low"], kept[1]["high"]] == pytest.approx([*wanted])
    assert "1 seed on 40 images" in capsys.readouterr().out


def test_seeds_that_disagree_widen_an_interval(record):
    calm = np.tile(np.random.default_rng(1).integers(0, 2, 200), (3, 1))
    swaying = calm.copy()
    swaying[0] = 1
    for right in (calm, swaying):
        teach.compare("03.a", "{points}", right, 1 - calm)
    spans = [each["high"] - each["low"] for each in record() if "value" not in each]
    assert spans[1] > 1.5 * spans[0]


def test_an_interval_says_whether_it_settles_the_question(capsys):
    better, worse = np.ones((3, 50)), np.zeros((3, 50))
    worse[:, ::7] = 1
    teach.compare("03.a", "{points:+}", better, worse, low=0)
    assert "3 seeds on 50 images, without zero." in capsys.readouterr().out
    teach.compare("03.a", "{points:+}", worse, worse[:, ::-1], low=0)
    assert "it holds zero, so this is not settled." in capsys.readouterr().out


def test_a_comparison_says_what_was_judged(capsys):
    answers = np.ones((2, 9)), np.eye(2, 9)
    teach.compare("11.few", "{points}", *answers, of="questions")
    assert "2 seeds on 9 questions, " in capsys.readouterr().out


def test_a_comparison_needs_answers_on_the_same_images():
    with pytest.raises(ValueError, match=r"shapes \(1, 3\) and \(1, 2\)"):
        teach.compare("03.a", "{points}", [[1, 0, 1]], [[1, 0]])


def test_dots_draw_one_mark_a_run_and_say_what_a_mark_is():
    figure = teach.dots({"head": [0.2, 0.4], "all": [0.9]}, baseline=0.1, mark="a draw")
    (axes,) = figure.axes
    marks = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    assert [list(line.get_xdata()) for line in marks[:2]] == [[0.2, 0.4], [0.9]]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["a draw", "mean", "baseline"]
    words = "Accuracy: head 0.30 (0.20 to 0.40); all 0.90; baseline 0.10."
    assert axes.kerastl_alt_text == words


def test_the_words_of_dots_keep_a_name_as_it_is_written():
    (axes,) = teach.dots({"head": [0.5]}, label="mean IoU").axes
    assert axes.kerastl_alt_text == "Mean IoU: head 0.50."


def test_a_method_may_look_the_same_in_two_figures():
    figure = teach.dots({"head": [0.2], "all": [0.9]}, looks={"head": 4, "all": 0})
    styles = [(x.get_color(), x.get_marker()) for x in figure.axes[0].lines[0:3:2]]
    assert styles == [(teach.COLOURS[4], teach.MARKS[4]), ("#0072B2", "o")]


def test_lines_draw_the_mean_over_places_and_a_small_mark_for_each_run():
    runs = {"head": [[0.25, 0.5], [0.7, 0.9]], "words": [0.3, 0.4]}
    (axes,) = teach.lines(runs, [5, 35], along="labels", baseline=0.1).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["head"] == pytest.approx([0.375, 0.8])
    assert drawn["words"] == [0.3, 0.4]
    small = [list(line.get_ydata()) for line in axes.lines if line.get_alpha()]
    assert small[:2] == [[0.25, 0.7], [0.5, 0.9]]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["head", "words", "one seed", "baseline"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "35"]
    assert axes.get_ylim() == (0, 1)
    words = (
        "Accuracy by labels (5, 35): head 0.38, 0.80; words 0.30, 0.40; baseline 0.10."
    )
    assert axes.kerastl_alt_text == words


def test_lines_of_large_values_may_have_a_logarithmic_axis():
    figure = teach.lines({"speech": [43, 219]}, [0, 4], label="perplexity", log=True)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert axes.yaxis.get_major_formatter()(60.0) == "60"
    assert len(axes.get_legend().get_texts()) == 1
    assert (
        figure.axes[0].kerastl_alt_text == "Perplexity by place (0, 4): speech 43, 219."
    )


def test_a_forest_draws_each_difference_with_the_interval_that_compare_says(capsys):
    better, worse = np.ones((3, 40)), np.zeros((3, 40))
    better[:, 0] = 0
    worse[0, 1] = 1
    pairs = {"clear": (better, worse), "open": (worse, worse[::-1])}
    (axes,) = teach.forest(pairs, zone=0.02, label="gain in F1").figure.axes
    marks = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    assert [line.get_markerfacecolor() for line in marks[:2]] == ["#0072B2", "white"]
    assert [line.get_xdata()[0] for line in marks[:2]] == pytest.approx(
        [100 * 116 / 120, 0]
    )
    teach.compare("07.clear", "{points:+}", better, worse)
    said = re.search(r"interval (\S+) to (\S+) points", capsys.readouterr().out)
    assert f"clear +96.7 ({said[1]} to {said[2]}, settled)" in axes.kerastl_alt_text
    assert axes.kerastl_alt_text.startswith("Gain in F1: clear ")
    assert "open +0.0" in axes.kerastl_alt_text
    shaded = axes.patches[0]
    assert (shaded.get_x(), shaded.get_width()) == (-2, 4)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["clear", "open"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["within 2 points", "settled", "not settled"]


def test_text_beside_a_coloured_picture_stays_black(shown):
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(3, 3))
    axes = figure.subplots()
    draw = np.random.default_rng(0)
    axes.imshow(draw.uniform(0.3, 1, (60, 60, 3)) * [0.97, 1, 1])
    axes.set_title("a title", color="black")
    axes.set_axis_off()
    teach.show(figure, alt="A coloured picture under its title.", dpi=100)
    picture = Image.open(io.BytesIO(base64.b64decode(shown[0]["image/png"])))
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    title = pixels[:24]  # above the picture: letters on white
    assert np.ptp(title, axis=2).max() == 0
    assert (title.min(), title.max()) == (0, 255)


def test_a_caption_stands_below_its_figure(shown, record):
    teach.show(small_figure(), alt="A line.", caption="It rises & stays.")
    assert "<figcaption>It rises &amp; stays.</figcaption>" in shown[0]["text/html"]
    assert shown[0]["text/plain"] == "A line.\nIt rises & stays."
    assert record()[0]["caption"] == "It rises & stays."


def test_photographs_are_four_of_each_and_all_on_the_card():
    photos = teach.photographs()
    assert photos.images.shape == (28, 96, 96, 3)
    assert photos.images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(photos.labels), [4] * 7)
    assert len({image.tobytes() for image in photos.images}) == 28
    folder = Path(teach.__file__).parent / "photographs"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", card, flags=re.M) == photos.class_names
    assert sum(file.stat().st_size for file in folder.iterdir()) < 600_000


def test_texts_that_differ_in_capitals_and_signs_alone_are_shared():
    first = SimpleNamespace(texts=["Is it late?", "My PIN."])
    assert teach.shared_texts(first, None) == 0
    assert teach.shared_texts(first, SimpleNamespace(texts=["My pan."])) == 0
    second = SimpleNamespace(texts=["is it  LATE", "my pin", "my pin!"])
    assert teach.shared_texts(first, second) == 2


def test_questions_are_those_of_the_table_in_two_parts():
    bank = teach.questions()
    for part, count in (bank.train, 50), (bank.test, 20):
        assert part.texts.shape == part.labels.shape == (10 * count,)
        np.testing.assert_array_equal(np.bincount(part.labels), [count] * 10)
    assert bank.class_names[0] == "cancel transfer"
    assert teach.shared_texts(bank.train, bank.test) == 0
    file = Path(teach.__file__).parent / "questions" / "questions.csv"
    place = bank.class_names.index("pin blocked")
    text = bank.test.texts[bank.test.labels == place][0]
    line = next(x for x in file.read_text("utf-8").splitlines() if text in x)
    assert line.endswith("pin blocked,test")


def test_names_in_sentences_have_no_kind_but_by_their_neighbours():
    made = teach.sentences(400, seed=1)
    assert made == teach.sentences(400, seed=1) != teach.sentences(400, seed=2)
    names = {kind: set() for kind in ("person", "place", "firm")}
    plain = set()
    for words, tags in made:
        for before, tag, word in zip(("O", *tags), tags, words, strict=False):
            kind = tag[2:]
            (names[kind] if kind else plain).add(word)
            # A name goes on with its own kind alone.
            assert not tag.startswith("I-") or before[2:] == kind
    letters = {kind: set("".join(each).lower()) for kind, each in names.items()}
    assert letters["person"] == letters["place"] == letters["firm"]
    assert not plain & {"P", "L", "F"}
    assert not plain & set().union(*names.values())
