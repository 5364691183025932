# %% [markdown]
# # 13 Which pixels, and out of the notebook
#
# Is there a tumour in the image? Where are its borders? For the second question a
# network must name the class of *each pixel*: **segmentation**. Does a network that
# was trained to name whole images help? And does the model work elsewhere?
#
# ## You will be able to
#
# - judge a segmenter by overlap, and say why the share of right pixels misleads;
# - build a U-Net on a trained network, and measure what its parts are worth;
# - save, reload and shrink a model, find what differs where it serves, and write its
#   card.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("drawn scenes", "drawn scenes"),
    "licence": ("Apache-2.0; weights non-commercial", "Apache-2.0"),
    "backbone": ("MobileNet", "MobileNet"),
    "weights": ("tiny", "imagenet"),
    "image_size": (64, 128),
    "download": ("nothing", "about 2 MB"),
    "minutes": (1, 5),
}

# %%
import keras
import numpy as np

import kerastl

L = teach.lesson("13", SETTINGS, scale="auto")
size, names = L.image_size, ("background", "object")


def scenes(count, **look):  # images, and of each pixel: 1 where an object is
    drawn, made = kerastl.make_shapes(count, objects=(1, 3), image_size=size, **look)
    return drawn.images, (made.masks > 0).astype("uint8")


# %% tags=["plumbing"]
import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from matplotlib import pyplot as plt
from PIL import Image

(learn, masks), (watch, truth), (last, last_truth) = (
    scenes(count, seed=1000 + 3 * L.seed + place)
    for place, count in enumerate((40, 60, 60))
)
parts = [SimpleNamespace(images=images) for images in (learn, watch, last)]
said = "{value} images are in more than one part."
teach.claim("13.shared", said, teach.shared_images(*parts), low=0, high=0)
print(len(learn), "images with masks to learn from,", len(watch), "to validate")
whole = kerastl.build_backbone(
    L.backbone, alpha=0.25, weights=L.weights, image_size=size
)
stored = whole.get_weights()


def grow(maps, style, skips=True):  # a decoder, up to a quarter of the image's size
    x = style.convolve(maps[max(maps)], "bridge", size=1)
    for stride in (8, 4):
        up = keras.layers.UpSampling2D(interpolation="bilinear", name=f"head_x{stride}")
        x = up(x)
        if skips:
            join = keras.layers.Concatenate(name=f"head_join_{stride}")
            x = join([x, maps[stride]])
        x = style.convolve(x, f"up_{stride}")
    return x


def segmenter(way, seed):  # a new one, with the layers open that shall learn
    keras.utils.set_random_seed(seed)
    weights = None if way == "random" else L.weights
    encoder = kerastl.build_backbone(
        L.backbone, alpha=0.25, weights=weights, image_size=size
    )
    model = kerastl.tasks.build_segmenter(
        kerastl.features.truncate(encoder, "conv_pw_11_relu"),
        names,
        decoder=functools.partial(grow, skips=way != "no skips"),
        width=24,
        objective="dice",
        seed=seed,
    )
    kerastl.unfreeze(model, "all" if way in ("tuned", "random") else "head")
    return model


def restart(model, way, seed):  # as new: this is faster than to compile again
    model.set_weights(segmenter(way, seed).get_weights())
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))


# %% [markdown] tags=["quiz"]
# ## First: what is a good mask?
#
# A **mask** is an image in which each pixel holds the number of its class. In our
# drawn scenes background is 0, an object 1. Most pixels are background, so the
# share of right pixels is high for a network that finds nothing. Two scores look at one
# class alone:
#
# - **IoU**, intersection over union: the pixels that are of the class in both masks,
#   divided by those that are in either;
# - **Dice**: twice the pixels in both, divided by the sum of the two areas. It is the
#   F1 of lesson 08, of pixels.
#
# Both are one for equal masks, and zero for masks that do not meet. Where a class is in
# neither mask, both would divide by zero: there is no score, `nan`, and it is left out.
#
# **Quick question.** A predicted object has the right area, and half of it lies on the
# true one. What is its IoU?
#
# - [ ] A half :: That is its Dice. The union is larger than either area.
# - [x] A third :: Half an area is in both, one and a half are in either.
# - [ ] A quarter :: The half that both have counts in the union once.


# %%
def iou(said, truth, c=1):  # of class c in each image
    both = ((said == c) & (truth == c)).sum(axis=(1, 2))
    either = ((said == c) | (truth == c)).sum(axis=(1, 2))
    return both / either


teach.predict(
    "13.a",
    "A rule calls every pixel background. What percentage of the pixels is right?",
    guess=70,  # guess: a number from 0 to 100
)

