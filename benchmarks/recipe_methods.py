"""The methods that `recipes.py` compares: each says what it gets right of a job."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from cells import augmentation
from recipe_jobs import Job

import kerastl
from kerastl.data.augmentation import PRESETS
from kerastl.penalties import L2SP

#: What every row is paired with: the default before `recipes.md` was made.
DEFAULT = "lp_ft, warm-up of one epoch"

#: The recipes as they are today, the default first.
NOW = ("lp_ft", "linear_probe", "two_phase", "gradual", "full")
#: What else is paired with today's default.
VARIANTS = ("lp_ft, 48 epochs", "lp_ft, ema 0.9")

#: Rows of the table: names and test images that are right, as they are known.
Rows = Iterator[tuple[str, int]]


def tuned_with(recipe: str = "lp_ft", **options: Any) -> Callable[[Job], int]:
    """A method that is an argument of `Job.tuned`."""
    return lambda job: job.right(job.tuned(recipe, **options))


def fine_phase(climb: float | None = None, **options: Any) -> Callable[[Job], int]:
    """A method that is a setting of the default recipe's second phase.

    Args:
        climb: Share of the phase over which the rate climbs; None: one epoch.
        options: Of `Phase`.
    """

    def run(job: Job) -> int:
        model = job.model()
        head, fine = job.phases(model)
        fine = replace(fine, **options)
        if climb is not None:
            fine = replace(fine, warmup=climb * fine.epochs)
        return job.right(job.run(model, [head, fine]))

    return run


def augmented(preset: str) -> Callable[[Job], int]:
    """Another augmentation; digits are not mirrored, as by default."""

    def run(job: Job) -> int:
        changed = replace(PRESETS[preset], flip=job.train.name != "digits")
        return job.right(job.tuned(augment=changed))

    return run


def default(job: Job) -> Rows:
    """The default recipe; and its predictions averaged over views of each image."""
    model = job.tuned()
    yield DEFAULT, job.right(model)
    yield "8 views", job.right(model, views=8, augment=augmentation(job.test))


def least_loss(job: Job) -> int:
    """The default recipe, its epoch chosen by the loss, not by the accuracy."""
    model = job.model()
    return job.right(job.run(model, job.phases(model), monitor="val_loss"))


def no_choice(whole: bool) -> Callable[[Job], int]:
    """Its last weights: no image chooses an epoch, so that all might train."""

    def run(job: Job) -> int:
        images = job.whole if whole else job.train
        blind = replace(job, train=images, check=None)
        return job.right(blind.tuned())

    return run


def fitted_head(job: Job) -> keras.Model:
    """A classifier whose head is a cross-validated logistic regression."""
    from sklearn.model_selection import GridSearchCV

    model = job.model()
    features = kerastl.features.FeatureExtractor(
        "MobileNet", alpha=0.25, weights=job.weights, image_size=job.side
    ).fit_transform(job.train.images)
    scarce = int(np.bincount(job.train.labels).min())
    search = GridSearchCV(
        kerastl.features.classical_head("logistic"),
        {"classifier__C": [1e-3, 1e-2, 1e-1, 1.0]},
        cv=max(2, min(5, scarce)),
    )
    search.fit(features, job.train.labels)
    kerastl.features.set_head(model, search.best_estimator_)
    return model


def after_fitted_head(job: Job) -> Rows:
    """The fitted head alone, and the default recipe's second phase from it."""
    model = fitted_head(job)
    yield "fitted head", job.right(model)
    job.run(model, job.phases(model)[1:])
    yield "fitted head, then all", job.right(model)


def lora(rate: float | None = None) -> Callable[[Job], int]:
    """Adapters of rank 4 in place of the kernels."""

    def run(job: Job) -> int:
        model = job.model()
        kerastl.lora.add(model, rank=4, seed=job.seed)
        head, fine = job.phases(model)
        fine = replace(fine, trainable="lora", learning_rate=rate or fine.learning_rate)
        return job.right(job.run(model, [head, fine]))

    return run


def wise(job: Job) -> int:
    """Weights between the probe's and the default's, by validation."""
    model = job.model()
    head, fine = job.phases(model)
    start = job.run(model, [head]).get_weights()
    kerastl.averaging.wise_ft(job.run(model, [fine]), start, job.check)
    return job.right(model)


def soups(job: Job) -> Rows:
    """Three runs of the default recipe at other rates: greedy soup, and plain mean."""
    models = [job.tuned(learning_rate=rate) for rate in (2e-4, 5e-4, 1e-3)]
    yield "uniform soup of 3", job.right(kerastl.averaging.uniform_soup(models))
    greedy = kerastl.averaging.greedy_soup(models, job.check)
    yield "greedy soup of 3", job.right(greedy.model)


