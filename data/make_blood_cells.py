"""Choose and shrink the photographs of `data/blood_cells` from a copy of BCCD.

    python data/make_blood_cells.py BCCD

`BCCD` holds `images/` and `train.json`, `validation.json`, `test.json`: the photographs
at 320 x 240 pixels and their boxes as COCO has them.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent / "blood_cells"
COUNTS = {"train": 40, "validation": 10, "test": 10}
QUALITY = 72


def main(source: Path) -> None:
    """Write the images and a COCO file for each part."""
    (HERE / "images").mkdir(parents=True, exist_ok=True)
    for part, count in COUNTS.items():
        data = json.loads((source / f"{part}.json").read_text())
        order = np.random.default_rng(0).permutation(len(data["images"]))[:count]
        images = [data["images"][i] for i in sorted(order.tolist())]
        chosen = {entry["id"] for entry in images}
        for entry in images:
            with Image.open(source / "images" / entry["file_name"]) as image:
                place = HERE / "images" / entry["file_name"]
                image.save(place, quality=QUALITY, optimize=True)
        boxes = [
            {key: each[key] for key in ("id", "image_id", "category_id", "bbox")}
            for each in data["annotations"]
            if each["image_id"] in chosen
        ]
        kept = {
            "images": images,
            "annotations": boxes,
            "categories": data["categories"],
        }
        (HERE / f"{part}.json").write_text(json.dumps(kept) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
