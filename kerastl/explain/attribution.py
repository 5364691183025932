"""What in an image speaks for a class: maps by gradients and by covering parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import (
    check_choice,
    check_integer,
    check_number,
    fail,
    nearest,
    warn,
)
from kerastl._compat import input_gradients
from kerastl._progress import Progress
from kerastl.data.inputs import as_image_set
from kerastl.evaluation.map_plots import enlarge, plot_explanations
from kerastl.features.network import output_blocks
from kerastl.models.blocks import as_functional, inner_cut_points, split_model
from kerastl.models.text_layers import find_tokens
from kerastl.prediction import pixel_store
from kerastl.tasks.task import BoundModel, bind_known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How far integrated gradients may miss their sum before that is said.
_GAP = 0.05


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of what in each image speaks for a class, and what against it.

    Attributes:
        method: How they were made.
        maps: Float64 `(n, height, width)` at the size the network takes: above 0
            speaks for the class. What the papers write with ReLU is `positive`.
        raw: What the method gives before it is brought to that size: of the CAM family
            `(n, h, w)` at the cut, of gradients by pixels `(n, height, width,
            channels)`, else as `maps`.
        pixels: The images as the network took them, 0-255.
        targets: The class that each map is of, `(n,)`.
        target_names: Names of the classes.
        scores: The logit (or number) that each map explains, `(n,)`.
        at: The layer that the network was cut behind; None: at no layer.
        gap: Of integrated gradients, how far the sum of each map is from the logit less
            that of the blank image `(n,)`; else None.
    """

    method: str
    maps: np.ndarray
    raw: np.ndarray
    pixels: np.ndarray
    targets: np.ndarray
    target_names: tuple[str, ...]
    scores: np.ndarray
    at: str | None = None
    gap: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.maps)

    @property
    def positive(self) -> np.ndarray:
        """The maps without what speaks against the class, `(n, height, width)`."""
        return np.maximum(self.maps, 0.0)

    def plot(self, *, count: int = 12) -> "Figure":
        """The images beside their maps.

        Args:
            count: Images to draw at most, the first ones.
        """
        return plot_explanations(self, count=count)

    def __str__(self) -> str:
        """What was done, and how large the maps are: small ones say nothing."""
        largest = np.abs(self.maps).reshape(len(self), -1).max(axis=1)
        where = f" at {self.at}, {self.raw.shape[1]} x {self.raw.shape[2]} cells"
        text = f"{self.method} of {len(self)} images{where if self.at else ''}: "
        text += f"largest magnitude {largest.min():.3g} to {largest.max():.3g}"
        if self.gap is not None:
            text += f", sums miss by at most {self.gap.max():.3g}"
        return text


