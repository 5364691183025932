"""Whatever training takes as data, as a source that fits a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl.data.dense import DenseLabels
from kerastl.data.images import MEMORY_LIMIT, PixelStore
from kerastl.data.inputs import as_image_set, training_images
from kerastl.data.pairs import are_names
from kerastl.data.sets import Examples, ImageSet, as_array
from kerastl.data.sources import (
    ArraySource,
    ImageSource,
    Source,
    StreamSource,
    TextSource,
    text_source,
)
from kerastl.data.texts import TextSet, as_text_set
from kerastl.evaluation.grids import show_images
from kerastl.features.network import check_inputs
from kerastl.models.record import find_preprocessing, network_size, read_encoder
from kerastl.models.text_layers import find_tokens
from kerastl.tasks.task import BoundModel, bind

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make_source(
    model: keras.Model | BoundModel, data: Any, name: str, *, keep_pixels: bool = True
) -> Source:
    """The data as a source that fits the model.

    Args:
        model: What it will be fed to.
        data: `ImageSet`, `(images, labels)`, the labels perhaps names, or batches.
        name: The argument's name, for errors.
        keep_pixels: Whether decoded images may stay in memory.

    Raises:
        ValueError: If the data have no labels or are empty.
        TypeError: If they are of no known kind.
    """
    if isinstance(data, Source):
        return data
    bound = bind(model)
    if isinstance(data, (tuple, list)) and any(isinstance(p, Examples) for p in data):
        hint = "Pass training and validation parts as two arguments."
        fail(name, "one ImageSet or TextSet", "several", hint, TypeError)
    if isinstance(data, (tuple, list)):
        data = _read_pair(bound, data, name)
    if isinstance(data, ArraySource):
        return _check_length(data, name)
    if isinstance(data, TextSet):
        return _text_source(bound, data, name)
    if isinstance(data, ImageSet):
        return _image_source(bound, data, name, MEMORY_LIMIT if keep_pixels else 0)
    if isinstance(data, (np.ndarray, str, Mapping)) or not hasattr(data, "__iter__"):
        hint = "Load a folder with kerastl.load_images."
        kinds = "an ImageSet, an (images, labels) pair or a tf.data.Dataset"
        fail(name, kinds, type(data).__name__, hint, TypeError)
    if iter(data) is data:
        hint = "It ends after one epoch; pass a tf.data.Dataset or a PyDataset."
        fail(name, "data that can be passed more than once", "a generator", hint)
    return StreamSource(data)


def unlabelled_source(model: keras.Model | BoundModel, data: Any, name: str) -> Source:
    """Examples without what is asked of them, as a source that fits the model.

    Labels that come along are dropped here, before anything could look at them.

    Args:
        model: What the examples will be fed to.
        data: What `predict` takes, an `ImageSet` or `TextSet`, or `(images, labels)`.
        name: The argument's name, for errors.

    Raises:
        ValueError: If there are no examples.
    """
    bound = bind(model)
    data = data[0] if _is_labelled_pair(data) else data
    if find_tokens(bound.model) is not None:
        source = text_source(
            _without_labels(as_text_set(data)), read_encoder(bound.model)
        )
        return _check_length(source, name)
    if isinstance(data, TextSet):
        fail(name, "images for a model of images", data, error=TypeError)
    if bound.record is None and find_preprocessing(bound.model) is None:
        rows = np.asarray(data.images if isinstance(data, ImageSet) else data)
        return _check_length(ArraySource(rows, np.full(len(rows), -1)), name)
    size = bound.record.image_size if bound.record else network_size(bound.model)
    resize = bound.record.resize if bound.record else "stretch"
    images = _without_labels(as_image_set(data, size, resize))
    options = {"memory_limit": MEMORY_LIMIT, "channels": bound.model.input_shape[-1]}
    store = PixelStore(images, image_size=size, resize=resize, **options)
    return _check_length(ImageSource(images, store), name)


def _is_labelled_pair(data: Any) -> bool:
    """Whether these are examples and labels, not two examples."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    examples, labels = data
    if isinstance(examples, (str, Path)) or not hasattr(examples, "__len__"):
        return False
    return _are_strings(examples) or np.ndim(examples) > np.ndim(labels)


