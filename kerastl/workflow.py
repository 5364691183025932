"""From data to a saved, scored model in one call."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from kerastl._checks import (
    check_choice,
    check_integer,
    check_number,
    fail,
    passed_on,
    warn,
)
from kerastl._files import OutputFolder
from kerastl._processes import place
from kerastl._progress import Clock, ProgressLine
from kerastl._tables import Tabular, singles
from kerastl.artifacts import (
    ResumedFolder,
    output_folder,
    phase_row,
    rescue,
    run_settings,
    split_counts,
    write_artifacts,
)
from kerastl.data.columns import is_table
from kerastl.data.images import RESIZES
from kerastl.data.inputs import open_data
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.sources import ImageSource, TextSource
from kerastl.data.tables import COLUMNS
from kerastl.data.texts import TextSet
from kerastl.features.cache import FeatureCache
from kerastl.features.network import STRATEGIES, device_strategy
from kerastl.features.sources import make_source
from kerastl.models.backbones import PRECISIONS, check_backbone
from kerastl.models.text_backbones import is_text_network
from kerastl.models.tokenizing import TRUNCATIONS
from kerastl.prediction import scored as scored_set
from kerastl.selection.advice import follow_advice
from kerastl.selection.image_size import SizeChoice, choose_image_size
from kerastl.tasks.building import build_for_data
from kerastl.tasks.task import (
    Task,
    bind,
    bind_known,
    find_task,
    task_of_set,
)
from kerastl.training.phase import TrainingHistory
from kerastl.training.rate_finder import RateCurve, find_learning_rate
from kerastl.training.recipes import (
    DEFAULT_RECIPE,
    Recipe,
    check_training,
    default_augment,
    fine_tune,
)


@dataclass(frozen=True, eq=False)
class TransferResult(Tabular):
    """What `transfer` made.

    Attributes:
        model: The classifier, with the best weights of all phases.
        history: One history over all phases.
        report: JSON-ready: `data`, `headline`, `class_names`, `splits`, `settings`,
            `phases`, `best`, `seconds`, `validation` and `test` scores.
        splits: The images that were used.
        predictions: Part -> what the model said of its images when they were scored.
        reports: Part -> the task's report on them, as `evaluate` gives it.
    """

    model: keras.Model
    history: TrainingHistory
    report: dict[str, Any]
    splits: Splits
    predictions: Mapping[str, Any] = field(default_factory=dict)
    reports: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The part whose examples are drawn: test, else validation, else train."""
        held_out = [p for p in ("test", "validation") if getattr(self.splits, p)]
        return held_out[0] if held_out else "train"

    def write(self, output: str | Path, *, overwrite: bool = False) -> None:
        """Write model, report, history and pictures into a folder.

        Args:
            output: Folder; made if it does not exist.
            overwrite: Whether files of an earlier run in it may be replaced.

        Raises:
            ValueError: If the folder holds something and may not be overwritten.
        """
        with output_folder(output, overwrite) as folder:
            write_artifacts(folder, self)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a part that was scored, without what is no single score."""
        scored = [part for part in _PARTS if self.report[part]]
        return [{"part": part, **singles(self.report[part])} for part in scored]

    def __str__(self) -> str:
        """A short account."""
        lines, task = [str(self.history)], bind_known(self.model).task
        for part in _PARTS:
            if scores := self.report[part]:
                examples = getattr(self.splits, part)
                counted = f"{len(examples)} {examples.noun}s"
                lines.append(f"{part} {task.summary(scores)}, {counted}")
        lines.append(f"{self.report['seconds']['total']:.1f} s")
        return "\n".join(lines)

    _heading = __str__


def transfer(
    data: Any,
    *,
    images: str | None = None,
    text: str | None = None,
    targets: str | Sequence[str] | None = None,
    labels: str | Sequence[str] | None = None,
    separator: str | None = None,
    groups: Any = None,
    split: str | None = None,
    folder: str | Path | None = None,
    task: str | Task = "auto",
    backbone: str | keras.Model = "MobileNet",
    alpha: float | None = None,
    weights: str | Path | None = "tiny",
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str = "stretch",
    preprocessing: Any = None,
    sequence_length: int | None = None,
    truncate: str = "head",
    recipe: str | Recipe = DEFAULT_RECIPE,
    epochs: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    batch_size: int | None = None,
    augment: Any = "auto",
    views: int | None = None,
    cache: str = "auto",
    dropout: float = 0.2,
    class_weight: str | Mapping[str, float] | None = None,
    sampling: str | None = None,
    label_smoothing: float = 0.0,
    teacher: str | Path | keras.Model | None = None,
    minutes: float | None = None,
    validation: float = 0.15,
    test: float = 0.0,
    on_bad: str = "error",
    on_leak: str = "drop",
    precision: str | None = None,
    strategy: Any = None,
    best_size: bool = True,
    seed: int = 0,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: str | Path | None = None,
    verbose: int | str = "auto",
) -> TransferResult:
    """A model for your images or texts, from a pre-trained backbone, in one call.

    The default weights are bundled and need no network; `weights="imagenet"`
    downloads stronger ones once. The test part, where there is one, is scored once,
    at the end; everything is chosen by the validation part.

    Args:
        data: A folder, a table, a data set's name, an `ImageSet`, `(images, labels)`,
            or parts of such: see `open_data`.
        images: Column of file names, for a table: see `load_table`.
        text: Column of texts, for a table of such.
        targets: Columns of numbers, for a table.
        labels: Column of class names, or columns of 0 and 1, for a table.
        separator: What stands between several class names in a cell of a table.
        groups: What must stay in one part: see `open_data`.
        split: Column that says which part a row is in, for a table.
        folder: What the file names of a table are relative to.
        task: `"auto"`: what the data's labels or numbers ask; or the name of a
            registered task such as `"binary"`, or a `kerastl.tasks.Task`.
        backbone: Name in `list_backbones()`, or a functional `keras.Model`. For texts
            `"MiniText"`, which is bundled and taken if nothing is said (for a language
            model `"MiniGPT"`), the folder or name of a keras-hub preset, or a model of
            texts or its file.
        alpha: Width of a MobileNet; None: the widest bundled, or 1.
        weights: `"tiny"` (bundled), `"imagenet"`, a file, or None for random ones.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's.
        channels: Of the images, for a backbone by name: 1 for grey; None: 3, or as many
            as an array of other than 1, 3 or 4 has. See `build_backbone`.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        preprocessing: For a foreign model: see `build_classifier`.
        sequence_length: Ids in a row of texts; None: what all but a twentieth of the
            training texts need.
        truncate: What is kept of longer texts: `"head"`, `"tail"` or `"middle"`, which
            leaves out the middle.
        recipe: How to train: see `fine_tune`; `"auto"` measures and decides, see
            `advise`.
        epochs: One number for every phase, or one per phase; None: the recipe's.
        learning_rate: Peak rate of the last phase, of `"gradual"` of all that open the
            backbone; None: the recipe's.
        patience: Epochs without a better validation result after which a phase
            stops; None: never.
        batch_size: Images in an optimizer step; None: 32, and 4 where boxes are looked
            for.
        augment: A preset: see `batches`; or `"auto"`: `"light"`, which mirrors (take
            `"digits"` for signs and letters), `"digits"` for the data set of that
            name, and none for `linear_probe`.
        views: Augmented versions of each image to compute the frozen part for, once,
            instead of another in each epoch: see `run_phases`.
        cache: Where the frozen part's outputs are kept: see `run_phases`.
        dropout: On the head's features, in [0, 1).
        class_weight: By name, or `"balanced"`.
        sampling: `"balanced"` draws as many images of each class: see `run_phases`.
        label_smoothing: In [0, 1).
        teacher: A classifier's `.keras` file, or `keras.Model`, of the same classes in
            order, whose answers are learnt beside the labels; None: the labels alone.
        minutes: Time for training, above 0: the best weights by then stay; None: no
            limit.
        validation: Share of the training images to choose by, where the data bring
            no validation part.
        test: Share of all images to score at the end, where the data bring no test.
        on_bad: `"error"` names files that cannot be read; `"skip"` leaves them out.
        on_leak: `"drop"` leaves out the training copy of an image that a held-out
            part holds too; `"error"` names it.
        precision: `"mixed_bfloat16"` or `"mixed_float16"` on devices that gain by
            it; None: as Keras is set.
        strategy: `"auto"`, `"cpu"`, `"mirrored"`, `"tpu"`, or what `device_strategy`
            gives; None: the one device.
        best_size: Whether a classifier ends at the image size, up to 1.5 times that of
            training, at which its validation loss is lower by more than chance.
        seed: Splits, order, augmentation and dropout follow from it.
        output: Folder for model, report and pictures; None: nothing is written.
        overwrite: Whether files of an earlier run in `output` may be replaced.
        resume: In place of `output`, the folder of a run that goes on where it was
            killed, to the same weights; the first time, where it begins.
        verbose: As for `Model.fit`, or `"auto"`.

    Returns:
        Model, history and report.

    Raises:
        ValueError: If an argument or the data do not fit; as `EndedError` if the run
            in `resume` has ended.
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
    reading = {"validation": validation, "test": test, "seed": seed}
    reading |= {"on_bad": on_bad, "on_leak": on_leak}
    given = (images, text, targets, labels, separator, groups, split, folder)
    reading |= {n: v for n, v in zip(COLUMNS, given, strict=True) if v is not None}
    building = {
        "alpha": alpha,
        "weights": weights,
        "image_size": image_size,
        "channels": channels,
        "resize": resize,
        "preprocessing": preprocessing,
        "sequence_length": sequence_length,
        "truncate": truncate,
        "dropout": dropout,
        "precision": precision,
    }
    training = passed_on(locals(), check_training)
    run = Run(task, backbone, reading, building, training, strategy, best_size, verbose)
    run.check()
    if output is None and resume is None:
        return run.result(data)
    if resume is None:
        folder = output_folder(output, overwrite)
    else:
        if output is not None or overwrite:
            expected = "left out beside `resume`, which is the folder"
            fail("output and overwrite", expected, (output, overwrite))
        folder = ResumedFolder(resume, run.given())
    with folder as place:
        _check_apart(place.path, data)
        return run.result(data, place)


