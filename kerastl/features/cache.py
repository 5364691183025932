"""What a frozen part computes, kept in memory or on disk instead of computed again."""

import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, warn
from kerastl._compat import graph_nodes, seed_generators, sublayers
from kerastl._progress import Progress
from kerastl.data.batches import only_or_all
from kerastl.data.sets import ImageSet, digests
from kerastl.data.sources import ArraySource, ImageSource, Source
from kerastl.features.keys import cache_key, network_key, views_key
from kerastl.features.network import is_deterministic, output_blocks
from kerastl.features.store import CachedRows, CacheWriteError, DiskCache
from kerastl.models.blocks import cut_points, node_multiplications, split_model
from kerastl.models.layers import is_holding_statistics, is_noise

CACHE_MODES = ("auto", "off", "memory", "disk")

# Of a laptop with two cores. Only their ratios decide, and by large factors.
_MULTIPLICATIONS_PER_SECOND = 2e10
_BYTES_PER_SECOND = {"memory": 2e9, "disk": 5e8}


@dataclass(frozen=True)
class Cut:
    """A place in a frozen network where its activations may be kept.

    Attributes:
        name: Name of the layer.
        size: Numbers in its output, for one image.
        below: Multiplications up to and with it, for one image.
        dtype: NumPy's name of the type in which it computes.
    """

    name: str
    size: int
    below: int
    dtype: str = "float32"


@dataclass(frozen=True)
class CachePlan:
    """What is kept of the frozen part of a network during a phase.

    Attributes:
        mode: `"memory"`, `"disk"`, or `"off"`: nothing is kept.
        cut: Name of the layer whose output is kept; empty when off.
        dtype: NumPy's name of the type in which it is kept.
        nbytes: Bytes in all.
        reason: Why, in one sentence.
    """

    mode: str
    cut: str = ""
    dtype: str = ""
    nbytes: int = 0
    reason: str = ""

    def __str__(self) -> str:
        """One line for people."""
        if self.mode == "off":
            return f"not cached: {self.reason}"
        return (
            f"output of {self.cut!r} cached "
            f"{'in memory' if self.mode == 'memory' else 'on disk'}, "
            f"{self.nbytes / 1e6:.1f} MB of {self.dtype}"
            f"{f' ({self.reason})' if self.reason else ''}"
        )


def plan_cache(
    cuts: Sequence[Cut],
    *,
    rows: int,
    epochs: int,
    input_size: int,
    cache: str = "auto",
    memory: int,
    disk: int,
) -> CachePlan:
    """Choose the cut, the place and the precision.

    Full precision comes first: in memory, else on disk. Half precision is only for
    what fits in neither place otherwise. Among the cuts that fit, the one that makes
    an epoch shortest is taken: a late one saves work, a narrow one saves reading.

    Args:
        cuts: Possible cuts from input to output; the last has all that is frozen
            below it.
        rows: Images, those of the validation and all views included.
        epochs: How often each is passed.
        input_size: Numbers in one image.
        cache: `"auto"`, `"off"`, or where to keep the activations.
        memory: Bytes that may be taken of the memory.
        disk: Bytes that may be taken of the disk; 0 if it cannot be used.

    Returns:
        The plan; `"off"` if keeping would not make the phase shorter.

    Raises:
        ValueError: If `cache` is none of those.

    Example:
        >>> cuts = [Cut("block", size=50_000, below=10**8)]
        >>> given = dict(rows=1000, epochs=5, input_size=30_000, disk=0)
        >>> print(plan_cache(cuts, memory=10**9, **given))
        output of 'block' cached in memory, 200.0 MB of float32
        >>> plan_cache(cuts, memory=10**6, **given).mode
        'off'
    """
    check_choice("cache", cache, CACHE_MODES)
    if cache == "off":
        return CachePlan("off", reason="switched off")
    if not cuts:
        return CachePlan("off", reason="nothing is frozen below what trains")
    if epochs < 2 and cache != "disk":
        return CachePlan("off", reason="each image is passed once")
    room = {"memory": memory, "disk": disk}
    frozen = cuts[-1].below
    direct = _seconds(frozen, 4 * input_size, "memory")
    slow = False
    for half, mode in ((h, m) for h in (False, True) for m in room):
        if cache not in ("auto", mode) or (half and slow):
            continue
        fitting = [cut for cut in cuts if _bytes(cut, half) * rows <= room[mode]]
        if not fitting:
            continue
        ranked = {c: _epoch(c, frozen, half, mode) for c in fitting}
        # Of equals the latest, with the least left to compute.
        chosen = min(reversed(fitting), key=ranked.__getitem__)
        once = _seconds(chosen.below, _bytes(chosen, half), mode)
        if cache == "auto" and once + epochs * ranked[chosen] >= epochs * direct:
            slow = True
            continue
        return _plan(chosen, mode, half, rows)
    if slow:
        return CachePlan("off", reason="computing is quicker than reading it back")
    smallest = rows * min(_bytes(cut, half=True) for cut in cuts)
    free = [f"{_size(room[m])} of {m}" for m in room if cache in ("auto", m)]
    reason = f"even half precision takes {_size(smallest)}, and there may be taken "
    return CachePlan("off", reason=reason + " and ".join(free))