def _without_labels(data: Examples) -> Any:
    """A set's examples alone."""
    return type(data)(getattr(data, data.items_field), None)


def labelled_examples(bound: BoundModel, data: Any, name: str) -> Any:
    """A pair of examples and labels as a set, as for training; others as they are."""
    if not isinstance(data, (tuple, list)) or any(
        isinstance(p, Examples) for p in data
    ):
        return data
    found = _read_pair(bound, data, name)
    if isinstance(found, ArraySource) and isinstance(found.inputs, np.ndarray):
        return bound.task.labelled(found.inputs, found.targets)
    return found


def _read_pair(bound: BoundModel, data: Sequence[Any], name: str) -> Any:
    """A pair as a set, or as arrays for a model that says nothing of its inputs."""
    if data and isinstance(data[-1], DenseLabels):
        return ImageSet(*data)
    _check_pair(data, name)
    inputs, labels = data
    if find_tokens(bound.model) is not None and _are_strings(inputs):
        return _labelled_texts(bound, inputs, _numbered(bound, labels, name))
    labels = _numbered(bound, labels, name)
    known = find_preprocessing(bound.model) is not None
    if isinstance(inputs, Mapping):
        if len(inputs) > 1 or not known:
            return _named_arrays(bound, inputs, labels, name)
        (inputs,) = inputs.values()
    first = inputs[0] if isinstance(inputs, (list, tuple)) and inputs else None
    whole = labels.dtype.kind in "iu" and labels.ndim == 1
    raw = not known or (bound.task is None and not whole)
    if hasattr(first, "convert") or (hasattr(first, "shape") and not raw):
        inputs = ImageSet(inputs, None).images
    inputs = np.asarray(inputs)
    if len(inputs) != len(labels):
        shapes = f"{inputs.shape} and {labels.shape}"
        fail(name, "as many labels as images", shapes)
    if raw:
        return ArraySource(inputs, labels)
    if bound.task is not None:
        return bound.task.labelled(inputs, labels)
    names = tuple(str(number) for number in range(int(labels.max()) + 1))
    return ImageSet(inputs, labels, names)


def _numbered(bound: BoundModel, labels: Any, name: str) -> np.ndarray:
    """Labels as numbers: names as the model's task has them."""
    labels = as_array(labels)
    if bound.task is not None:
        return bound.task.numbered(labels, name)
    if are_names(labels):
        expected = "labelled by numbers for a model without class names"
        hint = "kerastl.adapt_model(model, class_names) attaches names."
        fail(name, expected, sorted(set(labels.ravel().tolist()))[:5], hint)
    return labels


def _are_strings(part: Any) -> bool:
    """Whether the first part of a pair holds texts."""
    return not isinstance(part, Mapping) and isinstance(next(iter(part), None), str)


def _labelled_texts(bound: BoundModel, texts: Any, labels: np.ndarray) -> TextSet:
    """Texts and labels as a set, with the model's names."""
    task = bound.task
    numbers = getattr(task, "target_names", ())
    names = () if numbers else getattr(task, "class_names", ())
    return TextSet(tuple(texts), labels, names, target_names=numbers)


def _text_source(bound: BoundModel, data: TextSet, name: str) -> TextSource:
    """The texts as the model's own encoder has them."""
    encoder = read_encoder(bound.model)
    if bound.task is None:
        if data.labels is None:
            fail(name, "labelled", data)
        return _check_length(text_source(data, encoder), name)
    bound.task.check_set(data, name)
    rows, targets = bound.task.encoded(data, encoder)
    return _check_length(TextSource(rows, targets, texts=data, encoder=encoder), name)


def _check_pair(data: Sequence[Any], name: str) -> None:
    """Raise unless these are images and labels, and not batches of them."""
    pair = "an (images, labels) pair"
    if data and all(map(_is_batch, data)):
        hint = "Pass a tf.data.Dataset of batches, or all images in one array."
        fail(name, pair, f"a list of {len(data)} batches", hint)
    if len(data) == 3:
        hint = (
            "Weights of images come in batches: "
            "tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(32)."
        )
        fail(name, pair, "three parts", hint)
    if len(data) != 2:
        fail(name, pair, f"{len(data)} parts", error=TypeError)
    inputs = data[0].values() if isinstance(data[0], Mapping) else data[:1]
    for part in (*inputs, data[1]):
        if not np.ndim(part):
            fail(name, f"{pair} of one row an example", f"a pair with {part!r}")


