"""What computing the frozen part once saves, against plain Keras on the same work.

    python benchmarks/caching.py head        # seconds per epoch of a new head
    python benchmarks/caching.py block       # seconds per epoch of head + last block
    python benchmarks/caching.py two_phase   # a whole run from files, wall time

`head` and `block` report the slope over the number of epochs; `two_phase` counts
everything: decoding, building, compiling, caching, validation. Both sides get the
same images, batches, optimizer and compiler settings; the plain side is a frozen
`keras.applications` network with a head on it in one graph, as the guides have it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import kerastl
from kerastl.features.planning import possible_cuts
from kerastl.tasks.compiling import jit_mode

HERE = Path(__file__).parent
CLASSES = 5
PREPROCESS = {
    "MobileNetV2": keras.applications.mobilenet_v2.preprocess_input,
    "ResNet50": keras.applications.resnet50.preprocess_input,
}
#: The first layer that trains in the last block.
LAST_BLOCK = {"MobileNetV2": "block_16_expand", "ResNet50": "conv5_block3_1_conv"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("head", "block", "two_phase"))
    parser.add_argument("--backbones", nargs="+", default=list(PREPROCESS))
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def settings(rate: float) -> dict[str, Any]:
    """What both sides compile with."""
    return {
        "optimizer": keras.optimizers.AdamW(rate),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "jit_compile": jit_mode(),
    }


def plain_model(name: str, side: int) -> tuple[keras.Model, keras.Model]:
    """The whole network and its base, as the transfer-learning guide builds them."""
    shape = (side, side, 3)
    base = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=shape
    )
    base.trainable = False
    images = keras.Input(shape)
    x = base(PREPROCESS[name](images), training=False)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, keras.layers.Dense(CLASSES)(x)), base


def open_last_block(name: str, base: keras.Model) -> None:
    """Train the last block of a base; BatchNormalization stays frozen."""
    names = [layer.name for layer in base.layers]
    base.trainable = True
    for layer in base.layers[: names.index(LAST_BLOCK[name])]:
        layer.trainable = False
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def our_model(name: str, side: int, classes: Any = CLASSES) -> keras.Model:
    backbone = kerastl.build_backbone(name, image_size=side, weights=None)
    return kerastl.build_classifier(backbone, classes)


def phase(name: str, what: str, epochs: int) -> kerastl.Phase:
    trainable = "head" if what == "head" else LAST_BLOCK[name]
    rate = 1e-3 if what == "head" else 1e-4
    return kerastl.Phase(
        what,
        trainable=trainable,
        epochs=epochs,
        learning_rate=rate,
        batch_norm="frozen",
    )


def plain_seconds(
    name: str, what: str, data: tuple[np.ndarray, np.ndarray], epochs: int
) -> float:
    model, base = plain_model(name, data[0].shape[1])
    if what == "block":
        open_last_block(name, base)
    start = time.perf_counter()
    model.compile(**settings(1e-3 if what == "head" else 1e-4))
    model.fit(*data, batch_size=32, epochs=epochs, verbose=0)
    return time.perf_counter() - start


def our_seconds(
    name: str, what: str, data: tuple[np.ndarray, np.ndarray], epochs: int
) -> float:
    model = our_model(name, data[0].shape[1])
    start = time.perf_counter()
    kerastl.run_phases(model, data, phases=[phase(name, what, epochs)], seed=0)
    return time.perf_counter() - start


def epochs_benchmark(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Paired slopes: seconds of one more epoch on each side."""
    generator = np.random.default_rng(0)
    side = arguments.image_size
    images = generator.integers(0, 256, (arguments.images, side, side, 3), "uint8")
    data = images, generator.integers(0, CLASSES, arguments.images)
    # An epoch of ours is short: the difference must be long enough to be measured.
    many = 152 if arguments.what == "head" else 42
    lengths = {plain_seconds: (1, 4), our_seconds: (2, many)}
    slopes: dict[str, list[float]] = {"plain": [], "kerastl": []}
    for turn in range(arguments.repeats):
        order = list(lengths) if turn % 2 == 0 else list(lengths)[::-1]
        for seconds in order:
            few, more = lengths[seconds]
            times = [seconds(name, arguments.what, data, n) for n in (few, more)]
            label = "plain" if seconds is plain_seconds else "kerastl"
            slopes[label].append((times[1] - times[0]) / (more - few))
    ratios = [p / k for p, k in zip(slopes["plain"], slopes["kerastl"], strict=True)]
    model = our_model(name, side)
    kerastl.unfreeze(model, phase(name, arguments.what, 1).trainable)
    return {
        "backbone": name,
        "cut": possible_cuts(model)[-1].name,
        "seconds_per_epoch": {k: statistics.median(v) for k, v in slopes.items()},
        "times_faster": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
    }