def _check_apart(output: Path, data: Any) -> None:
    """Raise if the pictures of this run would be images of the next."""
    if isinstance(data, (str, Path)) and Path(data).is_dir():
        inside = Path(data).resolve() in (output.resolve(), *output.resolve().parents)
        if inside:
            fail("output", f"outside of the data {str(data)!r}", str(output))


@dataclass(frozen=True, eq=False)
class Run:
    """One call of `transfer`: its arguments, by what they are for."""

    task: str | Task
    backbone: str | keras.Model
    reading: dict[str, Any]
    building: dict[str, Any]
    training: dict[str, Any]
    strategy: Any
    best_size: bool
    verbose: int | str

    def given(self) -> dict[str, Any]:
        """All that decides the run besides the data."""
        own = {"task": self.task, "backbone": self.backbone}
        own |= {"strategy": self.strategy, "best_size": self.best_size}
        # More time may be given to what goes on.
        training = {n: v for n, v in self.training.items() if n != "minutes"}
        return {**own, **self.reading, **self.building, **training}

    def check(self) -> None:
        """Raise for what is wrong whatever the data are: before the first is read."""
        reading, building, training = self.reading, self.building, self.training
        for name in ("validation", "test"):
            check_number(name, reading[name], 0.0, below=1.0)
        check_choice("on_bad", reading["on_bad"], ("error", "skip"))
        check_choice("on_leak", reading["on_leak"], ("drop", "error"))
        if isinstance(self.task, str) and self.task != "auto":
            find_task(self.task)
        check_choice("truncate", building["truncate"], TRUNCATIONS)
        if building["sequence_length"] is not None:
            check_integer("sequence_length", building["sequence_length"], 3)
        texts = is_text_network(self.backbone)
        if isinstance(self.backbone, (str, Path)) and not texts:
            names = ("alpha", "image_size", "weights")
            check_backbone(self.backbone, **{name: building[name] for name in names})
        self._check_channels()
        check_choice("resize", building["resize"], RESIZES)
        check_number("dropout", building["dropout"], 0.0, below=1.0)
        if building["precision"] is not None:
            check_choice("precision", building["precision"], PRECISIONS)
        if isinstance(self.strategy, str):
            check_choice("strategy", self.strategy, STRATEGIES)
        if place()[1] > 1:
            hint = "It writes reports. Several processes train with fine_tune or "
            hint += "run_phases."
            fail("transfer", "one process", f"{place()[1]} processes", hint)
        check_training(**training)

    def _check_channels(self) -> None:
        """Raise where a number of channels was given that no backbone can have."""
        channels = self.building["channels"]
        if channels is None:
            return
        check_integer("channels", channels, 1)
        if isinstance(self.backbone, keras.Model):
            hint = "It has the channels it was built for: see build_backbone."
            fail("channels", "None beside a network", channels, hint)
        if channels != 3 and self.training["recipe"] == "auto":
            hint = "Advice is for RGB images: take a recipe by name."
            fail("channels", "3 with recipe='auto'", channels, hint)

    def result(self, data: Any, output: OutputFolder | None = None) -> TransferResult:
        """Read, train, score, write; what was learnt is kept, whatever goes wrong."""
        # Imported before the clock starts: the first use would count as reading.
        import sklearn  # noqa: F401

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf  # noqa: F401

        clock = Clock()
        strategy = self.strategy and device_strategy(self.strategy)
        splits = _read(data, **folder_labels(self.task, data), **self.reading)
        clock.stop("reading")
        # What advice computes, training need not compute again.
        kept, asked = FeatureCache(self.training["cache"]), dict(self.training)
        if asked["batch_size"] is None:
            asked["batch_size"] = task_of_set(splits.train, self.task).usual_batch
        settled = _settle(self.backbone, splits.train, self.building, asked, kept)
        backbone, training, advice = settled
        with strategy.scope() if strategy else nullcontext():
            options = {"task": self.task, "seed": training["seed"], **self.building}
            model = build_for_data(backbone, splits.train, **options)
        if output is not None:
            output.check_space(_bytes_of(model))
        result = None
        try:
            keep = training["cache"] != "disk"
            parts = _sources(model, splits, keep=keep)
            given = {**training, "cache": kept, "strategy": strategy}
            given |= {"verbose": self.verbose, "resume_dir": output and output.states}
            history = fine_tune(model, parts["train"], parts["validation"], **given)
            clock.stop("training")
            with strategy.scope() if strategy else nullcontext():
                choice = self._sized(model, parts["validation"])
            if choice and choice.model is not model:
                model = choice.model
                parts |= _sources(model, replace(splits, train=None), keep=keep)
                held_out = parts["validation"]
                parts["validation"] = replace(held_out, store=choice.store)
            settings = {**self.reading, **self.building, **training}
            settings = run_settings(model, settings)
            settings["advice"] = advice and advice.to_dict()
            settings["best_size"] = self.best_size
            result = _finish(model, history, splits, parts, settings, clock, choice)
            if output is not None:
                # The pictures show pixels that are at hand.
                store = getattr(parts[result.shown], "store", None)
                write_artifacts(output, result, store and store.rows)
        # Whatever went wrong, Ctrl-C and a full memory included.
        except BaseException as error:
            if output is not None:
                _keep(output, model, result and result.report, error)
            raise
        return result

    def _sized(self, model: keras.Model, held_out: Any) -> SizeChoice | None:
        """The model at its best image size; None where nothing can choose it."""
        chosen_by_loss = isinstance(held_out, ImageSource) and bind(model).task.any_size
        if not self.best_size or not chosen_by_loss:
            return None
        with ProgressLine("choosing the image size") as progress:
            options = {"store": held_out.store, "progress": progress}
            return choose_image_size(model, held_out.images, **options)