def _is_batch(item: Any) -> bool:
    """Whether it looks like the images and labels of one batch."""
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        return False
    first = next(iter(item[0].values())) if isinstance(item[0], Mapping) else item[0]
    sizes = [getattr(part, "shape", ()) for part in (first, item[1])]
    return all(sizes) and sizes[0][0] == sizes[1][0]


def _named_arrays(
    bound: BoundModel, inputs: Mapping[str, Any], labels: np.ndarray, name: str
) -> ArraySource:
    """Several inputs by name, all of one length, as the network takes them."""
    arrays = {key: np.asarray(rows) for key, rows in inputs.items()}
    check_inputs(bound.model, arrays, name)
    lengths = {key: len(rows) for key, rows in arrays.items()}
    if set(lengths.values()) != {len(labels)}:
        fail(name, f"of {len(labels)} rows each, as the labels", lengths)
    if bound.task is not None and len(labels):
        bound.task.check(labels)
    return ArraySource(arrays, labels)


def _image_source(
    bound: BoundModel, data: ImageSet, name: str, memory_limit: int
) -> ImageSource:
    model, record = bound.model, bound.record
    if find_tokens(model) is not None:
        fail(name, "a TextSet for a model of texts", data, error=TypeError)
    if data.labels is None:
        fail(name, "labelled", data)
    if bound.task is not None:
        bound.task.check_set(data, name)
    elif data.dense:
        data.labels.check_images(data.images, name)
    size = record.image_size if record else model.input_shape[1:3]
    if None in size:
        fail("model", "built for one image size", model.input_shape)
    resize = record.resize if record else "stretch"
    options = {"memory_limit": memory_limit, "channels": model.input_shape[-1]}
    store = PixelStore(data, image_size=size, resize=resize, **options)
    encode = bound.task.encode if bound.task is not None and data.dense else None
    return _check_length(ImageSource(data, store, encode), name)


def _check_length(source: Any, name: str) -> Any:
    if len(source) == 0:
        fail(name, "at least one image", "none")
    return source


def plot_batch(
    model: keras.Model,
    data: Any,
    *,
    augment: Any = None,
    count: int = 16,
    seed: int = 0,
    columns: int | None = None,
    figure: "Figure | None" = None,
) -> "Figure":
    """Training images as the model gets them: shuffled, resized, augmented.

    Look here before a long run: for a mirrored letter, a crop without its subject, a
    wrong label.

    Args:
        model: A classifier from `build_classifier`; its size and class names are taken.
        data: As for `run_phases`, or a folder or the name of a data set.
        augment: Augmentation of the training images: see `batches`.
        count: Images to draw.
        seed: As given to `run_phases`: order and augmentation follow from it.
        columns: Images in a row; None chooses up to 6.
        figure: An empty Matplotlib figure or subfigure to draw on; None makes one.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If the data do not fit the model, or an argument is out of range.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.zeros((6, 20, 30, 3), "uint8"), np.zeros(6, int)
        >>> figure = plot_batch(model, images, augment="light", count=3)
        >>> [axes.get_title() for axes in figure.axes]
        ['dark', 'dark', 'dark']
    """
    check_integer("count", count, 1)
    check_integer("seed", seed, 0)
    bound = bind(model)
    if isinstance(data, (str, Path)):
        data = training_images(data)
    source = make_source(bound, data, "data")
    made = source.dataset(count, seed=seed, shuffle=True, augment=augment)
    images, labels = (np.asarray(part) for part in next(iter(made))[:2])
    # Numbers to predict have no names.
    named = bound.record is not None and bound.record.class_names
    return show_images(
        np.clip(images, 0, 255),
        labels=labels.astype(int) if named else None,
        class_names=bound.record.class_names if named else None,
        count=count,
        columns=columns,
        figure=figure,
    )
