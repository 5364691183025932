"""Searching the settings of a run: many briefly, the best of them longer."""

import itertools
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.inputs import open_data
from kerastl.data.sets import Splits
from kerastl.data.texts import TextSet
from kerastl.features.cache import FeatureCache
from kerastl.features.sources import make_source
from kerastl.tasks.building import build_for_data, usual_backbone
from kerastl.training.recipes import (
    RECIPES,
    default_augment,
    fine_tune,
    recipe_phases,
)

#: Of the trials of a round one in so many goes on, with as many times the epochs.
_FACTOR = 3
#: What a trial trains of the backbone: nothing, the upper half, all.
_DEPTHS = ("linear_probe", "two_phase", "lp_ft")


@dataclass(frozen=True)
class Trial:
    """One setting, and how far it came.

    Attributes:
        recipe: How much of the backbone trains, and in which order.
        learning_rate: Peak rate of the last phase.
        dropout: On the head's features.
        epochs: Of each phase, in its longest run.
        monitor: What was compared, on the validation images.
        score: The best of its epochs.
        seconds: Of all its runs.
    """

    recipe: str
    learning_rate: float
    dropout: float
    epochs: int = 0
    monitor: str = ""
    score: float = float("nan")
    seconds: float = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `transfer`."""
        names = ("recipe", "learning_rate", "dropout")
        return {name: getattr(self, name) for name in names}

    @property
    def order(self) -> tuple[int, float]:
        """Sorts the longest run and the best score first."""
        worse = self.score if "loss" in self.monitor else -self.score
        return -self.epochs, worse


@dataclass(frozen=True, eq=False)
class Tuning(Tabular):
    """Trials, the best first; it prints as a table.

    Attributes:
        trials: Those of the last round first, then those that were left behind.
        network: Arguments of `transfer` that say the network, where they were given.
    """

    trials: tuple[Trial, ...]
    network: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        """Arguments of `transfer` for the best setting."""
        return {**self.network, **self.trials[0].options}

    def command(self, data: str) -> str:
        """The line that trains the best setting at the recipe's own length."""
        words = ["kerastl", "train", data]
        for name, value in self.best.items():
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
        return shlex.join(words)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"best": self.best, "trials": [asdict(trial) for trial in self.trials]}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [asdict(trial) for trial in self.trials]

    def _heading(self) -> str:
        return ""

    def __str__(self) -> str:
        """A table."""
        heads = f"{'recipe':<14} {'rate':>8} {'dropout':>8} {'epochs':>7} "
        lines = [heads + f"{self.trials[0].monitor:>13} {'seconds':>8}"]
        lines += [
            f"{trial.recipe:<14} {trial.learning_rate:>8.2g} {trial.dropout:>8g} "
            f"{trial.epochs:>7} {trial.score:>13.4f} {trial.seconds:>8.1f}"
            for trial in self.trials
        ]
        return "\n".join(lines)


