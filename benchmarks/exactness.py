"""Where cached training gives the same bits as training through the frozen part.

For each backbone and batch size: do the features of an image depend on the images
beside it, and by how much do the final weights of a cached run differ from those of
an uncached one, and of two uncached ones from each other?

    KERAS_BACKEND=tensorflow python benchmarks/exactness.py
    KERAS_BACKEND=jax python benchmarks/exactness.py
"""

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerastl
from kerastl.features.network import run_batches
from kerastl.features.planning import possible_cuts
from kerastl.models.blocks import split_model

HERE = Path(__file__).parent
CASES = (
    ("MobileNet", {"alpha": 0.25, "weights": "tiny"}),
    ("MobileNetV2", {"alpha": 0.5, "weights": "tiny"}),
    ("ResNet50", {"weights": None}),
    ("EfficientNetV2B0", {"weights": None}),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=(1, 8, 32))
    return parser.parse_args()


def classifier(name: str, options: dict[str, Any], image_size: int) -> keras.Model:
    """The same classifier at each call."""
    keras.utils.set_random_seed(0)
    backbone = kerastl.build_backbone(name, image_size=image_size, **options)
    return kerastl.build_classifier(backbone, 5)


def feature_difference(
    model: keras.Model, images: np.ndarray, batch_size: int
) -> float:
    """Largest difference of a feature when its batch is made of other images."""
    kerastl.freeze(model)
    prefix, _ = split_model(model, possible_cuts(model)[-1].name)
    order = np.random.default_rng(1).permutation(len(images))
    options = {"total": len(images), "batch_size": batch_size}
    plain = run_batches(prefix, lambda i: images[i], **options)
    mixed = run_batches(prefix, lambda i: images[order[i]], **options)
    return float(np.abs(plain[order] - mixed).max())


def final_weights(
    case: tuple[str, dict[str, Any]],
    data: tuple[np.ndarray, np.ndarray],
    batch_size: int,
    trainable: str | int,
    cache: str,
) -> np.ndarray:
    """What trained, in one vector, after three epochs in a seeded order."""
    model = classifier(*case, data[0].shape[1])
    phase = kerastl.Phase(
        "phase",
        trainable=trainable,
        epochs=3,
        learning_rate=1e-3,
        batch_norm="frozen",
    )
    kerastl.run_phases(
        model, data, None, phases=[phase], batch_size=batch_size, cache=cache, seed=0
    )
    parts = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    return np.concatenate([part.ravel() for part in parts])


def main() -> None:
    arguments = parse_arguments()
    generator = np.random.default_rng(0)
    side = arguments.image_size
    images = generator.integers(0, 256, (arguments.images, side, side, 3), "uint8")
    data = images, generator.integers(0, 5, arguments.images)
    rows = []
    for case in CASES:
        for size in arguments.batch_sizes:
            row: dict[str, Any] = {"backbone": case[0], "batch_size": size}
            model = classifier(*case, side)
            row["features"] = feature_difference(model, images, size)
            for trainable in ("head", 1):
                runs = [
                    final_weights(case, data, size, trainable, cache)
                    for cache in ("off", "off", "memory")
                ]
                row[f"{trainable}: uncached twice"] = float(
                    np.abs(runs[0] - runs[1]).max()
                )
                row[f"{trainable}: cached"] = float(np.abs(runs[0] - runs[2]).max())
            print(json.dumps(row), flush=True)
            rows.append(row)
    (HERE / "results").mkdir(exist_ok=True)
    name = f"exactness_{keras.backend.backend()}.json"
    (HERE / "results" / name).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
