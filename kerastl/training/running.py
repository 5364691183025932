"""The loop behind `run_phases`: set, compile, fit, record, restore."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerastl._progress import Progress
from kerastl.inference.planning import CachePlan
from kerastl.models.compiling import compile_model, model_task, trainable_paths
from kerastl.models.freezing import unfreeze
from kerastl.models.manifest import is_pretrained
from kerastl.training.anchoring import l2_sp_penalty, pulled_to
from kerastl.training.first_batch import with_length
from kerastl.training.frozen_part import Views, cached_part
from kerastl.training.guard import TrainableGuard
from kerastl.training.moving_average import averaging
from kerastl.training.phase import Phase, PhaseRecord, TrainingHistory
from kerastl.training.phase_rates import measured_rates
from kerastl.training.replicated import PaddedValidation
from kerastl.training.settling import has_learnt, settle, what_is_kept
from kerastl.training.sources import ImageSource, Source
from kerastl.training.tracking import (
    EXPLOSION,
    BestWeights,
    PhaseMonitor,
    monitored,
    moved_paths,
    restore,
    snapshot,
)


@dataclass(eq=False)
class Run:
    """One call of `run_phases`: its settings and what it has found so far.

    Attributes:
        model: What is trained.
        train: Training data.
        validation: Validation data, or None.
        batch_size: Images in a step over all replicas.
        augment: Augmentation of the training images.
        weights: Class weights by index, or None.
        settings: `loss`, `metrics` and `label_smoothing` for `compile_model`.
        replicas: Devices that share a batch.
        cache: `"auto"`, `"off"`, `"memory"` or `"disk"`.
        views: Augmented versions of each image to keep, or None.
        callbacks: The user's.
        seed: Non-negative integer.
        verbose: 0, 1 or 2.
        history: Lists of values, one per epoch.
        records: One per finished phase.
        pretrained: Whether the backbone had learnt something when the run began.
        start: The weights that the run began with.
    """

    model: keras.Model
    train: Source
    validation: Source | None
    batch_size: int
    augment: Any
    weights: dict[int, float] | None
    settings: dict[str, Any]
    replicas: int
    cache: str
    views: int | None
    callbacks: tuple[keras.callbacks.Callback, ...]
    seed: int
    verbose: int
    history: dict[str, list[float]] = field(default_factory=dict)
    records: list[PhaseRecord] = field(default_factory=list)
    pretrained: bool = True
    start: list[np.ndarray] = field(default_factory=list)

    def all(self, phases: Sequence[Phase], monitor: str) -> TrainingHistory:
        """Every phase, then the best weights."""
        tracker = BestWeights(
            self.model, monitored(self.model, self.settings["metrics"], monitor)
        )
        self.start = start = snapshot(self.model)
        # Once, at the start: statistics that a phase has trained may train on.
        self.pretrained = is_pretrained(self.model)
        try:
            self.decode()
            for number, phase in enumerate(phases):
                self._phase(number, phase, tracker, len(phases))
        except BaseException as error:
            restore(self.model, tracker.weights or tracker.latest or start)
            error.add_note(f"The model has {what_is_kept(tracker)}.")
            # Nothing of the phase that broke off may train on; the error matters more.
            with suppress(Exception):
                self._compile(self.model, phases[-1], phases[-1].learning_rate)
            raise
        if tracker.weights is not None:
            restore(self.model, tracker.weights)
        # The optimizer's moments belong to the last step, not to the best weights.
        self._compile(self.model, phases[-1], phases[-1].learning_rate)
        self.model.optimizer.build(self.model.trainable_variables)
        return TrainingHistory(self.history, tuple(self.records), tracker.best)

    def obstacle(self, phase: Phase) -> str:
        """Why the frozen part must not be computed once; empty if nothing is known.

        A user's callback is promised the whole model, so it rules caching out.
        """
        if self.replicas > 1:
            return "several devices share a batch"
        if self.callbacks:
            return "callbacks are promised the whole model"
        if self.augment is not None and phase.augment and self.views is None:
            return "each epoch augments anew"
        if phase.mixing.is_on:
            return "each epoch mixes anew"
        return ""

    def chance_loss(self) -> float | None:
        """Training loss of a head that knows nothing; None where nobody can say."""
        task = model_task(self.model)
        if task is None or self.settings["loss"] is not None:
            return None
        heaviest = max(self.weights.values()) if self.weights else 1.0
        penalties = float(sum(self.model.losses)) if self.model.losses else 0.0
        return task.chance_loss * heaviest + penalties

    def decode(self) -> None:
        """Read the images once, all threads at work and somebody watching."""
        with Progress("decoding images") as progress:
            for source in (self.train, self.validation):
                if isinstance(source, ImageSource) and source.store.keeps:
                    source.store.pixels(progress)

    def _phase(
        self, number: int, phase: Phase, tracker: BestWeights, count: int
    ) -> None:
        began = time.perf_counter()
        model = self.model
        mode = phase.batch_norm
        if mode == "auto":
            mode = "frozen" if self.pretrained else "train"
        unfreeze(model, phase.trainable, batch_norm=mode)
        if number == 0 and self.validation is not None and has_learnt(model):
            self._offer_start(phase, tracker)
        before, trainable = snapshot(model), trainable_paths(model)
        if self.verbose:
            self._announce(number, phase, count)
        first = max((len(column) for column in self.history.values()), default=0)
        with pulled_to(self.start, model, phase.l2_sp):
            watch = self._monitor_of(phase, tracker)
            plan, multipliers = self._fit(number, phase, watch, before)
            moved = moved_paths(model, before)
            settle(model, watch, tracker.weights or before, self.chance_loss())
        record = PhaseRecord(
            name=phase.name,
            start=first,
            stop=first + watch.epochs,
            trainable=trainable,
            moved=moved,
            seconds=time.perf_counter() - began,
            cached=plan.mode != "off",
            cache=str(plan),
            stopped=watch.stopped,
            multipliers=multipliers,
        )
        self.records.append(record)

    def _fit(
        self, number: int, phase: Phase, watch: PhaseMonitor, before: list[np.ndarray]
    ) -> tuple[CachePlan, tuple[dict[str, float], ...]]:
        """Fit one phase; what of its frozen part was computed once, and its rates."""
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        part, train, validation, plan = self._cached(phase, int(seed))
        watch.tracker.hold(before, part)
        if self.verbose:
            sys.stdout.write(f"  {plan}\n")
        augment = self.augment if phase.augment and part is self.model else None
        data = train.dataset(
            self.batch_size,
            seed=int(seed),
            shuffle=True,
            augment=augment,
            mixing=phase.mixing,
            drop_remainder=self.replicas > 1,
            # On JAX `fit` begins the data once more than it passes them.
            epoch=lambda: watch.epoch,
        )
        data, steps = with_length(data, needed=phase.is_scheduled)
        self._compile(part, phase, phase.rate_schedule(steps), phase.ema)
        checked, scorer = self._validation_data(validation)
        rates = measured_rates(
            self.model,
            phase,
            train,
            batch_size=self.batch_size,
            seed=int(seed),
            loss=self.settings["loss"],
            label_smoothing=self.settings["label_smoothing"],
        )
        first, last = averaging(phase.ema)
        part.fit(
            data,
            validation_data=checked,
            epochs=phase.epochs,
            class_weight=self.weights,
            # Averages first, for all to see; the guard last: a user's may meddle.
            callbacks=[
                *first,
                *scorer,
                watch,
                *rates,
                *self.callbacks,
                *last,
                TrainableGuard(),
            ],
            verbose=self.verbose,
            shuffle=False,
        )
        return plan, tuple(rates[0].multipliers) if rates else ()

    def _cached(
        self, phase: Phase, seed: int
    ) -> tuple[keras.Model, Source, Source | None, CachePlan]:
        """What is fitted on what: the model on images, or its end on activations."""
        plain = self.model, self.train, self.validation
        obstacle = self.obstacle(phase)
        if obstacle and self.cache != "off":
            return *plain, CachePlan("off", reason=obstacle)
        views = None
        if self.augment is not None and phase.augment and self.views is not None:
            views = Views(self.views, self.augment, seed)
        with Progress("computing features") as progress:
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
        # A strong pull may cost more than the task.
        free = chance is None or phase.l2_sp is not None
        ceiling = None if free else EXPLOSION * chance
        return PhaseMonitor(tracker, self.history, phase.name, phase.patience, ceiling)

    def _compile(
        self, part: keras.Model, phase: Phase, rate: Any, ema: float | None = None
    ) -> None:
        compile_model(
            part,
            learning_rate=rate,
            optimizer=phase.optimizer,
            weight_decay=phase.weight_decay if phase.l2_sp is None else 0.0,
            global_clipnorm=phase.global_clipnorm,
            layer_decay=phase.layer_decay,
            # Ones at first, that can be set.
            multipliers={} if phase.has_auto_rates else phase.multipliers,
            whole=self.model,
            ema=ema,
            **self.settings,
        )

    def _validation_data(
        self, validation: Source | None
    ) -> tuple[Any, list[PaddedValidation]]:
        """What `fit` scores by itself, or the callback that scores instead."""
        if validation is None:
            return None, []
        if self.replicas == 1:
            return validation.dataset(self.batch_size), []
        return None, [PaddedValidation(validation, self.batch_size, self.settings)]

    def _offer_start(self, phase: Phase, tracker: BestWeights) -> None:
        """Score the weights that the run begins with: nothing worse is returned."""
        self._compile(self.model, phase, phase.learning_rate)
        data, scorer = self._validation_data(self.validation)
        if scorer:
            logs = scorer[0].results(self.model)
        else:
            results = self.model.evaluate(data, verbose=0, return_dict=True)
            logs = {f"val_{name}": value for name, value in results.items()}
        if "val_loss" in logs:
            logs["val_loss"] -= l2_sp_penalty(self.model)
        tracker.offer(logs, "start", -1)

    def _announce(self, number: int, phase: Phase, count: int) -> None:
        parts = trainable_paths(self.model)
        text = f"Phase {number + 1}/{count}: {phase.name}, {len(parts)} weights train\n"
        sys.stdout.write(text)
        sys.stdout.flush()
