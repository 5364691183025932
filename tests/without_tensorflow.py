"""A user's ways where TensorFlow is not installed.

`python without_tensorflow.py FOLDER`, with this folder and the one above in PYTHONPATH,
on another backend.
"""

import shutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path


class NotTensorflow(PathFinder):
    """Finds all that is installed but TensorFlow."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] == "tensorflow"
        return None if hidden else super().find_spec(name, path, target)


finders = [NotTensorflow if one is PathFinder else one for one in sys.meta_path]
sys.meta_path[:] = finders

import numpy as np  # noqa: E402
from networks import coloured, small_classifier  # noqa: E402

import kerastl  # noqa: E402

folder, data = Path(sys.argv[1]), Path(__file__).parents[1] / "data"


def some_of(name, pattern, step):
    """A few of the bundled files, in folders of the same names."""
    for path in sorted((data / name).glob(pattern))[::step]:
        copy = folder / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder / name


# A folder of photos: a cached head, then images that are augmented; scores, answers.
shapes = some_of("shapes", "*/*.jpg", 8)
given = {
    "image_size": 32,
    "alpha": 0.25,
    "epochs": (1, 1),
    "test": 0.2,
    "validation": 0.2,
}
result = kerastl.transfer(shapes, output=folder / "run", augment="strong", **given)
again = kerastl.load_model(folder / "run" / "model.keras")
photos = sorted(shapes.glob("*/*.jpg"))[:5]
one, other = (
    kerastl.predict(model, photos, views=3, augment="light").probabilities
    for model in (result.model, again)
)
np.testing.assert_allclose(one, other, atol=1e-6)
kerastl.evaluate(again, kerastl.load_images(shapes).train)

# Images in memory, mixed and augmented anew in each epoch; what is frozen stays.
model = small_classifier()
before = {v.path: np.asarray(v) + 0 for v in model.weights}
phase = kerastl.Phase(
    "mixed", trainable="head", epochs=2, learning_rate=1e-2, mixup=0.4, cutmix=1.0
)
kerastl.run_phases(model, coloured(8), coloured(4), phases=[phase], augment="digits")
moved = {v.path for v in model.weights if not np.array_equal(before[v.path], v)}
assert moved == {"head_dense/kernel", "head_dense/bias"}, moved

# Masks move with their images.
shutil.copytree(data / "scenes", folder / "scenes")
scenes = kerastl.load_images(folder / "scenes", labels="masks").train
few = scenes.subset(np.arange(6))
kerastl.transfer(
    few, validation=0.4, alpha=0.25, image_size=32, epochs=(1, 1), augment="light"
)

assert "tensorflow" not in sys.modules
