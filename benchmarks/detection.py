"""Detection of blood cells by transfer, against what peers do in the same time.

Sides, each with the same photos, mirrored at least; all but `cv_yolov8` on the same
encoder (MobileNet 0.25):

- `ssd`, `retinanet`, `yolo`: kerastl's kinds by the default recipe. `ssd` runs first;
  all but the other two then get as much processor time as it took.
- `scratch`: `ssd` from random weights, open from the first step.
- `hub_retinanet`: RetinaNet of keras-hub with its default anchors, its encoder frozen
  for a third of the time.
- `cv_yolov8`: YOLOV8 of keras-cv from a configuration, random weights.

Each side keeps the epoch of the highest AP50 on the validation photos; the test photos
choose nothing.

    python benchmarks/detection.py ../bccd --seeds 0 1 2 --sides retinanet

The folder has `train.json`, `validation.json` and `test.json` (COCO) and `images`.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kerastl
from kerastl.data.images import load_pixels
from kerastl.data.sets import ImageSet

# Multiples of 32, as the peers want; the photos are 240 x 320.
SIZE = (256, 320)
ENCODER = {"alpha": 0.25, "image_size": SIZE}
BATCH = 4
#: Names of the layers at strides of 8, 16 and 32.
LEVELS = {"P3": "conv_pw_5_relu", "P4": "conv_pw_11_relu", "P5": "conv_pw_13_relu"}
#: What every side tells of, so that precision is read at each recall.
LEAST_SCORE = 0.01

#: (boxes, classes, scores) of each image, in its pixels.
Found = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def ap(images: ImageSet, found: Found, resamples: int = 0) -> Any:
    """Average precision, over all classes and of each."""
    truth = list(zip(images.labels.boxes, images.labels.classes, strict=True))
    given = {"class_names": images.class_names, "resamples": resamples}
    return kerastl.metrics.average_precision(truth, found, **given)


class Own:
    """A detector of kerastl."""

    def __init__(self, kind: str, *, scratch: bool = False) -> None:
        """See the class."""
        self.kind, self.scratch = kind, scratch

    def fit(self, parts: Any, weights: str, seconds: float, seed: int) -> None:
        """The default recipe; from random weights, as many epochs in one phase."""
        weights = None if self.scratch else weights
        self.model = kerastl.build_detector(
            "MobileNet", parts, kind=self.kind, weights=weights, seed=seed, **ENCODER
        )
        recipe = {"recipe": "lp_ft"}
        if self.scratch:
            steps = -(-len(parts.train) // BATCH)
            usual = kerastl.recipe_phases(self.model, "lp_ft", steps_per_epoch=steps)
            # An epoch of the head takes about half of one of everything.
            epochs = usual[-1].epochs + usual[0].epochs // 2
            recipe = {"recipe": "scratch", "epochs": epochs}
        given = {"augment": "light", "seed": seed, "verbose": 0}
        kerastl.fine_tune(self.model, parts.train, parts.validation, **recipe, **given)

    def find(self, images: ImageSet) -> Found:
        """All detections."""
        said = kerastl.predict(self.model, images)
        return list(zip(said.boxes, said.classes, said.scores, strict=True))


class Peer:
    """A detector of another library, trained by its own `fit`."""

    #: What its labels are called.
    labels = "labels"

    def build(self, names: tuple[str, ...], weights: str) -> Any:
        """The model."""
        raise NotImplementedError

    def compile(self) -> None:
        """As its guide does, without XLA."""
        raise NotImplementedError

    def opened(self) -> None:
        """What happens after a third of the time."""

    def fit(self, parts: Any, weights: str, seconds: float, seed: int) -> None:
        """Epoch after epoch until the time is over; the best by AP50 stays."""
        keras.utils.set_random_seed(seed)
        self.model = self.build(parts.train.class_names, weights)
        self.compile()
        images, targets = self.arrays(parts.train)
        random = np.random.default_rng(seed)
        begun, best, kept = time.process_time(), -1.0, self.model.get_weights()
        shut = True
        while (spent := time.process_time() - begun) < seconds:
            if shut and spent > seconds / 3:
                shut = False
                self.opened()
                self.compile()
            order = random.permutation(len(images))
            batch = mirrored(images[order], [each[order] for each in targets], random)
            given = {"boxes": batch[1], self.labels: batch[2]}
            self.model.fit(batch[0], given, batch_size=BATCH, shuffle=False, verbose=0)
            score = ap(parts.validation, self.find(parts.validation)).overall.ap50
            if score > best:
                best, kept = score, self.model.get_weights()
        self.model.set_weights(kept)

    def arrays(self, images: ImageSet) -> tuple[np.ndarray, list[np.ndarray]]:
        """Pixels, and boxes and classes filled up with -1."""
        pixels = load_pixels(images, image_size=SIZE, resize="stretch")
        labels = images.labels
        most = max(map(len, labels.boxes))
        boxes = np.full((len(images), most, 4), -1.0, "float32")
        classes = np.full((len(images), most), -1.0, "float32")
        for row, (own, names) in enumerate(
            zip(labels.boxes, labels.classes, strict=True)
        ):
            boxes[row, : len(own)] = own * self.scale(images, row)
            classes[row, : len(own)] = names
        return pixels.astype("float32"), [boxes, classes]

    @staticmethod
    def scale(images: ImageSet, row: int) -> np.ndarray:
        """From a file's pixels to the network's."""
        height, width = images.labels.image_sizes[row]
        return np.tile([SIZE[1] / width, SIZE[0] / height], 2)

    def find(self, images: ImageSet) -> Found:
        """All detections, in the files' pixels."""
        pixels = load_pixels(images, image_size=SIZE, resize="stretch")
        # Whole batches: keras-hub's choice among boxes wants their size to stay.
        pixels = np.resize(
            pixels, (-(-len(pixels) // BATCH) * BATCH, *pixels.shape[1:])
        )
        said = self.model.predict(pixels.astype("float32"), batch_size=BATCH, verbose=0)
        said = {name: np.asarray(value) for name, value in said.items()}
        found = []
        for row in range(len(images)):
            kept = said[self.labels][row] >= 0
            boxes = said["boxes"][row][kept] / self.scale(images, row)
            names = said[self.labels][row][kept].astype(int)
            found.append((boxes, names, said["confidence"][row][kept]))
        return found


def mirrored(
    images: np.ndarray, targets: list[np.ndarray], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half of the images turned round, and their boxes with them."""
    images, boxes, classes = images.copy(), targets[0].copy(), targets[1]
    for row in np.flatnonzero(random.random(len(images)) < 0.5):
        images[row] = images[row, :, ::-1]
        real = classes[row] >= 0
        boxes[row][real] = boxes[row][real][:, [2, 1, 0, 3]]
        boxes[row][np.ix_(real, [0, 2])] = SIZE[1] - boxes[row][np.ix_(real, [0, 2])]
    return images, boxes, classes


class HubRetinaNet(Peer):
    """RetinaNet of keras-hub on the same encoder."""

    def build(self, names: tuple[str, ...], weights: str) -> Any:
        """Its default anchors and heads."""
        import keras_hub

        encoder = kerastl.build_backbone("MobileNet", weights=weights, **ENCODER)
        # What its own encoders bring.
        encoder.pyramid_outputs = {
            level: encoder.get_layer(name).output for level, name in LEVELS.items()
        }
        encoder.image_shape = (*SIZE, 3)
        self.encoder = encoder
        kerastl.freeze(encoder)
        backbone = keras_hub.models.RetinaNetBackbone(
            image_encoder=encoder,
            min_level=3,
            max_level=5,
            use_p5=False,
            image_shape=(*SIZE, 3),
        )
        decoder = keras_hub.layers.NonMaxSuppression(
            bounding_box_format="xyxy",
            from_logits=True,
            confidence_threshold=LEAST_SCORE,
        )
        return keras_hub.models.RetinaNetObjectDetector(
            backbone=backbone,
            num_classes=len(names),
            bounding_box_format="xyxy",
            preprocessor=None,
            prediction_decoder=decoder,
        )

    def compile(self) -> None:
        """As its guide does."""
        self.model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)

    def opened(self) -> None:
        """The encoder trains too, its statistics held."""
        kerastl.unfreeze(self.encoder, "all")


class CvYolo(Peer):
    """YOLOV8 of keras-cv."""

    labels = "classes"

    def build(self, names: tuple[str, ...], weights: str) -> Any:
        """Of the size of its smallest preset."""
        import keras_cv

        backbone = keras_cv.models.YOLOV8Backbone(
            stackwise_channels=[32, 64, 128, 256],
            stackwise_depth=[1, 2, 2, 1],
            include_rescaling=True,
            input_shape=(*SIZE, 3),
        )
        decoder = keras_cv.layers.NonMaxSuppression(
            bounding_box_format="xyxy",
            from_logits=False,
            confidence_threshold=LEAST_SCORE,
        )
        return keras_cv.models.YOLOV8Detector(
            num_classes=len(names),
            bounding_box_format="xyxy",
            backbone=backbone,
            fpn_depth=1,
            prediction_decoder=decoder,
        )

    def compile(self) -> None:
        """As its guide does."""
        self.model.compile(
            optimizer=keras.optimizers.Adam(1e-3, global_clipnorm=10.0),
            classification_loss="binary_crossentropy",
            box_loss="ciou",
            jit_compile=False,
        )


SIDES: dict[str, Callable[[], Any]] = {
    "ssd": lambda: Own("ssd"),
    "retinanet": lambda: Own("retinanet"),
    "yolo": lambda: Own("yolo"),
    "scratch": lambda: Own("ssd", scratch=True),
    "hub_retinanet": HubRetinaNet,
    "cv_yolov8": CvYolo,
}


def main() -> None:
    """Print one JSON line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sides", nargs="*", default=list(SIDES)[1:], choices=SIDES)
    parser.add_argument("--weights", default="imagenet")
    options = parser.parse_args()
    parts = kerastl.open_data(options.data)
    for seed in options.seeds:
        seconds = 0.0
        for name in ["ssd", *options.sides]:
            side, begun = SIDES[name](), time.process_time()
            side.fit(parts, options.weights, seconds, seed)
            spent = time.process_time() - begun
            seconds = seconds or spent
            scores = ap(parts.test, side.find(parts.test), resamples=1000)
            row = {"side": name, "seed": seed, "seconds": round(spent, 1)}
            row |= {"ap50": scores.overall.ap50, "ap": scores.overall.ap}
            row |= {each.name: each.ap50 for each in scores.per_class}
            print(json.dumps(row), flush=True)
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
