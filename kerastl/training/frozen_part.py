"""Computing the frozen part of a network once, and training only what lies above it."""

import hashlib
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kerastl.datasets.parallel import Progress
from kerastl.inference.cache_keys import cache_key, images_key, network_key
from kerastl.inference.disk_cache import DiskCache
from kerastl.inference.features import is_deterministic, output_blocks
from kerastl.inference.planning import CachePlan, available_memory, plan_cache
from kerastl.inference.row_files import CacheWriteError
from kerastl.inference.row_reading import CachedRows
from kerastl.models.graph import split_model
from kerastl.training.boundary import is_understood, possible_cuts
from kerastl.training.sources import ArraySource, ImageSource, Source

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
    plan = _plan(model, train, validation, epochs, cache, views)
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
        warnings.warn(f"Nothing is cached: {error}", RuntimeWarning, stacklevel=5)
        plan = CachePlan("off", reason="the disk could not be used")
        return model, train, validation, plan
    return part, features, checked, plan


def _sample(source: ImageSource | ArraySource) -> np.ndarray:
    return source.rows(np.arange(min(4, len(source)))).astype("float32")


def _plan(
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
        input_size=train.rows(np.arange(1)).size,
        cache=cache,
        memory=int(share * available_memory()),
        disk=_room_on_disk() if cache in ("auto", "disk") else 0,
    )
    if plan.mode == "off" and cache in _WHERE and cuts:
        message = f"Nothing is cached {_WHERE[cache]}: {plan.reason}."
        warnings.warn(message, RuntimeWarning, stacklevel=6)
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
        return ArraySource(rows, source.labels, views.count)

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
        if isinstance(source, ImageSource):
            store = source.store
            images = images_key(
                source.images, image_size=store.image_size, resize=store.resize
            )
        else:
            inputs = np.ascontiguousarray(source.inputs)
            form = f"{inputs.shape} {inputs.dtype.str}"
            images = cache_key(form, hashlib.sha256(inputs).hexdigest())
        made = "" if views.augment is None else f"{views.seed} {views.augment!r}"
        form = f"{self.plan.dtype} {self.batch_size} {views.count} {made}"
        return cache_key(self.network_key, images, form)

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
                yield source.rows(np.arange(start, stop))
            return
        data = source.dataset(self.batch_size, seed=views.seed, augment=views.augment)
        for _ in range(views.count):
            for images, _ in data:
                yield images.numpy()
