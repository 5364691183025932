"""A better default? Fewer open blocks, kept views, another size of scoring.

For each cell and seed a network is trained by `lp_ft` and by candidates, from the same
weights, on the same images, with the same seed. The images that chose the best epoch
then choose the image size (`kerastl.selection.choose_image_size`); the test images,
which choose nothing, score both sizes. Cells, seeds and images are those of
`recipes.py`. Seconds are processor time, which other work on the machine disturbs less.

    python benchmarks/scoring_size.py --cells flowers-500 photo-600 --seeds 0 1 2
    python benchmarks/scoring_size.py --report

Results are added to a file in `results/`; what is there is not run again.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from recipe_jobs import Job
from recipes import CELLS, SEEDS, make_job

import kerastl

RESULTS = Path(__file__).parent / "results" / "scoring_size.json"


PAIR = ("lp_ft", "upper 10 blocks, 8 views")
#: Sizes of scoring, as shares of the size of training.
SHARES = (1.0, 1.125, 1.25, 1.5)


def tuned(job: Job, **changes: Any) -> keras.Model:
    """A classifier trained by a probe, then by a changed last phase."""
    model = job.model()
    head, fine = job.phases(model, as_it_is=True)
    return job.run(model, [head, replace(fine, **changes)])


#: Name -> what trains a classifier.
CANDIDATES: dict[str, Callable[[Job], keras.Model]] = {
    "lp_ft": tuned,
    "upper 10 blocks, 4 views": lambda job: tuned(job, trainable=10, views=4),
    "upper 10 blocks, 8 views": lambda job: tuned(job, trainable=10, views=8),
    "upper 10 blocks": lambda job: tuned(job, trainable=10),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="NAME-SIZE")
    parser.add_argument("--weights", nargs="+", default=("tiny", "imagenet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument(
        "--candidates", nargs="+", default=("lp_ft", "upper 10 blocks, 8 views")
    )
    parser.add_argument("--report", action="store_true", help="only print the tables")
    parser.add_argument("--results", type=Path, nargs="+", default=[RESULTS])
    return parser.parse_args()


def losses_and_score(model: keras.Model, job: Job) -> tuple[np.ndarray, float]:
    """The loss of each validation image, and the share of test images right."""
    said = kerastl.predict(model, job.check).probabilities
    given = said[np.arange(len(said)), job.check.labels]
    return -np.log(np.clip(given, 1e-7, 1)), kerastl.evaluate(model, job.test).accuracy


def run(job: Job, train: Callable[[Job], keras.Model]) -> dict[str, object]:
    """Test accuracy in percent by the size of scoring, and what validation says."""
    begun = time.process_time()
    model = train(job)
    seconds = time.process_time() - begun
    rows, own = {}, None
    for share in SHARES:
        side = max(job.side, round(job.side * share / 8) * 8)
        sized = kerastl.with_image_size(model, side) if side != job.side else model
        losses, right = losses_and_score(sized, job)
        own = losses if own is None else own
        gains = own - losses
        rows[str(share)] = {
            "side": side,
            "accuracy": round(100 * right, 2),
            "validation_gain": round(float(gains.mean()), 5),
            "standard_error": round(float(gains.std(ddof=1)) / len(gains) ** 0.5, 5),
        }
    return {"seconds": round(seconds, 2), "images": len(job.check), "sizes": rows}


def chosen(run: dict[str, Any]) -> str:
    """The share that `choose_image_size` takes: the best of those beyond chance."""
    sizes = run["sizes"]
    gains = {share: row["validation_gain"] for share, row in sizes.items()}
    sure = [s for s in gains if gains[s] > sizes[s]["standard_error"]]
    return max(sure, key=gains.__getitem__, default="1.0")


def print_tables(results: dict[str, dict[str, Any]]) -> None:
    """Markdown: one row a run of `lp_ft`; then each candidate against it."""
    head = [f"x {share}" for share in SHARES]
    print("| cell, weights, seed | " + " | ".join(head) + " | chosen | gained |")
    print("| --- " * (len(SHARES) + 3) + "|")
    gained: dict[str, list[float]] = {}
    ahead: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, record in sorted(results.items()):
        base = record.get("lp_ft")
        if base is None:
            continue
        right = {share: row["accuracy"] for share, row in base["sizes"].items()}
        best, cell = chosen(base), name.split("/")[0]
        gain = right[best] - right["1.0"]
        gained.setdefault(cell, []).append(gain)
        shown = " | ".join(f"{share:.1f}" for share in right.values())
        print(f"| {name} | {shown} | x {best} | {gain:+.1f} |")
        for other, run in record.items():
            pair = run["sizes"]["1.0"]["accuracy"] - right["1.0"]
            pair = pair, run["seconds"] / base["seconds"]
            ahead.setdefault(other, {}).setdefault(cell, []).append(pair)
    means = [np.mean(gains) for gains in gained.values()]
    print(f"\nGained by the chosen size: {spread(means)} points")
    for name, cells in ahead.items():
        points = [np.mean([gap for gap, _ in runs]) for runs in cells.values()]
        ratios = [ratio for runs in cells.values() for _, ratio in runs]
        print(f"{name}: {spread(points)} points, time {np.median(ratios):.2f}")


def spread(values: list[float]) -> str:
    """Mean over cells and its standard error."""
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{np.mean(values):+.1f} (standard error {error:.1f}, {len(values)} cells)"


def main() -> None:
    arguments = parse_arguments()
    warnings.filterwarnings("ignore", message="Dropped")
    results: dict = {}
    for file in arguments.results:
        if file.exists():
            results.update(json.loads(file.read_text("utf-8")))
    for seed in () if arguments.report else arguments.seeds:
        for cell in arguments.cells:
            for weights in arguments.weights:
                record = results.setdefault(f"{cell} {weights}/{seed}", {})
                job = None
                for name in arguments.candidates:
                    if name in record:
                        continue
                    job = job or make_job(cell, weights, seed)
                    record[name] = run(job, CANDIDATES[name])
                    print(cell, weights, seed, name, record[name], flush=True)
                    text = json.dumps(results, indent=1) + "\n"
                    arguments.results[0].write_text(text, "utf-8")
                    keras.backend.clear_session()
    print_tables(results)


if __name__ == "__main__":
    main()