def _bytes_of(model: keras.Model) -> int:
    """What the files of a run may take, pictures and all."""
    return 4 * model.count_params() + 5_000_000


def _keep(output: OutputFolder, model: Any, report: Any, error: BaseException) -> None:
    """Rescue the model, and let the error say where it is."""
    # Notes on the model in memory are for those who have it.
    notes = [
        note for note in getattr(error, "__notes__", []) if "The model" not in note
    ]
    error.__notes__ = notes
    where = rescue(output, model, report)
    if where is None and isinstance(error, KeyboardInterrupt):
        where = "Nothing had been learnt yet, and nothing is kept."
    if where is not None:
        error.add_note(where)


_PARTS = ("validation", "test")


def _read(data: Any, **options: Any) -> Splits:
    with ProgressLine("reading images") as progress:
        return open_data(data, **options, progress=progress)


def folder_labels(task: str | Task, data: Any) -> dict[str, str]:
    """What to ask of `open_data`, of a folder that may have masks and boxes."""
    if task == "auto" or not isinstance(data, (str, Path)) or not Path(data).is_dir():
        return {}
    kind = (find_task(task) if isinstance(task, str) else task).folder_labels
    return {"labels": kind} if kind else {}


def _settle(
    backbone: Any,
    train: ImageSet,
    building: Any,
    training: dict[str, Any],
    features: FeatureCache,
) -> tuple[Any, dict[str, Any], Any]:
    """Decide what was left open: (backbone, settings of training, advice or None)."""
    if isinstance(train, TextSet):
        if training["recipe"] == "auto":
            fail("recipe", "one by name for texts", "auto", "Take 'lp_ft'.")
        for name in ("augment", "views"):
            if training[name] not in ("auto", None):
                fail(name, "None for texts", training[name])
        return backbone, {**training, "augment": None}, None
    if training["recipe"] == "auto":
        with ProgressLine("measuring for advice") as progress:
            given = building, training, progress, features
            return follow_advice(backbone, train, *given)
    if training["augment"] == "auto":
        preset = default_augment(train.name, training["recipe"])
        training = {**training, "augment": preset}
    return backbone, training, None


