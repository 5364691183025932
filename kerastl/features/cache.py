"""What a frozen part computes, kept in memory or on disk instead of computed again."""

import math
import shutil
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, warn
from kerastl._progress import Progress
from kerastl.data.augmentation import as_augmentation, as_maps, draw_changes
from kerastl.data.batches import only_or_all
from kerastl.data.dense import DenseTargets
from kerastl.data.sets import ImageSet
from kerastl.data.sources import ArraySource, ImageSource, Source, StreamSource
from kerastl.data.texts import TextSet
from kerastl.features.keys import (
    UnknownCodeError,
    cache_key,
    network_key,
    views_key,
)
from kerastl.features.network import is_deterministic, output_blocks
from kerastl.features.planning import (
    CACHE_MODES,
    CachePlan,
    available_memory,
    is_understood,
    plan_cache,
    possible_cuts,
)
from kerastl.features.store import CacheWriteError, DiskCache
from kerastl.models.blocks import (
    cut_points,
    multiplications,
    split_model,
    truncate,
)
from kerastl.models.text_layers import find_tokens

#: Bytes of rows that one cache keeps by image.
MEMORY_LIMIT = 500_000_000
#: Batches between two looks at what is missing.
_CHUNK = 16


def image_keys(images: ImageSet | TextSet) -> list[str]:
    """A key for the content of each image: of the file's bytes, or of the pixels."""
    if isinstance(images, TextSet):
        return [f"text {text}" for text in images.texts]
    if images.paths is not None:
        return [f"file {digest}" for digest in images.digests()]
    # Equal bytes are another image in another shape or type.
    pixels = images.images
    form = f"{pixels.dtype.str} {pixels.shape[1:]}"
    return [f"{form} {digest}" for digest in images.digests()]


