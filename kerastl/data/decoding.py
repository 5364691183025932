"""One image from a file or an opened picture: the one reader of them all."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kerastl._checks import fail
from kerastl._files import regular_bytes

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Result = TypeVar("Result")
# Containers that Pillow knows and cannot draw, or would run a program for.
_NO_PICTURES = {
    "BUFR",
    "EPS",
    "FITS",
    "GRIB",
    "HDF5",
    "IPTC",
    "MPEG",
    "PALM",
    "PDF",
    "WMF",
}
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


@cache
def promised_formats() -> dict[str, str]:
    """Ending of a file's name, such as `".jfif"` -> the format it promises."""
    from PIL import Image

    Image.init()
    endings = Image.registered_extensions().items()
    return {end: name for end, name in endings if name not in _NO_PICTURES}


@cache
def _readable(ending: str) -> tuple[str, ...]:
    """Formats to try on a file; one without a signature only where its name says so."""
    from PIL import Image

    promised = promised_formats().get(ending)
    return tuple(
        name
        for name, (_, accept) in Image.OPEN.items()
        if name not in _NO_PICTURES and (accept or name == promised)
    )


def is_image(path: Path) -> bool:
    """Whether a file is a picture: its name says so, or else its content."""
    from PIL import Image

    ending = path.suffix.lower()
    if ending in promised_formats():
        return True
    try:
        with Image.open(path, formats=_readable(ending)):
            return True
    except decoding_errors():
        return False


def read_image(
    data: bytes, use: Callable[["PillowImage.Image"], Result], ending: str = ""
) -> Result:
    """What `use` makes of an image: the one way in for files of them.

    Args:
        data: All bytes of the file. They decide on the format, not its name.
        use: Gets the image as Pillow opens it, before its pixels are read.
        ending: Of the file's name, for the few formats that have no signature.

    Raises:
        Exception: One of `decoding_errors()`.
    """
    from PIL import Image

    if not data:
        raise OSError("the file is empty")
    formats = _readable(ending.lower())
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            return use(image)
    except ValueError:
        # Pillow refuses a picture for a large text beside it.
        if not data.startswith(b"\x89PNG"):
            raise
        with Image.open(io.BytesIO(_without_text(data)), formats=("PNG",)) as image:
            return use(image)


def _without_text(data: bytes) -> bytes:
    """A PNG without its chunks of text and colour profiles."""
    kept, start = [data[:8]], 8
    while start < len(data):
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] not in _TEXT_CHUNKS:
            kept.append(data[start:stop])
        start = stop
    return b"".join(kept)


def as_rgb(image: "PillowImage.Image") -> "PillowImage.Image":
    """Three channels of 8 bits; what is transparent lies on white."""
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits at 255 rather than scale them.
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("its values do not fit into 16 bits")
        return Image.fromarray((deep // 256).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floats; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return Image.fromarray(on_white(np.asarray(image.convert("RGBA"))))
    return image.convert("RGB")


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Pixels `(..., 4)` uint8 laid on white, `(..., 3)`."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(
        np.uint8
    )


def as_pixels(item: Any, name: str = "images") -> np.ndarray:
    """Pixels of a PIL image, read as a file of it is, or of an array.

    Raises:
        TypeError: If it is neither.
    """
    if hasattr(item, "convert"):
        from PIL import ImageOps

        # Turned upright, and 16 bits scaled, not clipped.
        return np.asarray(as_rgb(ImageOps.exif_transpose(item)))
    if isinstance(item, np.ndarray):
        return item
    kinds = "files, folders, arrays of pixels or PIL images"
    return fail(name, kinds, type(item).__name__, error=TypeError)


def own_size(path: str) -> np.ndarray:
    """A file's pixels at its own size, upright."""
    return read_image(regular_bytes(path), as_pixels, Path(path).suffix)


def upright_size(path: str) -> tuple[int, int]:
    """`(height, width)` of a file's pixels, upright; a PNG is decoded for it."""
    return read_image(regular_bytes(path), size_upright, Path(path).suffix)


def size_upright(image: "PillowImage.Image") -> tuple[int, int]:
    """`(height, width)` of an opened picture, upright: see `upright_size`."""
    width, height = image.size
    # Orientations 5 to 8 of EXIF lie on their side.
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def decoding_errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for a file that is no image or is damaged."""
    from PIL import Image

    faults = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError)
    return (
        *faults,
        TypeError,
        OverflowError,
        RuntimeError,  # Of a damaged AVIF.
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
