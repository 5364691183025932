"""One call from images to a trained, scored, saved classifier."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerastl._checks import check_integer
from kerastl._progress import Progress
from kerastl.artifacts import check_output, rescue, write_artifacts
from kerastl.datasets.opening import open_splits
from kerastl.datasets.sets import ImageSet, Splits
from kerastl.inference.devices import device_strategy
from kerastl.inference.scoring import evaluate
from kerastl.models.heads import build_classifier
from kerastl.run_report import Clock, phase_row, run_settings, split_counts
from kerastl.selection.advised import follow_advice
from kerastl.training.fine_tuning import fine_tune
from kerastl.training.phase import TrainingHistory
from kerastl.training.recipes import DEFAULT_RECIPE, default_augment


@dataclass(frozen=True, eq=False)
class TransferResult:
    """What `transfer` made.

    Attributes:
        model: The classifier, with the best weights of all phases.
        history: One history over all phases.
        report: JSON-ready: `data`, `class_names`, `splits`, `settings`, `phases`,
            `best`, `seconds`, `validation` and `test` scores.
        splits: The images that were used.
    """

    model: keras.Model
    history: TrainingHistory
    report: dict[str, Any]
    splits: Splits

    def write(self, output: str | Path, *, overwrite: bool = False) -> None:
        """Write model, report, history and pictures into a folder.

        Args:
            output: Folder; made if it does not exist.
            overwrite: Whether files of an earlier run in it may be replaced.

        Raises:
            ValueError: If the folder holds something and may not be overwritten.
        """
        write_artifacts(
            Path(output),
            model=self.model,
            history=self.history,
            report=self.report,
            shown=self.splits.test or self.splits.validation or self.splits.train,
            overwrite=overwrite,
        )

    def __str__(self) -> str:
        """A short account."""
        lines = [str(self.history)]
        for part in _PARTS:
            if scores := self.report[part]:
                low, high = scores["accuracy_interval"]
                lines.append(
                    f"{part} accuracy {scores['accuracy']:.1%} "
                    f"({low:.1%} to {high:.1%}), {scores['images']} images"
                )
        lines.append(f"{self.report['seconds']['total']:.1f} s")
        return "\n".join(lines)


def transfer(
    data: str | Path | Splits | Sequence[ImageSet],
    *,
    backbone: str | keras.Model = "MobileNet",
    alpha: float | None = None,
    weights: str | Path | None = "tiny",
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    preprocessing: Any = None,
    recipe: str = DEFAULT_RECIPE,
    epochs: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    batch_size: int = 32,
    augment: Any = "auto",
    views: int | None = None,
    cache: str = "auto",
    dropout: float = 0.2,
    class_weight: str | Mapping[str, float] | None = None,
    label_smoothing: float = 0.0,
    validation: float = 0.15,
    test: float = 0.0,
    on_bad: str = "error",
    on_leak: str = "drop",
    precision: str | None = None,
    strategy: Any = None,
    seed: int = 0,
    output: str | Path | None = None,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> TransferResult:
    """A classifier for your images, from a pre-trained backbone, in one call.

    The default weights are bundled and need no network; `weights="imagenet"`
    downloads stronger ones once. The test part, where there is one, is scored once,
    at the end; everything is chosen by the validation part.

    Args:
        data: A folder (see `load_images`), a data set's name (see `load_dataset`),
            or `Splits`, or its three parts.
        backbone: Name in `list_backbones()`, or a functional `keras.Model`.
        alpha: Width of a MobileNet; None: the widest bundled, or 1.
        weights: `"tiny"` (bundled), `"imagenet"`, a file, or None for random ones.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        preprocessing: For a foreign model: see `build_classifier`.
        recipe: How to train: see `fine_tune`; `"auto"` measures and decides, see
            `advise`.
        epochs: One number for every phase, or one per phase; None: the recipe's.
        learning_rate: Peak rate of the last phase, of `"gradual"` of all that open the
            backbone; None: the recipe's.
        patience: Epochs without a better validation result after which a phase
            stops; None: never.
        batch_size: Images in an optimizer step.
        augment: `None`, a preset of `batches`, or `"auto"`: `"light"`, which mirrors
            (take `"digits"` for signs and letters), `"digits"` for the data set of that
            name, and none for `linear_probe`.
        views: Augmented versions of each image to compute the frozen part for, once,
            instead of another in each epoch: see `run_phases`.
        cache: Where the frozen part's outputs are kept: see `run_phases`.
        dropout: On the head's features, in [0, 1).
        class_weight: By name, or `"balanced"`.
        label_smoothing: In [0, 1).
        validation: Share of the training images to choose by, where the data bring
            no validation part.
        test: Share of all images to score at the end, where the data bring no test.
        on_bad: `"error"` names files that cannot be read; `"skip"` leaves them out.
        on_leak: `"drop"` leaves out the training copy of an image that a held-out
            part holds too; `"error"` names it.
        precision: `"mixed_bfloat16"` or `"mixed_float16"` on devices that gain by
            it; None: as Keras is set.
        strategy: What `device_strategy` takes or gives; None: the one device.
        seed: Splits, order, augmentation and dropout follow from it.
        output: Folder for model, report and pictures; None: nothing is written.
        overwrite: Whether files of an earlier run in `output` may be replaced.
        verbose: As for `Model.fit`, or `"auto"`.

    Returns:
        Model, history and report.

    Raises:
        ValueError: If an argument or the data do not fit.
        FileNotFoundError: If the folder or the weights do not exist.
        KeyboardInterrupt: If interrupted; the best weights are in `output` then.

    Example:
        >>> import kerastl
        >>> result = kerastl.transfer(
        ...     "digits", alpha=0.25, image_size=32, recipe="linear_probe", epochs=2
        ... )
        >>> result.report["validation"]["images"]
        269
    """
    check_integer("seed", seed, 0)
    if output is not None:
        check_output(Path(output), overwrite)
    # Imported before the clock starts: the first use would count as reading.
    import sklearn  # noqa: F401
    import tensorflow as tf  # noqa: F401

    clock = Clock()
    reading = {"validation": validation, "test": test, "seed": seed}
    reading |= {"on_bad": on_bad, "on_leak": on_leak}
    splits = _read(data, **reading)
    clock.stop("reading")
    building = {
        "alpha": alpha,
        "weights": weights,
        "image_size": image_size,
        "resize": resize,
        "preprocessing": preprocessing,
        "dropout": dropout,
        "precision": precision,
    }
    training = {
        "recipe": recipe,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "patience": patience,
        "views": views,
        "cache": cache,
        "batch_size": batch_size,
        "augment": augment,
        "class_weight": class_weight,
        "label_smoothing": label_smoothing,
        "seed": seed,
    }
    settled = _settle(backbone, splits.train, building, training)
    backbone, training, advice = settled
    strategy = strategy and device_strategy(strategy)
    with strategy.scope() if strategy else nullcontext():
        model = _model(backbone, splits, seed=seed, **building)
    result = None
    try:
        given = {**training, "strategy": strategy, "verbose": verbose}
        history = fine_tune(model, splits.train, splits.validation, **given)
        clock.stop("training")
        settings = run_settings(model, {**reading, **building, **training})
        settings["advice"] = advice and advice.to_dict()
        result = _finish(model, history, splits, settings, clock)
        if output is not None:
            result.write(output, overwrite=overwrite)
    # Whatever went wrong, Ctrl-C and a full memory included: keep what was learnt.
    except BaseException:
        if output is not None:
            rescue(Path(output), model, result and result.report)
        raise
    return result


_PARTS = ("validation", "test")


def _read(data: Any, **options: Any) -> Splits:
    with Progress("reading images") as progress:
        return open_splits(data, **options, progress=progress)


def _settle(
    backbone: Any, train: ImageSet, building: Any, training: dict[str, Any]
) -> tuple[Any, dict[str, Any], Any]:
    """Decide what was left open: (backbone, settings of training, advice or None)."""
    if training["recipe"] == "auto":
        with Progress("measuring for advice") as progress:
            return follow_advice(backbone, train, building, training, progress)
    if training["augment"] == "auto":
        preset = default_augment(train.name, training["recipe"])
        training = {**training, "augment": preset}
    return backbone, training, None


def _model(
    backbone: str | keras.Model, splits: Splits, *, seed: int, **options: Any
) -> keras.Model:
    """The classifier, its random parts drawn from the seed."""
    if isinstance(backbone, keras.Model):
        options.update(weights=None, alpha=None)
    task = "multilabel" if splits.train.multilabel else "multiclass"
    return build_classifier(
        backbone, splits.train.class_names, task=task, seed=seed, **options
    )


def _finish(
    model: keras.Model,
    history: TrainingHistory,
    splits: Splits,
    settings: dict[str, Any],
    clock: Clock,
) -> TransferResult:
    """Score the parts that are not trained on, once, and write it all down."""
    scores = {part: _score(model, getattr(splits, part), part) for part in _PARTS}
    clock.stop("scoring")
    report = {
        "data": splits.train.name,
        "class_names": list(splits.train.class_names),
        "splits": {p: split_counts(getattr(splits, p)) for p in ("train", *_PARTS)},
        "settings": settings,
        "phases": [phase_row(record) for record in history.phases],
        "best": vars(history.best) if history.best else None,
        "seconds": clock.report(),
        **scores,
    }
    return TransferResult(model, history, report, splits)


def _score(model: keras.Model, images: ImageSet | None, part: str) -> Any:
    if images is None or not len(images):
        return None
    with Progress(f"scoring {part}") as progress:
        return evaluate(model, images, progress=progress).to_dict()
