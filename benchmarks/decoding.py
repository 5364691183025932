"""How fast JPEGs become batches, against `image_dataset_from_directory`, and how well.

Both sides give float32 batches of 32 from the same files at the same size. Ours keeps
the decoded pixels between epochs as bytes; Keras's is measured as it is, and with
`.cache()`, which keeps the batches themselves, in four times the memory. The sides take
turns, each in a fresh process: memory that a process has used before costs it less.
The error is the mean absolute difference (of 255) from a full decode resized with
Lanczos's filter, the best that Pillow has.

    KERAS_BACKEND=tensorflow python benchmarks/decoding.py FLOWERS

`FLOWERS` is a folder of class folders with JPEGs. Larger photos are generated.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import kerastl
from kerastl.data.sets import ImageSet

HERE = Path(__file__).parent
BATCH = 32
CLOCKS = ("wall", "processor")
#: Epochs timed: the first, and the later ones together.
LATER = 2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[96, 144, 224])
    parser.add_argument("--generated", type=int, default=300)
    parser.add_argument("--side", type=int, default=1600, help="width when generated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--point", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_large_photos(folder: Path, count: int, width: int) -> None:
    """JPEGs with detail at every scale, as photos have it."""
    for half in ("a", "b"):
        (folder / half).mkdir()
    size = width, 3 * width // 4
    for number in range(count):
        generator = np.random.default_rng(number)
        total = np.full((size[1], size[0], 3), 128.0)
        for cells in (4, 16, 64, 256):
            shape = 3 * cells // 4, cells, 3
            noise = Image.fromarray(generator.integers(0, 256, shape, "uint8"))
            layer = np.asarray(noise.resize(size, Image.Resampling.BICUBIC), "float32")
            total += (layer - 128) * 2 / cells**0.5
        image = Image.fromarray(total.clip(0, 255).astype("uint8"))
        image.save(folder / "ab"[number % 2] / f"{number}.jpg", quality=90)


def from_keras(images: ImageSet, folder: Path, side: int) -> Any:
    return keras.utils.image_dataset_from_directory(
        folder,
        image_size=(side, side),
        batch_size=BATCH,
        shuffle=False,
        verbose=False,
    )


def from_keras_cached(images: ImageSet, folder: Path, side: int) -> Any:
    return from_keras(images, folder, side).cache()


def from_kerastl(images: ImageSet, folder: Path, side: int) -> Any:
    return kerastl.batches(images, image_size=side, batch_size=BATCH)


SIDES: dict[str, Callable[[ImageSet, Path, int], Any]] = {
    "kerastl": from_kerastl,
    "keras": from_keras,
    "keras.cache()": from_keras_cached,
}


def pass_seconds(data: Any) -> np.ndarray:
    """Seconds (wall, processor) of one epoch, all threads counted."""
    start = time.perf_counter(), time.process_time()
    for _ in data:
        pass
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]])


def epoch_seconds(folder: Path, name: str, side: int) -> np.ndarray:
    """`[[first wall, first processor], [later wall, later processor]]` per epoch.

    Run in the process that is measured.
    """
    # Reads every file, so that they lie in the system's cache.
    images = kerastl.load_images(folder, validation=0).train
    few = ImageSet(images.paths[:BATCH], None, ())
    pass_seconds(from_keras(few, folder, side).take(1))
    pass_seconds(from_kerastl(few, folder, side))
    data = SIDES[name](images, folder, side)
    first = pass_seconds(data)
    return np.stack([first, sum(pass_seconds(data) for _ in range(LATER)) / LATER])


def in_fresh_process(folder: Path, name: str, side: int) -> np.ndarray:
    """`epoch_seconds` of a process that does nothing else."""
    point = ["--image-sizes", str(side), "--point", name]
    done = subprocess.run(
        [sys.executable, str(HERE / "decoding.py"), str(folder), *point],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def errors(images: ImageSet, folder: Path, side: int) -> dict[str, float]:
    """Mean absolute error of both sides, on two batches from all over the folder."""
    data = from_keras(images, folder, side)
    found: dict[str, list[float]] = {"kerastl": [], "keras": []}
    for number in (0, len(data) // 2):
        paths = tuple(data.file_paths[BATCH * number : BATCH * (number + 1)])
        best = np.stack([reference(path, side) for path in paths])
        ours = from_kerastl(ImageSet(paths, None, ()), folder, side)
        theirs = data.skip(number).take(1)
        found["kerastl"] += [float(np.abs(pixels - best).mean()) for pixels in ours]
        found["keras"] += [float(np.abs(x - best).mean()) for x, _ in theirs]
    return {name: round(statistics.mean(e), 2) for name, e in found.items()}


def reference(path: str, side: int) -> np.ndarray:
    with Image.open(path) as image:
        whole = image.convert("RGB")
    return np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS), "float32")


def measured(folder: Path, images: ImageSet, side: int, repeats: int) -> dict[str, Any]:
    """One row: images per second, processor time and paired ratios."""
    times: dict[str, list[np.ndarray]] = {name: [] for name in SIDES}
    for turn in range(repeats):
        for name in list(SIDES)[:: 1 if turn % 2 == 0 else -1]:
            times[name].append(in_fresh_process(folder, name, side))
    row: dict[str, Any] = {"images": len(images), "image_size": side}
    for e, epoch in enumerate(("first", "later")):
        for c, clock in enumerate(CLOCKS):
            row[f"{epoch} epoch, {clock}"] = {
                **{
                    f"{name}, ms per image": round(
                        1e3 * statistics.median(t[e, c] for t in found) / len(images), 3
                    )
                    for name, found in times.items()
                },
                **{
                    f"kerastl / {name}": ratio(times["kerastl"], times[name], e, c)
                    for name in SIDES
                    if name != "kerastl"
                },
            }
    row["mean absolute error"] = errors(images, folder, side)
    return row


def ratio(
    ours: list[np.ndarray], theirs: list[np.ndarray], epoch: int, clock: int
) -> list[float]:
    """Middle, smallest and largest of the paired ratios."""
    pairs = zip(ours, theirs, strict=True)
    found = [float(a[epoch, clock] / b[epoch, clock]) for a, b in pairs]
    return [round(r, 2) for r in (statistics.median(found), min(found), max(found))]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line for each set of photos, size and epoch."""
    names = list(SIDES)
    heads = ["photos", "size", "epoch"]
    heads += [f"images/s, {name}" for name in names]
    heads += [f"CPU ms, {name}" for name in names]
    heads += [f"CPU, kerastl / {name}" for name in names[1:]]
    heads += ["error, kerastl", "error, keras"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        for epoch in ("first", "later"):
            wall, used = (row[f"{epoch} epoch, {clock}"] for clock in CLOCKS)
            cells = [row["photos"], row["image_size"], epoch]
            cells += [f"{1e3 / wall[f'{name}, ms per image']:.0f}" for name in names]
            cells += [f"{used[f'{name}, ms per image']:.3f}" for name in names]
            ratios = [used[f"kerastl / {name}"] for name in names[1:]]
            cells += [f"{middle} ({low}-{high})" for middle, low, high in ratios]
            error = row["mean absolute error"]
            cells += [error["kerastl"], error["keras"]]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = parse_arguments()
    if arguments.point:
        side = arguments.image_sizes[0]
        found = epoch_seconds(arguments.folder, arguments.point, side)
        print(json.dumps(found.tolist()))
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        write_large_photos(Path(scratch), arguments.generated, arguments.side)
        folders = {"given": arguments.folder, "generated": Path(scratch)}
        for photos, folder in folders.items():
            images = kerastl.load_images(folder, validation=0).train
            for side in arguments.image_sizes:
                row = measured(folder, images, side, arguments.repeats)
                rows.append({"photos": photos, **row})
                print(json.dumps(rows[-1]), flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    result = {"repeats": arguments.repeats, "rows": rows}
    path = HERE / "results" / "decoding.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "decoding.md").write_text(table(rows))


if __name__ == "__main__":
    main()
