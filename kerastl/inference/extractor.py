"""A frozen backbone as a scikit-learn transformer."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

# Loaded only when `kerastl.FeatureExtractor` is first asked for.
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from kerastl._checks import check_choice, check_integer
from kerastl.datasets.resizing import RESIZES
from kerastl.datasets.sets import ImageSet
from kerastl.datasets.stores import PixelStore
from kerastl.inference.cache_keys import cache_key, images_key
from kerastl.inference.feature_family import FamilyMember, weights_digest
from kerastl.inference.feature_files import image_rows, read_network, write_network
from kerastl.inference.feature_layers import feature_columns
from kerastl.inference.feature_networks import feature_network, open_backbone
from kerastl.inference.feature_store import remember, through_disk
from kerastl.inference.features import extract_features
from kerastl.models.manifest import network_size

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
    `.labels`: scikit-learn must be able to cut what it is given.

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
        image_rows(X, self._size(network), self.resize)
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
        images = image_rows(X, self._size(self.network_), self.resize)
        key = self._network_key()
        if key is None:
            return self._compute(images)
        options = {"image_size": self._size(self.network_), "resize": self.resize}

        def look_up(missing: ImageSet) -> np.ndarray:
            name = cache_key("features", key, images_key(missing, **options))
            return through_disk(name, lambda: self._compute(missing))

        family = self._family()
        with family.lock:
            compute = look_up if self.cache == "disk" else self._compute
            space = (key, *options.values())
            return remember(family.store, space, images, compute)

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
        made = cls(network, image_size=size, pooling=pooling, **settings)
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
            layers = layers, weights_digest(self.backbone)
        weights = str(self.weights)
        backbone = (self.backbone, self.alpha, size, weights, layers, self.seed)
        return backbone, at, self.pooling

    def _network_key(self) -> str | None:
        """What stands for the network as it is now; None: nothing is to be kept."""
        if self.cache == "off":
            return None
        try:
            return self._family().network_key(self.network_)
        except TypeError:
            # Code of the user's own may change without a trace.
            if self.cache == "auto":
                return None
            raise

    def _compute(self, images: ImageSet) -> np.ndarray:
        """Run the network."""
        options = {"image_size": self._size(self.network_), "resize": self.resize}
        # Decoded pixels are of no use once there are features.
        store = PixelStore(images, memory_limit=0, **options)
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