def _size(number: int) -> str:
    """Bytes, so that a few of them do not read as none."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def _plan(cut: Cut, mode: str, half: bool, rows: int) -> CachePlan:
    dtype = "float16" if half else cut.dtype
    reason = "half precision: all of it fits nowhere" if dtype != cut.dtype else ""
    return CachePlan(mode, cut.name, dtype, rows * _bytes(cut, half), reason)


def _bytes(cut: Cut, half: bool) -> int:
    """Bytes of one image's activations."""
    return cut.size * (2 if half or cut.dtype == "float16" else 4)


def _seconds(multiplications: int, read: int, mode: str) -> float:
    speed = _BYTES_PER_SECOND[mode]
    return multiplications / _MULTIPLICATIONS_PER_SECOND + read / speed


def _epoch(cut: Cut, frozen: int, half: bool, mode: str) -> float:
    """Seconds an image costs in each epoch: reading it, and the rest of the way."""
    return _seconds(frozen - cut.below, _bytes(cut, half), mode)


def available_memory() -> int:
    """Bytes of memory that programs may still take, the container's limit included."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        # What is free is not told everywhere; half of all is a fair guess.
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    limit, used = (
        _number(Path("/sys/fs/cgroup") / name)
        for name in ("memory.max", "memory.current")
    )
    if limit is not None and used is not None:
        found.append(max(limit - used, 0))
    return min(found, default=4_000_000_000)


def _number(path: Path) -> int | None:
    """The number in a file; None if there is none, or no limit ("max")."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


#: Bytes of features that one extractor and its clones keep.
MEMORY_LIMIT = 500_000_000


def image_keys(images: ImageSet) -> list[str]:
    """A key for the content of each image: of the file's bytes, or of the pixels."""
    if images.paths is not None:
        return [f"file {digest}" for digest in digests(images)]
    # Equal bytes are another image in another shape or type.
    pixels = images.images
    form = f"{pixels.dtype.str} {pixels.shape[1:]}"
    return [f"{form} {digest}" for digest in digests(images)]


class FeatureStore:
    """Rows of features by image, a bounded number of bytes of them.

    Rows of a network that was not used for longest go first. A data set too large
    for the store keeps the rows that came first: to drop them for later ones would
    leave none of them when the next pass begins.

    Args:
        memory_limit: Bytes.
    """

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        """See the class."""
        self.memory_limit = memory_limit
        self.held = 0
        self._spaces: OrderedDict[Hashable, dict[str, np.ndarray]] = OrderedDict()

    def space(self, key: Hashable) -> dict[str, np.ndarray]:
        """The rows of one network, by image; do not write to it."""
        found = self._spaces.setdefault(key, {})
        self._spaces.move_to_end(key)
        return found

    def keep(self, key: Hashable, rows: dict[str, np.ndarray]) -> None:
        """Add rows of one network, as many as fit."""
        space = self.space(key)
        for image, row in rows.items():
            while self.held + row.nbytes > self.memory_limit and len(self._spaces) > 1:
                _, dropped = self._spaces.popitem(last=False)
                self.held -= sum(old.nbytes for old in dropped.values())
            if self.held + row.nbytes > self.memory_limit:
                return
            # A view would keep the whole batch alive.
            space[image] = row.copy()
            self.held += row.nbytes


def remember(
    store: FeatureStore,
    space: Hashable,
    images: ImageSet,
    compute: Callable[[ImageSet], np.ndarray],
) -> np.ndarray:
    """Features of the images, computed for those whose content was not seen before.

    Args:
        store: Where features are kept.
        space: All that decides the features besides the image.
        images: The images.
        compute: Makes `(n, d)` from images.

    Returns:
        Float array `(n, d)`, in the order of `images`.
    """
    keys, held = image_keys(images), store.space(space)
    first: dict[str, int] = {}
    for position, key in enumerate(keys):
        if key not in held:
            first.setdefault(key, position)
    made: dict[str, np.ndarray] = {}
    if first:
        features = compute(images.subset([*first.values()]))
        made = dict(zip(first, features, strict=True))
    rows = np.stack([made[key] if key in made else held[key] for key in keys])
    store.keep(space, made)
    return rows


