"""A user's ways where TensorFlow is not installed.

`python without_tensorflow.py FOLDER`, with this folder and the one above in PYTHONPATH,
on another backend.
"""

import shutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"


class NotTensorflow(PathFinder):
    """Finds all that is installed but TensorFlow."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] == "tensorflow"
        return None if hidden else super().find_spec(name, path, target)


def some_of(folder, name, pattern, step):
    """A few of the bundled files, in folders of the same names."""
    for path in sorted((DATA / name).glob(pattern))[::step]:
        copy = folder / path.relative_to(DATA)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder / name


def a_folder_of_photos(folder):
    """A cached head, then images that are augmented; scores, answers, a saved file."""
    import numpy as np

    import kerastl

    shapes = some_of(folder, "shapes", "*/*.jpg", 8)
    given = {"image_size": 32, "alpha": 0.25, "epochs": (1, 1), "augment": "strong"}
    parts = {"test": 0.2, "validation": 0.2}
    result = kerastl.transfer(shapes, output=folder / "run", **given, **parts)
    again = kerastl.load_model(folder / "run" / "model.keras")
    photos = sorted(shapes.glob("*/*.jpg"))[:5]
    one, other = (
        kerastl.predict(model, photos, views=3, augment="light").probabilities
        for model in (result.model, again)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)
    kerastl.evaluate(again, kerastl.load_images(shapes).train)


def images_in_memory():
    """Mixed and augmented anew in each epoch; what is frozen stays."""
    import numpy as np
    from networks import coloured, small_classifier

    import kerastl

    model = small_classifier()
    before = {v.path: np.asarray(v) + 0 for v in model.weights}
    given = {"trainable": "head", "epochs": 2, "learning_rate": 1e-2}
    phase = kerastl.Phase("mixed", **given, mixup=0.4, cutmix=1.0)
    parts = coloured(8), coloured(4)
    kerastl.run_phases(model, *parts, phases=[phase], augment="digits")
    moved = {v.path for v in model.weights if not np.array_equal(before[v.path], v)}
    assert moved == {"head_dense/kernel", "head_dense/bias"}, moved


def masks(folder):
    """They move with their images."""
    import numpy as np

    import kerastl

    shutil.copytree(DATA / "scenes", folder / "scenes")
    scenes = kerastl.load_images(folder / "scenes", labels="masks").train
    given = {"validation": 0.4, "alpha": 0.25, "image_size": 32, "epochs": (1, 1)}
    kerastl.transfer(scenes.subset(np.arange(6)), augment="light", **given)


if __name__ == "__main__":
    sys.meta_path[:] = [
        NotTensorflow if finder is PathFinder else finder for finder in sys.meta_path
    ]
    place = Path(sys.argv[1])
    a_folder_of_photos(place)
    images_in_memory()
    masks(place)
    assert "tensorflow" not in sys.modules
