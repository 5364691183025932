import pytest

from kerastl.evaluation.figures import plain_text, short_name


@pytest.mark.parametrize("limit", [3, 4, 9, 10])
def test_long_names_are_exactly_as_long_as_allowed(limit):
    assert len(short_name("Staffordshire bull terrier", limit)) == limit


def test_short_names_stay_as_they_are():
    assert short_name("daisy", 5) == "daisy"


def test_both_ends_of_a_name_stay():
    assert short_name("abcdefghij", 6) == "abc…ij"


def test_names_become_one_line():
    assert short_name("two\nlines\t here", 30) == "two lines here"


def test_dollars_are_no_formula():
    assert plain_text("a$b$") == r"a\$b\$"
