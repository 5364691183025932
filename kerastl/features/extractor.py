"""A frozen backbone as a scikit-learn transformer."""

import copy
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

import keras
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from kerastl._checks import check_choice, check_integer, fail
from kerastl._files import new_file, whole_file
from kerastl.data.images import RESIZES, PixelStore
from kerastl.data.inputs import as_image_set
from kerastl.data.sets import ImageSet
from kerastl.data.sources import text_source
from kerastl.data.texts import TextSet
from kerastl.features.cache import FeatureCache, through_disk
from kerastl.features.keys import (
    UnknownCodeError,
    cache_key,
    images_key,
    network_key,
)
from kerastl.features.network import (
    extract_features,
    feature_network,
    open_backbone,
    text_outputs,
)
from kerastl.models.layers import FeatureColumns, feature_columns
from kerastl.models.record import network_size, read_encoder
from kerastl.models.text_layers import find_tokens
from kerastl.models.weights import MODEL_SUFFIX, read_model_file, weights_digest


def image_rows(inputs: Any, image_size: tuple[int, int], resize: str) -> ImageSet:
    """Images as an `ImageSet` of as many rows as the inputs have.

    Args:
        inputs: Paths, an array of pixels `(n, ...)`, PIL images, or an `ImageSet`.
        image_size: Pixels, for PIL images, whose sizes may differ.
        resize: The same.

    Raises:
        ValueError: If there is no image, or a folder among the paths.
        TypeError: If it is one path, or of no known kind.
        FileNotFoundError: If a file does not exist.
    """
    if hasattr(inputs, "__array__") and not isinstance(inputs, ImageSet):
        array = np.asarray(inputs)
        texts = array.ndim == 1 and array.dtype.kind in "OUT"
        inputs = array.tolist() if texts else ImageSet(array, None, ())
    if isinstance(inputs, (str, Path)):
        expected = "a list of paths, not one path"
        fail("X", expected, str(inputs), "Pass a list, of one path too.", TypeError)
    if isinstance(inputs, Sequence):
        paths = [item for item in inputs if isinstance(item, (str, Path))]
        folders = [str(path) for path in paths if Path(path).is_dir()]
        if folders:
            fail("X", "files, one for each row", folders[0], "It is a folder.")
    if hasattr(inputs, "__len__") and not len(inputs):
        fail("X", "at least one image", "none")
    return as_image_set(inputs, image_size, resize)


def text_rows(inputs: Any) -> TextSet:
    """Texts as a `TextSet` of as many rows as the inputs have.

    Args:
        inputs: Strings, or a `TextSet`.
    """
    if isinstance(inputs, TextSet):
        return inputs
    if isinstance(inputs, (str, Path)):
        expected = "a list of texts, not one text"
        fail("X", expected, str(inputs)[:40], "Pass a list, of one too.", TypeError)
    if not hasattr(inputs, "__len__") or not len(inputs):
        fail("X", "at least one text", "none")
    return TextSet(inputs)


def write_network(
    network: keras.Model, path: str | Path, settings: dict[str, Any]
) -> None:
    """Write a feature network and settings to a `.keras` file, whole or not at all.

    Args:
        network: A feature network.
        path: File name ending in `.keras`; its folder must exist.
        settings: JSON-ready dictionary, not empty.

    Raises:
        ValueError: If the name does not end in `.keras`.
        FileNotFoundError: If the folder does not exist.
    """
    path = new_file(path, MODEL_SUFFIX)
    last = feature_columns(network)
    record = FeatureColumns(last.cuts, last.widths, last.pooling, settings=settings)
    whole = keras.Model(network.input, record(last.input), name=network.name)
    with whole_file(path) as draft:
        whole.save(draft)