def _sources(model: keras.Model, splits: Splits, *, keep: bool) -> dict[str, Any]:
    """Each part as the model takes it: decoded once, for training, scores, pictures."""
    parts = {name: getattr(splits, name) for name in ("train", *_PARTS)}
    return {
        name: make_source(model, part, name, keep_pixels=keep) if part else None
        for name, part in parts.items()
    }


def _finish(
    model: keras.Model,
    history: TrainingHistory,
    splits: Splits,
    parts: dict[str, ImageSource | None],
    settings: dict[str, Any],
    clock: Clock,
    choice: SizeChoice | None,
) -> TransferResult:
    """Score the parts that are not trained on, once, and write it all down."""
    scored = {"validation": choice and (choice.report, choice.predictions)}
    scored |= {p: _score(model, parts[p], p) for p in _PARTS if not scored.get(p)}
    clock.stop("scoring")
    report = {
        "data": splits.train.name,
        "headline": dict(bind_known(model).task.headline),
        "class_names": list(splits.train.class_names),
        "splits": {p: split_counts(getattr(splits, p)) for p in ("train", *_PARTS)},
        "settings": settings,
        "phases": [phase_row(record) for record in history.phases],
        "best": vars(history.best) if history.best else None,
        "seconds": clock.report(),
        "image_sizes": choice and choice.to_rows(),
        **{part: found and found[0].to_dict() for part, found in scored.items()},
    }
    reports = {part: found[0] for part, found in scored.items() if found}
    predictions = {part: found[1] for part, found in scored.items() if found}
    return TransferResult(model, history, report, splits, predictions, reports)