# %%
nothing = np.zeros_like(truth)
right = (nothing == truth).mean()
teach.reveal("13.a", 100 * right, form="{:.0f}")
said = "Calling all background is right for {value:.0%} of the pixels."
teach.claim("13.nothing", said, right, low=0.85, high=0.97)
said = "Its IoU of objects is {value:.2f}."
teach.claim("13.no_object", said, iou(nothing, truth).mean(), low=0, high=0)
figure = kerastl.plots.masks(watch[:3], masks=truth[:3], class_names=names)
caption = "Three scenes and their masks: objects are a small part of the pixels."
alt = f"Three scenes and their masks; of all pixels {1 - right:.0%} are objects."
teach.show(figure, caption=caption, alt=alt)

# %% [markdown]
# ## Exercise 13.1: Dice of each class
#
# Write `dice(model, images, masks)`. It gets a Keras model that gives a logit for each
# class at each pixel, scores it on images that you have not seen, and returns a list:
# the Dice of each class, over the pixels of all images together. Where a class is
# neither in the masks nor in the answers, put `np.nan`.


# %% tags=["stub"]
def dice(model, images, masks):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def dice(model, images, masks):  # divides by the union: that is IoU
    said = model.predict(images, verbose=0).argmax(axis=-1)
    found = []
    for c in range(model.output_shape[-1]):
        a, b = said == c, masks == c
        found.append((a & b).sum() / (a | b).sum() if (a | b).any() else np.nan)
    return found


# %% tags=["wrong"]
def dice(model, images, masks):  # a mean over images: small objects count more
    said = model.predict(images, verbose=0).argmax(axis=-1)
    found = []
    for c in range(model.output_shape[-1]):
        a, b = said == c, masks == c
        both, sizes = (a & b).sum((1, 2)), a.sum((1, 2)) + b.sum((1, 2))
        there = sizes > 0
        each = 2 * both[there] / sizes[there]
        found.append(each.mean() if there.any() else np.nan)
    return found


# %% tags=["wrong"]
def dice(model, images, masks):  # a class that is nowhere gets a perfect score
    said = model.predict(images, verbose=0).argmax(axis=-1)
    found = []
    for c in range(model.output_shape[-1]):
        a, b = said == c, masks == c
        whole = a.sum() + b.sum()
        found.append(2 * (a & b).sum() / whole if whole else 1.0)
    return found


# %% tags=["wrong"]
def dice(model, images, masks):  # a class that is not in the masks is left out
    said = model.predict(images, verbose=0).argmax(axis=-1)
    found = []
    for c in range(model.output_shape[-1]):
        a, b = said == c, masks == c
        found.append(2 * (a & b).sum() / (a.sum() + b.sum()) if b.any() else np.nan)
    return found


# %% tags=["solution"]
def dice(model, images, masks):
    said = model.predict(images, verbose=0).argmax(axis=-1)
    found = []
    for c in range(model.output_shape[-1]):
        a, b = said == c, masks == c
        whole = a.sum() + b.sum()
        found.append(2 * (a & b).sum() / whole if whole else np.nan)
    return found


# %% tags=["check"]
def pixelwise(kernel, bias, side=12):  # a model that judges each pixel by its colour
    image = keras.Input((side, side, 3))
    layer = keras.layers.Conv2D(len(bias), 1)
    model = keras.Model(image, layer(keras.layers.Rescaling(1 / 255)(image)))
    layer.set_weights([np.array(kernel, "float32").reshape(1, 1, 3, -1), bias])
    return model


@functools.cache
def five_classes():  # class 3 is not in the masks, class 4 is nowhere
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (8, 12, 12, 3)).astype("uint8")
    given = np.where(random.random((8, 12, 12)) < 0.6, images.argmax(-1), 0)
    given[:6][given[:6] == 1] = 0
    bias = np.array([0, 0.05, 0.1, 0.2, -100], "float32")
    kernel = np.eye(3, 5)
    kernel[:, 3] = 0.35
    return pixelwise(kernel, bias), images, given.astype("uint8")


@functools.cache
def dice_of(answer):
    return np.array(answer(*five_classes()), float)


@functools.cache
def true_dice():
    from sklearn.metrics import f1_score

    model, images, given = five_classes()
    said = model.predict(images, verbose=0).argmax(axis=-1)
    each = {"labels": range(4), "average": None, "zero_division": 0}
    return f1_score(given.ravel(), said.ravel(), **each)


teach.check(
    "13.1",
    dice,
    [
        (
            lambda f: dice_of(f).shape == (5,),
            "Return a list with a number for each class that the model knows.",
        ),
        (
            lambda f: (
                not np.isclose(dice_of(f)[0], true_dice()[0] / (2 - true_dice()[0]))
            ),
            "That is the IoU. Divide twice the pixels in both by the sum of the areas.",
        ),
        (
            lambda f: np.allclose(dice_of(f)[:3], true_dice()[:3], atol=1e-4),
            "Take the surest class of each pixel, count the pixels of all images, and "
            "divide once for each class.",
        ),
        (
            lambda f: np.isclose(dice_of(f)[3], 0),
            "Class 3 is answered though no mask has it: that is wrong, not unknown.",
        ),
        (
            lambda f: np.isnan(dice_of(f)[4]),
            "Class 4 is in no mask and no answer: it has no score.",
        ),
    ],
)

