"""How much memory a training takes, and how long, as images and epochs grow.

Each point is a process of its own that reads a folder of small JPEGs with
`load_images` and trains a bundled MobileNet 0.25 with `run_phases`: its head alone
(`head`), or with its last block (`block`), whose inputs are large enough to matter.
What is frozen is cached on disk or in memory. Reported is the largest resident memory
of the process, as the system counts it, beside what it was before training began.

    KERAS_BACKEND=tensorflow python benchmarks/memory.py
    KERAS_BACKEND=jax python benchmarks/memory.py --images 1000 --what head

Photos and caches lie in a temporary folder, about 0.6 GB at 50,000 images.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
CLASSES = 5
#: Epochs of one phase at which the growth with epochs is measured.
EPOCHS = (2, 6)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--what", nargs="+", default=["head", "block"])
    parser.add_argument("--caches", nargs="+", default=["disk", "memory"])
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--point", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_photo(folder: Path, number: int, side: int) -> None:
    """One JPEG, smooth as photos are, and unlike any other."""
    generator = np.random.default_rng(number)
    small = generator.integers(0, 256, (6, 6, 3), "uint8")
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    image.save(folder / f"class{number % CLASSES}" / f"{number}.jpg", quality=85)


def write_photos(folder: Path, start: int, stop: int, side: int) -> None:
    """The photos from `start` on; earlier ones stay."""
    for number in range(CLASSES):
        (folder / f"class{number}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda i: write_photo(folder, i, side), range(start, stop)))


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    # Bytes on macOS, kibibytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def train(folder: Path, what: str, cache: str, epochs: int, side: int) -> None:
    """One point, in this process; prints its figures as JSON."""
    # Nothing heavier than Pillow is loaded in the process that starts this one.
    import keras

    import kerastl

    start = time.perf_counter(), time.process_time()
    splits = kerastl.load_images(folder)
    backbone = kerastl.build_backbone(
        "MobileNet", image_size=side, alpha=0.25, weights="tiny"
    )
    model = kerastl.build_classifier(backbone, splits.train.class_names)
    phase = kerastl.Phase(
        what,
        trainable="head" if what == "head" else 1,
        epochs=epochs,
        learning_rate=1e-3,
        batch_norm="frozen",
    )
    before = peak_megabytes()
    kerastl.run_phases(
        model,
        splits.train,
        splits.validation,
        phases=[phase],
        cache=cache,
        seed=0,
        verbose=0,
    )
    kept = sum(f.stat().st_size for f in Path(os.environ["KERASTL_CACHE"]).rglob("*.*"))
    figures = {
        "backend": keras.backend.backend(),
        "peak_mb": peak_megabytes(),
        "peak_before_training_mb": before,
        "on_disk_mb": kept / 1e6,
        "wall_s": time.perf_counter() - start[0],
        "processor_s": time.process_time() - start[1],
    }
    print(json.dumps(figures))


def measured(folder: Path, side: int, what: str, cache: str, epochs: int) -> Any:
    """The figures of one point, from a fresh process with an empty cache."""
    point = [str(folder), what, cache, str(epochs)]
    options = ["--image-size", str(side), "--point", *point]
    with tempfile.TemporaryDirectory(dir=folder.parent) as kept:
        done = subprocess.run(
            [sys.executable, str(HERE / "memory.py"), *options],
            env={**os.environ, "KERASTL_CACHE": kept},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The middle of each figure, and the range of the peak."""
    names = [name for name in runs[0] if name != "backend"]
    row = {name: round(statistics.median(r[name] for r in runs), 1) for name in names}
    peaks = [round(run["peak_mb"], 1) for run in runs]
    return {**row, "peak_range_mb": [min(peaks), max(peaks)]}


def growth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the peak grows from the second-largest set to the largest."""
    found = []
    for what, cache in dict.fromkeys((row["what"], row["cache"]) for row in rows):
        same = [
            row
            for row in rows
            if (row["what"], row["cache"], row["epochs"]) == (what, cache, EPOCHS[0])
        ]
        if len(same) > 1:
            few, many = same[-2:]
            share = 100 * (many["peak_mb"] / few["peak_mb"] - 1)
            sizes = {"from": few["images"], "to": many["images"]}
            percent = round(share, 1)
            found.append({"what": what, "cache": cache, **sizes, "percent": percent})
    return found


def main() -> None:
    arguments = parse_arguments()
    if arguments.point:
        folder, what, cache, epochs = arguments.point
        train(Path(folder), what, cache, int(epochs), arguments.image_size)
        return
    rows, written = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        for images in sorted(arguments.images):
            write_photos(folder, written, images, arguments.image_size)
            written = images
            points = list(product(arguments.what, EPOCHS, arguments.caches))
            runs: dict[Any, list[Any]] = {point: [] for point in points}
            for turn in range(arguments.repeats):
                for what, epochs, cache in points[:: 1 if turn % 2 == 0 else -1]:
                    found = measured(folder, arguments.image_size, what, cache, epochs)
                    runs[what, epochs, cache].append(found)
            for (what, epochs, cache), found in runs.items():
                point = {"what": what, "cache": cache, "epochs": epochs}
                rows.append({"images": images, **point, **summary(found)})
                print(json.dumps(rows[-1]), flush=True)
    result = {"repeats": arguments.repeats, "rows": rows, "growth": growth(rows)}
    (HERE / "results").mkdir(exist_ok=True)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    path = HERE / "results" / f"memory_{backend}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["growth"]))


if __name__ == "__main__":
    main()
