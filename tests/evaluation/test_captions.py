import pytest

from kerastl.evaluation.grids import image_captions

NAMES = ("cat", "dog", "eel")


def texts(labels, probabilities, names=NAMES):
    total = len(labels if labels is not None else probabilities)
    return [each.text for each in image_captions(total, labels, names, probabilities)]


def test_labels_alone_are_named():
    assert texts([2, 0], None) == ["eel", "cat"]


def test_answers_alone_come_with_their_probability():
    assert texts(None, [[0.1, 0.7, 0.2]]) == ["dog (0.70)"]


def test_a_wrong_answer_has_an_arrow_from_the_true_class():
    found = image_captions(2, [0, 1], NAMES, [[0.1, 0.7, 0.2]] * 2)
    assert [each.text for each in found] == ["cat\n-> dog (0.70)", "dog (0.70)"]
    assert [each.wrong for each in found] == [True, False]


def test_a_wrong_label_set_names_the_surest_wrong_label():
    found = image_captions(1, [[1, 0, 1]], NAMES, [[0.99, 0.6, 0.05]])[0]
    assert found.text == "cat, eel\n-> cat, dog\n(eel: 0.05)"
    assert found.wrong


def test_an_image_without_labels_says_none():
    assert texts([[0, 0, 0]], None) == ["none"]


def test_without_names_classes_are_numbers():
    assert texts([2, 0], None, None) == ["2", "0"]


def test_nothing_known_nothing_written():
    assert [each.text for each in image_captions(2, None, NAMES, None)] == ["", ""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, [0, 1], NAMES, None), "`labels` must be 3, one per image"),
        ((3, None, NAMES, [[1.0, 0.0, 0.0]]), "`probabilities` must be 3"),
        ((1, [2], ("cat", "dog"), None), "3 names"),
        ((1, None, NAMES, [[0.5, 0.5]]), "2 names"),
    ],
)
def test_numbers_that_differ_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        image_captions(*arguments)