def write_photos(folder: Path, count: int, part: str) -> None:
    """JPEGs of 320 by 240 pixels in class folders, smooth as photos are."""
    generator = np.random.default_rng(len(part))
    for number in range(count):
        small = generator.integers(0, 256, (12, 16, 3), "uint8")
        image = Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)
        target = folder / part / f"class{number % CLASSES}"
        target.mkdir(parents=True, exist_ok=True)
        image.save(target / f"{number}.jpg", quality=90)


def plain_two_phase(name: str, folder: Path, side: int) -> tuple[float, float]:
    """Wall and processor seconds of the guide's two phases, the last block opened."""
    start = time.perf_counter(), time.process_time()
    train, validation = (
        keras.utils.image_dataset_from_directory(
            folder / part, image_size=(side, side), batch_size=32, verbose=False
        )
        # The guides' advice: keep the decoded images.
        .cache()
        .prefetch(8)
        for part in ("train", "validation")
    )
    model, base = plain_model(name, side)
    for rate in (1e-3, 1e-4):
        if rate == 1e-4:
            open_last_block(name, base)
        model.compile(**settings(rate))
        model.fit(
            train, validation_data=validation, epochs=10, verbose=0, shuffle=False
        )
    return time.perf_counter() - start[0], time.process_time() - start[1]


def our_two_phase(name: str, folder: Path, side: int) -> tuple[float, float]:
    start = time.perf_counter(), time.process_time()
    splits = kerastl.load_images(folder)
    model = our_model(name, side, splits.train.class_names)
    phases = [phase(name, what, 10) for what in ("head", "block")]
    kerastl.run_phases(model, splits.train, splits.validation, phases=phases, seed=0)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def two_phase_benchmark(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Paired wall times of a whole run of ten and ten epochs."""
    sides: dict[str, Callable[..., tuple[float, float]]] = {
        "plain": plain_two_phase,
        "kerastl": our_two_phase,
    }
    times: dict[str, list[tuple[float, float]]] = {label: [] for label in sides}
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), arguments.images, "train")
        write_photos(Path(folder), arguments.images // 4, "validation")
        for turn in range(arguments.repeats):
            for label in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                found = sides[label](name, Path(folder), arguments.image_size)
                times[label].append(found)
    wall, processor = (
        [
            p[clock] / k[clock]
            for p, k in zip(times["plain"], times["kerastl"], strict=True)
        ]
        for clock in (0, 1)
    )
    return {
        "backbone": name,
        "images": arguments.images,
        "seconds": {k: statistics.median(t[0] for t in v) for k, v in times.items()},
        "times_faster": statistics.median(wall),
        "range": [min(wall), max(wall)],
        "times_less_processor": statistics.median(processor),
    }


def main() -> None:
    arguments = parse_arguments()
    measure = epochs_benchmark
    if arguments.what == "two_phase":
        measure = two_phase_benchmark
    rows = []
    for name in arguments.backbones:
        rows.append(measure(arguments, name))
        print(json.dumps(rows[-1]), flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    backend = keras.backend.backend()
    path = HERE / "results" / f"caching_{arguments.what}_{backend}.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