class FeatureCache:
    """What frozen networks make of images: computed once, for all who ask.

    Rows are kept by network, place in it, batch size and image, so that probing a
    backbone, standardising its features and training a head on them run it over an
    image once. Batches of one size round alike: rows of another size are others.

    Rows of a network that was not used for longest go first. A data set too large
    for the memory keeps the rows that came first: to drop them for later ones would
    leave none of them when the next pass begins.

    Args:
        where: `"auto"`, `"off"`, `"memory"` or `"disk"`: see `run_phases`.
        memory_limit: Bytes of rows kept by image. Those of a training phase, planned
            by its number of epochs, do not count.
    """

    def __init__(
        self, where: str = "auto", *, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        """See the class."""
        check_choice("cache", where, CACHE_MODES)
        self.where = where
        self.memory_limit = memory_limit
        self.held = 0
        self._spaces: OrderedDict[Hashable, dict[str, np.ndarray]] = OrderedDict()
        self._held_layers: set[str] = set()

    def space(self, key: Hashable) -> dict[str, np.ndarray]:
        """The rows of one network, by image; do not write to it."""
        found = self._spaces.setdefault(key, {})
        self._spaces.move_to_end(key)
        return found

    def keep(self, key: Hashable, rows: Mapping[str, np.ndarray]) -> None:
        """Add rows of one network, as many as fit."""
        space = self.space(key)
        for image, row in rows.items():
            if image in space:
                continue
            while self.held + row.nbytes > self.memory_limit and len(self._spaces) > 1:
                _, dropped = self._spaces.popitem(last=False)
                self.held -= sum(old.nbytes for old in dropped.values())
            if self.held + row.nbytes > self.memory_limit:
                return
            # A view would keep the whole batch alive.
            space[image] = row.copy()
            self.held += row.nbytes

    def remember(
        self,
        space: Hashable,
        images: ImageSet,
        compute: Callable[[ImageSet], np.ndarray],
    ) -> np.ndarray:
        """Features of images, computed for those whose content was not seen before.

        Args:
            space: All that decides the features besides the image.
            images: The images.
            compute: Makes `(n, d)` from images.

        Returns:
            Float array `(n, d)`, in the order of `images`.
        """
        keys, held = image_keys(images), self.space(space)
        first: dict[str, int] = {}
        for position, key in enumerate(keys):
            if key not in held:
                first.setdefault(key, position)
        made: dict[str, np.ndarray] = {}
        if first:
            features = compute(images.subset([*first.values()]))
            made = dict(zip(first, features, strict=True))
        rows = np.stack([made[key] if key in made else held[key] for key in keys])
        self.keep(space, made)
        return rows

    def probe(
        self,
        network: keras.Model,
        features: keras.KerasTensor,
        at: Sequence[str],
        source: ImageSource,
        *,
        batch_size: int,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """A row of features for each image, and what passes the cuts kept for later.

        Args:
            network: Backbone, from pixels 0-255.
            features: A row of features in its graph.
            at: Cut points of the network, from input to output: of the last of them
                as many as fit are kept.
            source: The images.
            batch_size: Of what is to follow.
            progress: Called with (done, total).

        Returns:
            Float array `(n, d)`.
        """
        batch_size = batch_of(source, batch_size)
        spaces = self._open(network, at, source, batch_size)
        tensors = {name: truncate(network, name).output for name in spaces}
        # By number: a layer may be called as the features are.
        whole = keras.Model(network.input, [features, *tensors.values()])
        keys = image_keys(source.images) if spaces else []
        rows = np.empty((len(source), features.shape[-1]), "float32")
        done = 0
        inputs = _inputs(source, batch_size)
        for made in output_blocks(whole, inputs, batch_size):
            block, *maps = keras.tree.flatten(made)
            here = slice(done, done + len(block))
            rows[here] = block
            for space, kept in zip(spaces.values(), maps, strict=True):
                self.keep(space, dict(zip(keys[here], kept, strict=True)))
            done = here.stop
            if progress is not None:
                progress(done, len(source))
        return rows

    def _open(
        self,
        network: keras.Model,
        at: Sequence[str],
        source: ImageSource,
        batch_size: int,
    ) -> dict[str, Hashable]:
        """Spaces for the activations at the last cuts, as far as they fit."""
        room, found = self.memory_limit - self.held, {}
        for name in reversed(at):
            part = truncate(network, name)
            room -= (
                4 * len(source) * math.prod(side or 1 for side in part.output.shape[1:])
            )
            if room < 0 or self.where == "off":
                break
            try:
                found[name] = _space(part, source, batch_size)
            except UnknownCodeError:
                break
        self._held_layers |= set(found)
        return found

    def outputs(
        self, network: keras.Model, source: Source, *, batch_size: int
    ) -> Iterator[Any]:
        """A frozen network's outputs for all rows of a source, in order, in blocks.

        What was kept of the network at a place inside it is not computed again.

        Args:
            network: From inputs to outputs; shares its layers with others.
            source: Rows, unchanged by augmentation.
            batch_size: Rows at a time.
        """
        batch_size = batch_of(source, batch_size)
        found = self._nearest(network, source, batch_size)
        if found is None:
            yield from output_blocks(network, _inputs(source, batch_size), batch_size)
            return
        space, below, rest = found
        keys = image_keys(source.images)
        for start in range(0, len(source), _CHUNK * batch_size):
            chunk = np.arange(start, min(start + _CHUNK * batch_size, len(source)))
            held = dict(self.space(space))
            first = {keys[i]: i for i in reversed(chunk) if keys[i] not in held}
            missing = np.array(sorted(first.values()), int)
            batches = _inputs(source, batch_size, missing)
            made = [
                m for block in output_blocks(below, batches, batch_size) for m in block
            ]
            held |= dict(zip((keys[i] for i in missing), made, strict=True))
            self.keep(space, {keys[i]: held[keys[i]] for i in missing})
            for place in range(0, len(chunk), batch_size):
                here = chunk[place : place + batch_size]
                maps = np.stack([held[keys[i]] for i in here])
                if rest is None:
                    yield maps
                else:
                    yield from output_blocks(rest, [maps], batch_size)

    def _nearest(
        self, network: keras.Model, source: Source, batch_size: int
    ) -> tuple[Hashable, keras.Model, keras.Model | None] | None:
        """The last place in the network of which rows are kept, and the parts there."""
        several = len(network.outputs) > 1
        if not self._held_layers or several or not isinstance(source, ImageSource):
            return None
        legal = cut_points(network)
        for name in reversed(legal):
            if name not in self._held_layers:
                continue
            below = truncate(network, name)
            try:
                space = _space(below, source, batch_size)
            except UnknownCodeError:
                # Another network's layer of that name: nothing of this one is kept.
                continue
            if space in self._spaces:
                rest = None if name == legal[-1] else split_model(network, name)[1]
                return space, below, rest
        return None


def batch_of(source: Source, batch_size: int) -> int:
    """Rows in each batch of training: of a set smaller than one, all its rows.

    A batch that is filled up would round otherwise than the one of training.
    """
    return min(batch_size, len(source))


def _space(part: keras.Model, source: ImageSource, batch_size: int) -> Hashable:
    store = source.store
    return network_key(part), store.image_size, store.resize, batch_size


def _inputs(
    source: Source, batch_size: int, indices: np.ndarray | None = None
) -> Iterator[Any]:
    """Batches of a source's rows as they are."""
    indices = np.arange(len(source)) if indices is None else indices
    for start in range(0, len(indices), batch_size):
        yield only_or_all(source.rows(indices[start : start + batch_size]))


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


@dataclass(frozen=True)
class FrozenPart:
    """What to fit on what: the model on its data, or its end on activations.

    Attributes:
        part: A model that shares the trainable variables; the model itself where
            nothing is cached.
        train: Training data for it.
        validation: Validation data for it, or None.
        plan: What is kept, or why nothing is.
        augmented: Whether augmentation is done with: the rows are views already, or
            of images as they are.
        prefix: What computed the rows; None where nothing is kept.
    """

    part: keras.Model
    train: Source
    validation: Source | None
    plan: CachePlan
    augmented: bool = False
    prefix: keras.Model | None = None

    @property
    def cached(self) -> bool:
        """Whether activations are kept."""
        return self.plan.mode != "off"

    def plain_rows(self, source: Source, places: np.ndarray, batch_size: int) -> Any:
        """What `part` takes for examples of the source as they are, not augmented."""
        parts = range(0, len(places), batch_size)
        given = (only_or_all(source.rows(places[i : i + batch_size])) for i in parts)
        made = [
            keras.tree.flatten(block)
            for block in output_blocks(self.prefix, given, batch_size)
        ]
        arrays = [np.concatenate(each) for each in zip(*made, strict=True)]
        names = [x.name for x in self.part.inputs]
        return only_or_all(dict(zip(names, arrays, strict=True)))


def cached_part(
    model: keras.Model,
    train: Source,
    validation: Source | None,
    *,
    epochs: int,
    batch_size: int,
    cache: str | FeatureCache = "auto",
    views: Views | None = None,
    progress: Progress | None = None,
) -> FrozenPart:
    """The part of the model above the freeze boundary, and its inputs computed once.

    Args:
        model: Model whose trainable flags are set.
        train: Training data.
        validation: Validation data of any kind, or None.
        epochs: How often the data will be passed.
        batch_size: Inputs in a step of the training to come. Activations are
            computed in batches of that size, so that the kernels round alike.
        cache: `"auto"`, `"off"`, `"memory"` or `"disk"`, or a `FeatureCache` that
            holds what was computed before.
        views: Augmented versions of the training images; None: the images as they are.
        progress: Called with (done, total).

    Returns:
        A model and features in place of images; the arguments themselves where
        nothing is gained or the result would not be the same, as the plan says.
    """
    views = views or Views()
    cache = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)

    def off(reason: str) -> FrozenPart:
        return FrozenPart(model, train, validation, CachePlan("off", reason=reason))

    plan, layers = _plan_frozen_part(model, train, validation, epochs, cache, views)
    if plan.mode == "off":
        return off(plan.reason)
    prefix, part = split_model(model, layers)
    if not is_understood(prefix) and not is_deterministic(prefix, _sample(train)):
        return off("the frozen part is not the same in training")
    try:
        key = network_key(prefix) if plan.mode == "disk" else ""
    except UnknownCodeError as error:
        warn(f"Nothing is cached on disk: {error}", RuntimeWarning)
        return off("on disk the frozen part could not be told from another")
    names = tuple(x.name for x in part.inputs) if len(part.inputs) > 1 else ("inputs",)
    kept = _Keeping(cache, prefix, names, plan, key, batch_size, progress)
    try:
        features = kept.source(train, views)
        checked = None if validation is None else kept.source(validation, Views())
    except CacheWriteError as error:
        # A full disk must not end a training that needs no disk.
        warn(f"Nothing is cached: {error}", RuntimeWarning)
        return off("the disk could not be used")
    return FrozenPart(part, features, checked, plan, augmented=True, prefix=prefix)


def _sample(source: Source) -> Any:
    rows = source.rows(np.arange(min(4, len(source))))
    rows = {
        name: x if x.dtype.kind in "bi" else x.astype("float32")
        for name, x in rows.items()
    }
    return only_or_all(rows)


def _plan_frozen_part(
    model: keras.Model,
    train: Source,
    validation: Source | None,
    epochs: int,
    cache: FeatureCache,
    views: Views,
) -> tuple[CachePlan, str | tuple[str, ...]]:
    """The plan, and the layers to split at."""
    sources = [train] if validation is None else [train, validation]
    if any(isinstance(source, StreamSource) for source in sources):
        reason = "a dataset of batches may be another in each epoch"
        return CachePlan("off", reason=reason), ""
    rows = views.count * len(train)
    rows += 0 if validation is None else len(validation)
    cuts, where = possible_cuts(model, _length(model, train)), cache.where
    share = _SHARE_OF_MEMORY if where == "auto" else _SHARE_WHEN_ASKED
    plan = plan_cache(
        cuts,
        rows=rows,
        # How often each row is passed: the versions come by turns.
        epochs=epochs / views.count,
        input_size=sum(math.prod(shape) for shape, _ in train.spec.values()),
        cache=where,
        memory=int(share * available_memory()),
        disk=_room_on_disk() if where in ("auto", "disk") else 0,
        work=_step_work(model, cuts[-1].below) if cuts else None,
    )
    if plan.mode == "off" and where in _WHERE and cuts:
        message = f"Nothing is cached {_WHERE[where]}: {plan.reason}."
        warn(message, RuntimeWarning)
    layers = {cut.name: cut.layers or cut.name for cut in cuts}
    return plan, layers.get(plan.cut, "")


def _length(model: keras.Model, source: Source) -> int | None:
    """Tokens in each text of a source, for a model of texts; None for any other."""
    if find_tokens(model) is None:
        return None
    ((length, *_), _) = next(iter(source.spec.values()))
    return length


def _step_work(model: keras.Model, frozen: int) -> int:
    """Multiplications of a training step: the way back costs twice the way there."""
    return frozen + 3 * max(multiplications(model) - frozen, 0)


_WHERE = {"memory": "in memory", "disk": "on disk"}


def _room_on_disk() -> int:
    """Bytes that the disk cache may write."""
    cache = DiskCache()
    folder = cache.folder
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return min(cache.limit, int(_SHARE_OF_DISK * free))


@dataclass(frozen=True, eq=False)
class PackedSource(ArraySource):
    """Rows of several tensors, side by side as bytes in one file.

    Attributes:
        inputs: Rows of bytes.
        layout: Name of each tensor -> shape and type of its rows.
    """

    layout: Mapping[str, tuple[tuple[int, ...], np.dtype]] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """The layout."""
        return dict(self.layout)

    def rows(
        self,
        indices: np.ndarray,
        views: np.ndarray | None = None,
        *,
        threads: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Each tensor's rows at `indices`."""
        packed, start, found = super().rows(indices, views)["inputs"], 0, {}
        for name, (shape, dtype) in self.layout.items():
            stop = start + math.prod(shape) * dtype.itemsize
            own = np.ascontiguousarray(packed[:, start:stop])
            found[name], start = own.view(dtype).reshape(len(own), *shape), stop
        return found


def _targets(source: Source, views: Views) -> Any:
    """The source's targets; those of places in an image move with its versions."""
    targets, chance = source.targets, as_augmentation(views.augment)
    if chance is None or not isinstance(targets, DenseTargets) or not chance.moves:
        return targets
    size, moved = targets.image_size, []
    for view in range(views.count):
        drawn = draw_changes(chance, len(source), size, views.seed, view)
        moved.append(as_maps(drawn["geometry"], *size))
    return targets.moved(moved)


def _packed(block: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of several tensors as rows of bytes."""
    flat = (np.ascontiguousarray(x).reshape(len(x), -1) for x in block.values())
    return np.concatenate([rows.view(np.uint8) for rows in flat], axis=1)


#: Name of each tensor -> shape and type of one row of it.
_Layout = dict[str, tuple[tuple[int, ...], np.dtype]]


@dataclass(frozen=True)
class _Keeping:
    """Computes and keeps the outputs of one network, as planned."""

    cache: FeatureCache
    prefix: keras.Model
    names: tuple[str, ...]
    plan: CachePlan
    key: str
    batch_size: int
    progress: Progress | None

    def source(self, source: Source, views: Views) -> ArraySource:
        """Features in place of images."""
        total = views.count * len(source)
        layout = self._layout(source)
        if self.plan.mode == "disk":
            return self._on_disk(source, views, total, layout)
        arrays = {n: np.empty((total, *s), dtype) for n, (s, dtype) in layout.items()}
        done = 0
        for block in self._blocks(source, views, layout):
            for name, made in block.items():
                arrays[name][done : done + len(made)] = made
            done += len(made)
        return ArraySource(arrays, _targets(source, views), views.count)

    def _layout(self, source: Source) -> _Layout:
        """Shape and type in which each tensor is kept; whole numbers stay whole."""
        found, outputs = {}, self.prefix.outputs
        shapes = [x.shape[1:] for x in outputs]
        if any(None in shape for shape in shapes):
            # Of sequences of any length: as long as these.
            made = keras.tree.flatten(self.prefix(_sample(source)))
            shapes = [tuple(x.shape[1:]) for x in made]
        for name, x, shape in zip(self.names, outputs, shapes, strict=True):
            dtype = self.plan.dtype if "float" in x.dtype else x.dtype
            found[name] = shape, np.dtype(dtype)
        return found

    def _on_disk(
        self, source: Source, views: Views, total: int, layout: _Layout
    ) -> ArraySource:
        disk = DiskCache()
        size = batch_of(source, self.batch_size)
        form = f"{self.plan.dtype} {size} {views.count}"
        made = views_key(views.augment, views.seed)
        key = cache_key(self.key, source.key(), form, made)
        one = len(layout) == 1
        rows = disk.find(key)
        if rows is None:
            note = {
                "network": self.prefix.name.removesuffix("_prefix"),
                "cut": self.plan.cut,
                "images": len(source),
                "views": views.count,
            }
            shape, dtype = next(iter(layout.values()))
            if not one:
                sizes = (math.prod(s) * d.itemsize for s, d in layout.values())
                shape, dtype = (sum(sizes),), np.dtype(np.uint8)
            blocks = self._blocks(source, views, layout)
            packed = (next(iter(b.values())) if one else _packed(b) for b in blocks)
            rows = disk.store(key, (total, *shape), dtype.name, packed, note=note)
        if one:
            return ArraySource(rows, _targets(source, views), views.count)
        return PackedSource(rows, _targets(source, views), views.count, layout)

    def _blocks(
        self, source: Source, views: Views, layout: _Layout
    ) -> Iterator[dict[str, np.ndarray]]:
        """Outputs by name: all of the first view, then all of the second."""
        total, done = views.count * len(source), 0
        if views.augment is None:
            made = self.cache.outputs(self.prefix, source, batch_size=self.batch_size)
        else:
            inputs = self._views(source, views)
            size = batch_of(source, self.batch_size)
            made = output_blocks(self.prefix, inputs, size)
        for block in made:
            arrays = keras.tree.flatten(block)
            done += len(arrays[0])
            if self.progress is not None:
                self.progress(done, total)
            yield {
                name: array.astype(dtype, copy=False)
                for array, (name, (_, dtype)) in zip(
                    arrays, layout.items(), strict=True
                )
            }

    def _views(self, source: Source, views: Views) -> Iterator[np.ndarray]:
        """Batches of augmented images."""
        data = source.dataset(self.batch_size, seed=views.seed, augment=views.augment)
        for _ in range(views.count):
            for images, *_ in data:
                yield np.asarray(images)
