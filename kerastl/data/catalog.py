"""Data sets by name."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl._compat import keras_home
from kerastl._progress import Progress
from kerastl.data.loading import leaks, load_images
from kerastl.data.sets import ImageSet, Splits, integer_codes, keep_mask
from kerastl.data.shapes import make_shapes
from kerastl.data.splitting import split_set

_NUM_SHAPES = 1200
_SHAPES_SIZE = 96
_FLOWERS = (
    "https://storage.googleapis.com/download.tensorflow.org/"
    "example_images/flower_photos.tgz"
)
_FLOWERS_SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"
_FLOWER_NAMES = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
# Names in the order of the labels; one to a line would fill pages.
_CIFAR10 = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)
_FASHION = (
    "t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"
)
_CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy
    bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee clock
    cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
    forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange
    orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf
    woman worm""".split()  # noqa: SIM905
)
_WITH_TEST = {
    "cifar10": (
        "cifar-10-python.tar.gz, renamed cifar-10-batches-py-target_archive,",
        _CIFAR10,
    ),
    "cifar100": (
        "cifar-100-python.tar.gz, renamed cifar-100-python-target_archive,",
        _CIFAR100,
    ),
    "fashion_mnist": (
        "its four .gz files, in a folder fashion-mnist,",
        tuple(_FASHION.split(", ")),
    ),
}
DATASETS = ("digits", "shapes", "flowers", *_WITH_TEST)


def load_dataset(
    name: str,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """A well-known data set as splits.

    `"digits"` and `"shapes"` need no network; the others are downloaded once, by
    Keras, into `KERAS_HOME`. Copies under two labels (flowers has such a pair) are
    dropped with a warning.

    Args:
        name: `"digits"` (1,797 of 8 x 8, from scikit-learn), `"shapes"` (1,200
            drawn photos of 96 x 96, always the same), `"flowers"` (3,670 photos, 5
            classes), `"cifar10"`, `"cifar100"` or `"fashion_mnist"`.
        validation: Share of each class for validation, in [0, 1).
        test: Share of each class for test, in [0, 1). CIFAR and Fashion-MNIST bring
            their own test part, which is used whole instead.
        seed: Non-negative integer, for the cut.
        progress: Called with (done, total) images, or None.

    Returns:
        Train, validation and test; a part that is not there is None.

    Raises:
        ValueError: If the name is unknown or a share out of range.
        FileNotFoundError: If the data is not there and cannot be downloaded; the
            message names the file and the folder to put it in.

    Example:
        >>> train, validation, test = load_dataset("digits", test=0.2)
        >>> train.images.shape[1:], train.class_names[:3]
        ((8, 8, 3), ('0', '1', '2'))
    """
    check_choice("name", name, DATASETS)
    if name in _WITH_TEST:
        check_number("validation", validation, 0, below=1)
        check_integer("seed", seed, 0)
        return _with_own_test(name, validation, seed)
    if name == "flowers":
        return load_images(
            _flowers_folder(),
            validation=validation,
            test=test,
            seed=seed,
            progress=progress,
        )
    if name == "shapes":
        whole, _ = make_shapes(_NUM_SHAPES, image_size=_SHAPES_SIZE, progress=progress)
    else:
        whole = _digits()
    return split_set(whole, validation=validation, test=test, seed=seed)


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # The scans count ink from 0 to 16.
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    rgb = np.repeat(pixels[..., None], 3, axis=-1)
    return ImageSet(rgb, bunch.target, tuple(map(str, range(10))), "digits")


def _flowers_folder() -> Path:
    """Where the photos lie, after a download if they lie nowhere."""
    home = keras_home() / "datasets"
    unpacked = ("", "flower_photos", "flower_photos_extracted")
    places = [home / folder / "flower_photos" for folder in unpacked]

    def found() -> list[Path]:
        return [p for p in places if all((p / name).is_dir() for name in _FLOWER_NAMES)]

    if not found():
        options = {"extract": True, "cache_dir": str(keras_home())}
        _fetch(
            "flowers",
            "flower_photos.tgz",
            lambda: keras.utils.get_file(
                "flower_photos.tgz", _FLOWERS, file_hash=_FLOWERS_SHA256, **options
            ),
        )
    if not found():
        hint = f"Unpack flower_photos.tgz into {str(home)!r}."
        error = FileNotFoundError
        fail("name", "a data set that can be unpacked", "flowers", hint, error)
    return found()[0]


def _with_own_test(name: str, validation: float, seed: int) -> Splits:
    file, class_names = _WITH_TEST[name]
    module: ModuleType = getattr(keras.datasets, name)
    (images, labels), (test_images, test_labels) = _fetch(name, file, module.load_data)
    every = ImageSet(
        np.concatenate([images, test_images]),
        np.concatenate([labels, test_labels]).reshape(-1),
        class_names,
        name,
    )
    where = np.repeat(["train", "test"], [len(images), len(test_images)])
    contents = integer_codes(every.digests())
    leaking = leaks(every, contents, where, "drop")
    keep = keep_mask(len(every), [leaking])
    train, check, _ = split_set(
        every.subset(keep & (where == "train")), validation=validation, seed=seed
    )
    return Splits(train, check, every.subset(where == "test"))


def _fetch(name: str, file: str, download: Callable[[], object]) -> object:
    """What the download gives, or an error that says how to do without it."""
    try:
        return download()
    # Keras raises a bare `Exception` when it has no network.
    except Exception as error:
        folder = str(keras_home() / "datasets")
        hint = (
            f"The download failed ({error}). Put {file} into {folder!r}, or set "
            "KERAS_HOME to a folder that has it in `datasets`."
        )
        expected = "a data set that is there or can be downloaded"
        fail("name", expected, name, hint, FileNotFoundError)
