import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.score_plots import plot_confusion
from kerastl.tasks.classification import classification_report

COUNTS = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def cells(axes):
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def overlaps(labels):
    boxes = [label.get_window_extent() for label in labels]
    return any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        (None, COUNTS),
        ("true", [[0.75, 0.25, 0], [0.25, 0.75, 0], [np.nan] * 3]),
        ("predicted", [[6 / 7, 0.4, np.nan], [1 / 7, 0.6, np.nan], [0, 0, np.nan]]),
        ("all", COUNTS / 12),
    ],
)
def test_cells_are_divided_as_asked(normalize, expected):
    axes = plot_confusion(COUNTS, normalize=normalize).axes[0]
    np.testing.assert_allclose(cells(axes), expected)


def test_cells_tell_percent_and_counts():
    axes = plot_confusion(COUNTS[:2, :2]).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["75 %\n(6)", "25 %\n(2)", "25 %\n(1)", "75 %\n(3)"]


def test_rows_without_images_are_left_empty():
    axes = plot_confusion(COUNTS).axes[0]
    assert all(text.get_position()[1] < 2 for text in axes.texts)


def test_rows_are_labelled_as_true_classes():
    axes = plot_confusion(COUNTS, ("a", "b", "c")).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_a_report_brings_its_matrix_and_names():
    report = classification_report([0, 1], [[0.9, 0.1]] * 2, ("cat", "dog"))
    axes = plot_confusion(report, normalize=None).axes[0]
    np.testing.assert_array_equal(cells(axes), [[1, 0], [1, 0]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]


def test_many_classes_have_a_colour_bar_instead_of_numbers():
    figure = plot_confusion(np.eye(21, dtype=int))
    assert len(figure.axes) == 2
    assert len(figure.axes[0].texts) == 0


@pytest.mark.parametrize("classes", [2, 5, 9, 20, 50, 100])
def test_class_names_do_not_overlap(classes):
    names = tuple(f"a very long name of class {i}" for i in range(classes))
    figure = plot_confusion(np.eye(classes, dtype=int), names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert not overlaps(axes.get_xticklabels())
    assert not overlaps(axes.get_yticklabels())


def test_on_small_axes_some_names_are_left_out():
    axes = Figure(figsize=(3, 3)).subplots()
    figure = plot_confusion(np.eye(100, dtype=int), axes=axes)
    figure.draw_without_rendering()
    assert 10 < len(axes.get_yticklabels()) < 100
    assert not overlaps(axes.get_yticklabels())


def test_dollars_in_a_class_name_are_shown():
    figure = plot_confusion(np.eye(2, dtype=int), (r"$\frac$", "b"))
    figure.draw_without_rendering()
    assert figure.axes[0].get_yticklabels()[0].get_text() == r"\$\frac\$"


def test_the_description_tells_accuracy_and_commonest_mistakes():
    assert alt_text(plot_confusion(COUNTS, ("a", "b", "c"))) == (
        "Confusion matrix of 12 images in 3 classes, 75.0 % right. "
        "Most confused: a as b (2), b as a (1)."
    )


def test_a_matrix_without_images_is_drawn():
    text = alt_text(plot_confusion(np.zeros((2, 2), int), normalize=None))
    assert text == "Confusion matrix of 0 images in 2 classes, none scored."


def multilabel_report():
    return classification_report(
        [[1, 0]], [[0.9, 0.1]], ("cat", "dog"), task="multilabel"
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot_confusion(np.ones((2, 3))), "classes, classes"),
        (lambda: plot_confusion(np.full((2, 2), 0.5)), "choose the shares"),
        (lambda: plot_confusion([[1, -1], [0, 1]]), "counts of images"),
        (lambda: plot_confusion([[1, 0], [0, 1]], ("a",)), "2 names"),
        (lambda: plot_confusion([[1]], normalize="row"), "one of 'true'"),
        (lambda: plot_confusion(multilabel_report()), "per_class"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
