"""Batches by NumPy against `tf.data`, on a backend that is not TensorFlow.

The same model is fitted on the same images in the same order, changed by the same
numbers, by either pipeline in turns: augmented images, and features in memory.

    KERAS_BACKEND=jax python benchmarks/pipelines.py
"""

import argparse
import json
import statistics
import time
from typing import Any

import keras
import numpy as np
from overhead import both_clocks, classifier

from kerastl.data.augmentation import PRESETS, Augmentation
from kerastl.data.batches import Epochs, RowBatches
from kerastl.data.batches_tensorflow import source_batches
from kerastl.data.images import PixelStore
from kerastl.data.sets import ImageSet
from kerastl.data.sources import ArraySource, ImageSource, Source

SIDES = {"numpy": RowBatches, "tf.data": source_batches}


def epoch_seconds(model: keras.Model, data: Any) -> np.ndarray:
    """Wall and processor seconds of the second epoch."""
    clocks: list[np.ndarray] = []
    told = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: clocks.append(both_clocks()),
        on_epoch_end=lambda epoch, logs: clocks.append(both_clocks()),
    )
    model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[told])
    return clocks[3] - clocks[2]


def measured(
    model: keras.Model, source: Source, augmentation: Augmentation, repeats: int
) -> dict[str, Any]:
    """Seconds of each side and the ratio NumPy over `tf.data`, in turns."""
    given = {"batch_size": 32, "seed": 0, "shuffle": True, "mixing": None}
    epochs = Epochs(source, augmentation=augmentation, **given)
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in SIDES}
    # The first turn compiles.
    for turn in range(repeats + 1):
        for name in list(SIDES)[:: 1 if turn % 2 else -1]:
            data = SIDES[name](epochs, drop_remainder=True, epoch=0)
            found = epoch_seconds(model, data)
            if turn:
                seconds[name].append(found)
    ratios = np.stack(seconds["numpy"]) / np.stack(seconds["tf.data"])
    return {
        clock: {
            "seconds": {
                name: round(statistics.median(float(x[i]) for x in found), 3)
                for name, found in seconds.items()
            },
            "ratio": round(float(np.median(ratios[:, i])), 2),
            "range": np.round([ratios[:, i].min(), ratios[:, i].max()], 2).tolist(),
        }
        for i, clock in enumerate(("wall", "processor"))
    }


def head_alone() -> keras.Model:
    """A head on features."""
    inputs = keras.Input((256,))
    return keras.Model(inputs, keras.layers.Dense(5)(inputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    random, count = np.random.default_rng(0), arguments.images
    side = arguments.image_size
    pixels = random.integers(0, 256, (count, side, side, 3), "uint8")
    images = ImageSet(pixels, np.arange(count) % 5, tuple("abcde"))
    photos = ImageSource(images, PixelStore(images, image_size=side))
    rows = random.normal(size=(10 * count, 256)).astype("float16")
    features = ArraySource(rows, np.arange(10 * count) % 5)
    results: dict[str, Any] = {"backend": keras.backend.backend()}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for name in ("light", "standard", "randaugment", "features"):
        model = head_alone() if name == "features" else classifier(side)
        model.compile("sgd", loss)
        source = features if name == "features" else photos
        chance = PRESETS.get(name, Augmentation())
        start = time.perf_counter()
        results[name] = measured(model, source, chance, arguments.repeats)
        print(name, round(time.perf_counter() - start), "s", flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