# %% [markdown]
# ## Second: a U-Net on a trained network
#
# A classifier makes its maps smaller and smaller: at the end they say *what* is there,
# and hardly where. As the first half of a segmenter it is called the **encoder**. A
# **decoder** makes the maps large again. In a **U-Net** each step of the decoder also
# reads the encoder's map of that size, over a **skip connection**: there the borders
# are still to be seen. Here is one in plain Keras; `whole` is the trained network:


# %%
base = keras.applications.MobileNet(
    include_top=False, alpha=0.25, weights=None, input_shape=(size, size, 3)
)
base.set_weights(stored)  # or say weights="imagenet" above
x = base.get_layer("conv_pw_11_relu").output  # size / 16
for skip in ("conv_pw_5_relu", "conv_pw_3_relu"):  # size / 8, size / 4
    x = keras.layers.UpSampling2D(interpolation="bilinear")(x)
    x = keras.layers.Concatenate()([x, base.get_layer(skip).output])
    x = keras.layers.Conv2D(24, 3, padding="same", activation="relu")(x)
x = keras.layers.UpSampling2D(4, interpolation="bilinear")(x)
plain = keras.Model(base.input, keras.layers.Conv2D(2, 1)(x))  # a logit for each class

# %%
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
base.trainable = False  # MobileNet expects pixels from -1 to 1
plain.compile(keras.optimizers.Adam(3e-3), loss)
plain.fit(learn / 127.5 - 1, masks, epochs=10, batch_size=2, verbose=0)
base.trainable = True  # then hold BatchNorm, and compile again: lesson 05
for layer in base.layers:
    layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
plain.compile(keras.optimizers.Adam(5e-4), loss)
plain.fit(learn / 127.5 - 1, masks, epochs=5, batch_size=2, verbose=0)
answer = plain.predict(watch / 127.5 - 1, verbose=0).argmax(axis=-1)
said = "The U-Net in plain Keras reaches an IoU of objects of {value:.2f}."
teach.claim("13.plain", said, iou(answer, truth).mean(), low=0.2, high=0.9)

# %% [markdown] tags=["quiz"]
# A loss of each pixel alone is low already where all is called background. The **Dice
# loss**, one minus a Dice of probabilities, looks at a class as a whole, however small:
# `build_segmenter` has it as `objective="dice"`, and we use it from here on.
#
# Three ways, each with the same images, as many steps, and a rate of its own, chosen in
# a short look at other scenes: the encoder stays *frozen*; it is *tuned* from the
# trained weights, BatchNorm held; it begins with *random* weights, and all of it
# learns. We score each after a quarter of the steps, and at the end.
#
# **Quick question.** What must be equal for a fair comparison?
#
# - [ ] The learning rate :: A rate that suits one way may ruin another. Choose one for
#   each, on images that do not judge.
# - [x] Images, steps, decoder and loss :: Then the encoder's start is the difference.
# - [ ] The number of trained weights :: That is what the ways differ in.

# %% tags=["plumbing"]
early, overlap, answers, models, epochs = {}, {}, {}, {}, 20


