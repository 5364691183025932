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

Results are added to `results/recipes.json` after each run; what is there is not run
again. ImageNet weights and flowers are downloaded once, by Keras.
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from cells import augmentation, draw

import kerastl
from kerastl.datasets.sets import ImageSet
from kerastl.datasets.splits import split_set
from kerastl.training.recipes import recipe_phases

RESULTS = Path(__file__).parent / "results" / "recipes.json"
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
DEFAULT = "lp_ft"


@dataclass(frozen=True)
class Job:
    """One cell with one seed: the images, and a fresh classifier when asked.

    Attributes:
        train: Training images.
        check: Images that choose the best epoch.
        test: Images that choose nothing.
        side: Of the images, in pixels.
        weights: `"tiny"` or `"imagenet"`.
        seed: Of everything.
    """

    train: ImageSet
    check: ImageSet
    test: ImageSet
    side: int
    weights: str
    seed: int

    def model(self) -> keras.Model:
        """A classifier whose head is new."""
        backbone = kerastl.build_backbone(
            "MobileNet", alpha=0.25, weights=self.weights, image_size=self.side
        )
        names = self.train.class_names
        return kerastl.build_classifier(backbone, names, seed=self.seed)

    def tuned(self, **options: Any) -> keras.Model:
        """A classifier trained by `fine_tune`; the default recipe unless told."""
        model = self.model()
        options = {"augment": augmentation(self.train), **options}
        kerastl.fine_tune(
            model, self.train, self.check, seed=self.seed, verbose=0, **options
        )
        return model

    def right(self, model: keras.Model, **options: Any) -> int:
        """Test images that are right."""
        accuracy = kerastl.evaluate(model, self.test, **options).accuracy
        return round(accuracy * len(self.test))


def tuned_with(**options: Any) -> Callable[[Job], int]:
    """A method that is an argument of `fine_tune`."""
    return lambda job: job.right(job.tuned(**options))


