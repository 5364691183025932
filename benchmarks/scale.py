"""What many runs in one process, and many files in one folder, cost in memory and time.

`runs`: `transfer` over and over in one process, or the same two phases in plain Keras
(`--plain`); printed is the resident memory after each. The images are arrays, so that
nothing else grows. `--clear` calls `keras.utils.clear_session(free_memory=True)` after
each, as Keras advises.
`files`: a folder of small PNGs is opened, audited, trained on for an epoch of the head,
and predicted; printed are the seconds of each and the largest resident memory so far.

    KERAS_BACKEND=tensorflow python benchmarks/scale.py runs --count 8
    KERAS_BACKEND=tensorflow python benchmarks/scale.py runs --count 8 --plain
    python benchmarks/scale.py files --count 100000 --steps open audit
    python benchmarks/scale.py files --count 20000 --steps open epoch predict
"""

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 5
SIDE = 32


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["runs", "files"])
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--clear", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    steps = ["open", "audit", "epoch", "predict"]
    parser.add_argument("--steps", nargs="+", choices=steps, default=steps)
    return parser.parse_args()


def resident_megabytes() -> float:
    """What this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_megabytes() -> float:
    """The most that it has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def tiny_images() -> tuple[np.ndarray, np.ndarray]:
    """80 images of two classes, told by their colour."""
    pixels = np.random.default_rng(0).integers(0, 100, (80, SIDE, SIDE, 3), "uint8")
    labels = np.arange(80) % 2
    pixels[labels == 1, ..., 0] += 150
    return pixels, labels


def transferred(pixels: np.ndarray, labels: np.ndarray) -> None:
    """Two phases by kerastl."""
    import kerastl

    options = {"alpha": 0.25, "image_size": SIDE, "epochs": 2, "best_size": False}
    kerastl.transfer((pixels, labels), **options, validation=0.25, verbose=0)


def plain(pixels: np.ndarray, labels: np.ndarray) -> None:
    """The same network and phases in Keras alone."""
    import keras

    shape = (SIDE, SIDE, 3)
    options = {"include_top": False, "weights": None, "alpha": 0.25}
    base = keras.applications.MobileNet(shape, **options)
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, keras.layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    inputs = pixels / 127.5 - 1
    for trainable in (False, True):
        base.trainable = trainable
        model.compile("adam", loss, metrics=["accuracy"])
        held_out = inputs[:20], labels[:20]
        model.fit(
            inputs[20:], labels[20:], epochs=2, validation_data=held_out, verbose=0
        )


def measure_runs(arguments: argparse.Namespace) -> None:
    """Resident memory after each of several runs in this process."""
    import keras

    pixels, labels = tiny_images()
    run, held = plain if arguments.plain else transferred, []
    for _ in range(arguments.count):
        began = time.perf_counter()
        run(pixels, labels)
        if arguments.clear:
            keras.utils.clear_session(free_memory=True)
        gc.collect()
        held.append(round(resident_megabytes()))
        seconds = round(time.perf_counter() - began, 1)
        print(json.dumps({"resident_mb": held[-1], "seconds": seconds}), flush=True)
    later = np.diff(held[1:])
    if len(later):
        print(json.dumps({"mb_a_run_after_the_second": round(float(later.mean()), 1)}))


def write_files(folder: Path, count: int) -> None:
    """Small PNGs, no two alike, in class folders."""
    random = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"class{number}").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        blocks = random.integers(0, 256, (8, 8, 3), "uint8")
        pixels = blocks.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
        file = folder / f"class{number % CLASSES}" / f"{number:06d}.png"
        Image.fromarray(pixels).save(file, compress_level=1)


def measure_files(folder: Path, count: int, steps: list[str]) -> None:
    """Seconds and peak memory of each step."""
    import kerastl

    if not folder.exists() or not any(folder.iterdir()):
        write_files(folder, count)
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=SIDE, weights="tiny"
    )
    names = [f"class{number}" for number in range(CLASSES)]
    model = kerastl.build_classifier(backbone, names)
    splits = None
    for step in steps:
        began = time.perf_counter()
        if step == "open":
            splits = kerastl.open_data(folder)
        elif step == "audit":
            kerastl.audit(folder)
        elif step == "epoch":
            options = {"recipe": "linear_probe", "epochs": 1, "verbose": 0}
            kerastl.fine_tune(model, *list(splits)[:2], **options)
        else:
            kerastl.predict(model, folder)
        seconds = round(time.perf_counter() - began, 1)
        row = {"step": step, "seconds": seconds, "peak_mb": round(peak_megabytes())}
        print(json.dumps(row), flush=True)


def main() -> None:
    arguments = parse_arguments()
    if arguments.what == "runs":
        measure_runs(arguments)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "images"
        measure_files(folder, arguments.count, arguments.steps)


if __name__ == "__main__":
    main()