def learn_way(way, rate):  # three runs; the IoU of each validation image
    model, steps = segmenter(way, 3 * L.seed), epochs * len(learn) // 2
    rate = keras.optimizers.schedules.CosineDecay(rate, steps)  # falls to zero
    model.compile(keras.optimizers.Adam(rate), model.loss)
    early[way], overlap[way], models[way] = [], [], model
    for seed in [3 * L.seed + i for i in (2, 1, 0)]:
        restart(model, way, seed)
        for start, end in ((0, epochs // 4), (epochs // 4, epochs)):
            span = {"initial_epoch": start, "epochs": end}
            model.fit(learn, masks, **span, batch_size=2, verbose=0)
            answers[way] = model.predict(watch, verbose=0).argmax(axis=-1)
            (overlap if start else early)[way].append(iou(answers[way], truth))
        first, final = early[way][-1].mean(), overlap[way][-1].mean()
        print(f"{way}, seed {seed}: {first:.2f}, then {final:.2f}", flush=True)


def compare_masks(rows):  # a row of four pictures for each name
    figure, panels = plt.subplots(len(rows), 4, figsize=(6.4, 1.65 * len(rows)))
    for line, (title, each) in zip(panels, rows.items(), strict=True):
        for axes, picture in zip(line, each, strict=False):
            axes.imshow(picture, cmap="gray")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(title)
    return figure


# %%
teach.predict(
    "13.b",
    "Which encoder gives the best masks?",
    ["frozen", "tuned", "random: photographs teach nothing about masks"],
    guess=1,  # guess: 1, 2 or 3
)
learn_way("frozen", 1e-2)
learn_way("tuned", 2e-3)

# %%
learn_way("random", 1e-2)
teach.reveal("13.b", 1 + np.argmax([np.mean(each) for each in overlap.values()]))
frozen, tuned, rival = overlap.values()
said = "After a quarter of the steps the frozen one leads the random one by {points:+}."
teach.compare("13.early", said, early["frozen"], early["random"], low=0, high=0.6)
said = "At the end, frozen against random: {points:+}."
teach.compare("13.frozen", said, frozen, rival, low=-0.1, high=0.4)
teach.compare("13.tuned", "And tuned: {points:+}.", tuned, rival, low=-0.1, high=0.5)
shown = {f"{way}, a quarter": np.mean(each, axis=1) for way, each in early.items()}
shown |= {f"{way}, end": np.mean(each, axis=1) for way, each in overlap.items()}
figure = teach.dots(shown, baseline=0, label="IoU of objects")
teach.show(figure, caption="Frozen leads by far early; at the end by less, if at all.")

# %% [markdown] tags=["quiz"]
# ## What the skips are worth
#
# Now we cut the skips: the decoder gets the last map alone and makes it large. All
# else is as in *frozen*.
#
# **Quick question.** The last map is a sixteenth of the image wide and high. What can
# a decoder not know from it?
#
# - [ ] Which classes are there :: That is what late maps know best.
# - [x] Where in a cell of sixteen pixels a border runs :: Unless the channels happen to
#   say it. The finer maps do.
# - [ ] How large the image is :: That is fixed when it is built.

# %%
teach.predict(
    "13.c",
    "How many points of IoU do the skips gain?",
    guess=5,  # guess: a number, such as 2 or 30
)
learn_way("no skips", 1e-2)

# %%
blobs, said = overlap["no skips"], "The skips gain {points:+} of IoU."
teach.reveal("13.c", 100 * (np.mean(frozen) - np.mean(blobs)), form="{:.0f}")
teach.compare("13.skips", said, frozen, blobs, low=0.1, high=0.6)
more = (answers["no skips"] == truth).mean() - right
said = "Right pixels without skips, less those of all background: {points:+}."
teach.claim("13.pixels", said, more, low=-0.1, high=0.02)
rows = {"image": watch, "truth": truth, "U-Net": answers["frozen"]}
figure = compare_masks(rows | {"no skips": answers["no skips"]})
alt = f"Four scenes: IoU {np.mean(frozen):.2f} with skips, {np.mean(blobs):.2f} without"
teach.show(
    figure, caption="With skips objects stand apart; without, rough blobs.", alt=alt
)

# %% [markdown]
# ## Exercise 13.2: transfer to other scenes
#
# Hearts and crescents, drawn flat: new scenes, and few masks.
# Write `transfer(encoder, images, masks)`. It gets a trained network that ends in a
# map, and returns a Keras model, trained by you, that gives two logits for each pixel
# of an image. The encoder stays as it is. `kerastl.tasks.build_segmenter(encoder, 2,
# width=16, objective="dice")` gives a compiled model with a frozen encoder; compile it
# again at a rate of `1e-2`, and fit fifteen epochs in batches of two. Or write the
# decoder in plain Keras; images hold numbers from 0 to 255, as `encoder` expects.


# %% tags=["stub"]
def transfer(encoder, images, masks):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def transfer(encoder, images, masks):  # built, never trained
    return kerastl.tasks.build_segmenter(encoder, 2, width=16, objective="dice")


# %% tags=["wrong"]
def transfer(encoder, images, masks):  # the encoder learns too
    model = kerastl.tasks.build_segmenter(encoder, 2, width=16, objective="dice")
    kerastl.unfreeze(model, "all")
    model.compile(keras.optimizers.Adam(1e-2), model.loss)
    model.fit(images, masks, epochs=2, batch_size=2, verbose=0)
    return model


# %% tags=["wrong"]
def transfer(encoder, images, masks):  # an answer for each place of the last map
    encoder.trainable = False
    model = keras.Model(encoder.input, keras.layers.Conv2D(2, 1)(encoder.output))
    step = images.shape[1] // model.output_shape[1]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(images, masks[:, ::step, ::step], epochs=2, batch_size=2, verbose=0)
    return model


# %% tags=["solution"]
def transfer(encoder, images, masks):
    model = kerastl.tasks.build_segmenter(encoder, 2, width=16, objective="dice")
    model.compile(keras.optimizers.Adam(1e-2), model.loss)
    model.fit(images, masks, epochs=15, batch_size=2, verbose=0)
    return model


# %% tags=["check"]
other = {"classes": ("heart", "crescent"), "style": "flat", "clutter": 0}
few, few_masks = scenes(24, seed=50, **other)
hidden, hidden_masks = scenes(40, seed=51, **other)


@functools.cache
def transferred(answer):  # the model, and the encoder's weights before
    keras.utils.set_random_seed(7)
    given = kerastl.build_backbone(
        L.backbone, alpha=0.25, weights=L.weights, image_size=size
    )
    given = kerastl.features.truncate(given, "conv_pw_5_relu")
    before = given.get_weights()
    return answer(given, few, few_masks), before


def has_encoder(answer):
    model, before = transferred(answer)
    now = model.get_weights()
    return all(any(np.array_equal(old, new) for new in now) for old in before)


def on_hidden(answer):
    logits = transferred(answer)[0].predict(hidden, verbose=0)
    said = logits.argmax(axis=-1)
    return ((said == 1) & (hidden_masks == 1)).sum() / (
        (said == 1) | (hidden_masks == 1)
    ).sum()


teach.check(
    "13.2",
    transfer,
    [
        (
            lambda f: isinstance(transferred(f)[0], keras.Model),
            "Return the Keras model.",
        ),
        (
            lambda f: transferred(f)[0].output_shape[1:] == (size, size, 2),
            "Give two logits for each pixel of the image: the map has to grow.",
        ),
        (
            has_encoder,
            "The encoder has changed, kernels or BatchNorm statistics: keep it frozen.",
        ),
        (
            lambda f: on_hidden(f) > 0.4,
            "It finds too little of the objects on new scenes. Was it trained enough, "
            "and on numbers from 0 to 255?",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Third: out of the notebook
#
# "It works in the notebook" says little: the notebook has variables that nobody else
# has. A model that is handed over needs its weights, the size of its images, how they
# are resized and scaled, and the class names. `kerastl.save_model` writes all that into
# one `.keras` file. We let a *fresh process* read it, and give it photos as files.
#
# Then we make it smaller: weights of *half precision* take two bytes each in place of
# four. And `kerastl.export_model` writes formats that need no Keras: a SavedModel for
# servers and, where their packages are installed, LiteRT (phones) and ONNX (browsers).
# It runs what it wrote, and refuses a file that answers differently.
#
# **Quick question.** A notebook divides images by 255 in a cell of its own, then trains
# and saves a plain Keras model. What is missing from the file?
#
# - [ ] The weights :: Keras saves them.
# - [x] The division :: It was no layer. A `Rescaling` layer inside the model would be
#   in the file.
# - [ ] The training images :: Nobody needs them to predict.

# %%
model, folder = models["tuned"], Path(tempfile.mkdtemp())
kerastl.save_model(model, folder / "scenes.keras")
(folder / "photos").mkdir()
for number, image in enumerate(last):
    Image.fromarray(image).save(folder / "photos" / f"{number:03}.png")
program = """
import sys, kerastl
model = kerastl.load_model(sys.argv[1])
kerastl.predict(model, sys.argv[2]).write(sys.argv[3])
"""

# %%
places = [folder / name for name in ("scenes.keras", "photos", "masks")]
fresh = [sys.executable, "-c", program, *places]
subprocess.run(fresh, check=True, capture_output=True)
read = np.stack([np.asarray(Image.open(f)) for f in sorted(places[2].iterdir())])
here = np.stack(kerastl.predict(model, last).masks)
said = "{value} pixels differ between the fresh process and this one."
teach.claim("13.same", said, (read != here).sum(), low=0, high=5)

# %%
result = kerastl.evaluate(model, (last, last_truth))  # the test images, once
print(result)
said, found = (
    "On the test images the IoU of objects is {value:.2f}.",
    result.per_class[1],
)
teach.claim("13.test", said, found.iou, low=0.35, high=0.9)
some = np.argsort(iou(read, last_truth))[[0, 20, 40]]  # from the worst one up
given = {"masks": last_truth[some], "predicted": read[some]}
figure = kerastl.plots.masks(last[some], **given, class_names=names)
caption = "What the fresh process wrote: the worst mask, and two better ones."
teach.show(figure, caption=caption)

# %%
rounded = [array.astype("float16") for array in model.get_weights()]
half = kerastl.load_model(folder / "scenes.keras")
half.set_weights(rounded)
for name, arrays in (("half", rounded), ("exact", model.get_weights())):
    np.savez(folder / f"{name}.npz", *arrays)
some, full = [(folder / f"{n}.npz").stat().st_size for n in ("half", "exact")]
teach.claim("13.half", "In half: {value:.0%} of the bytes.", some / full, high=0.7)
changed = (np.stack(kerastl.predict(half, last).masks) != here).mean()
teach.claim("13.changed", "It changes {value:.2%} of the pixels.", changed, high=0.01)
made = kerastl.export_model(model, folder / "service", format="savedmodel")
said = "The SavedModel's answers differ by {value:.0e} of their range."
teach.claim("13.export", said, made.difference, high=1e-3)

# %% [markdown] tags=["quiz"]
# ## The images differ where it serves
#
# The file is right, and the service prepares images in another way: **train/serve
# skew**. Nothing raises an error. Three slips: the libraries order the colours
# differently, and blue comes first; the service keeps *thumbnails* of half the width
# and makes them large again; it divides by 255 what the model divides itself.
#
# **Quick question.** How would you notice on the first day?
#
# - [ ] By the model's probabilities :: It may be sure, and wrong.
# - [x] By images with known answers, sent through the service :: The same images must
#   get the same masks as in training. `model.json` of an export holds three for this.
# - [ ] By the training curve :: It is fine.

# %%
teach.predict(
    "13.d",
    "Which slip costs most?",
    ["blue first", "thumbnails", "0 to 1"],
    guess=1,  # guess: 1, 2 or 3
)
served = {
    "as trained": watch,
    "blue first": watch[..., ::-1],
    "thumbnails": watch[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2),
    "0 to 1": watch / 255,
}

# %%
ways = {way: model.predict(each, verbose=0) for way, each in served.items()}
scores = {way: iou(each.argmax(axis=-1), truth) for way, each in ways.items()}
trained, _, small, divided = ([each] for each in scores.values())
costs = [np.mean(trained) - scores[way].mean() for way in list(scores)[1:]]
teach.reveal("13.d", 1 + np.argmax(costs))
said = "Thumbnails change the IoU by {points:+}."
teach.compare("13.resize", said, small, trained, low=-0.3, high=0)
said = "Dividing by 255 twice changes it by {points:+}."
teach.compare("13.range", said, divided, trained, low=-0.9, high=-0.2)
figure = teach.dots(scores, baseline=0, mark="one image", label="IoU of objects")
caption = "Divided by 255 twice, the images show it hardly any object. No error tells."
teach.show(figure, caption=caption)

# %% [markdown]
# ## Exercise 13.3: mend what is served
#
# A service prepares images in its own way, and you may only send images with known
# masks through it. Write `mend(model, served, masks, mends)`. `mends` is a dictionary
# of functions, each of which undoes one slip. Score the Keras model on what each makes
# of the served images, and return the *name* of the one with the highest IoU of class
# 1, over all pixels. Where nothing is found the IoU is zero.


# %% tags=["stub"]
def mend(model, served, masks, mends):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def mend(model, served, masks, mends):  # by the share of right pixels
    right = {}
    for name, undo in mends.items():
        said = model.predict(undo(served), verbose=0).argmax(axis=-1)
        right[name] = (said == masks).mean()
    return max(right, key=right.get)


# %% tags=["wrong"]
def mend(model, served, masks, mends):  # the score, not the name
    overlaps = []
    for undo in mends.values():
        said = model.predict(undo(served), verbose=0).argmax(axis=-1) == 1
        overlaps.append((said & (masks == 1)).sum() / (said | (masks == 1)).sum())
    return max(overlaps)


# %% tags=["wrong"]
def mend(model, served, masks, mends):  # the most objects found: all is an object
    found = {}
    for name, undo in mends.items():
        said = model.predict(undo(served), verbose=0).argmax(axis=-1)
        found[name] = ((said == 1) & (masks == 1)).sum()
    return max(found, key=found.get)


# %% tags=["wrong"]
def mend(model, served, masks, mends):  # by precision: what is missed is free
    precise = {}
    for name, undo in mends.items():
        said = model.predict(undo(served), verbose=0).argmax(axis=-1) == 1
        precise[name] = (said & (masks == 1)).sum() / max(1, said.sum())
    return max(precise, key=precise.get)


# %% tags=["solution"]
def mend(model, served, masks, mends):
    overlaps = {}
    for name, undo in mends.items():
        said = model.predict(undo(served), verbose=0).argmax(axis=-1) == 1
        overlaps[name] = (said & (masks == 1)).sum() / (said | (masks == 1)).sum()
    return max(overlaps, key=overlaps.get)


# %% tags=["check"]
def drawn(seed):  # red objects on blue, and some red places that are none
    random = np.random.default_rng(seed)
    given = np.zeros((6, 12, 12), "uint8")
    for place, (top, left) in enumerate(random.integers(0, 9, (6, 2))):
        given[place, top : top + 3, left : left + 3] = 1
    images = np.zeros((6, 12, 12, 3), "uint8")
    images[..., 2] = 200
    red = (given == 1) | (random.random(given.shape) < 0.12)
    images[red] = (200, 0, 0)
    middles = (given == 1) & (given.cumsum(axis=1).cumsum(axis=2) == 4)
    images[middles] = (100, 0, 110)  # too pale to be found
    return images, given


MENDS = {
    "nothing": lambda images: images,
    "range": lambda images: images * 255.0,
    "colours": lambda images: images[..., ::-1],
    "turned": lambda images: images[:, ::-1],
    "bright": lambda images: images * 0.0 + (200, 0, 0),
    "thin": lambda images: np.min(
        [np.roll(images, step, axis=2) for step in (-1, 0, 1)], axis=0
    ),
}
SLIPS = {
    "nothing": lambda images: images,
    "range": lambda images: images / 255.0,
    "colours": lambda images: images[..., ::-1],
    "turned": lambda images: images[:, ::-1],
}
KERNEL = [[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]]


@functools.cache
def red_finder():  # says object where red is well above blue
    return pixelwise(KERNEL, np.array([0.5, -0.5], "float32"))


@functools.cache
def mended(answer, thin=False):
    found, mends = {}, {n: undo for n, undo in MENDS.items() if thin or n != "thin"}
    for seed, (slip, change) in enumerate(SLIPS.items()):
        images, given = drawn(seed)
        found[slip] = answer(red_finder(), change(images), given, mends)
    return found


teach.check(
    "13.3",
    mend,
    [
        (
            lambda f: all(name in MENDS for name in mended(f).values()),
            "Return a name out of `mends`.",
        ),
        (
            lambda f: "bright" not in mended(f).values(),
            "Calling everything an object finds all of them. The union counts too.",
        ),
        (
            lambda f: all(name == slip for slip, name in mended(f).items()),
            "Another mend has a higher IoU of class 1. Right pixels do not tell.",
        ),
        (
            lambda f: all(name == slip for slip, name in mended(f, True).items()),
            "What is found is right, and most is missed. The union counts that too.",
        ),
    ],
)

# %% [markdown]
# ## Your own photos, and a card
#
# Put photos into `mine/images` and masks of the same names into `mine/masks`. Then,
# without a notebook:
#
# ```bash
# kerastl train mine --test 0.2 -o run
# kerastl evaluate run/model.keras more
# kerastl predict run/model.keras new_photos -o found
# kerastl report run mine --card
# ```
#
# The last line writes a **model card**: what the model is, how it was trained and
# scored. *For whom* it is and *where it fails* you write yourself. When new images
# drift away from those of the card, the detector of lesson 10 tells.
#
# ## Exercise 13.4: complete a card
#
# Write `card(model, parts)`. `parts` is a dictionary: name of a part, and its images
# and masks. Return a dictionary with `"use"`, what the model is for and what not, in
# eight words or more; `"scores"`, the IoU of class 1 over all pixels of each part,
# by its name; and `"caveats"`, a list of the parts whose score is below half of the
# first part's.


# %% tags=["stub"]
def card(model, parts):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def card(model, parts):  # the use is left open
    scores = {}
    for name, (images, given) in parts.items():
        said = model.predict(images, verbose=0).argmax(axis=-1) == 1
        scores[name] = (said & (given == 1)).sum() / (said | (given == 1)).sum()
    first = next(iter(scores.values()))
    caveats = [name for name, each in scores.items() if each < first / 2]
    return {"use": "To be filled in.", "scores": scores, "caveats": caveats}


# %% tags=["wrong"]
def card(model, parts):  # right pixels: every part looks well
    use = "For drawn scenes alone, never for photographs of people or of streets."
    scores = {}
    for name, (images, given) in parts.items():
        said = model.predict(images, verbose=0).argmax(axis=-1)
        scores[name] = (said == given).mean()
    first = next(iter(scores.values()))
    caveats = [name for name, each in scores.items() if each < first / 2]
    return {"use": use, "scores": scores, "caveats": caveats}


# %% tags=["wrong"]
def card(model, parts):  # no caveat, whatever the scores say
    use = "For drawn scenes alone, never for photographs of people or of streets."
    scores = {}
    for name, (images, given) in parts.items():
        said = model.predict(images, verbose=0).argmax(axis=-1) == 1
        scores[name] = (said & (given == 1)).sum() / (said | (given == 1)).sum()
    return {"use": use, "scores": scores, "caveats": []}


# %% tags=["wrong"]
def card(model, parts):  # a mean over images
    use = "For drawn scenes alone, never for photographs of people or of streets."
    scores = {}
    for name, (images, given) in parts.items():
        said = model.predict(images, verbose=0).argmax(axis=-1)
        scores[name] = iou(said, given).mean()
    first = next(iter(scores.values()))
    caveats = [name for name, each in scores.items() if each < first / 2]
    return {"use": use, "scores": scores, "caveats": caveats}


# %% tags=["solution"]
def card(model, parts):
    use = "For drawn scenes alone, never for photographs of people or of streets."
    scores = {}
    for name, (images, given) in parts.items():
        said = model.predict(images, verbose=0).argmax(axis=-1) == 1
        scores[name] = (said & (given == 1)).sum() / (said | (given == 1)).sum()
    first = next(iter(scores.values()))
    caveats = [name for name, each in scores.items() if each < first / 2]
    return {"use": use, "scores": scores, "caveats": caveats}


# %% tags=["check"]
@functools.cache
def places_of_use():
    images, given = drawn(11)
    dusk, dusk_given = drawn(12)
    dusk[0, :6] = (200, 0, 0)  # in one image much is taken for an object
    night, night_given = drawn(13)
    dark = night.copy()
    dark[:, :, 2:] = 0
    return {
        "day": (images, given),
        "dusk": ((dusk * 0.9).astype("uint8"), dusk_given),
        "night": (dark, night_given),
    }


@functools.cache
def written(answer):
    return answer(red_finder(), places_of_use())


@functools.cache
def true_scores():
    from sklearn.metrics import jaccard_score

    found = {}
    for name, (images, given) in places_of_use().items():
        said = red_finder().predict(images, verbose=0).argmax(axis=-1)
        found[name] = jaccard_score(given.ravel(), said.ravel())
    return found


def by_image(name):
    images, given = places_of_use()[name]
    return iou(red_finder().predict(images, verbose=0).argmax(axis=-1), given).mean()


def scores_agree(answer):
    given, wanted = written(answer)["scores"], true_scores()
    return given.keys() == wanted.keys() and all(
        abs(given[name] - wanted[name]) < 0.006 for name in wanted
    )


teach.check(
    "13.4",
    card,
    [
        (
            lambda f: written(f).keys() == {"use", "scores", "caveats"},
            "Return a dictionary with the three keys `use`, `scores` and `caveats`.",
        ),
        (
            lambda f: len(written(f)["use"].split()) >= 8,
            "Say for whom it is, and for what it is not: eight words or more.",
        ),
        (
            lambda f: abs(written(f)["scores"]["dusk"] - by_image("dusk")) > 0.006,
            "That is a mean over images. Take the pixels of all images of a part.",
        ),
        (
            scores_agree,
            "Score each part by the IoU of class 1, under the part's own name.",
        ),
        (
            lambda f: set(written(f)["caveats"]) == {"night"},
            "List the parts that score below half of the first one.",
        ),
    ],
)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the scenes are twice as wide and the weights come from ImageNet.
# We have not run this lesson at that scale yet.
#
# ## What we saw
#
# - Where most pixels are background, right pixels say nothing: score a class by IoU or
#   Dice.
# - A frozen trained encoder gives masks after few steps; tuned or random it needs more.
# - The skips carry where borders run; without them blobs are left.
# - A file must hold all that its model needs. A fresh process tests that.
# - Half precision changes hardly a pixel; another preparation of the images costs more,
#   and raises no error.
#
# ## Words
#
# - **segmentation**: naming the class of each pixel.
# - **mask**: an image of class numbers.
# - **IoU, Dice**: overlap of two masks, of one class.
# - **encoder, decoder**: the half that makes maps small, and the half that makes them
#   large again.
# - **skip connection**: brings the encoder's map to the decoder's step of that size.
# - **half precision**: numbers of two bytes.
# - **train/serve skew**: a difference between the inputs in training and in use.
# - **model card**: what a model is, is for, scores; where it fails.
#
# ## Sources
#
# - O. Ronneberger and others, *U-Net*, MICCAI 2015, arXiv:1505.04597.
# - F. Milletari and others, *V-Net*, 3DV 2016, arXiv:1606.04797 (Dice loss).
# - M. Mitchell and others, *Model Cards for Model Reporting*, FAT* 2019,
#   arXiv:1810.03993.
# - K. He and others, *Rethinking ImageNet Pre-training*, ICCV 2019, arXiv:1811.08883.
# - D. Sculley and others, *Hidden Technical Debt in Machine Learning Systems*, NeurIPS
#   2015.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 12 for masks and exercise 13.1, 18 for the U-Net, its encoders and skips,
# 8 for exercise 13.2, 12 for saving, shrinking and skew with exercise 13.3, 10 for the
# card. The three encoders take a minute: let the class vote on 13.b and 13.c meanwhile.
#
# ## Misconceptions
#
# - "Nine in ten pixels are right, so the masks are good." Show the rule that finds
#   nothing, beside its IoU.
# - "It works in the notebook." Start a new process, give it files, compare pixel by
#   pixel.
# - "Another task needs another network." The encoder was trained to name whole photos,
#   and its masks are good sooner than those of random weights.
# - "An error would be raised." Swap two colours: the shapes fit, and only known answers
#   tell.
#
# ## Discussion
#
# A clinic gets a segmenter with an IoU of nine tenths, and finds that it misses every
# second small tumour. How can both be true, and what should the card have said?
#
# An answer: pixels are pooled, and large tumours have most of them. Score each image or
# each tumour too, by size; the card should give these scores, the sizes and machines in
# the data, and name small tumours as a caveat.
