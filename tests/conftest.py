"""What every test starts from: quiet backends, one seed, tiny images."""

import gc
import os

# Before anything imports TensorFlow or Matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MPLBACKEND"] = "agg"
# A GPU would round products of float32 to ten bits, which no tolerance here allows.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

import keras
import numpy as np
import pytest

# Python's search for cycles goes through all that the backends made when imported, and
# begins anew every few hundred objects: each traced function has many thousand.
gc.freeze()
gc.set_threshold(20_000, 10, 10)


@pytest.fixture(autouse=True)
def fixed_seed():
    """A test that forgets its own seed is at least the same each time."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def no_figures_left():
    """A figure left open by one test would warn in another."""
    yield
    import sys

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def tiny_images():
    """Twelve 8x8 RGB images 0-255 and labels of three classes told by their colour."""
    generator = np.random.default_rng(0)
    labels = np.arange(12) % 3
    images = generator.integers(0, 60, (12, 8, 8, 3))
    images[np.arange(12), :, :, labels] += 150
    return images.astype("uint8"), labels


@pytest.fixture
def image_folder(tmp_path, tiny_images):
    """A folder of three class folders with four 8x8 PNG files each."""
    from PIL import Image

    root = tmp_path / "colours"
    for index, (pixels, label) in enumerate(zip(*tiny_images, strict=True)):
        place = root / ("red", "green", "blue")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return root
