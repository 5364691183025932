"""From files and arrays to pixels: the one decoder of the library."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_choice, check_integer, fail, image_size_pair
from kerastl.datasets.parallel import Progress, for_each
from kerastl.datasets.resizing import RESIZES, as_rgb, covering, fit
from kerastl.datasets.sets import ImageSet

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
_ORIENTATION = 0x0112
_LISTED = 10
_ROWS = 256


def decode_images(
    paths: Sequence[str | Path],
    *,
    image_size: int | tuple[int, int],
    resize: str = "stretch",
    threads: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Image files as one array of pixels.

    Transparency is dropped, not blended: the hidden colours show. Of an animation
    the first frame is taken. Grayscale is repeated to three channels, 16 bits are
    cut to 8, and the camera's orientation is respected. A large JPEG is decoded at
    1/2, 1/4 or 1/8 of its scale where that is still no smaller than `image_size`.

    Args:
        paths: JPEG, PNG, BMP, GIF or WebP files, by content and not by extension.
        image_size: Side, or (height, width), in pixels.
        resize: `"stretch"` ignores the aspect ratio, `"crop"` fills the size and
            cuts what is over at the centre, `"pad"` fits within it on black.
        threads: Number of threads; None for one on each core. It never changes
            the pixels.
        progress: Called with (done, total), or None.

    Returns:
        uint8 array `(n, height, width, 3)`, 0-255.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no image or is damaged; the files are named.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "red.png"
        >>> Image.new("RGB", (40, 20), (255, 0, 0)).save(file)
        >>> decode_images([file], image_size=8)[0, 0, 0].tolist()
        [255, 0, 0]
    """
    height, width = image_size_pair("image_size", image_size)
    check_choice("resize", resize, RESIZES)
    if threads is not None:
        check_integer("threads", threads, 1)
    if isinstance(paths, (str, Path)):
        fail("paths", "a sequence of paths, not one path", str(paths), error=TypeError)
    pixels = np.empty((len(paths), height, width, 3), np.uint8)
    faults: dict[int, Exception] = {}

    def work(i: int) -> None:
        try:
            pixels[i] = decode_one(paths[i], height, width, resize)
        except decoding_errors() as error:
            faults[i] = error

    # A photo takes far longer than a hand-over between threads.
    for_each(work, len(paths), threads=threads, progress=progress, step=4)
    if faults:
        _raise_faults(paths, faults)
    return pixels


def resize_images(
    array: np.ndarray, *, image_size: int | tuple[int, int], resize: str = "stretch"
) -> np.ndarray:
    """Arrays of pixels under the same policy as files.

    Floats are rounded and must be 0-255: an array of 0-1 is refused, since it
    would turn black without a word.

    Args:
        array: `(n, h, w)` or `(n, h, w, channels)`, 0-255. One channel is repeated
            to three, a fourth (alpha) is dropped.
        image_size: Side, or (height, width), in pixels.
        resize: `"stretch"`, `"crop"` or `"pad"`, as in `decode_images`.

    Returns:
        uint8 array `(n, height, width, 3)`, 0-255.

    Raises:
        ValueError: If the values are not 0-255 or the shape is none of the above.

    Example:
        >>> import numpy as np
        >>> gray = np.full((2, 8, 8), 100.0)
        >>> resize_images(gray, image_size=4).shape
        (2, 4, 4, 3)
    """
    check_pixels(array)
    return resize_arrays(array, *image_size_pair("image_size", image_size), resize)


