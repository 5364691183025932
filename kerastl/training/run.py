"""Running phases: one history, best weights over all of them."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, passed_on, warn
from kerastl._processes import agreed_seed, place
from kerastl._progress import ProgressLine, as_verbosity
from kerastl.data.augmentation import as_augmentation
from kerastl.data.sources import ImageSource, Source, StreamSource
from kerastl.features.cache import (
    CachePlan,
    FeatureCache,
    FrozenPart,
    Views,
    cached_part,
)
from kerastl.features.network import replicas as count_replicas
from kerastl.features.planning import warn_of_memory
from kerastl.features.sources import make_source
from kerastl.models.freezing import unfreeze
from kerastl.models.layers import seed_noise
from kerastl.models.record import is_pretrained
from kerastl.tasks.compiling import (
    added_losses,
    build_optimizer,
    compile_model,
    jit_mode,
    objective,
    trainable_paths,
)
from kerastl.tasks.task import BoundModel, bind
from kerastl.training.checks import (
    LAST,
    as_phases,
    check_callbacks,
    check_end,
    check_first_batch,
    check_mixing,
    check_monitor,
    check_patience,
    check_phases,
    check_version_count,
    deadline_of,
    labels_checked,
    with_length,
)
from kerastl.training.clean_scores import clean_score
from kerastl.training.distillation import (
    DistilledCrossentropy,
    check_teaching,
    teach,
)
from kerastl.training.domains import adapted, both_domains, check_adaptation
from kerastl.training.gradient_norms import (
    RelativeGradientRates,
    check_rates,
    task_loss,
)
from kerastl.training.phase import Phase, PhaseRecord, TrainingHistory
from kerastl.training.replicas import (
    PaddedValidation,
    check_in_step,
    check_strategy,
    known_to_all,
    replica_batch_size,
)
from kerastl.training.resume import States, kept_states, run_identity, settings_identity
from kerastl.training.watching import (
    EXPLOSION,
    BestWeights,
    EpochScores,
    OneTraining,
    PhaseMonitor,
    TrainableGuard,
    averaging,
    is_out_of_memory,
    kept_weights,
    monitored,
    moved_paths,
    restore,
    snapshot,
    temperature_set_aside,
    undo_failure,
)
from kerastl.training.weighting import balanced_classes, class_weights


@dataclass(eq=False, kw_only=True)
class Run:
    """One call of `run_phases`: its settings and what it has found so far.

    Attributes that are no arguments of `run_phases`, checked: `bound`, the model;
    `weights`, class weights by index; `classes`, each image's where they are balanced;
    `settings`, its `loss`, `metrics` and `label_smoothing`; `replicas`, the devices
    that share a batch; `target`, unlabelled; `watched`, the user's callbacks;
    `pretrained`, whether the backbone had learnt something at the start; `start`, its
    weights then; `gathered`, batches in a step, once halved; `raised`, what was wrong
    with labels inside a stream; `deadline`, when to stop, by `time.monotonic`;
    `states`, what is kept of it for the case that it is killed.
    """

    bound: BoundModel
    train: Source
    validation: Source | None
    batch_size: int
    augment: Any
    weights: dict[int, float] | None
    classes: np.ndarray | None
    settings: dict[str, Any]
    replicas: int
    target: Source | None
    cache: FeatureCache
    views: int | None
    watched: OneTraining
    seed: int
    verbose: int
    history: dict[str, list[float]] = field(default_factory=dict)
    records: list[PhaseRecord] = field(default_factory=list)
    pretrained: bool = True
    start: list[np.ndarray] = field(default_factory=list)
    gathered: int = 1
    raised: list[Exception] = field(default_factory=list)
    deadline: float = math.inf
    states: States = field(default_factory=States)

    @property
    def model(self) -> keras.Model:
        """The whole model."""
        return self.bound.model

    @property
    def steps(self) -> int | None:
        """Batches in an epoch; None where a stream does not tell."""
        if not isinstance(self.train, StreamSource):
            whole, rest = divmod(len(self.train), self.batch_size)
            return whole + (rest > 0 and self.replicas == 1)
        try:
            return len(self.train.data)
        except TypeError:
            return None

    def train_phases(self, phases: Sequence[Phase], monitor: str) -> TrainingHistory:
        """Every phase, then the best weights."""
        given = self.settings, monitor, self.scores_epochs
        tracker = BestWeights(self.model, monitored(self.bound, *given))
        self.start = snapshot(self.model)
        # Once, at the start: statistics that a phase has trained may train on.
        self.pretrained = is_pretrained(self.model)
        first = self.states.take_up(self, tracker, phases)
        try:
            if first < len(phases):
                self.decode()
            for number, phase in enumerate(phases[first:], first):
                if number and time.monotonic() >= self.deadline:
                    self._leave_out(phases[number:])
                    break
                self._phase(number, phase, tracker, len(phases))
                if number + 1 < len(phases):
                    self.states.end_phase(self, tracker, number)
        except BaseException as error:
            kept = self._undo(tracker, phases[-1])
            told = self.raised[0] if self.raised else None
            if is_out_of_memory(error):
                told = MemoryError(
                    f"The memory is full at batches of {self.batch_size}. Take smaller "
                    "ones (`batch_size`), smaller images or fewer layers that train."
                )
            (told or error).add_note(kept)
            if told is not None:
                raise told from None
            raise
        if tracker.weights is not None:
            restore(self.model, tracker.weights)
        # The optimizer's moments belong to the last step, not to the best weights.
        self._compile(self.model, phases[-1], phases[-1].learning_rate)
        build_optimizer(self.model)
        if not self.states.has_ended:
            self.watched.end()
            self.states.end_run(self, tracker, len(phases))
        return TrainingHistory(self.history, tuple(self.records), tracker.best)

    def _undo(self, tracker: BestWeights, last: Phase) -> str:
        """Give back the model after an error; what it has then, as a sentence."""
        if place()[1] > 1:
            # JAX would wait for the others, which may be elsewhere, and hide the error.
            return "The model has the weights of the step that failed."
        restore(self.model, tracker.weights or tracker.latest or self.start)
        # Nothing of the phase that broke off may train on; the error matters more.
        with suppress(Exception):
            self._compile(self.model, last, last.learning_rate)
        return f"The model has {kept_weights(tracker)}."

    def _leave_out(self, phases: Sequence[Phase]) -> None:
        """Say which phases there was no time for."""
        names = ", ".join(repr(phase.name) for phase in phases)
        last = self.records[-1]
        stopped = "; ".join(filter(None, (last.stopped, f"no time for {names}")))
        self.records[-1] = replace(last, stopped=stopped)
        warn(f"The minutes are over, and phases are left out: {names}.")

    @property
    def scores_epochs(self) -> bool:
        """Whether the task measures the validation data itself after each epoch."""
        if self.bound.task is None or self.validation is None or self.replicas > 1:
            return False
        return self.bound.task.scores_epochs and self.validation.targets is not None

    def versions(self, phase: Phase) -> int | None:
        """Augmented versions of each image in a phase; None: new ones each epoch."""
        if self.augment is None or not phase.augment:
            return None
        return self.views

    def obstacle(self, phase: Phase) -> str:
        """Why the frozen part must not be computed once; empty if nothing is known.

        A callback that looks at the model is promised the whole one, in training.
        """
        if self.replicas > 1:
            return "several devices share a batch"
        if self.watched.want_training:
            kinds = " and ".join(dict.fromkeys(self.watched.want_training))
            return f"callbacks are promised the whole model: {kinds} may look at it"
        augmented = self.augment is not None and phase.augment
        if augmented and self.versions(phase) is None:
            return "each epoch augments anew"
        if phase.mixing.is_on:
            return "each epoch mixes anew"
        return ""

    def chance_loss(self) -> float | None:
        """Training loss of a head that knows nothing; None where nobody can say."""
        task = self.bound.task
        known = task is not None and task.chance_loss is not None
        if not known or self.settings["loss"] is not None:
            return None
        heaviest = max(self.weights.values()) if self.weights else 1.0
        return task.chance_loss * heaviest + added_losses(self.model)

    def decode(self) -> None:
        """Read the images once, all threads at work and somebody watching."""
        with known_to_all(self.model), ProgressLine("decoding images") as progress:
            for source in (self.train, self.validation):
                if isinstance(source, ImageSource) and source.store.keeps:
                    source.store.pixels(progress)

    def _phase(
        self, number: int, phase: Phase, tracker: BestWeights, count: int
    ) -> None:
        began = self.states.begin_phase(number)
        model = self.model
        mode = phase.batch_norm
        if mode == "auto":
            mode = "frozen" if self.pretrained or phase.adapt else "train"
        unfreeze(model, phase.trainable, batch_norm=mode)
        warn_of_memory(model, self.batch_size)
        first = number == 0 and not self.states.found and self.validation is not None
        if first and self.bound.head_has_learnt:
            self._score_start(phase, tracker)
        before, trainable = snapshot(model), trainable_paths(model)
        if self.verbose:
            self._announce(number, phase, count)
        with ExitStack() as penalties:
            for penalty in phase.penalties:
                penalties.enter_context(penalty.applied(model, self.start))
            watch, frozen, multipliers = self._fit_in_memory(
                number, phase, tracker, before
            )
            moved = moved_paths(model, before)
            clean = self._clean_score(phase, frozen, watch)
            chance = None if phase.adapt else self.chance_loss()
            undo_failure(model, watch, tracker.weights or before, chance)
        check_in_step(model, f"after phase {phase.name!r}")
        record = PhaseRecord(
            name=phase.name,
            start=watch.first,
            stop=watch.first + watch.epochs,
            trainable=trainable,
            moved=moved,
            seconds=time.perf_counter() - began,
            cached=frozen.cached,
            cache=str(frozen.plan),
            stopped=watch.stopped,
            multipliers=multipliers,
            clean=clean,
        )
        self.records.append(record)

    def _fit_in_memory(
        self,
        number: int,
        phase: Phase,
        tracker: BestWeights,
        before: list[np.ndarray],
    ) -> tuple[PhaseMonitor, FrozenPart, tuple[dict[str, float], ...]]:
        """The phase fitted, in smaller batches if the memory does not hold these."""
        while True:
            watch = self._monitor_of(phase, tracker)
            self.states.enter(number, watch)
            try:
                return watch, *self._fit(number, phase, watch, before)
            except Exception as error:
                late = watch.epochs or not is_out_of_memory(error)
                if late or not self._halve_batches(phase):
                    raise
            # Here the error is gone, and with it what its frames hold.
            restore(self.model, before)

    def _halve_batches(self, phase: Phase) -> bool:
        """Take half as many images at a time, if it can be done."""
        if self.replicas > 1 or isinstance(self.train, StreamSource):
            return False
        size = min(self.batch_size, len(self.train))
        if size == 1:
            return False
        self.batch_size, self.gathered = -(-size // 2), 2 * self.gathered
        warn(
            f"The memory does not hold batches of {size} in phase {phase.name!r}: it "
            f"goes on with batches of {self.batch_size}, and gathers the gradients of "
            f"{self.gathered} for each step, so that steps stay as they were.",
            RuntimeWarning,
        )
        return True

    def _clean_score(
        self, phase: Phase, frozen: FrozenPart, watch: PhaseMonitor
    ) -> dict[str, float]:
        """Scores of training images as they are, where those of validation stand."""
        told = self.validation is not None and not watch.diverged
        if not told or self.replicas > 1 or isinstance(self.train, StreamSource):
            return {}
        given = {"batch_size": self.batch_size, "loss": self.settings["loss"]}
        views = self.versions(phase) is not None
        found = clean_score(frozen, self.train, views=views, **given)
        penalty = sum(each.value(self.model) for each in phase.penalties)
        return {**found, "loss": found["loss"] - penalty}

    def _fit(
        self, number: int, phase: Phase, watch: PhaseMonitor, before: list[np.ndarray]
    ) -> tuple[FrozenPart, tuple[dict[str, float], ...]]:
        """Fit one phase; what was fitted on what, and its rates."""
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        frozen, settings = self._cached(phase, int(seed)), self.settings
        weights, others = self.weights, 0
        if phase.adapt is not None:
            given = phase, frozen, len(self.train), self.batch_size, weights, settings
            frozen, settings = adapted(self.bound, *given)
            weights, others = None, len(self.target)
        part, train = frozen.part, frozen.train
        watch.tracker.copy_only(before, part)
        if self.verbose:
            sys.stdout.write(f"  {frozen.plan}\n")
        augment = self.augment if phase.augment and not frozen.augmented else None
        data = train.dataset(
            self.batch_size,
            seed=int(seed),
            shuffle=True,
            augment=augment,
            mixing=phase.mixing,
            drop_remainder=self.replicas > 1,
            # On JAX `fit` begins the data once more than it passes them.
            epoch=lambda: watch.epoch,
            classes=self.classes,
            versions=self.versions(phase) or 0 if augment else 0,
            others=others,
            share=place() if self.replicas > 1 else (0, 1),
        )
        if isinstance(train, StreamSource):
            data = labels_checked(self.bound.task, data, self.raised)
        data, steps = with_length(data, needed=phase.is_scheduled)
        self._compile(part, phase, phase.rate_schedule(steps), phase.ema, settings)
        build_optimizer(part)
        self._show_whole(part)
        checked, scorer = self._validation_data(frozen.validation)
        rates = self._gradient_rates(phase, train, int(seed), watch)
        first, last = averaging(phase.ema)
        kept = {"watch": watch, "before": before, "plan": frozen.plan}
        kept |= {"rates": rates, "averages": first}
        part.fit(
            data,
            validation_data=checked,
            initial_epoch=watch.first + watch.epochs,
            epochs=watch.first + phase.epochs,
            class_weight=weights,
            # Averages first, for all to see; the guard last: a user's may meddle.
            callbacks=[
                *first,
                *scorer,
                watch,
                *rates,
                self.watched,
                *last,
                *self.states.keepers(self, number, **kept),
                TrainableGuard(),
            ],
            verbose=self.verbose,
            shuffle=False,
        )
        return frozen, tuple(rates[0].multipliers) if rates else ()

    def _gradient_rates(
        self, phase: Phase, train: Source, seed: int, watch: PhaseMonitor
    ) -> list[RelativeGradientRates]:
        """The callback that measures a phase's multipliers, if one is to."""
        if not phase.has_auto_rates:
            return []

        def batches() -> Any:
            # As they are: augmented ones would be other batches than the next ones.
            return train.dataset(
                self.batch_size,
                seed=seed,
                shuffle=True,
                epoch=watch.epoch,
                classes=self.classes,
            )

        smoothing = self.settings["label_smoothing"]
        loss = task_loss(self.bound, self.settings["loss"], smoothing)
        return [RelativeGradientRates(self.model, loss, batches)]

    def _cached(self, phase: Phase, seed: int) -> FrozenPart:
        """What is fitted on what: the model on images, or its end on activations."""
        train = self.train
        if phase.adapt is not None:
            names = self.bound.task.class_names
            train = both_domains(self.model, phase, train, self.target, names)
        plain = self.model, train, self.validation
        obstacle = self.obstacle(phase)
        if obstacle and self.cache.where != "off":
            return FrozenPart(*plain, CachePlan("off", reason=obstacle))
        count, views = self.versions(phase), None
        if count:
            # No more than there are epochs to show them in.
            views = Views(min(count, phase.epochs), self.augment, seed)
        with ProgressLine("computing features") as progress:
            return cached_part(
                *plain,
                epochs=phase.epochs,
                batch_size=self.batch_size,
                cache=self.cache,
                views=views,
                progress=progress,
            )

    def _monitor_of(self, phase: Phase, tracker: BestWeights) -> PhaseMonitor:
        chance = self.chance_loss()
        # A strong penalty may cost more than the task.
        free = chance is None or phase.penalties or phase.adapt
        ceiling = None if free else EXPLOSION * chance
        return PhaseMonitor(tracker, self.history, phase, ceiling, self.deadline)

    def _compile(
        self,
        part: keras.Model,
        phase: Phase,
        rate: Any,
        ema: float | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        compile_model(
            part,
            learning_rate=rate,
            optimizer=phase.optimizer,
            weight_decay=phase.weight_decay if phase.decays_weights else 0.0,
            global_clipnorm=phase.global_clipnorm,
            layer_decay=phase.layer_decay,
            # Ones at first, that can be set.
            multipliers={} if phase.has_auto_rates else phase.multipliers,
            bound=self.bound,
            gathered=self.gathered,
            ema=ema,
            **settings or self.settings,
        )

    def _show_whole(self, part: keras.Model) -> None:
        """Let callbacks find, set and save the part's optimizer in the whole model."""
        if part is not self.model and self.watched.callbacks:
            loss, metrics = objective(self.bound, **self.settings)
            given = {"loss": loss, "metrics": metrics, "jit_compile": jit_mode()}
            self.model.compile(optimizer=part.optimizer, **given)

    def _validation_data(
        self, validation: Source | None
    ) -> tuple[Any, list[PaddedValidation | EpochScores]]:
        """What `fit` scores itself, and a callback that scores beside it or instead."""
        if validation is None:
            return None, []
        if self.replicas == 1:
            data = validation.dataset(self.batch_size)
            if isinstance(validation, StreamSource):
                data = labels_checked(self.bound.task, data, self.raised)
            given = self.bound.task, validation, self.batch_size
            return data, [EpochScores(*given)] if self.scores_epochs else []
        given = self.bound, validation, self.batch_size, self.settings
        return None, [PaddedValidation(*given)]

    def _score_start(self, phase: Phase, tracker: BestWeights) -> None:
        """Score the weights that the run begins with: nothing worse is returned."""
        self._compile(self.model, phase, phase.learning_rate)
        (data, scorers), logs = self._validation_data(self.validation), {}
        if data is not None:
            results = self.model.evaluate(data, verbose=0, return_dict=True)
            logs = {f"val_{name}": value for name, value in results.items()}
        for scorer in scorers:
            logs |= scorer.results(self.model)
        tracker.update(logs, "start", -1)

    def _announce(self, number: int, phase: Phase, count: int) -> None:
        parts = trainable_paths(self.model)
        text = f"Phase {number + 1}/{count}: {phase.name}, {len(parts)} weights train\n"
        sys.stdout.write(text)
        sys.stdout.flush()


def run_phases(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    phases: Sequence[Phase],
    target: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    batch_size: int = 32,
    augment: Any = None,
    class_weight: str | Mapping[str, float] | None = None,
    sampling: str | None = None,
    label_smoothing: float = 0.0,
    teacher: Any = None,
    distillation: tuple[float, float] = (0.5, 2.0),
    monitor: str = "auto",
    minutes: float | None = None,
    strategy: Any = None,
    cache: str | FeatureCache = "auto",
    views: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = (),
    seed: int | None = None,
    resume_dir: str | Path | None = None,
    verbose: int | str = "auto",
) -> TrainingHistory:
    """Train a model through a list of phases, each compiled afresh, and keep the best.

    The model ends with the best weights of *all* phases, by the validation data; a
    phase that makes it worse costs time and nothing else. Whatever is not meant to
    train is bit-identical afterwards, BatchNorm statistics included. A temperature of
    `calibrate` belongs to the weights: it stays if they end where they began.

    Args:
        model: A classifier from `build_classifier`, or any functional model (then
            `loss` is needed).
        train: An `ImageSet`, a pair `(images, labels)` of arrays, or a
            `tf.data.Dataset` of batches that ends, which is never cached.
        validation: The same kinds, or None: then the last weights are kept.
        phases: What to train, in order.
        target: Images of another domain, for phases that `adapt` to it: half of each
            batch. Labels that come with them are not looked at. Not with batches, a
            teacher, a loss or metrics of your own. The last weights stay unless you
            name a `monitor`: by the source's, the best are those before adapting.
        loss: Loss on the outputs; None: the task's.
        metrics: Metrics; None: the task's.
        batch_size: Images in an optimizer step, over all replicas.
        augment: Augmentation of the training images: see `batches`.
        class_weight: Weight of each class by name, or `"balanced"`: inversely to the
            number of its images. The validation results are never weighted. Not
            with mixup or CutMix.
        sampling: `"balanced"`: each epoch has as many images of each class, those of
            small ones several times, and is as long as without. Not with
            `class_weight`.
        label_smoothing: For the task's loss, in [0, 1).
        teacher: A classifier of the same classes or its `.keras` file, or probabilities
            `(n, classes)` of the training images, to learn from beside the labels: what
            it says of each image as it is, computed once. For one class of several; not
            with mixup, CutMix, class weights, or a loss or metrics of your own.
        distillation: Share `alpha` of the labels in the loss, and temperature `T` of
            `alpha CE + (1 - alpha) T² KL`, see Hinton et al. (2015), §2. Validation
            losses are those of the labels.
        monitor: Logged quantity that decides what is best; `"auto"`: validation
            accuracy, or validation loss where no accuracy is measured; `"last"`: the
            last weights stay.
        minutes: Time for all phases, above 0: training stops at the epoch's end after
            which another would take longer, and in the middle of one at the latest.
            The best weights so far stay, and phases left out are named. None: no limit.
        strategy: What `device_strategy` gave, in whose scope the model was built.
        cache: `"auto"` computes the frozen part once per phase where that gives the
            same result and is quicker, and keeps it in memory, else on disk;
            `"memory"` and `"disk"` say where; `"off"` never does. With `"disk"` no
            decoded image stays in memory either. A `FeatureCache` brings what was
            computed before.
        views: With augmentation, of how many augmented versions of each image all
            epochs are made: as many epochs are what they would be without, then the
            versions come again, each image's in an order of its own. The frozen part
            is computed once for each. None: every epoch has new ones.
        callbacks: Keras callbacks. They see one training, whose epochs go on over
            the phases, and end with the best weights in the model; `EarlyStopping`
            and `ReduceLROnPlateau` wait anew in each phase. They see the whole model.
            Where one of your own looks at it, nothing is cached; Keras's for logs,
            files, rates and early stopping cost nothing.
        seed: Order, augmentation and dropout follow from it; None: another each time.
        resume_dir: A folder of this run's own, made if it does not exist. After an
            epoch it gets all that the run needs to go on, unless it has got it within
            fifty times what writing takes. Killed, the same call with the model built
            anew goes on from there, to the same weights; of a run that has ended it
            gives the result. None: nothing is kept.
        verbose: As for `Model.fit`; `"auto"`: a bar on a terminal or in a notebook.

    Returns:
        History over all phases, with what moved in each.

    Raises:
        ValueError: If an argument is out of range, data do not fit the model,
            `trainable` changes behind the library's back, or `resume_dir` is of another
            run, in use, or no folder that can be written to; or if several processes
            train, and what they were given differs.
        RuntimeError: If another process has failed, or its weights differ.
        KeyboardInterrupt: If interrupted; the best weights so far are in the model.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 255], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> labels = np.repeat([0, 1], 8)
        >>> phase = kerastl.Phase("head", trainable="head", epochs=3, learning_rate=0.1)
        >>> history = kerastl.run_phases(
        ...     model, (images, labels), (images, labels), phases=[phase], seed=0
        ... )
        >>> history.phases[0].moved
        ('head_dense/kernel', 'head_dense/bias')
    """
    phases = as_phases(phases)
    check_integer("batch_size", batch_size, 1)
    cache = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    # Now, not in the second phase.
    as_augmentation(augment)
    check_version_count(views, augment)
    keep, bound = cache.where != "disk", bind(model)
    with known_to_all(model):
        train = make_source(bound, train, "train", keep_pixels=keep)
        if validation is not None:
            validation = make_source(bound, validation, "validation", keep_pixels=keep)
        for name, source in (("train", train), ("validation", validation)):
            check_end(source, name)
            check_first_batch(bound, source, name)
    check_patience(phases, validation)
    check_mixing(phases, train, class_weight, loss, metrics)
    # Keras's own word for none is None.
    callbacks = keras.tree.flatten(callbacks or ())
    check_callbacks(phases, callbacks)
    replicas = count_replicas(strategy)
    identity = passed_on(locals(), settings_identity)
    check_strategy(strategy, model, **passed_on(locals(), check_strategy))
    drawn, seed = seed is None, agreed_seed(seed)
    deadline = deadline_of(minutes)
    if replicas > 1 and not isinstance(train, StreamSource):
        batch_size = replica_batch_size(batch_size, replicas, len(train))
    given = {"batch_size": batch_size, "monitor": monitor, "replicas": replicas}
    given |= {"loss": loss, "metrics": metrics, "teacher": teacher}
    target = check_adaptation(bound, phases, train, target, **given)
    if target is not None and monitor == "auto":
        monitor = LAST
    weights = class_weights(bound, train, class_weight)
    classes = balanced_classes(bound, train, sampling, class_weight)
    if teacher is not None:
        given = {"class_weight": class_weight, "loss": loss, "metrics": metrics}
        mixes = [phase.name for phase in phases if phase.mixing.is_on] or None
        given |= {"mixup": mixes}
        alpha, soft = check_teaching(bound, train, distillation, **given)
        loss = DistilledCrossentropy(bound.task.loss(label_smoothing), alpha, soft)
        label_smoothing = 0.0
        train = teach(bound, train, teacher, cache, batch_size)
    settings = passed_on(locals(), objective)
    verbose = 0 if place()[0] else as_verbosity(verbose)  # the first process speaks
    watched = OneTraining(callbacks, model)
    run = Run(**passed_on(locals(), Run))
    _, measured = objective(bound, **settings)
    # Callbacks may log what nobody knows of; without validation nothing is compared.
    if validation is not None and not callbacks:
        check_monitor(model, measured, monitor)
    check_phases(bound, phases, run.steps)
    check_rates(model, phases, replicas)
    told = passed_on(locals(), run_identity) | passed_on(locals(), settings_identity)
    # JAX distributes what runs in the scope; TensorFlow compiles in it.
    scope = strategy.scope() if strategy is not None else nullcontext()
    with kept_states(resume_dir, drawn, told) as states:
        # Nothing is refused from here on: a refused run leaves the model as it was.
        run.states, run.seed = states, states.seed
        seed_noise(model, run.seed)
        with scope, temperature_set_aside(model):
            return run.train_phases(phases, monitor)