def through_disk(key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Features of that key from the disk, or computed and written there.

    Args:
        key: Stands for network and images: see `cache_key`.
        compute: Makes `(n, d)`.

    Returns:
        Float array `(n, d)`.
    """
    disk = DiskCache()
    found = disk.find(key)
    if found is not None:
        try:
            return found.rows(np.arange(len(found)))
        finally:
            found.close()
    features = compute()
    note = {"kind": "features", "images": len(features), "width": features.shape[1]}
    try:
        dtype = features.dtype.name
        disk.store(key, features.shape, dtype, [features], note=note).close()
    except OSError as error:
        # The features are there; only the next run has to compute them again.
        warn(str(error), RuntimeWarning)
    return features


def possible_cuts(model: keras.Model) -> tuple[Cut, ...]:
    """The places below everything that trains through which all must pass.

    Args:
        model: Functional model whose trainable flags are set.

    Returns:
        From input to output; only those with weights below them. Up to the last,
        an image gives the same activations each time.
    """
    legal = set(cut_points(model)[:-1])
    found, below, weights = [], 0, False
    for node in graph_nodes(model):
        layer = node.layer
        if isinstance(layer, keras.Layer):
            if changes(layer):
                break
            weights = weights or bool(layer.weights)
        below += node_multiplications(layer, node.outputs)
        shape = node.outputs[0].shape[1:]
        if weights and layer.name in legal and None not in shape:
            dtype = "float16" if node.outputs[0].dtype == "float16" else "float32"
            found.append(Cut(layer.name, math.prod(shape), below, dtype))
    return tuple(found)


def changes(layer: keras.Layer) -> bool:
    """Whether the layer's output may differ from one epoch to the next."""
    return bool(layer.trainable_variables) or any(map(_varies, sublayers(layer)))


def _varies(layer: keras.Layer) -> bool:
    if is_noise(layer):
        return layer.trainable
    return bool(seed_generators(layer)) or _uses_batch_statistics(layer)


def _uses_batch_statistics(layer: keras.Layer) -> bool:
    """Whether it is a BatchNormalization whose statistics train."""
    # Without gamma and beta it has nothing else by which to see that it trains.
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and not is_holding_statistics(layer)
        and layer.trainable
    )


def is_understood(model: keras.Model) -> bool:
    """Whether every layer is Keras's or ours, so that `changes` knows what it does.

    Wrappers are not: `SpectralNormalization` updates its state whenever it trains.
    """
    return not any(
        isinstance(layer, keras.layers.Wrapper)
        or type(layer).__module__.partition(".")[0] not in ("keras", "kerastl")
        for layer in sublayers(model)
    )


#: Part of the free memory that cached activations may take when nobody says so.
_SHARE_OF_MEMORY = 0.25
_SHARE_WHEN_ASKED = 0.8
_SHARE_OF_DISK = 0.5


@dataclass(frozen=True)
class Views:
    """Augmented versions of each image, made before training.

    Attributes:
        count: How many of each image.
        augment: Augmentation that makes them; None: the image itself.
        seed: What they follow from; view k is what epoch k would have seen.
    """

    count: int = 1
    augment: Any = None
    seed: int = 0


def cached_part(
    model: keras.Model,
    train: Source,
    validation: Source | None,
    *,
    epochs: int,
    batch_size: int,
    cache: str = "auto",
    views: Views | None = None,
    progress: Progress | None = None,
) -> tuple[keras.Model, Source, Source | None, CachePlan]:
    """The part of the model above the freeze boundary, and its inputs computed once.

    Args:
        model: Model whose trainable flags are set.
        train: Training data.
        validation: Validation data of any kind, or None.
        epochs: How often the data will be passed.
        batch_size: Inputs in a step of the training to come. Activations are
            computed in batches of that size, so that the kernels round alike.
        cache: `"auto"`, `"off"`, `"memory"` or `"disk"`.
        views: Augmented versions of the training images; None: the images as they are.
        progress: Called with (done, total).

    Returns:
        `(part, train, validation, plan)`: a model that shares the trainable
        variables, and features in place of images; the arguments themselves where
        nothing is gained or the result would not be the same, as the plan says.
    """
    views = views or Views()
    plan = _plan_frozen_part(model, train, validation, epochs, cache, views)
    if plan.mode == "off":
        return model, train, validation, plan
    prefix, part = split_model(model, plan.cut)
    if not is_understood(prefix) and not is_deterministic(prefix, _sample(train)):
        plan = CachePlan("off", reason="the frozen part is not the same in training")
        return model, train, validation, plan
    kept = _Keeping(prefix, plan, batch_size, progress)
    try:
        features = kept.source(train, views)
        checked = None if validation is None else kept.source(validation, Views())
    except (CacheWriteError, TypeError) as error:
        # A full disk must not end a training that needs no disk.
        warn(f"Nothing is cached: {error}", RuntimeWarning)
        plan = CachePlan("off", reason="the disk could not be used")
        return model, train, validation, plan
    return part, features, checked, plan