def explain(
    model: keras.Model,
    images: Any,
    *,
    method: str = "hirescam",
    target: Any = None,
    at: str | None = None,
    steps: int = 32,
    samples: int = 16,
    noise: float = 25.0,
    patch: int | None = None,
    fill: Any = None,
    channels: int = 64,
    batch_size: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> Explanation:
    """Maps of what in each image speaks for its class.

    A map shows what moved the network's answer, not whether the answer is right, and a
    method may draw edges whatever the network has learnt: ask `sanity_check` first. The
    gradient is that of the logit: of a probability near 1 it vanishes.

    `"hirescam"` sums gradient times activation at the last feature map; `"gradcam"`
    averages the gradient over places first. With average pooling and one dense layer
    both are the class activation map over the number of places; of other heads only the
    first sums to the logit. `"gradcam++"` weighs places, `"scorecam"` shows the network
    what each channel leaves of the image, `"occlusion"` covers patches,
    `"integrated_gradients"` adds the gradients on the way from a blank image, and
    `"smoothgrad"` averages those of noisy copies. `"edges"` does not look at the
    network at all: a yardstick for `sanity_check`.

    Args:
        model: A classifier or regressor of images, built here.
        images: Whatever `predict` takes.
        method: One of the above.
        target: A class, by name or index, for all images or one for each; None: the
            predicted one.
        at: Layer to cut behind, of those in `kerastl.features.cut_points(model)` whose
            output is a map; None: the last one of more than one cell.
        steps: Points of integrated gradients on the way.
        samples: Noisy copies of SmoothGrad.
        noise: Their standard deviation in pixels of 0-255.
        patch: Side of what occlusion covers, in pixels; None: an eighth of the image.
        fill: What covers, and the blank image: a pixel of 0-255, or one per channel;
            None: each image's own mean colour.
        channels: Channels that Score-CAM tries at most, those that vary most.
        batch_size: Images at a time.
        seed: Of the noise, which follows from it and the image's place.
        progress: Called with (done, total) images.

    Returns:
        An `Explanation`.

    Raises:
        ValueError: If the model has no place to cut, or an argument does not fit.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone(
        ...     "MobileNet", alpha=0.25, image_size=64, weights="tiny"
        ... )
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))
        >>> found = kerastl.explain.explain(model, pixels.astype("uint8"), target="owl")
        >>> found.maps.shape, found.raw.shape
        ((2, 64, 64), (2, 2, 2))

    Reference:
        Selvaraju et al. (2017), Grad-CAM, arXiv:1610.02391, eq. 1 and 2; Draelos &
        Carin (2020), HiResCAM, arXiv:2011.08891, eq. 4; Chattopadhay et al. (2018),
        Grad-CAM++, arXiv:1710.11063, eq. 19; Wang et al. (2020), Score-CAM,
        arXiv:1910.01279; Zeiler & Fergus (2014), arXiv:1311.2901, section 4.2;
        Sundararajan et al. (2017), arXiv:1703.01365, eq. 3; Smilkov et al. (2017),
        SmoothGrad, arXiv:1706.03825, eq. 2.
    """
    settings = Settings(
        method, at, steps, samples, noise, patch, fill, channels, batch_size, seed
    )
    explainer = Explainer(model, images, settings)
    return explainer.explain(target, progress=progress)


@dataclass(frozen=True)
class Settings:
    """The options of `explain`, checked."""

    method: str = "hirescam"
    at: str | None = None
    steps: int = 32
    samples: int = 16
    noise: float = 25.0
    patch: int | None = None
    fill: Any = None
    channels: int = 64
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Check each of them."""
        check_choice("method", self.method, tuple(_METHODS))
        for name in ("steps", "samples", "channels", "batch_size"):
            check_integer(name, getattr(self, name), 1)
        check_number("noise", self.noise, 0.0)
        check_integer("seed", self.seed, 0)
        if self.patch is not None:
            check_integer("patch", self.patch, 1)


class Explainer:
    """A model and images, ready to be explained again after its weights changed."""

    def __init__(self, model: keras.Model, images: Any, settings: Settings) -> None:
        """Read the images, and cut the model where the method needs it."""
        self.bound = _explainable(bind_known(model))
        self.settings = settings
        self.show(images)
        self.model = as_functional("model", model)
        cams = settings.method in _AT_A_CUT
        self.at = find_cut(self.model, settings.at) if cams else None

    def show(self, images: Any) -> None:
        """Take other images to explain; what was compiled for the model stays."""
        record = self.bound.record
        found = as_image_set(images, record.image_size, record.resize)
        if not len(found):
            fail("images", "at least one image", "none")
        self.rows = pixel_store(self.bound, found).rows
        self.total = len(found)
        self.batch = min(self.settings.batch_size, self.total)

    @cached_property
    def parts(self) -> tuple[keras.Model, keras.Model]:
        """The network up to the cut, and after it."""
        return split_model(self.model, self.at)

    @cached_property
    def by_pixels(self) -> Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]:
        """The score and its gradient by the pixels."""
        return input_gradients(self.model)

    @cached_property
    def by_cells(self) -> Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]:
        """The score and its gradient by the feature map at the cut."""
        return input_gradients(self.parts[1])

    def explain(
        self, target: Any = None, *, progress: Progress | None = None
    ) -> Explanation:
        """The maps, by the weights that the model has now."""
        method = _METHODS[self.settings.method]
        names = target_names(self.bound)
        found: dict[str, list[np.ndarray]] = {}
        for start in range(0, self.total, self.batch):
            indices = np.arange(start, min(start + self.batch, self.total))
            # Filled up, so that one shape is compiled.
            padded = np.resize(indices, self.batch)
            pixels = np.asarray(self.rows(padded))
            given = pixels.astype(np.float32)
            outputs = self.run(self.model, given)
            targets = self._targets(target, outputs, padded, names)
            asked = Asked(given, self._weights(targets, outputs.shape[1]), padded)
            made = method(self, asked)
            made |= {"pixels": pixels, "targets": targets}
            made["scores"] = (outputs * asked.weights).sum(axis=1)
            for name, values in made.items():
                found.setdefault(name, []).append(values[: len(indices)])
            if progress is not None:
                progress(int(indices[-1]) + 1, self.total)
        arrays = {name: np.concatenate(parts) for name, parts in found.items()}
        _tell_gap(arrays.pop("missed", np.zeros(0)))
        return Explanation(
            self.settings.method, target_names=names, at=self.at, **arrays
        )

    def run(self, network: keras.Model, inputs: np.ndarray) -> np.ndarray:
        """A network's outputs in inference mode."""
        return np.asarray(next(output_blocks(network, [inputs], len(inputs))))

    def score(self, asked: "Asked", pixels: np.ndarray) -> np.ndarray:
        """What is explained, of other pixels `(n,)`."""
        return (self.run(self.model, pixels) * asked.weights).sum(axis=1)

    def _targets(
        self, target: Any, outputs: np.ndarray, places: np.ndarray, names: Sequence[str]
    ) -> np.ndarray:
        """The class of each image's map."""
        if target is None:
            decoded = self.bound.task.decode(outputs)
            classes = bool(self.bound.record.class_names)
            return decoded.argmax(axis=1) if classes else np.zeros(len(places), int)
        several = isinstance(target, (Sequence, np.ndarray))
        if several and not isinstance(target, str):
            if len(target) != self.total:
                fail("target", f"{self.total}, one an image", f"{len(target)}")
            return np.array([_index(target[place], names) for place in places])
        return np.full(len(places), _index(target, names))

    @staticmethod
    def _weights(targets: np.ndarray, units: int) -> np.ndarray:
        """What the outputs are multiplied by, so that their sum is the target's."""
        if units == 1:
            # One logit: that of the second class, and less it that of the first.
            return np.where(targets == 0, -1.0, 1.0).astype(np.float32)[:, None]
        return np.eye(units, dtype=np.float32)[targets]


@dataclass(frozen=True, eq=False)
class Asked:
    """Images of one batch, and which of the outputs is explained."""

    pixels: np.ndarray
    weights: np.ndarray
    places: np.ndarray
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note the images' size."""
        object.__setattr__(self, "shape", self.pixels.shape[1:3])


def target_names(bound: BoundModel) -> tuple[str, ...]:
    """Names of what a model answers."""
    return bound.record.class_names or tuple(bound.task.target_names)


def _explainable(bound: BoundModel) -> BoundModel:
    """Raise unless the model gives one row of classes or numbers to an image."""
    names = bound.record.class_names or getattr(bound.task, "target_names", ())
    texts = find_tokens(bound.model) is not None
    if bound.task.dense or texts or not names:
        kind = "texts" if texts else f"the {bound.task.name} task"
        fail("model", "a classifier or regressor of images", f"a model for {kind}")
    return bound


def _index(target: Any, names: Sequence[str]) -> int:
    """A class by its name or number."""
    if isinstance(target, str):
        if target not in names:
            fail("target", "a class of the model", target, nearest(target, names))
        return list(names).index(target)
    check_integer("target", target, 0)
    if target >= len(names):
        fail("target", f"below {len(names)}, the number of classes", target)
    return int(target)


def find_cut(model: keras.Model, at: str | None) -> str:
    """The layer to cut behind: as asked, or the last whose map has several cells.

    Raises:
        ValueError: If there is none, or the one that was asked for has no map.
    """
    shapes = {
        name: tuple(model.get_layer(name).output.shape)
        for name in inner_cut_points(model)
        # A sum written `x + y` is no layer, and none that one would name.
        if name in {layer.name for layer in model.layers}
    }
    # What no weight has touched is the image itself.
    order = [layer.name for layer in model.layers]
    first = next((n for n, layer in enumerate(model.layers) if layer.weights), 0)
    maps = {n: s for n, s in shapes.items() if len(s) == 4 and n in order[first:]}
    if at is not None:
        if at not in maps:
            hint = nearest(str(at), maps) or f"The last such layers: {list(maps)[-3:]}."
            fail("at", "a layer to cut behind whose output is a map", at, hint)
        return at
    # Of unknown size, such as of images of any size, it has several.
    wide = [n for n, s in maps.items() if None in s[1:3] or s[1] * s[2] > 1]
    if not wide:
        hint = "Take method='occlusion' or 'integrated_gradients', which need no cut."
        expected = "one that can be cut behind a feature map of several cells"
        fail("model", expected, model.name, hint)
    return wide[-1]


def _cells(explainer: Explainer, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """The feature map at the cut and the score's gradient by it, `(n, h, w, k)`."""
    activations = explainer.run(explainer.parts[0], asked.pixels)
    gradients = explainer.by_cells(activations, asked.weights)[1]
    return activations.astype(np.float64), gradients.astype(np.float64)


def _from_cells(raw: np.ndarray, asked: Asked) -> dict[str, np.ndarray]:
    return {"raw": raw, "maps": enlarge(raw, asked.shape)}


def _gradcam(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    activations, gradients = _cells(explainer, asked)
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return _from_cells((weights * activations).sum(axis=-1), asked)


def _hirescam(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    activations, gradients = _cells(explainer, asked)
    return _from_cells((gradients * activations).sum(axis=-1), asked)


def _gradcam_plus(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    activations, gradients = _cells(explainer, asked)
    sums = activations.sum(axis=(1, 2), keepdims=True)
    below = 2 * gradients**2 + sums * gradients**3
    # Where nothing moves, nothing weighs.
    alphas = np.divide(gradients**2, below, np.zeros_like(below), where=below != 0)
    weights = (alphas * np.maximum(gradients, 0)).sum(axis=(1, 2), keepdims=True)
    return _from_cells((weights * activations).sum(axis=-1), asked)


def _scorecam(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    from scipy.special import softmax

    activations = explainer.run(explainer.parts[0], asked.pixels).astype(np.float64)
    spread = np.ptp(activations, axis=(1, 2))
    order = np.argsort(-spread, axis=1, kind="stable")
    order = order[:, : explainer.settings.channels]
    chosen = np.take_along_axis(activations, order[:, None, None], axis=3)
    blank, scores = _blank(explainer, asked), []
    for place in range(order.shape[1]):
        mask = enlarge(chosen[..., place], asked.shape)[..., None]
        low, high = mask.min(axis=(1, 2, 3)), mask.max(axis=(1, 2, 3))
        width = np.where(high > low, high - low, 1.0)
        mask = (mask - low[:, None, None, None]) / width[:, None, None, None]
        shown = blank + mask * (asked.pixels - blank)
        scores.append(explainer.score(asked, shown.astype(np.float32)))
    weights = softmax(np.stack(scores, axis=1), axis=1)
    return _from_cells(np.einsum("nhwk,nk->nhw", chosen, weights), asked)


def _occlusion(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    height, width = asked.shape
    side = explainer.settings.patch or max(1, min(height, width) // 8)
    blank = np.broadcast_to(_blank(explainer, asked), asked.pixels.shape)
    whole = explainer.score(asked, asked.pixels)
    maps = np.zeros((len(asked.pixels), height, width))
    for top in range(0, height, side):
        for left in range(0, width, side):
            here = (slice(None), slice(top, top + side), slice(left, left + side))
            covered = asked.pixels.copy()
            covered[here] = blank[here]
            lost = whole - explainer.score(asked, covered)
            maps[here] = lost[:, None, None]
    return {"raw": maps, "maps": maps}


def _integrated(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    steps, blank = explainer.settings.steps, _blank(explainer, asked)
    way = asked.pixels - blank
    total = np.zeros(asked.pixels.shape)
    for step in range(steps):
        # The middle of each stretch: exact where the gradient is linear on it.
        point = blank + (step + 0.5) / steps * way
        total += explainer.by_pixels(point.astype(np.float32), asked.weights)[1]
    raw = way * total / steps
    start = np.broadcast_to(blank, asked.pixels.shape).astype(np.float32)
    reach = explainer.score(asked, asked.pixels) - explainer.score(asked, start)
    gap = np.abs(raw.sum(axis=(1, 2, 3)) - reach)
    missed = gap / np.maximum(np.abs(reach), np.finfo(np.float32).tiny)
    return {"raw": raw, "maps": raw.sum(axis=-1), "gap": gap, "missed": missed}


def _tell_gap(missed: np.ndarray) -> None:
    """Warn where the sums miss what they must reach by a share too large."""
    wide = int((missed > _GAP).sum())
    if wide:
        warn(
            f"Of {wide} of {len(missed)} images integrated gradients miss the "
            f"difference to the blank image by more than {_GAP:.0%} of it: take more "
            "`steps`, or a blank image that differs more, by `fill`."
        )


def _smoothgrad(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    settings, total = explainer.settings, np.zeros(asked.pixels.shape)
    draws = [np.random.default_rng([settings.seed, place]) for place in asked.places]
    for _ in range(settings.samples):
        noise = np.stack([draw.normal(size=total.shape[1:]) for draw in draws])
        shown = asked.pixels + settings.noise * noise
        total += explainer.by_pixels(shown.astype(np.float32), asked.weights)[1]
    raw = total / settings.samples
    return {"raw": raw, "maps": np.abs(raw).sum(axis=-1)}


def _edges(explainer: Explainer, asked: Asked) -> dict[str, np.ndarray]:
    grey = asked.pixels.mean(axis=-1).astype(np.float64)
    maps = np.hypot(*np.gradient(grey, axis=(1, 2)))
    return {"raw": maps, "maps": maps}


def _blank(explainer: Explainer, asked: Asked) -> np.ndarray:
    """What covers `(n or 1, 1, 1, channels)`: as asked, or each image's mean colour.

    The mean of all images would be nearer to the data, and make a map depend on its
    company.
    """
    fill = explainer.settings.fill
    if fill is None:
        return asked.pixels.mean(axis=(1, 2), keepdims=True)
    values, channels = np.asarray(fill, np.float32), asked.pixels.shape[-1]
    if values.shape not in ((), (channels,)) or not (values >= 0).all():
        fail("fill", f"a pixel of 0-255, or {channels} of them", fill)
    return np.broadcast_to(values, (channels,)).reshape(1, 1, 1, channels)


_METHODS: dict[str, Callable[[Explainer, Asked], dict[str, np.ndarray]]] = {
    "hirescam": _hirescam,
    "gradcam": _gradcam,
    "gradcam++": _gradcam_plus,
    "scorecam": _scorecam,
    "occlusion": _occlusion,
    "integrated_gradients": _integrated,
    "smoothgrad": _smoothgrad,
    "edges": _edges,
}
_AT_A_CUT = ("hirescam", "gradcam", "gradcam++", "scorecam")