def fine_phase(**options: Any) -> Callable[[Job], int]:
    """A method that is a setting of the default recipe's second phase."""

    def run(job: Job) -> int:
        model = job.model()
        steps = -(-len(job.train) // 32)
        head, fine = recipe_phases(model, DEFAULT, steps_per_epoch=steps)
        return job.right(in_phases(job, model, head, replace(fine, **options)))

    return run


def in_phases(job: Job, model: keras.Model, *phases: kerastl.Phase) -> keras.Model:
    """The model, trained in these phases as the default recipe would be."""
    kerastl.run_phases(
        model,
        job.train,
        job.check,
        phases=phases,
        augment=augmentation(job.train),
        seed=job.seed,
        verbose=0,
    )
    return model


def fitted_head(job: Job) -> keras.Model:
    """A classifier whose head is a cross-validated logistic regression."""
    from sklearn.model_selection import GridSearchCV

    model = job.model()
    features = kerastl.FeatureExtractor(
        "MobileNet", alpha=0.25, weights=job.weights, image_size=job.side
    ).fit_transform(job.train.images)
    scarce = int(np.bincount(job.train.labels).min())
    search = GridSearchCV(
        kerastl.classical_head("logistic"),
        {"classifier__C": [1e-3, 1e-2, 1e-1, 1.0]},
        cv=max(2, min(5, scarce)),
    )
    search.fit(features, job.train.labels)
    kerastl.set_head(model, search.best_estimator_)
    return model


def after_fitted_head(job: Job) -> int:
    """The default recipe's second phase, from a fitted head."""
    model = fitted_head(job)
    steps = -(-len(job.train) // 32)
    phases = recipe_phases(model, DEFAULT, steps_per_epoch=steps)
    return job.right(in_phases(job, model, phases[1]))


def lora(job: Job) -> int:
    """Adapters of rank 4 in place of the kernels."""
    model = job.model()
    kerastl.add_lora(model, rank=4, seed=job.seed)
    steps = -(-len(job.train) // 32)
    head, fine = recipe_phases(model, DEFAULT, steps_per_epoch=steps)
    return job.right(in_phases(job, model, head, replace(fine, trainable="lora")))


def wise(job: Job) -> int:
    """Weights between the probe's and the default's, by validation."""
    model = job.model()
    steps = -(-len(job.train) // 32)
    head, fine = recipe_phases(model, DEFAULT, steps_per_epoch=steps)
    start = in_phases(job, model, head).get_weights()
    kerastl.wise_ft(in_phases(job, model, fine), start, job.check)
    return job.right(model)


def soup(job: Job) -> int:
    """A greedy soup of three runs of the default recipe at other rates."""
    models = [job.tuned(learning_rate=rate) for rate in (2e-4, 5e-4, 1e-3)]
    return job.right(kerastl.greedy_soup(models, job.check).model)


def found_rate(job: Job) -> int:
    """The default recipe at the rate that the finder suggests."""
    model = job.model()
    curve = kerastl.find_learning_rate(model, job.train, trainable="all", seed=job.seed)
    return job.right(job.tuned(learning_rate=curve.suggestion))


def eight_views(job: Job) -> int:
    """The default recipe, its predictions averaged over views of each image."""
    return job.right(job.tuned(), views=8, augment=augmentation(job.test))


METHODS: dict[str, Callable[[Job], int]] = {
    DEFAULT: tuned_with(),
    "linear_probe": tuned_with(recipe="linear_probe", augment=None),
    "two_phase": tuned_with(recipe="two_phase"),
    "gradual": tuned_with(recipe="gradual"),
    "full": tuned_with(recipe="full"),
    "fitted head": lambda job: job.right(fitted_head(job)),
    "fitted head, then all": after_fitted_head,
    "layer_decay 0.75": tuned_with(layer_decay=0.75),
    "l2_sp 0.01": tuned_with(l2_sp=0.01),
    "ema 0.99": tuned_with(ema=0.99),
    "mixup 0.2": tuned_with(mixup=0.2),
    "cutmix 1": tuned_with(cutmix=1.0),
    "label smoothing 0.1": tuned_with(label_smoothing=0.1),
    "randaugment": tuned_with(augment="randaugment"),
    "one_cycle": fine_phase(schedule="one_cycle", warmup=0.0),
    "auto_rgn": fine_phase(multipliers="auto_rgn"),
    "norm only": fine_phase(trainable="norm"),
    "lora": lora,
    "wise_ft": wise,
    "greedy soup of 3": soup,
    "found rate": found_rate,
    "8 views": eight_views,
    "rate 2e-4": tuned_with(learning_rate=2e-4),
    "rate 1e-3": tuned_with(learning_rate=1e-3),
    "batches of 16": tuned_with(batch_size=16),
    "48 epochs": tuned_with(epochs=(20, 48)),
    "48 epochs, rate 1e-3": tuned_with(epochs=(20, 48), learning_rate=1e-3),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="NAME-SIZE")
    parser.add_argument("--weights", nargs="+", default=("tiny", "imagenet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS))
    parser.add_argument("--report", action="store_true", help="only print the tables")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def make_job(cell: str, weights: str, seed: int) -> Job:
    """The images of a cell, drawn by the seed."""
    whole, test, side = draw(cell, seed)
    train, check, _ = split_set(whole, validation=VALIDATION, seed=seed)
    return Job(train, check, test, side, weights, seed)


def paired(results: dict[str, Any], method: str) -> tuple[list[float], list[float]]:
    """Differences to the default in points, a mean a cell; ratios of time, run by run.

    Runs of one cell are alike, so the cell is the unit of the interval.
    """
    gaps: dict[str, list[float]] = {}
    ratios = []
    for key, record in results.items():
        runs = record["runs"]
        if method not in runs or DEFAULT not in runs:
            continue
        base, other = runs[DEFAULT], runs[method]
        gap = 100 * (other["right"] - base["right"]) / record["test_images"]
        gaps.setdefault(key.rpartition("/")[0], []).append(gap)
        ratios.append(other["seconds"] / base["seconds"])
    return [float(np.mean(cell)) for cell in gaps.values()], ratios


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % t-interval of the mean."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1)
    half /= math.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def print_report(results: dict[str, Any]) -> None:
    """The tables, as Markdown."""
    cells = sorted({key.rpartition("/")[0] for key in results})
    print(
        "| method | points above the default | 95 % interval | cells | time | verdict |"
    )
    print("|---|---|---|---|---|---|")
    for method in METHODS:
        gaps, ratios = paired(results, method)
        if not gaps or method == DEFAULT:
            continue
        mean, low, high = interval(gaps)
        verdict = "better" if low > 0 else "worse" if high < 0 else "no effect shown"
        span = f"{low:+.1f} to {high:+.1f}" if math.isfinite(low) else "one cell"
        ratio = float(np.median(ratios))
        row = [method, f"{mean:+.1f}", span, str(len(gaps)), f"{ratio:.2f}", verdict]
        print(f"| {' | '.join(row)} |")
    print(f"\n| cell | {' | '.join(METHODS)} |")
    print(f"|---|{'---|' * len(METHODS)}")
    for cell in cells:
        mine = [r for key, r in results.items() if key.rpartition("/")[0] == cell]
        row = []
        for method in METHODS:
            shares = [
                100 * record["runs"][method]["right"] / record["test_images"]
                for record in mine
                if method in record["runs"]
            ]
            row.append(
                f"{np.mean(shares):.1f} ({min(shares):.1f} to {max(shares):.1f})"
                if shares
                else ""
            )
        print(f"| {cell} | {' | '.join(row)} |")


def main() -> None:
    arguments = parse_arguments()
    # Flowers hold one photo under two labels; it is dropped each time.
    warnings.filterwarnings("ignore", message="Dropped")
    results: dict[str, Any] = {}
    if arguments.results.exists():
        results = json.loads(arguments.results.read_text("utf-8"))
    jobs = [
        (cell, weights, seed)
        for seed in arguments.seeds
        for cell in arguments.cells
        for weights in arguments.weights
    ]
    for cell, weights, seed in () if arguments.report else jobs:
        record = results.setdefault(f"{cell} {weights}/{seed}", {"runs": {}})
        missing = [name for name in arguments.methods if name not in record["runs"]]
        job = make_job(cell, weights, seed) if missing else None
        for name in missing:
            start = time.perf_counter()
            right = METHODS[name](job)
            seconds = round(time.perf_counter() - start, 1)
            record["test_images"] = len(job.test)
            record["runs"][name] = {"right": right, "seconds": seconds}
            print(f"{cell} {weights} seed {seed} {name}: {right}, {seconds} s")
            arguments.results.write_text(json.dumps(results, indent=1) + "\n")
            keras.backend.clear_session()
    print_report(results)


if __name__ == "__main__":
    main()
