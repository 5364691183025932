"""The carriers of the invariants, as fixtures."""

import numpy as np
import pytest
from carriers import BACKBONES, SIZE, build


@pytest.fixture
def classifier():
    """Builds a classifier on one of the four backbones."""
    return build


@pytest.fixture(params=list(BACKBONES))
def model(request):
    return build(request.param)


@pytest.fixture
def data():
    """Images whose brightness tells the class, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(18) % 3
    noise = rng.integers(0, 100, (18, SIZE, SIZE, 3))
    return (noise + 70 * labels[:, None, None, None]).astype("uint8"), labels