def tune(
    data: Splits | str | Path,
    *,
    task: str = "auto",
    backbone: str | keras.Model = "MobileNet",
    alpha: float | None = None,
    weights: str | Path | None = "tiny",
    image_size: int | None = None,
    resize: str = "stretch",
    recipes: Sequence[str] = _DEPTHS,
    rates: Sequence[float] = (0.3, 1.0, 3.0),
    dropouts: Sequence[float] = (0.2, 0.5),
    trials: int = 9,
    epochs: int = 2,
    batch_size: int = 32,
    validation: float = 0.15,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tuning:
    """The settings of a run that do best on the validation images.

    Successive halving: each setting trains for a few epochs, the better third of them
    for three times as many, and so on. What a frozen backbone makes of the images is
    computed once for all of them. The best of many looks better on the images that
    chose it than it is: score it on a test part, which is not looked at here.

    Args:
        data: A folder (see `load_images`), a table of texts, a data set's name,
            `Splits`, or its parts.
        task: As for `transfer`: `"language"` for texts without labels, say.
        backbone: Name in `list_backbones()`, or a functional `keras.Model`; texts take
            `"MiniText"` where nothing is said, for a language model `"MiniGPT"`.
        alpha: As for `transfer`.
        weights: As for `transfer`.
        image_size: Pixels; None: the backbone's.
        resize: As for `transfer`.
        recipes: How much of the backbone trains, from nothing to all of it.
        rates: What the recipe's own learning rate is multiplied by.
        dropouts: Shares of the head's features dropped, in [0, 1).
        trials: Settings to try, at least 2, drawn from all that the lists above make.
        epochs: Of each phase in the first round.
        batch_size: Images in an optimizer step.
        validation: Share to choose by, where the data bring no validation part.
        seed: Of the draw, the parts, order and augmentation.
        progress: Called with (done, total) runs.

    Returns:
        The trials, the best first.

    Raises:
        ValueError: If an argument is out of range, or the data have no part to choose
            by.

    Example:
        >>> from kerastl.data.catalog import load_dataset
        >>> train = load_dataset("digits").train
        >>> data = Splits(train.subset(range(40)), train.subset(range(40, 60)), None)
        >>> options = {"alpha": 0.25, "image_size": 32, "recipes": ["linear_probe"]}
        >>> found = tune(data, **options, rates=[1.0, 3.0], trials=2, epochs=1)
        >>> len(found.trials), found.trials[0].recipe
        (2, 'linear_probe')

    Reference:
        Jamieson & Talwalkar (2016), Non-stochastic best arm identification,
        arXiv:1502.07943, figure 3.
    """
    for recipe in recipes:
        check_choice("recipes", recipe, RECIPES)
    for rate in rates:
        check_number("rates", rate, above=0.0)
    for dropout in dropouts:
        check_number("dropouts", dropout, 0.0, below=1.0)
    for name, value, least in (
        ("trials", trials, 2),
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        check_integer(name, value, least)
    grid = list(itertools.product(recipes, rates, dropouts))
    if len(grid) < 2:
        fail("recipes, rates and dropouts", "of two settings or more", len(grid))
    splits = open_data(data, validation=validation, seed=seed)
    if splits.validation is None:
        hint = "Pass validation=0.15 to cut one off."
        fail("data", "data with a validation part", splits.train.name, hint)
    given = {"task": task, "alpha": alpha, "image_size": image_size}
    given |= {"weights": weights, "resize": resize}
    search = _Search(splits, backbone, given, batch_size, seed)
    drawn = np.random.default_rng(seed).permutation(len(grid))[:trials]
    left, behind = [search.trial(*grid[i]) for i in sorted(drawn)], []
    rounds = _rounds(len(left))
    done, total = 0, sum(rounds)
    for number, count in enumerate(rounds):
        left, out = left[:count], left[count:]
        behind = out + behind
        for place, trial in enumerate(left):
            left[place] = search.run(trial, epochs * _FACTOR**number)
            done += 1
            if progress is not None:
                progress(done, total)
        left.sort(key=lambda trial: trial.order)
    backbone = usual_backbone(backbone, splits.train, task)
    named = {"backbone": backbone} if isinstance(backbone, str) else {}
    usual = {"task": "auto", "weights": "tiny", "resize": "stretch"}
    options = {k: v for k, v in given.items() if v is not None and v != usual.get(k)}
    return Tuning((*left, *behind), {**named, **options})


def _rounds(trials: int) -> list[int]:
    """How many trials run in each round."""
    counts = [trials]
    while counts[-1] > 1:
        counts.append(max(counts[-1] // _FACTOR, 1))
    # The last one alone has nobody to be compared with.
    return counts[:-1]


class _Search:
    """What all trials share: images, decoded once, and a frozen part's outputs."""

    def __init__(
        self,
        splits: Splits,
        backbone: str | keras.Model,
        building: dict[str, Any],
        batch_size: int,
        seed: int,
    ) -> None:
        self._backbone, self._building = backbone, building
        self._set = splits.train
        self._batch_size, self._seed, self._cache = batch_size, seed, FeatureCache()
        self._rates: dict[str, float] = {}
        model = self.model(0.0)
        self._train = make_source(model, splits.train, "train")
        self._validation = make_source(model, splits.validation, "validation")

    def model(self, dropout: float) -> keras.Model:
        """A new one."""
        options = {**self._building, "dropout": dropout, "seed": self._seed}
        return build_for_data(self._backbone, self._set, **options)

    def trial(self, recipe: str, rate: float, dropout: float) -> Trial:
        """A setting that has not run."""
        if recipe not in self._rates:
            last = recipe_phases(self.model(0.0), recipe)[-1]
            self._rates[recipe] = last.learning_rate
        return Trial(recipe, rate * self._rates[recipe], dropout)

    def run(self, trial: Trial, epochs: int) -> Trial:
        """The setting, trained from the start for so many epochs of each phase."""
        began = time.perf_counter()
        train = self._set
        texts = isinstance(train, TextSet)
        best = fine_tune(
            self.model(trial.dropout),
            self._train,
            self._validation,
            recipe=trial.recipe,
            learning_rate=trial.learning_rate,
            epochs=epochs,
            augment=None if texts else default_augment(train.name, trial.recipe),
            batch_size=self._batch_size,
            cache=self._cache,
            seed=self._seed,
            verbose=0,
        ).best
        seconds = trial.seconds + time.perf_counter() - began
        found = {"epochs": epochs, "monitor": best.monitor, "score": best.value}
        return Trial(**trial.options, **found, seconds=seconds)
