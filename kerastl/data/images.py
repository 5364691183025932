"""From image files to pixels: decoding, resizing, keeping them in memory."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_choice, check_integer, fail, image_size_pair, warn
from kerastl._files import regular_bytes
from kerastl._progress import Progress
from kerastl.data.decoding import (
    as_rgb,
    decoding_errors,
    on_white,
    read_image,
    reason,
)
from kerastl.data.dense import placement, resize_scale
from kerastl.data.sets import ImageSet, channels_fit, counted, warn_user

if TYPE_CHECKING:
    from PIL import Image as PillowImage


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def for_each(
    work: Callable[[int], None],
    count: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    step: int = 16,
) -> None:
    """Call `work(i)` for each `i < count`, in threads, in no promised order."""

    def stretch(start: int) -> int:
        stop = min(start + step, count)
        for i in range(start, stop):
            work(i)
        return stop

    starts = range(0, count, step)
    workers = min(threads or num_cores(), len(starts))
    if workers <= 1:
        for start in starts:
            _report(progress, stretch(start), count)
        return
    with ThreadPoolExecutor(workers) as pool:
        for stop in pool.map(stretch, starts):
            _report(progress, stop, count)


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


RESIZES = ("stretch", "crop", "pad")


def covering(
    size: tuple[int, int], target: tuple[int, int], resize: str
) -> tuple[int, int]:
    """The smallest (width, height) that loses nothing for this target."""
    if resize != "pad":
        return target
    scale = resize_scale(size, target, resize)
    return int(-(-size[0] * scale // 1)), int(-(-size[1] * scale // 1))


def fit(
    image: "PillowImage.Image", height: int, width: int, resize: str
) -> "PillowImage.Image":
    """Resize with an antialiased bilinear filter."""
    from PIL import Image

    if image.size == (width, height):
        return image
    put = placement(image.size, (width, height), resize)
    left, top, right, bottom = put.place
    inner = image.resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=put.window
    )
    if inner.size == (width, height):
        return inner
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(inner, (left, top))
    return canvas


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

    What is transparent lies on white. Of an animation the first frame is taken.
    Grayscale is repeated to three channels, 16 bits are cut to 8, and the camera's
    orientation is respected. A large JPEG is decoded at 1/2, 1/4 or 1/8 of its scale
    where that is still no smaller than `image_size`.

    Args:
        paths: Files that Pillow reads, by content and not by extension.
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
            to three, and a fourth (alpha) lays them on white.
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
    if len(shape) not in (3, 4) or (len(shape) == 4 and not channels_fit(shape)):
        expected = "of shape (n, height, width) or (n, height, width, channels)"
        fail("images", expected, shape)
    if not array.size:
        return
    if array.dtype == np.uint8:
        # A dark photo is legitimate, and no uint8 is out of range.
        if array.max() == 1:
            warn("No pixel is above 1, of 255: were they 0-1? Multiply by 255 then.")
        return
    low, high = float(array.min()), float(array.max())
    # Resampling overshoots: 0-1 may reach a hair over 1.
    scaled = 0 < high <= (2 if array.dtype.kind == "f" else 1)
    if not (low >= 0 and high <= 255) or scaled:
        hint = "Undo the preprocessing first."
        if scaled and low > -0.5:
            hint = "Multiply by 255 first."
        elif low > -26 and 26 < high < 281:
            hint = "Cut them with clip(0, 255) first."
        fail("images", "pixels 0-255", [low, high], hint)


def decode_one(
    source: Any, height: int, width: int, resize: str = "stretch"
) -> np.ndarray:
    """One file, or a stream of its bytes, as uint8 `(height, width, 3)`."""

    def pixels(image: "PillowImage.Image") -> np.ndarray:
        return opened_pixels(image, height, width, resize)

    if isinstance(source, (str, Path)):
        return read_image(regular_bytes(source), pixels, Path(source).suffix)
    return read_image(source.read(), pixels)


def opened_pixels(
    image: "PillowImage.Image", height: int, width: int, resize: str = "stretch"
) -> np.ndarray:
    """A picture as Pillow opens it, as uint8 `(height, width, 3)`."""
    from PIL import ImageOps

    turned = image.getexif().get(_ORIENTATION, 1)
    size = (width, height) if turned in range(1, 5) else (height, width)
    image.draft(None, covering(image.size, size, resize))
    if turned != 1:
        image = ImageOps.exif_transpose(image)
    return np.asarray(fit(as_rgb(image), height, width, resize))


def _raise_faults(paths: Sequence[str | Path], faults: dict[int, Exception]) -> None:
    missing = [str(paths[i]) for i in sorted(faults) if _is_missing(faults[i])]
    if missing:
        expected = "files that exist"
        fail("paths", expected, missing[:_LISTED], error=FileNotFoundError)
    named = [f"{paths[i]} ({reason(faults[i])})" for i in sorted(faults)]
    hint = 'Remove or replace them, or leave them out with on_bad="skip"; '
    hint += "`audit` lists every fault of a folder."
    more = f" {len(named) - _LISTED} more are damaged." if named[_LISTED:] else ""
    fail("paths", "images that can be read", named[:_LISTED], hint + more)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError)


def resize_arrays(
    array: np.ndarray, height: int, width: int, resize: str, channels: int = 3
) -> np.ndarray:
    """`resize_images` for arrays whose values were checked before."""
    check_choice("resize", resize, RESIZES)
    if array.shape[1:3] == (height, width):
        return _as_bytes(array, channels)
    from PIL import Image

    pixels = np.empty((len(array), height, width, channels), np.uint8)

    def work(block: int) -> None:
        rows = slice(block * _ROWS, (block + 1) * _ROWS)
        for i, image in enumerate(_as_bytes(array[rows], channels), start=rows.start):
            if channels == 3:
                pixels[i] = fit(Image.fromarray(image), height, width, resize)
                continue
            # Pillow would take a fourth channel for transparency.
            for k in range(channels):
                band = Image.fromarray(image[..., k])
                pixels[i, ..., k] = fit(band, height, width, resize)

    for_each(work, -(-len(array) // _ROWS), step=1)
    return pixels


def _as_bytes(array: np.ndarray, channels: int = 3) -> np.ndarray:
    """So many channels of uint8: of one, three and four any makes three or one."""
    if array.dtype != np.uint8:
        array = np.rint(array).astype(np.uint8)
    if array.ndim == 3:
        array = array[..., None]
    if array.shape[-1] == channels:
        return np.ascontiguousarray(array)
    if array.shape[-1] == 1:
        return np.repeat(array, 3, axis=-1)
    if array.shape[-1] not in (3, 4):
        expected = f"arrays of {channels} channels, or of 1, 3 or 4"
        fail("images", expected, f"{array.shape[-1]} channels")
    array = on_white(array) if array.shape[-1] == 4 else array
    if channels == 3:
        return np.ascontiguousarray(array)
    # Pillow's own grey: equal channels stay what they are.
    return np.rint(array @ _GREY).astype(np.uint8)[..., None]


#: Shares of red, green and blue in a grey (ITU-R 601-2).
_GREY = np.array([0.299, 0.587, 0.114])


MEMORY_LIMIT = 1_000_000_000
_AT_ONCE = 256


class PixelStore:
    """The images of a set at one size, by index.

    Pixels are decoded when they are first asked for. They are kept as they are
    before augmentation, and never after.

    Args:
        image_set: Files or arrays.
        image_size: Side, or (height, width), in pixels.
        resize: `"stretch"`, `"crop"` or `"pad"`, as in `decode_images`.
        memory_limit: Bytes; a larger set is decoded anew each time. 0 keeps
            nothing.
        channels: Of the pixels: 3, or 1 for grey; any other number for arrays that
            have as many.

    Raises:
        ValueError: If an array is not 0-255, or of other channels.

    Example:
        >>> import numpy as np
        >>> one = ImageSet(np.zeros((3, 8, 8)), np.array([0, 1, 1]), ("a", "b"))
        >>> PixelStore(one, image_size=4).rows(np.array([2, 0])).shape
        (2, 4, 4, 3)
    """

    def __init__(
        self,
        image_set: ImageSet,
        *,
        image_size: int | tuple[int, int],
        resize: str = "stretch",
        memory_limit: int = MEMORY_LIMIT,
        channels: int = 3,
    ) -> None:
        """See the class."""
        self.image_set = image_set
        self.channels = channels
        self.image_size = image_size_pair("image_size", image_size)
        check_choice("resize", resize, RESIZES)
        check_integer("memory_limit", memory_limit, 0)
        self.resize = resize
        if image_set.paths is None:
            check_pixels(image_set.images)
        self._check_channels()
        shape = (len(image_set), *self.image_size, channels)
        self.keeps = not self._as_is() and int(np.prod(shape)) <= memory_limit
        self._known = np.zeros(len(image_set), bool)
        # The system hands out the memory as it is written to, not here.
        self._pixels = np.empty(shape, np.uint8) if self.keeps else None

    def rows(self, indices: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Pixels of the images at `indices`, in that order.

        Args:
            indices: Integers `(b,)`.
            threads: Number of threads to decode with; None for one on each core.

        Returns:
            uint8 array `(b, height, width, 3)`, 0-255.
        """
        if self._pixels is None:
            return self._read(indices, threads)
        missing = np.unique(indices[~self._known[indices]])
        if len(missing):
            self._pixels[missing] = self._read(missing, threads)
            # Only after the pixels: another thread may be looking.
            self._known[missing] = True
        return self._pixels[indices]

    def pixels(self, progress: Progress | None = None) -> np.ndarray:
        """All images, in order; kept for later calls where they fit.

        Args:
            progress: Called with (done, total), or None.

        Returns:
            uint8 array `(n, height, width, 3)`, 0-255. Do not write to it.
        """
        total = len(self.image_set)
        pixels = self._pixels
        if pixels is None:
            pixels = np.empty((total, *self.image_size, self.channels), np.uint8)
        for start in range(0, total, _AT_ONCE):
            span = np.arange(start, min(start + _AT_ONCE, total))
            if self._pixels is None:
                pixels[span] = self._read(span, None)
            elif not self._known[span].all():
                self.rows(span)
            if progress is not None:
                progress(int(span[-1]) + 1, total)
        return pixels

    def known_pixels(self) -> np.ndarray | None:
        """All images, if nothing is left to decode or resize; do not write to it."""
        if self._as_is():
            return self.image_set.images
        if self._pixels is not None and self._known.all():
            return self._pixels
        return None

    def _as_is(self) -> bool:
        """Whether the set's own array already has the size, type and channels."""
        images = self.image_set.images
        shape = (len(images), *self.image_size, self.channels)
        fits = self.image_set.paths is None and images.shape == shape
        return fits and images.dtype == np.uint8

    def _read(self, indices: np.ndarray, threads: int | None) -> np.ndarray:
        images = self.image_set.images
        if isinstance(images, tuple):
            paths = [images[i] for i in indices]
            options = {"image_size": self.image_size, "resize": self.resize}
            pixels = decode_images(paths, threads=threads, **options)
            return _as_bytes(pixels, self.channels)
        size, resize = self.image_size, self.resize
        return resize_arrays(images[indices], *size, resize, self.channels)

    def _check_channels(self) -> None:
        """Raise unless the images can be brought to the channels."""
        images = self.image_set.images
        if self.image_set.paths is not None:
            given = 3
        else:
            given = images.shape[3] if images.ndim == 4 else 1
        if given != self.channels and (self.channels > 3 or not {1, 3, 4} >= {given}):
            expected = f"arrays of {self.channels} channels, as the model takes"
            fail("images", expected, f"{given} channels")