def read_network(path: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """The feature network and the settings that `write_network` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file.
    """
    expected = "a file that FeatureExtractor.save wrote"
    network = read_model_file(path, "path", expected)
    last = network.layers[-1]
    if not isinstance(last, FeatureColumns) or not last.settings:
        fail("path", expected, str(path), "It is another model.")
    return network, dict(last.settings)


#: Families that came here by pickle and are kept, the last ones used.
_RECEIVED_LIMIT = 4


@dataclass(frozen=True)
class PackedModel:
    """A network as the bytes of its `.keras` file, for other processes.

    Attributes:
        key: Stands for what the network computes, and its layers' names.
        data: The file.
    """

    key: str
    data: bytes


class Family:
    """The networks and the features of one extractor and its clones."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.lock = threading.RLock()
        self.store = FeatureCache()
        self._networks: dict[Hashable, keras.Model] = {}
        self._packed: dict[str, PackedModel] = {}
        self._keys: WeakKeyDictionary[keras.Model, tuple[str, str]]
        self._keys = WeakKeyDictionary()

    def find(self, settings: Hashable) -> keras.Model | None:
        """The network of these settings, if it has been built."""
        return self._networks.get(settings)

    def adopt(self, settings: Hashable, network: keras.Model) -> None:
        """Take a network for these settings."""
        self._networks[settings] = network

    def network_key(self, network: keras.Model) -> str:
        """`network_key`, described again only when the weights have changed.

        To describe a graph takes a fifth of a second, its weights a few milliseconds.
        """
        weights = weights_digest(network.weights)
        known = self._keys.get(network)
        if known is None or known[0] != weights:
            known = self._keys[network] = weights, network_key(network)
        return known[1]

    def pack(self, model: keras.Model) -> PackedModel:
        """A network as bytes, written anew only when its weights have changed."""
        key = _named_key(model)
        if key not in self._packed:
            plain = keras.Model(model.input, model.output, name=model.name)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "network.keras"
                plain.save(file)
                self._packed = {key: PackedModel(key, file.read_bytes())}
        return self._packed[key]

    def unpack(self, packed: PackedModel) -> keras.Model:
        """The network of these bytes; the same one again while it is unchanged."""
        found = self._networks.get(packed.key)
        if found is None or _named_key(found) != packed.key:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "network.keras"
                file.write_bytes(packed.data)
                found = keras.models.load_model(file, compile=False)
            self._networks[packed.key] = found
        return found


def _named_key(model: keras.Model) -> str:
    """A key for a network and the names of its layers: cuts are found by them."""
    names = (operation.name for operation in model.operations)
    return cache_key(network_key(model), *names)


_received: OrderedDict[str, Family] = OrderedDict()
_receiving = threading.Lock()


def received_family(key: str) -> Family:
    """The family of the extractors that came to this process by pickle.

    The parallel jobs of a grid search each unpickle an extractor of their own; through
    this they build one network and compute each image once a process.
    """
    with _receiving:
        family = _received.setdefault(key, Family())
        _received.move_to_end(key)
        while len(_received) > _RECEIVED_LIMIT:
            _received.popitem(last=False)
        return family


class FamilyMember:
    """An estimator whose clones, also in parallel jobs, share networks and features.

    It brings `_key()`, what decides its network, and `_restore()`, which fits it
    without images.
    """

    def _family(self) -> Family:
        """What this extractor shares with its clones."""
        return vars(self).setdefault("_shared", Family())

    def __sklearn_clone__(self) -> Self:
        """An unfitted extractor that shares the networks and the features."""
        clone = type(self)(**self.get_params(deep=False))
        shared = {"_shared": self._family()}
        for name in ("_sklearn_output_config", "_metadata_request"):
            if name in vars(self):
                shared[name] = copy.deepcopy(vars(self)[name])
        vars(clone).update(shared)
        return clone

    def __getstate__(self) -> dict[str, Any]:
        """For the parallel jobs of a grid search: networks as bytes of their file."""
        state = dict(super().__getstate__())
        family, key = self._family(), self._key()
        state.pop("_shared", None)
        fitted = state.pop("network_", None)
        if isinstance(self.backbone, keras.Model):
            state["backbone"] = family.pack(self.backbone)
        elif (built := fitted or family.find(key)) is not None:
            # Someone may have trained it since.
            state["_built"] = family.pack(built)
        return {**state, "_fitted": fitted is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Find the networks that came to this process before, or load them."""
        fitted, built = state.pop("_fitted"), state.pop("_built", None)
        backbone = state["backbone"]
        packed = backbone if isinstance(backbone, PackedModel) else built
        family = received_family(packed.key if packed else "")
        super().__setstate__({**state, "_shared": family})
        with family.lock:
            if isinstance(backbone, PackedModel):
                self.backbone = family.unpack(backbone)
            elif built is not None:
                family.adopt(self._key(), family.unpack(built))
            if fitted:
                self._restore()


# Loaded only when `kerastl.features.FeatureExtractor` is first asked for.


CACHES = ("auto", "memory", "disk", "off")


class FeatureExtractor(FamilyMember, TransformerMixin, BaseEstimator):
    """A frozen backbone that turns images into rows of features, for scikit-learn.

    Put it first in a `Pipeline`, and what follows is fitted inside each fold. Its
    clones share one network and keep the features of each image, so a grid search
    runs the network once per image. Scale the features (`StandardScaler`) before a
    linear classifier.

    Images are what `transform` takes: a list or array of file paths, an array of
    pixels 0-255 `(n, height, width)` or `(n, height, width, channels)`, a list of PIL
    images, or an `ImageSet`. For a grid search give an `ImageSet`'s `.images` and
    `.labels`: scikit-learn must be able to cut what it is given. A backbone of texts
    takes strings, or a `TextSet`.

    Args:
        backbone: Name in `list_backbones()`, a backbone from `build_backbone`, or a
            classifier, whose head is left out.
        alpha: Width of a MobileNet, for a backbone given by name.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's.
        weights: For a backbone given by name: `"tiny"` (bundled), `"imagenet"`, a
            file, or None for random ones.
        preprocessing: For a foreign model, which is copied: see `build_classifier`.
        at: Where to take the features: a name in `cut_points(backbone)`, several of
            them (side by side, from one pass), or None: the top.
        pooling: What makes a row of a feature map `(h, w, c)`: `"avg"` or `"max"`
            over all places, or `"spp"`, a spatial pyramid: the averages over 1x1, 2x2
            and 4x4 cells, `21 c` numbers. A flat output passes as it is.
        resize: How images of another size are brought to the network's: `"stretch"`,
            `"crop"` or `"pad"`.
        batch_size: Images at a time.
        cache: `"memory"` or `"auto"` keep up to 500 MB of features for the extractor
            and its clones, by content of image and network; `"disk"` also keeps them
            between runs; `"off"` keeps nothing.
        seed: For `weights=None`.

    Example:
        >>> import numpy as np, kerastl
        >>> images = np.zeros((2, 32, 32, 3), "uint8")
        >>> extractor = FeatureExtractor("MobileNet", alpha=0.25, image_size=32)
        >>> extractor.fit_transform(images).shape
        (2, 256)
    """

    def __init__(
        self,
        backbone: str | keras.Model = "MobileNet",
        *,
        alpha: float | None = None,
        image_size: int | tuple[int, int] | None = None,
        weights: str | Path | None = "tiny",
        preprocessing: Any = None,
        at: str | Sequence[str] | None = None,
        pooling: str = "avg",
        resize: str = "stretch",
        batch_size: int = 64,
        cache: str = "auto",
        seed: int = 0,
    ) -> None:
        """See the class."""
        self.backbone = backbone
        self.alpha = alpha
        self.image_size = image_size
        self.weights = weights
        self.preprocessing = preprocessing
        self.at = at
        self.pooling = pooling
        self.resize = resize
        self.batch_size = batch_size
        self.cache = cache
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Build the network. Nothing is learnt from the images or the labels.

        Args:
            X: Images, `n` of them: see the class.
            y: Not used.

        Returns:
            The extractor itself.

        Raises:
            ValueError: If an argument does not fit, or there is no image.
            FileNotFoundError: If a file does not exist.
        """
        check_choice("resize", self.resize, RESIZES)
        check_choice("cache", self.cache, CACHES)
        check_integer("batch_size", self.batch_size, 1)
        check_integer("seed", self.seed, 0)
        network = self._build()
        self._rows(network, X)
        self.network_ = network
        self.n_features_out_ = network.output_shape[-1]
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The features of images, in order.

        Args:
            X: Images, `n` of them: see the class.

        Returns:
            float32 array `(n, n_features_out_)`, or a data frame after `set_output`.

        Raises:
            ValueError: If an image cannot be read or pixels are not 0-255.
            FileNotFoundError: If a file does not exist.
        """
        check_is_fitted(self)
        images = self._rows(self.network_, X)
        key = self._network_key()
        if key is None:
            return self._compute(images)
        options = {"image_size": self._size(self.network_), "resize": self.resize}

        def look_up(missing: ImageSet | TextSet) -> np.ndarray:
            if isinstance(missing, TextSet):
                rows = text_source(missing, read_encoder(self.network_)).key()
            else:
                rows = images_key(missing, **options)
            name = cache_key("features", key, rows)
            return through_disk(name, lambda: self._compute(missing))

        family = self._family()
        with family.lock:
            compute = look_up if self.cache == "disk" else self._compute
            space = (key, *options.values())
            return family.store.remember(space, images, compute)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """A name for each column: the cut, the cell of the pyramid, the channel.

        Args:
            input_features: Not used: images have no columns.

        Returns:
            Array of strings `(n_features_out_,)`.
        """
        check_is_fitted(self)
        return np.array(feature_columns(self.network_).column_names(), dtype=object)

    def save(self, path: str | Path) -> None:
        """Write the network and its settings to one `.keras` file, without pickle.

        A file that is there already is replaced when the new one is whole.

        Args:
            path: File name ending in `.keras`; its folder must exist.

        Raises:
            ValueError: If the name does not end in `.keras`.
            FileNotFoundError: If the folder does not exist.
        """
        check_is_fitted(self)
        names = ("resize", "batch_size", "cache")
        settings = {name: getattr(self, name) for name in names}
        settings["image_size"] = list(self._size(self.network_))
        write_network(self.network_, path, settings)

    @classmethod
    def load(cls, path: str | Path) -> "FeatureExtractor":
        """Read back what `save` wrote, fitted: it gives the same features.

        Its `backbone` is the saved network, cut and pooling included.

        Args:
            path: A file that `save` wrote.

        Returns:
            A fitted extractor.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no file of a `FeatureExtractor`.
        """
        network, settings = read_network(path)
        pooling = feature_columns(network).pooling
        size = tuple(settings.pop("image_size"))
        made = cls(network, image_size=size or None, pooling=pooling, **settings)
        return cls._restore(made)

    def _build(self) -> keras.Model:
        """The feature network, which clones share."""
        family, key = self._family(), self._key()
        with family.lock:
            network = family.find(key)
            if network is None:
                backbone = family.find(key[0]) or open_backbone(
                    self.backbone,
                    alpha=self.alpha,
                    image_size=self.image_size,
                    weights=self.weights,
                    preprocessing=self.preprocessing,
                    seed=self.seed,
                )
                network = feature_network(backbone, at=self.at, pooling=self.pooling)
                network_size(network, self.image_size)
                family.adopt(key[0], backbone)
                family.adopt(key, network)
        return network

    def _key(self) -> tuple[Hashable, Hashable, Hashable]:
        """What decides the backbone; and where and how features are taken from it."""
        layers = self.preprocessing
        layers = tuple(layers) if isinstance(layers, list) else layers
        size = self.image_size
        size = tuple(size) if isinstance(size, list) else size
        at = tuple(self.at) if isinstance(self.at, list) else self.at
        if layers is not None and isinstance(self.backbone, keras.Model):
            # What is used is a copy: of other weights another one.
            layers = layers, weights_digest(self.backbone.weights)
        weights = str(self.weights)
        backbone = (self.backbone, self.alpha, size, weights, layers, self.seed)
        return backbone, at, self.pooling

    def _network_key(self) -> str | None:
        """What stands for the network as it is now; None: nothing is to be kept."""
        if self.cache == "off":
            return None
        try:
            return self._family().network_key(self.network_)
        except UnknownCodeError:
            # Code of the user's own may change without a trace.
            if self.cache == "auto":
                return None
            raise

    def _rows(self, network: keras.Model, inputs: Any) -> ImageSet | TextSet:
        """What is given, as the network's kind of set."""
        if find_tokens(network) is not None:
            return text_rows(inputs)
        return image_rows(inputs, self._size(network), self.resize)

    def _compute(self, images: ImageSet | TextSet) -> np.ndarray:
        """Run the network."""
        if isinstance(images, TextSet):
            return text_outputs(self.network_, images, batch_size=self.batch_size)
        options = {"image_size": self._size(self.network_), "resize": self.resize}
        # Decoded pixels are of no use once there are features.
        channels = self.network_.input_shape[-1]
        store = PixelStore(images, memory_limit=0, channels=channels, **options)
        size = self.batch_size
        return extract_features(
            self.network_, images, batch_size=size, store=store, **options
        )

    def _size(self, network: keras.Model) -> tuple[int, int]:
        return network_size(network, self.image_size)

    def _restore(self) -> Self:
        """Be fitted, without images."""
        self.network_ = self._build()
        self.n_features_out_ = self.network_.output_shape[-1]
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the network is there."""
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn is to know: images, or the names of files."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