def _score(model: keras.Model, source: ImageSource | None, part: str) -> Any:
    """Report and predictions of a part, if there is one."""
    if source is None:
        return None
    with ProgressLine(f"scoring {part}") as progress:
        if isinstance(source, TextSource):
            return scored_set(bind_known(model), source.texts, progress=progress)
        options = {"store": source.store, "progress": progress}
        return scored_set(bind_known(model), source.images, **options)


def images_chosen_by(model: str | Path, data: Any, **given: Any) -> ImageSet:
    """The images that a run of `transfer` chose its weights by, cut again.

    Args:
        model: What the run wrote, with its report beside it.
        data: What the run was given.
        **given: `validation`, `test` and `seed` where not as in the report; what is
            None there too is as `transfer` has it by itself.

    Raises:
        ValueError: If the data have no validation part.
    """
    return chosen_and_tested(model, data, **given)[0]


def chosen_and_tested(
    model: str | Path, data: Any, **given: Any
) -> tuple[ImageSet, ImageSet | None]:
    """The same, and the test part where there is one."""
    report = _report_beside(Path(model))
    known = {"validation": 0.15, "test": 0.0, "seed": 0}
    settings = report.get("settings") or {}
    cut = {name: settings.get(name, default) for name, default in known.items()}
    cut |= {name: value for name, value in given.items() if value is not None}
    same = ("on_bad", "on_leak", *(COLUMNS if is_table(data) else ()))
    cut |= {name: settings[name] for name in same if settings.get(name) is not None}
    splits = _read(data, **cut)
    images = splits.validation
    if images is None:
        hint = "Pass validation=0.15 to cut one off images that were not trained on."
        fail("data", "data with a validation part", str(data), hint)
    chosen = ((report.get("splits") or {}).get("validation") or {}).get("images")
    if chosen not in (None, len(images)):
        warn(
            f"These are {len(images)} images, but the run chose by {chosen}; images "
            "that were trained on make the model look too timid."
        )
    return images, splits.test


def _report_beside(model: Path) -> dict[str, Any]:
    """What a run wrote down beside its model; empty if it is not there."""
    try:
        report = json.loads((model.parent / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def rate_curve(
    data: Any,
    backbone: str | keras.Model = "MobileNet",
    *,
    task: str | Task = "auto",
    alpha: float | None = None,
    weights: str | Path | None = "tiny",
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    **sweep: Any,
) -> RateCurve:
    """The sweep of `find_learning_rate` for the model and images of `transfer`.

    Args:
        data: As for `transfer`; the sweep sees what `transfer` would train on.
        backbone: As for `transfer`.
        task: As for `transfer`.
        alpha: As for `transfer`.
        weights: As for `transfer`.
        image_size: As for `transfer`.
        resize: As for `transfer`.
        **sweep: Of `find_learning_rate`.
    """
    seed = sweep.get("seed", 0)
    splits = _read(data, validation=0.15, seed=seed, **folder_labels(task, data))
    building = {"task": task, "alpha": alpha, "weights": weights, "seed": seed}
    building |= {"image_size": image_size, "resize": resize}
    model = build_for_data(backbone, splits.train, **building)
    with ProgressLine("trying learning rates") as progress:
        return find_learning_rate(model, splits.train, progress=progress, **sweep)
