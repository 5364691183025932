"""What kerastl costs over plain Keras: at import, and for each epoch of training.

Help: `kerastl --help` from start to end, against a Python that does nothing.
Import: `import keras` against `import keras, kerastl` in fresh processes, in turns.
Training: `model.fit` against `run_phases` without caches on the same model, images
and batches. The slope over the number of epochs is the cost of an epoch, whatever
either side does once; in wall time and in processor time, which other programs on
the machine disturb less.

    python benchmarks/overhead.py help
    python benchmarks/overhead.py import
    python benchmarks/overhead.py epoch
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax")
STATEMENTS = {"keras": "import keras", "both": "import keras, kerastl"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("help", "import", "epoch"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, nargs=2, default=(2, 8))
    return parser.parse_args()


def import_seconds(statement: str, backend: str) -> float:
    """Seconds that `statement` takes in a fresh process, its start-up excluded."""
    script = (
        f"import time; start = time.perf_counter()\n{statement}\n"
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=HERE.parent,
        env={**os.environ, "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measure_imports(repeats: int) -> dict[str, Any]:
    """Paired differences on each backend, in seconds."""
    results = {}
    for backend in BACKENDS:
        # The first run of each reads files that the later ones find in memory.
        for statement in STATEMENTS.values():
            import_seconds(statement, backend)
        times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
        for turn in range(repeats):
            order = list(STATEMENTS) if turn % 2 == 0 else list(STATEMENTS)[::-1]
            for name in order:
                times[name].append(import_seconds(STATEMENTS[name], backend))
        added = [b - a for a, b in zip(times["keras"], times["both"], strict=True)]
        results[backend] = {
            "keras_seconds": round(statistics.median(times["keras"]), 3),
            "added_seconds": round(statistics.median(added), 3),
            "added_range": [round(min(added), 3), round(max(added), 3)],
        }
    return results


def measure_help(repeats: int) -> dict[str, Any]:
    """Seconds that a person waits for help, and for Python alone, in turns."""
    sides = {"python": ["-c", "pass"], "help": ["-m", "kerastl.cli", "--help"]}
    times: dict[str, list[float]] = {name: [] for name in sides}
    # The first turn reads files that the later ones find in memory.
    for turn in range(repeats + 1):
        for name, words in sides.items():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *words],
                cwd=HERE.parent,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            if turn:
                times[name].append(time.perf_counter() - start)
    return {
        f"{name}_seconds": {
            "median": round(statistics.median(seconds), 3),
            "range": [round(min(seconds), 3), round(max(seconds), 3)],
        }
        for name, seconds in times.items()
    }


def classifier(image_size: int) -> Any:
    """A small classifier, all of it trainable."""
    import kerastl

    backbone = kerastl.build_backbone(
        "MobileNet", image_size=image_size, alpha=0.25, weights=None
    )
    return kerastl.build_classifier(backbone, 5)


def both_clocks() -> np.ndarray:
    """Wall time and the processor time of all threads, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def fit_seconds(images: np.ndarray, labels: np.ndarray, epochs: int) -> np.ndarray:
    """Seconds (wall, processor) of plain `fit`, set up as a phase is."""
    import keras

    import kerastl
    from kerastl.tasks.compiling import jit_mode

    model = classifier(images.shape[1])
    # Not model.trainable = True, which changes nothing where it is True already.
    kerastl.unfreeze(model, "all", batch_norm="train")
    start = both_clocks()
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # The same on both sides: what XLA costs is another question (jit.py).
        jit_compile=jit_mode(),
    )
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0)
    return both_clocks() - start


def phase_seconds(images: np.ndarray, labels: np.ndarray, epochs: int) -> np.ndarray:
    """Seconds (wall, processor) of `run_phases` on the same work, without caches."""
    import kerastl

    model = classifier(images.shape[1])
    phase = kerastl.Phase(
        "all", trainable="all", epochs=epochs, learning_rate=1e-4, batch_norm="train"
    )
    start = both_clocks()
    kerastl.run_phases(
        model, (images, labels), None, phases=[phase], cache="off", seed=0
    )
    return both_clocks() - start


def measure_epochs(arguments: argparse.Namespace) -> dict[str, Any]:
    """The slope of each side and its paired ratio, repeat by repeat."""
    import keras

    generator = np.random.default_rng(0)
    side = arguments.image_size
    images = generator.integers(0, 256, (arguments.images, side, side, 3), "uint8")
    labels = generator.integers(0, 5, arguments.images)
    few, many = arguments.epochs
    sides = {"fit": fit_seconds, "run_phases": phase_seconds}
    slopes: dict[str, list[np.ndarray]] = {name: [] for name in sides}
    once: dict[str, list[np.ndarray]] = {name: [] for name in sides}
    for turn in range(arguments.repeats):
        order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in order:
            short, long = (sides[name](images, labels, n) for n in (few, many))
            slopes[name].append((long - short) / (many - few))
            once[name].append(short - few * slopes[name][-1])
    ratios = np.stack(slopes["run_phases"]) / np.stack(slopes["fit"])
    result: dict[str, Any] = {"backend": keras.backend.backend()}
    for column, clock in enumerate(("wall", "processor")):
        result[clock] = {
            "seconds_per_epoch": medians(slopes, column, 3),
            "seconds_once": medians(once, column, 2),
            "ratio_per_epoch": round(float(np.median(ratios[:, column])), 4),
            "ratio_range": [
                round(float(end), 4)
                for end in (ratios[:, column].min(), ratios[:, column].max())
            ],
        }
    return result


def medians(
    times: dict[str, list[np.ndarray]], column: int, digits: int
) -> dict[str, float]:
    """The middle value of each side by one clock."""
    return {
        name: round(statistics.median(float(pair[column]) for pair in pairs), digits)
        for name, pairs in times.items()
    }


def main() -> None:
    arguments = parse_arguments()
    if arguments.what == "help":
        result = measure_help(arguments.repeats)
        name = "overhead_help"
    elif arguments.what == "import":
        result = measure_imports(arguments.repeats)
        name = "overhead_import"
    else:
        result = measure_epochs(arguments)
        name = f"overhead_epoch_{result['backend']}"
    (HERE / "results").mkdir(exist_ok=True)
    text = json.dumps({"repeats": arguments.repeats, **result}, indent=1)
    (HERE / "results" / f"{name}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
