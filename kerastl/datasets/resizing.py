"""One policy for the size and the channels of every image."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image as PillowImage

RESIZES = ("stretch", "crop", "pad")


def as_rgb(image: "PillowImage.Image") -> "PillowImage.Image":
    """Three channels of 8 bits; transparency is dropped."""
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits at 255 rather than scale them.
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray((deep // 256).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def covering(
    size: tuple[int, int], target: tuple[int, int], resize: str
) -> tuple[int, int]:
    """The smallest (width, height) that loses nothing for this target."""
    if resize != "pad":
        return target
    scale = _scale(size, target, resize)
    return int(-(-size[0] * scale // 1)), int(-(-size[1] * scale // 1))


def fit(
    image: "PillowImage.Image", height: int, width: int, resize: str
) -> "PillowImage.Image":
    """Resize with an antialiased bilinear filter."""
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    if image.size == (width, height):
        return image
    if resize == "stretch":
        return image.resize((width, height), bilinear)
    scale = _scale(image.size, (width, height), resize)
    if resize == "crop":
        left = (image.width - width / scale) / 2
        top = (image.height - height / scale) / 2
        right, bottom = image.width - left, image.height - top
        box = max(left, 0), max(top, 0), min(right, image.width), bottom
        return image.resize((width, height), bilinear, box=box)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height))
    place = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas.paste(image.resize(inner, bilinear), place)
    return canvas


def _scale(size: tuple[int, int], target: tuple[int, int], resize: str) -> float:
    ratios = target[0] / size[0], target[1] / size[1]
    return max(ratios) if resize == "crop" else min(ratios)
