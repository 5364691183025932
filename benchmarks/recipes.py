"""Which recipe, and which of the craft's methods, gains anything? Paired over seeds.

A cell is a data set at 10 or 100 images a class, on MobileNet 0.25 with the bundled or
the ImageNet weights. For each seed other training images are drawn, a fifth of them
chooses the best epoch, and the test images choose nothing. Every method starts from the
same weights and sees the same images as the default recipe, so that the difference to
it is paired. Methods that change a trained model (averaging, views at prediction) take
the default's.

    python benchmarks/recipes.py
    python benchmarks/recipes.py --cells digits-100 --weights tiny --methods gradual ema
    python benchmarks/recipes.py --report

Results are added to one file in `results/` after each run; what is there is not run
again. Pairs are of one file, which holds one kind of machine and one backend;
`--report` joins the pairs of all files. ImageNet weights and flowers are downloaded
once, by Keras.
"""

import argparse
import json
import warnings
from pathlib import Path

import keras
from cells import draw
from recipe_jobs import Job
from recipe_methods import BESIDE, METHODS, timed
from recipe_tables import print_tables

from kerastl.data.splitting import split_set

RESULTS = Path(__file__).parent / "results"
CELLS = tuple(
    f"{name}-{size}"
    for name, sizes in {
        "digits": (100, 1000),
        "photo": (60, 600),
        "sketch": (60, 600),
        "glyphs": (100, 1000),
        "flowers": (50, 500),
    }.items()
    for size in sizes
)
VALIDATION = 0.2
SEEDS = (0, 1, 2)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="NAME-SIZE")
    parser.add_argument("--weights", nargs="+", default=("tiny", "imagenet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS))
    parser.add_argument("--report", action="store_true", help="only print the tables")
    parser.add_argument("--results", type=Path, default=RESULTS / "recipes.json")
    return parser.parse_args()


def make_job(cell: str, weights: str, seed: int) -> Job:
    """The images of a cell, drawn by the seed."""
    whole, test, side = draw(cell, seed)
    train, check, _ = split_set(whole, validation=VALIDATION, seed=seed)
    return Job(train, check, test, whole, side, weights, seed)


def main() -> None:
    arguments = parse_arguments()
    if arguments.report:
        files = sorted(RESULTS.glob("recipes*.json"))
        print_tables([json.loads(file.read_text("utf-8")) for file in files])
        return
    # Flowers hold one photo under two labels; it is dropped each time.
    warnings.filterwarnings("ignore", message="Dropped")
    results = {}
    if arguments.results.exists():
        results = json.loads(arguments.results.read_text("utf-8"))
    jobs = [
        (cell, weights, seed)
        for seed in arguments.seeds
        for cell in arguments.cells
        for weights in arguments.weights
    ]
    wanted = dict.fromkeys(BESIDE.get(name, name) for name in arguments.methods)
    for cell, weights, seed in jobs:
        record = results.setdefault(f"{cell} {weights}/{seed}", {"runs": {}})
        missing = [name for name in wanted if name not in record["runs"]]
        job = make_job(cell, weights, seed) if missing else None
        for name in missing:
            for row, right, seconds in timed(name, job):
                record["test_images"] = len(job.test)
                record["runs"][row] = {"right": right, "seconds": seconds}
                print(f"{cell} {weights} seed {seed} {row}: {right}, {seconds} s")
            arguments.results.write_text(json.dumps(results, indent=1) + "\n")
            keras.backend.clear_session()
    print_tables([results])


if __name__ == "__main__":
    main()