def found_rate(job: Job) -> int:
    """The default recipe at the rate that the finder suggests."""
    model = job.model()
    curve = kerastl.rates.find_learning_rate(
        model, job.train, trainable="all", seed=job.seed
    )
    return job.right(job.tuned(learning_rate=curve.suggestion))


#: The lowest third of MobileNet's blocks.
LOWEST = ("stem", "block_1", "block_2", "block_3", "block_4")
#: Name -> what trains and scores it; some give several rows in one go.
METHODS: dict[str, Callable[[Job], int | Rows]] = {
    DEFAULT: default,
    "lp_ft": tuned_with(as_it_is=True),
    "linear_probe": tuned_with("linear_probe", augment=None),
    "two_phase": tuned_with("two_phase", as_it_is=True),
    "gradual": tuned_with("gradual", as_it_is=True),
    "full": tuned_with("full", as_it_is=True),
    "lp_ft, 48 epochs": tuned_with(as_it_is=True, epochs=(20, 48)),
    "lp_ft, ema 0.9": tuned_with(as_it_is=True, craft={"ema": 0.9}),
    "two_phase, warm-up of one epoch": tuned_with("two_phase"),
    "gradual, warm-up of one epoch": tuned_with("gradual"),
    "full, warm-up of one epoch": tuned_with("full"),
    "fitted head, then all": after_fitted_head,
    "wise_ft": wise,
    "greedy soup of 3": soups,
    "ema 0.9": tuned_with(craft={"ema": 0.9}),
    "ema 0.95": tuned_with(craft={"ema": 0.95}),
    "ema 0.9, rate 1e-3": tuned_with(craft={"ema": 0.9}, learning_rate=1e-3),
    "ema 0.9, rate 1e-3, clipped": fine_phase(
        ema=0.9, learning_rate=1e-3, global_clipnorm=1.0
    ),
    "ema 0.99": tuned_with(craft={"ema": 0.99}),
    "l2_sp 0.01": tuned_with(craft={"penalties": (L2SP(0.01),)}),
    "layer_decay 0.75": tuned_with(craft={"layer_decay": 0.75}),
    "label smoothing 0.1": tuned_with(label_smoothing=0.1),
    "mixup 0.2": tuned_with(craft={"mixup": 0.2}),
    "cutmix 1": tuned_with(craft={"cutmix": 1.0}),
    "randaugment": augmented("randaugment"),
    "resized_crop": augmented("resized_crop"),
    "no augmentation": tuned_with(augment=None),
    "warm-up of a half": fine_phase(0.5),
    "one_cycle": fine_phase(schedule="one_cycle", warmup=0.0),
    "slanted_triangular": fine_phase(schedule="slanted_triangular", warmup=0.0),
    "statistics trained": fine_phase(batch_norm="train"),
    "lowest third": fine_phase(trainable=LOWEST),
    "auto_rgn": fine_phase(multipliers="auto_rgn"),
    "auto_rgn, rate 5e-3": fine_phase(multipliers="auto_rgn", learning_rate=5e-3),
    "norm only": fine_phase(trainable="norm"),
    "norm only, rate 5e-3": fine_phase(trainable="norm", learning_rate=5e-3),
    "lora": lora(),
    "lora, rate 5e-3": lora(5e-3),
    "found rate": found_rate,
    "rate 2e-4": tuned_with(learning_rate=2e-4),
    "rate 1e-3": tuned_with(learning_rate=1e-3),
    "batches of 16": tuned_with(batch_size=16),
    "48 epochs": tuned_with(epochs=(20, 48)),
    "48 epochs, rate 1e-3": tuned_with(epochs=(20, 48), learning_rate=1e-3),
    "epoch of least loss": least_loss,
    "last weights": no_choice(whole=False),
    "last weights of all images": no_choice(whole=True),
}
#: Rows that another method's run gives.
BESIDE = {
    "8 views": DEFAULT,
    "fitted head": "fitted head, then all",
    "uniform soup of 3": "greedy soup of 3",
}


def timed(method: str, job: Job) -> Iterator[tuple[str, int, float]]:
    """The rows that a method gives: name, test images that are right, seconds."""
    start = time.perf_counter()
    found = METHODS[method](job)
    for row, right in [(method, found)] if isinstance(found, int) else found:
        yield row, right, round(time.perf_counter() - start, 1)