class ReadableStore(PixelStore):
    """Images of which some files may be unreadable: those are black, and noted.

    Attributes:
        faults: Index -> path and reason, of what could not be read so far.
    """

    def __init__(self, image_set: ImageSet, **options: Any) -> None:
        """See `PixelStore`."""
        super().__init__(image_set, **options)
        self.faults: dict[int, str] = {}

    def readable(self, name: str) -> np.ndarray:
        """Indices of the images that could be read; a warning names the others.

        Args:
            name: What the error calls the argument, if none could.
        """
        named = [self.faults[index] for index in sorted(self.faults)]
        if named and len(named) == len(self.image_set):
            fail(name, "images of which one can be read", named[:_LISTED])
        if named:
            warn_user(f"Left out {counted(len(named))} that cannot be read", named)
        return np.delete(np.arange(len(self.image_set)), sorted(self.faults))

    def rows(self, indices: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """As of a `PixelStore`, black where a file cannot be read."""
        try:
            return super().rows(indices, threads=threads)
        except (ValueError, FileNotFoundError):
            if self.image_set.paths is None:
                raise
        shape = (len(indices), *self.image_size, self.channels)
        pixels = np.zeros(shape, np.uint8)
        for place, index in enumerate(indices.tolist()):
            path = self.image_set.paths[index]
            try:
                made = decode_one(path, *self.image_size, self.resize)
                pixels[place] = _as_bytes(made[None], self.channels)[0]
            except decoding_errors() as error:
                self.faults[index] = f"{path} ({reason(error)})"
        return pixels
