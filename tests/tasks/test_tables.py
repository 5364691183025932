import numpy as np

from kerastl.tasks.classification import classification_report


def report(classes=3, n=40, name="class {}", **settings):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, n)
    probabilities = generator.dirichlet(np.ones(classes), n)
    names = tuple(name.format(index) for index in range(classes))
    return classification_report(labels, probabilities, names, **settings)


def test_the_table_tells_accuracy_limits_and_baseline():
    text = str(classification_report([0, 1], [[0.9, 0.1]] * 2, ("cat", "dog")))
    assert "50.0 %  (95 % interval 9.5 % to 90.5 %)" in text
    assert text.startswith("2 images, 2 classes, multiclass\n")
    assert "dog -> cat: 1 of 1 (100.0 %)" in text


def test_a_score_that_is_unknown_is_a_dash():
    text = str(classification_report([0], [[0.9, 0.1]], ("cat", "dog")))
    row = next(line for line in text.splitlines() if line.startswith("dog"))
    assert row.split() == ["dog", "-", "-", "-", "0", "0"]


def test_the_time_is_told_per_image():
    assert "2.00 s (50.0 ms an image)" in str(report(seconds=2.0))


def test_long_names_fit_eighty_columns():
    text = str(report(classes=30, n=300, name="a very long name of a class, number {}"))
    assert max(map(len, text.splitlines())) <= 80


def test_of_many_classes_only_the_worst_are_listed():
    found = report(classes=30, n=300)
    text = str(found)
    worst = min(row.f1 for row in found.per_class)
    best = max(found.per_class, key=lambda row: row.f1)
    assert "The 20 classes of lowest f1, of 30." in text
    assert f"{worst:.3f}" in text
    assert f"\n{best.name} " not in text


def test_multilabel_says_what_its_accuracy_counts():
    found = classification_report(
        [[1, 0]], [[0.9, 0.1]], ("cat", "dog"), task="multilabel"
    )
    assert "accuracy (all labels right)" in str(found)
