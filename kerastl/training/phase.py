"""One stretch of training, and what a list of them left behind."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import keras

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl._tables import Tabular
from kerastl.data.mixing import Mixing
from kerastl.models.freezing import BATCH_NORM_MODES, Trainable
from kerastl.training.domains import Adaptation
from kerastl.training.penalties import L2SP, Penalty
from kerastl.training.schedules import SCHEDULES, check_warmup, rate_schedule

#: Multipliers by relative gradient norms, measured before each epoch.
AUTO_RGN = "auto_rgn"


@dataclass(frozen=True)
class Phase:
    """One stretch of training: what trains, how long, how fast.

    Each phase is compiled with a fresh optimizer; nothing of an earlier phase's
    optimizer is kept.

    Attributes:
        name: What the phase is called in the history and on the plots.
        trainable: Which part of the backbone trains besides the head: see `unfreeze`.
        epochs: Passes over the training data, at least 1.
        learning_rate: Peak learning rate, above 0. `"norm"` and `"lora"` want about
            ten times what whole kernels take: 5e-3 where they take 5e-4.
        optimizer: A Keras name, or an optimizer whose settings are copied; not one of
            `layerwise_optimizer`, as rates by block are set below.
        batch_norm: `"auto"`, `"frozen"`, `"affine"` or `"train"`: see `unfreeze`.
        schedule: `"constant"`; `"cosine"` or `"linear"`: down to zero over the phase;
            `"one_cycle"` or `"slanted_triangular"`, which climb by themselves.
        warmup: Epochs over which the rate climbs to its peak in equal steps, at least 0
            and at most `epochs`.
        weight_decay: Decoupled decay of the kernels; None: the optimizer's own.
        global_clipnorm: Largest norm of the whole gradient; None: no limit.
        augment: Whether the run's augmentation applies; without it the frozen part is
            computed once.
        patience: Epochs without a better validation result before the phase stops
            and returns to its best weights; None: never.
        layer_decay: In (0, 1]: each block learns at this times the rate of the block
            above it: see `layerwise_optimizer`. None: all alike.
        multipliers: Of the learning rate, as `{"block, layer or head": number}`, kept
            as pairs; or `"auto_rgn"`: before each epoch every block's is set to its
            gradient's norm relative to its weights', over the largest: see
            `relative_gradient_norms`. None: all 1.
        penalties: What is added to the loss, such as `(L2SP(0.01),)`: see `Penalty`.
            Validation losses are told without it.
        mixup: Alpha of mixup, see `Mixing`; 0: off. Mixed labels are rows of shares:
            a loss or metric of your own must be one of one-hot labels.
        cutmix: Alpha of CutMix, see `Mixing`; 0: off.
        ema: Momentum, below 1, of Keras's moving average of the weights, 0.99 for runs
            of some hundred steps (after 70, half of it is still the start): the
            average is what is validated and kept, while the weights themselves train
            on. BatchNorm statistics are not averaged. None: off.
        adapt: What it learns of unlabelled images of another domain, which
            `run_phases(target=...)` brings: an `Adaptation`; None: nothing. BatchNorm
            keeps its statistics then: `"train"` would mix those of both domains.
    """

    name: str
    _: KW_ONLY
    trainable: Trainable
    epochs: int
    learning_rate: float
    optimizer: str | keras.optimizers.Optimizer = "adamw"
    batch_norm: str = "auto"
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float | None = None
    global_clipnorm: float | None = None
    augment: bool = True
    patience: int | None = None
    layer_decay: float | None = None
    multipliers: Mapping[str, float] | tuple[tuple[str, float], ...] | str | None = None
    penalties: tuple[Penalty, ...] = ()
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float | None = None
    adapt: Adaptation | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        check_integer("epochs", self.epochs, 1)
        check_number("learning_rate", self.learning_rate, above=0.0)
        check_choice("batch_norm", self.batch_norm, BATCH_NORM_MODES)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_number("warmup", self.warmup, 0.0, float(self.epochs))
        check_warmup(self.schedule, self.warmup)
        if self.patience is not None:
            check_integer("patience", self.patience, 1)
        if isinstance(self.trainable, list):
            object.__setattr__(self, "trainable", tuple(self.trainable))
        if not isinstance(self.trainable, (str, int, tuple)):
            fail("trainable", "a string, a number or a tuple of names", self.trainable)
        if isinstance(self.trainable, int):
            check_integer("trainable", self.trainable, 0)
        self._check_rates()
        Mixing(self.mixup, self.cutmix)
        if self.ema is not None:
            check_number("ema", self.ema, above=0.0, below=1.0)
        self._check_penalties()
        if self.adapt is not None:
            self._check_adapt()

    def _check_adapt(self) -> None:
        if not isinstance(self.adapt, Adaptation):
            expected = "a kerastl.adaptation.Adaptation"
            fail("adapt", expected, self.adapt, error=TypeError)
        if self.batch_norm == "train":
            hint = "Call kerastl.adaptation.adapt_statistics before the phase."
            fail("batch_norm", "'auto', 'frozen' or 'affine' with adapt", "train", hint)
        if self.mixing.is_on:
            fail("mixup and cutmix", "0 with adapt", (self.mixup, self.cutmix))
        if self.has_auto_rates:
            fail("multipliers", "numbers or None with adapt", self.multipliers)
        by_block = self.layer_decay is not None or self.multipliers is not None
        if by_block and self.adapt.method == "dann":
            hint = "Its classifier of domains is in no block."
            given = (self.layer_decay, self.multipliers)
            fail("layer_decay and multipliers", "None with 'dann'", given, hint)

    def _check_penalties(self) -> None:
        if isinstance(self.penalties, list):
            object.__setattr__(self, "penalties", tuple(self.penalties))
        listed = isinstance(self.penalties, tuple)
        if not listed or not all(isinstance(each, Penalty) for each in self.penalties):
            expected = "a tuple of penalties, such as (kerastl.penalties.L2SP(0.01),)"
            fail("penalties", expected, self.penalties, error=TypeError)
        if sum(isinstance(each, L2SP) for each in self.penalties) > 1:
            hint = "The last would pull alone."
            fail("penalties", "at most one L2SP", self.penalties, hint)
        if self.weight_decay and not self.decays_weights:
            names = ", ".join(type(each).__name__ for each in self.penalties)
            hint = "It pulls the same weights to zero."
            fail("weight_decay", f"None with {names}", self.weight_decay, hint)

    def _check_rates(self) -> None:
        if self.layer_decay is not None:
            check_number("layer_decay", self.layer_decay, above=0.0, maximum=1.0)
        if isinstance(self.multipliers, str):
            check_choice("multipliers", self.multipliers, (AUTO_RGN,))
            if self.layer_decay is not None:
                fail("layer_decay", "None with 'auto_rgn'", self.layer_decay)
            return
        if self.multipliers is None:
            return
        if not isinstance(self.multipliers, (Mapping, tuple)):
            kinds = "a dictionary of names and numbers, or 'auto_rgn'"
            fail("multipliers", kinds, self.multipliers, error=TypeError)
        # Pairs, not the dictionary: a frozen phase is hashable and stays as it was.
        pairs = tuple(dict(self.multipliers).items())
        object.__setattr__(self, "multipliers", pairs)
        for name, number in pairs:
            check_number(f"multipliers[{name!r}]", number, 0.0)

    @property
    def opens_backbone(self) -> bool:
        """Whether more than the head trains."""
        return self.trainable not in ("head", 0, ())

    @property
    def decays_weights(self) -> bool:
        """Whether no penalty stands in place of weight decay."""
        return not any(each.replaces_weight_decay for each in self.penalties)

    @property
    def mixing(self) -> Mixing:
        """How the images of a batch are mixed with each other."""
        return Mixing(self.mixup, self.cutmix)

    @property
    def has_auto_rates(self) -> bool:
        """Whether the multipliers are measured before each epoch."""
        return self.multipliers == AUTO_RGN

    @property
    def is_scheduled(self) -> bool:
        """Whether the learning rate changes, so that steps must be counted."""
        return self.schedule != "constant" or self.warmup > 0

    def rate_schedule(
        self, steps_per_epoch: int
    ) -> float | keras.optimizers.schedules.LearningRateSchedule:
        """The learning rate as Keras takes it."""
        total = self.epochs * steps_per_epoch
        warmup = round(self.warmup * steps_per_epoch)
        return rate_schedule(self.schedule, self.learning_rate, total, warmup)


@dataclass(frozen=True)
class PhaseRecord:
    """What one phase did.

    Attributes:
        name: The phase's name.
        start: Index of its first epoch in the whole history.
        stop: Index after its last epoch.
        trainable: Paths of the variables that were to train.
        moved: Paths of the variables whose values changed, statistics included.
        seconds: Wall time, features and validation included.
        cached: Whether the frozen part was computed once instead of every epoch.
        cache: What was kept of it and where, or why nothing was.
        stopped: Why the phase ended early; empty if it did not.
        multipliers: With `"auto_rgn"`, block name -> multiplier for each epoch.
        clean: Loss and metrics of some training images, and their number, after the
            phase: as they are, without augmentation, mixing or dropout, under which
            the history's were measured. To be compared with validation results;
            empty without them.
    """

    name: str
    start: int
    stop: int
    trainable: tuple[str, ...]
    moved: tuple[str, ...]
    seconds: float
    cached: bool = False
    cache: str = ""
    stopped: str = ""
    multipliers: tuple[dict[str, float], ...] = ()
    clean: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestEpoch:
    """The epoch whose weights were kept.

    Attributes:
        phase: Name of its phase; `"start"` for the weights the run began with.
        epoch: Index in the whole history; -1 for the start.
        monitor: Name of the quantity compared.
        value: Its value.
    """

    phase: str
    epoch: int
    monitor: str
    value: float


@dataclass(frozen=True)
class TrainingHistory(Tabular):
    """One history over all phases.

    Attributes:
        history: A list per quantity, one value per epoch, as in Keras: `loss`,
            `accuracy`, `val_loss`, `val_accuracy`, `learning_rate`, `seconds`.
        phases: One record per phase, in order.
        best: The epoch whose weights the model has now; None without validation
            data, when it has those of the last epoch.
    """

    history: dict[str, list[float]]
    phases: tuple[PhaseRecord, ...]
    best: BestEpoch | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per epoch, the phase's name included."""
        table = []
        for record in self.phases:
            for number in range(record.start, record.stop):
                row = {"phase": record.name, "epoch": number + 1}
                row.update({name: self.history[name][number] for name in self.history})
                table.append(row)
        return table

    def _heading(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """A short account of the run."""
        lines = []
        for record in self.phases:
            epochs = record.stop - record.start
            lines.append(
                f"{record.name}: {epochs} epoch{'s' * (epochs != 1)}, "
                f"{len(record.moved)} of "
                f"{len(record.trainable)} trainable weights moved, "
                f"{record.seconds:.1f} s{', cached' if record.cached else ''}"
                f"{f'; {record.stopped}' if record.stopped else ''}"
            )
            if clean := record.clean:
                shown = [f"{n} {x:.4f}" for n, x in clean.items() if n != "images"]
                lines.append(
                    f"  {clean['images']} training images without augmentation and "
                    f"dropout: {', '.join(shown)}"
                )
                lines += self._explained(record)
        if self.best is not None:
            lines.append(
                f"best {self.best.monitor} {self.best.value:.4f} "
                f"in {self.best.phase}, epoch {self.best.epoch + 1}"
            )
        return "\n".join(lines)

    def _explained(self, record: PhaseRecord) -> list[str]:
        """Why a phase may end with a training loss above that of validation."""
        last = record.stop - 1
        ends = [self.history[name][last] for name in ("loss", "val_loss")]
        if not ends[0] > ends[1]:
            return []
        return [
            f"  its training loss, {ends[0]:.4f}, is above that of validation, "
            f"{ends[1]:.4f}, as it is taken under both, while the weights still move"
        ]
