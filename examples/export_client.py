"""Answers of an ONNX export without kerastl: onnxruntime, Pillow and NumPy.

`python export_client.py FOLDER` gives the answers to the images that came with the
export, and how far they are from those that came with them; `python export_client.py
FOLDER IMAGE ...` those to your images.
"""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepare(file, wanted):
    """Pixels of an image file, as `input` of model.json asks for them."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    size, (w, h) = (wanted["width"], wanted["height"]), image.size
    ratios, box, place = (size[0] / w, size[1] / h), (0, 0, w, h), (0, 0)
    if wanted["resize"] == "crop":
        wide, tall = (side / max(ratios) for side in size)
        box = (w - wide) / 2, (h - tall) / 2, (w + wide) / 2, (h + tall) / 2
        box = (max(box[0], 0), max(box[1], 0), min(box[2], w), min(box[3], h))
    inner = size
    if wanted["resize"] == "pad":
        inner = tuple(max(1, round(side * min(ratios))) for side in (w, h))
        place = tuple((a - b) // 2 for a, b in zip(size, inner, strict=True))
    canvas = Image.new("RGB", size)
    canvas.paste(image.resize(inner, Image.Resampling.BILINEAR, box=box), place)
    pixels = np.asarray(canvas, "float32")
    if wanted["channels"] == "grey":
        pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    return pixels.astype("float32")


def main(folder, *files):
    """Answers `(n, ...)` to the files, or to the images of the export itself."""
    said = json.loads(Path(folder, "model.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(Path(folder, said["file"])))
    probes = [] if files else said["probes"]
    given = [io.BytesIO(base64.b64decode(probe["png"])) for probe in probes] or files
    pixels = np.stack([prepare(file, said["input"]) for file in given])
    answers = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    for answer, probe in zip(answers, probes, strict=False):
        known = np.array(probe["answer"])
        away = np.abs(answer.ravel()[:: probe["every"]] - known).max()
        print(f"at most {away:.1g} from the answer that came with the image")
    return answers


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
