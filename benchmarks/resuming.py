"""What it costs to be able to go on after a kill: states written during training.

Two runs of two phases on random images, the head on cached features and then all of the
network: one with the rule by which states are written, and one that writes after each
epoch. Of each phase the median seconds of an epoch, of a state its seconds and size,
and what all states of the run took of its time.

    python benchmarks/resuming.py
"""

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

import keras
import numpy as np

import kerastl
from kerastl.training import resume

#: Of the wide one none are bundled: then nothing is cached in the first phase.
WEIGHTS = {0.25: "tiny", 1.0: None}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--widths", type=float, nargs="+", default=[*WEIGHTS])
    parser.add_argument("--epochs", type=int, nargs=2, default=(20, 2))
    return parser.parse_args()


def measure(given: argparse.Namespace, width: float, sparing: float) -> dict[str, Any]:
    """One run: its epochs, and the states that it wrote."""
    keras.utils.set_random_seed(0)
    size = (given.image_size, given.image_size)
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=width, weights=WEIGHTS[width], image_size=size
    )
    model = kerastl.build_classifier(backbone, ["a", "b", "c", "d", "e"], seed=0)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (given.images, *size, 3), dtype=np.uint8)
    data = images, random.integers(0, 5, given.images)
    phases = kerastl.recipe_phases(model, "lp_ft", epochs=given.epochs)
    seconds, sizes, write = [], [], resume.States.write

    def timed(self: resume.States, *args: Any, **options: Any) -> None:
        number, start = self._number, time.perf_counter()
        write(self, *args, **options)
        if self._number > number:
            seconds.append(time.perf_counter() - start)
            newest = resume._FILES[self._number % 2]
            sizes.append((self.folder / newest).stat().st_size)

    resume.States.write, resume.SPARING = timed, sparing
    try:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            history = kerastl.run_phases(
                model, data, data, phases=phases, seed=0, resume_dir=folder, verbose=0
            )
            whole = time.perf_counter() - start
    finally:
        resume.States.write = write
    epochs = history.history["seconds"]
    medians = [
        statistics.median(epochs[record.start : record.stop])
        for record in history.phases
    ]
    # With the moments of all weights: inside the last phase.
    largest = max(zip(sizes, seconds, strict=True))[1]
    return {
        "width": width,
        "parameters": model.count_params(),
        "sparing": sparing,
        "epoch_seconds": [round(x, 3) for x in medians],
        "states": len(seconds),
        "state_seconds": [round(x, 3) for x in seconds],
        "state_megabytes": [round(size / 1e6, 1) for size in sizes],
        "run_seconds": round(whole, 1),
        "share_of_run": round(sum(seconds) / whole, 4),
        "largest_of_last_epoch": round(largest / medians[-1], 4),
    }


def main() -> None:
    given, usual = parse_arguments(), resume.SPARING
    for width in given.widths:
        for sparing in (usual, 0):
            print(json.dumps(measure(given, width, sparing)), flush=True)


if __name__ == "__main__":
    main()
