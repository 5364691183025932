"""Warnings name the line of the user's code, through however many doors."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from kerastl.data.inputs import open_data
from kerastl.data.sets import ImageSet
from kerastl.evaluation.calibration import fit_temperature


def one_door() -> None:
    fit_temperature(np.zeros((2, 2)), [0, 1])


def several_doors() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3))
    whole = ImageSet(images, np.array([0, 1, 0]), ("a", "b"))
    open_data((whole, whole.subset([0])))


@pytest.mark.parametrize("call", [one_door, several_doors])
def test_a_warning_names_the_line_that_called_the_library(
    call: Callable[[], None],
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert [warning.filename for warning in caught] == [__file__]
