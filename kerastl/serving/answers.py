"""Answers to examples that come as bytes: read, put together, answered, drawn."""

import base64
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._files import one_line
from kerastl._json import rounded
from kerastl.data.decoding import (
    as_rgb,
    decoding_errors,
    read_image,
    reason,
    size_upright,
)
from kerastl.data.images import opened_pixels
from kerastl.data.sets import ImageSet
from kerastl.data.texts import TextSet
from kerastl.evaluation.map_plots import lay_over
from kerastl.explain.attribution import Explainer, Settings
from kerastl.models.text_layers import find_tokens
from kerastl.models.weights import weights_digest
from kerastl.prediction import predicted
from kerastl.tasks.task import bind_known

if TYPE_CHECKING:
    from PIL import Image as PillowImage

#: Longer side of the picture that goes back, in pixels.
_SHOWN = 1024
#: Classes that are listed with their probabilities.
_LISTED = 10


class RequestError(Exception):
    """What a request gets instead of an answer: a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, eq=False)
class Example:
    """What one request asks about.

    Attributes:
        name: What the asker calls it; it is given back, and never opened.
        text: The text, of a model of texts.
        pixels: uint8 `(height, width, 3)` at the network's size, of a model of images.
        size: `(height, width)` that the image came with.
        data: The image's file, of which a picture is drawn.
    """

    name: str | None = None
    text: str | None = None
    pixels: np.ndarray | None = None
    size: tuple[int, int] = (1, 1)
    data: bytes = b""


class Answerer:
    """A model that answers examples, always in batches of one size.

    Kernels round by the size of a batch. With one size an answer does not depend on who
    else asks: it is, bit for bit, what `predict(..., batch_size=batch_size)` says of as
    many examples or more, so with a size of 1 what it says of one alone.

    Args:
        model: Built or loaded here, of images of 1 or 3 channels or of texts.
        batch_size: Examples at a time; fewer are filled up to it.
        max_pixels: Images of more are refused before they are decoded.

    Raises:
        ValueError: If the model takes neither photos nor texts.
    """

    def __init__(
        self, model: keras.Model, *, batch_size: int = 1, max_pixels: int = 50_000_000
    ) -> None:
        """See the class."""
        check_integer("batch_size", batch_size, 1)
        check_integer("max_pixels", max_pixels, 1)
        self.bound = bind_known(model)
        self.of_texts = find_tokens(model) is not None
        self.batch_size, self.max_pixels = batch_size, max_pixels
        record = self.bound.record
        if not self.of_texts and record.channels not in (1, 3):
            hint = "No file holds such images: call kerastl.predict on arrays."
            fail("model", "one of photos or of texts", f"{record.channels} bands", hint)
        self.explainer = None if self.of_texts else self._explainer()
        # Compiled before the first request, which would wait for it.
        self.rows([Example(text="a") if self.of_texts else self._blank()])

    def _blank(self) -> Example:
        pixels = np.full((*self.bound.record.image_size, 3), 128, np.uint8)
        return Example(pixels=pixels, size=pixels.shape[:2])

    def _explainer(self) -> Explainer | None:
        """What draws maps; None where the model has no place to look at."""
        try:
            blank = self._blank().pixels[None]
            return Explainer(self.bound.model, blank, Settings(batch_size=1))
        except ValueError:
            return None

    @property
    def picture(self) -> str | None:
        """What is drawn over an image: `"map"`, `"mask"`, `"boxes"`, or nothing."""
        kinds = {"segmentation": "mask", "detection": "boxes"}
        own = kinds.get(self.bound.task.name)
        return own or (None if self.explainer is None else "map")

    def metadata(self) -> dict[str, Any]:
        """What the model is and takes, ready for JSON."""
        record, task = self.bound.record, self.bound.task
        kept = record.operating
        return {
            "model": self.bound.model.name,
            "task": task.name,
            "takes": "text" if self.of_texts else "image",
            "class_names": list(record.class_names),
            "target_names": list(getattr(task, "target_names", ())),
            "image_size": list(record.image_size),
            "resize": record.resize,
            "channels": record.channels,
            "sequence_length": (record.text or {}).get("sequence_length"),
            "backbone": record.backbone,
            "weights": record.weights,
            "weights_hash": weights_digest(self.bound.model.weights)[:16],
            "temperature": record.temperature,
            "threshold": kept["threshold"] if kept else None,
            "picture": self.picture,
            "batch_size": self.batch_size,
            "max_pixels": self.max_pixels,
            "versions": {
                "kerastl": sys.modules["kerastl"].__version__,
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
            },
        }

    def read_image(self, data: bytes, name: str | None = None) -> Example:
        """An image's file as the network takes it, resized as `predict` does.

        Raises:
            RequestError: If it is no image, is damaged, or has too many pixels.
        """
        record = self.bound.record

        def use(image: "PillowImage.Image") -> Example:
            width, height = image.size
            # Before anything else is asked of it: of a PNG even that decodes it all.
            if width * height > self.max_pixels:
                raise self._too_many(f"{width} x {height}")
            size = size_upright(image)
            pixels = opened_pixels(image, *record.image_size, record.resize)
            return Example(name, pixels=pixels, size=size, data=data)

        try:
            return read_image(data, use, Path(name or "").suffix)
        except decoding_errors() as error:
            if type(error).__name__ == "DecompressionBombError":
                raise self._too_many() from error
            said = one_line(ValueError(reason(error)))
            raise RequestError(422, f"The image cannot be read: {said}.") from error

    def _too_many(self, found: str = "more") -> RequestError:
        most = f"{self.max_pixels:,} pixels"
        return RequestError(413, f"The image must have at most {most}, not {found}.")

    def read_text(self, text: str) -> Example:
        """A text, if it is one.

        Raises:
            RequestError: If it is empty, too long, or holds half a character.
        """
        try:
            text.encode("utf-8")
            TextSet((text,))
        except ValueError as error:
            said = one_line(error)
            raise RequestError(422, f"The text cannot be read: {said}.") from error
        return Example(text=text)

    def predictions(self, examples: Sequence[Example]) -> Any:
        """What `predict` returns of them, filled up to the size of a batch."""
        places = np.resize(np.arange(len(examples)), self.batch_size)
        filled = [examples[place] for place in places]
        if self.of_texts:
            asked: Any = TextSet(tuple(example.text for example in filled))
            return predicted(self.bound, asked, self.batch_size)[0]
        pixels = np.stack([example.pixels for example in filled])
        sizes = [example.size for example in filled]
        asked = ImageSet(pixels, None, ())
        return predicted(self.bound, asked, self.batch_size, sizes=sizes)[0]

    def rows(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """An answer to each, as `kerastl predict --jsonl` prints it.

        Args:
            examples: 1 to `batch_size` of them.
        """
        found = self.predictions(examples)
        return [
            self._named(row, example)
            for row, example in zip(found, examples, strict=False)
        ]

    def _named(self, row: dict[str, Any], example: Example) -> dict[str, Any]:
        named = {} if self.of_texts else {"path": example.name}
        return rounded({**row, **named})

    def shown(self, example: Example) -> dict[str, Any]:
        """An answer with what the page shows beside it.

        Returns:
            `answer`, as in `rows`; `values`, each a `name` and a `value`, of classes
            the most probable first; whether they are `shares` of 1; `picture`, the
            image with what was found as a data URL, or None.
        """
        found = self.predictions([example])
        answer = self._named(next(iter(found)), example)
        probabilities = getattr(found, "probabilities", None)
        skipped, shares = ("path", "text"), hasattr(found, "shares")
        values = {n: v for n, v in answer.items() if n not in skipped}
        if probabilities is not None and probabilities.ndim == 2:
            values, shares = rounded(dict(found.top(_LISTED)[0])), True
        return {
            "answer": answer,
            "values": [
                {"name": name, "value": value}
                for name, value in values.items()
                if isinstance(value, (int, float))
            ],
            "shares": shares,
            "picture": self._picture(found, example),
        }

    def _picture(self, found: Any, example: Example) -> str | None:
        """The image with the mask, boxes or map over it."""
        if hasattr(found, "drawn"):
            small = read_image(example.data, _small, Path(example.name or "").suffix)
            return _as_url(found.drawn(0, small, example.size))
        if self.explainer is None:
            return None
        self.explainer.show(example.pixels[None])
        # The class that was given, which a threshold may have decided.
        index = getattr(found, "indices", np.zeros(1, int))[0]
        explained = self.explainer.explain(int(index) if np.ndim(index) == 0 else None)
        return _as_url(lay_over(explained.pixels[0], explained.maps[0]))


def _small(image: "PillowImage.Image") -> np.ndarray:
    """An opened picture upright, and no larger than is shown."""
    from PIL import ImageOps

    image.draft(None, (_SHOWN, _SHOWN))
    upright = as_rgb(ImageOps.exif_transpose(image))
    upright.thumbnail((_SHOWN, _SHOWN))
    return np.asarray(upright)


def _as_url(pixels: np.ndarray) -> str:
    """Pixels as a PNG that a page takes for the address of an image."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode('ascii')}"