def load_pixels(
    image_set: ImageSet,
    *,
    image_size: int | tuple[int, int],
    resize: str = "stretch",
    progress: Progress | None = None,
) -> np.ndarray:
    """All images of a set as one array, in order.

    It holds `n * height * width * 3` bytes; `batches` reads a set too large for
    that a batch at a time.

    Args:
        image_set: Files or arrays.
        image_size: Side, or (height, width), in pixels.
        resize: `"stretch"`, `"crop"` or `"pad"`, as in `decode_images`.
        progress: Called with (done, total), or None.

    Returns:
        uint8 array `(n, height, width, 3)`, 0-255.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or an array is not 0-255.

    Example:
        >>> import numpy as np
        >>> one = ImageSet(np.zeros((2, 8, 8)), np.array([0, 1]), ("a", "b"))
        >>> load_pixels(one, image_size=16).shape
        (2, 16, 16, 3)
    """
    if image_set.paths is not None:
        return decode_images(
            image_set.paths, image_size=image_size, resize=resize, progress=progress
        )
    pixels = resize_images(image_set.images, image_size=image_size, resize=resize)
    if progress is not None:
        progress(len(pixels), len(pixels))
    return pixels


def check_pixels(array: np.ndarray) -> None:
    """Raise unless the values are pixels 0-255 and the shape is an image's."""
    shape = np.shape(array)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] not in (1, 3, 4)):
        expected = "of shape (n, height, width) or (n, height, width, 1, 3 or 4)"
        fail("images", expected, shape)
    # A dark photo of uint8 is legitimate, and no uint8 is out of range.
    if array.dtype == np.uint8 or not array.size:
        return
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255) or 0 < high <= 1:
        scaled = 0 < high <= 1 and low >= 0
        hint = "Multiply by 255 first." if scaled else "Undo the preprocessing first."
        fail("images", "pixels 0-255", [low, high], hint)


def decode_one(
    source: Any, height: int, width: int, resize: str = "stretch"
) -> np.ndarray:
    """One file, or a stream of its bytes, as uint8 `(height, width, 3)`."""
    from PIL import Image, ImageOps

    with Image.open(source, formats=_FORMATS) as image:
        turned = image.getexif().get(_ORIENTATION, 1)
        size = (width, height) if turned in range(1, 5) else (height, width)
        image.draft(None, covering(image.size, size, resize))
        if turned != 1:
            image = ImageOps.exif_transpose(image)
        return np.asarray(fit(as_rgb(image), height, width, resize))


def decoding_errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for a file that is no image or is damaged."""
    from PIL import Image

    faults = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError)
    return (
        *faults,
        TypeError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    )


def reason(error: Exception) -> str:
    """A few words for a decoding error, without the path."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image by its content"
    return str(error) or type(error).__name__


def _raise_faults(paths: Sequence[str | Path], faults: dict[int, Exception]) -> None:
    missing = [str(paths[i]) for i in sorted(faults) if _is_missing(faults[i])]
    if missing:
        expected = "files that exist"
        fail("paths", expected, missing[:_LISTED], error=FileNotFoundError)
    named = [f"{paths[i]} ({reason(faults[i])})" for i in sorted(faults)]
    hint = "Remove or replace them; `audit` lists every fault of a folder."
    more = f" {len(named) - _LISTED} more are damaged." if named[_LISTED:] else ""
    fail("paths", "images that can be read", named[:_LISTED], hint + more)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError)


def resize_arrays(
    array: np.ndarray, height: int, width: int, resize: str
) -> np.ndarray:
    """`resize_images` for arrays whose values were checked before."""
    check_choice("resize", resize, RESIZES)
    if array.shape[1:3] == (height, width):
        return _as_bytes(array)
    from PIL import Image

    pixels = np.empty((len(array), height, width, 3), np.uint8)

    def work(block: int) -> None:
        rows = slice(block * _ROWS, (block + 1) * _ROWS)
        for i, image in enumerate(_as_bytes(array[rows]), start=rows.start):
            pixels[i] = fit(Image.fromarray(image), height, width, resize)

    for_each(work, -(-len(array) // _ROWS), step=1)
    return pixels


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Three channels of uint8."""
    if array.dtype != np.uint8:
        array = np.rint(array).astype(np.uint8)
    if array.ndim == 3:
        array = array[..., None]
    if array.shape[-1] == 1:
        return np.repeat(array, 3, axis=-1)
    return np.ascontiguousarray(array[..., :3])