def _sample(source: ImageSource | ArraySource) -> np.ndarray:
    rows = source.rows(np.arange(min(4, len(source))))
    return only_or_all(rows).astype("float32")


def _plan_frozen_part(
    model: keras.Model,
    train: Source,
    validation: Source | None,
    epochs: int,
    cache: str,
    views: Views,
) -> CachePlan:
    cacheable = (ImageSource, ArraySource)
    sources = [train] if validation is None else [train, validation]
    if not all(isinstance(source, cacheable) for source in sources):
        reason = "a dataset of batches may be another in each epoch"
        return CachePlan("off", reason=reason)
    rows = views.count * len(train)
    rows += 0 if validation is None else len(validation)
    cuts = possible_cuts(model)
    share = _SHARE_OF_MEMORY if cache == "auto" else _SHARE_WHEN_ASKED
    plan = plan_cache(
        cuts,
        rows=rows,
        epochs=epochs,
        input_size=sum(math.prod(shape) for shape, _ in train.spec.values()),
        cache=cache,
        memory=int(share * available_memory()),
        disk=_room_on_disk() if cache in ("auto", "disk") else 0,
    )
    if plan.mode == "off" and cache in _WHERE and cuts:
        message = f"Nothing is cached {_WHERE[cache]}: {plan.reason}."
        warn(message, RuntimeWarning)
    return plan


_WHERE = {"memory": "in memory", "disk": "on disk"}


def _room_on_disk() -> int:
    """Bytes that the disk cache may write."""
    cache = DiskCache()
    folder = cache.folder
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return min(cache.limit, int(_SHARE_OF_DISK * free))


@dataclass(frozen=True)
class _Keeping:
    """Computes and keeps the outputs of one network, as planned."""

    prefix: keras.Model
    plan: CachePlan
    batch_size: int
    progress: Progress | None

    def source(self, source: ImageSource | ArraySource, views: Views) -> ArraySource:
        """Features in place of images."""
        shape = (views.count * len(source), *self.prefix.output_shape[1:])
        if self.plan.mode == "disk":
            rows = self._on_disk(source, views, shape)
        else:
            rows = np.empty(shape, self.plan.dtype)
            done = 0
            for block in self._blocks(source, views):
                rows[done : done + len(block)] = block
                done += len(block)
        return ArraySource(rows, source.targets, views.count)

    def _on_disk(
        self, source: ImageSource | ArraySource, views: Views, shape: tuple[int, ...]
    ) -> CachedRows:
        cache = DiskCache()
        key = self._key(source, views)
        found = cache.find(key)
        if found is not None:
            return found
        note = {
            "network": self.prefix.name.removesuffix("_prefix"),
            "cut": self.plan.cut,
            "images": len(source),
            "views": views.count,
        }
        blocks = self._blocks(source, views)
        return cache.store(key, shape, self.plan.dtype, blocks, note=note)

    def _key(self, source: ImageSource | ArraySource, views: Views) -> str:
        """Stands for all that the rows depend on."""
        form = f"{self.plan.dtype} {self.batch_size} {views.count}"
        made = views_key(views.augment, views.seed)
        return cache_key(self.network_key, source.key(), form, made)

    @cached_property
    def network_key(self) -> str:
        """Computed once for training and validation: it hashes every weight."""
        return network_key(self.prefix)

    def _blocks(
        self, source: ImageSource | ArraySource, views: Views
    ) -> Iterator[np.ndarray]:
        total, done = views.count * len(source), 0
        for block in output_blocks(
            self.prefix, self._inputs(source, views), self.batch_size
        ):
            done += len(block)
            if self.progress is not None:
                self.progress(done, total)
            yield block.astype(self.plan.dtype, copy=False)

    def _inputs(
        self, source: ImageSource | ArraySource, views: Views
    ) -> Iterator[np.ndarray]:
        """Batches of images: all of the first view, then all of the second."""
        if views.augment is None or isinstance(source, ArraySource):
            for start in range(0, len(source), self.batch_size):
                stop = min(start + self.batch_size, len(source))
                yield only_or_all(source.rows(np.arange(start, stop)))
            return
        data = source.dataset(self.batch_size, seed=views.seed, augment=views.augment)
        for _ in range(views.count):
            for images, _ in data:
                yield images.numpy()
