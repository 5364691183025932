# %% [markdown]
# # 00 Start here
#
# Does this course run on your computer, and can you believe what it shows you?
#
# You will let a network that has seen a hundred thousand photographs look at new
# pictures, before and after it learns from some of them. Each lesson has three tools. A
# *guess* asks what you expect before a cell runs. A *check* tries your answer to an
# exercise and gives a hint. A *claim* is a sentence with a number that was just
# measured, and the band in which that number should lie.
#
# ## You will be able to
#
# - say which versions you run;
# - name the parts of a network, and which of them learn here;
# - make a first prediction with a network that somebody else has trained;
# - use the guesses, the checks and the claims of this course.
#
# Work from top to bottom and run each cell with Shift and Enter. No cell needs the
# internet or a graphics processor (GPU).

# %% [markdown]
# ## One setting
#
# Each row of the table below has two values. The left one is the *tiny* scale: data and
# weights are part of the library, and nothing is downloaded. The right one is the
# *full* scale: real photographs and weights from ImageNet.
#
# The cell after it chooses: begin with the tiny scale. Write `scale="full"` there, or
# set `KERASTL_SCALE`, for the other.
#
# Five rows need a word. `backbone` is the network that we borrow, `alpha` its width (at
# one half it is half as wide as the full network, and quicker), `weights` the numbers
# it has learnt, `image_size` the pixels of height and width to which each image is
# brought. The last one is added: `seed` fixes the random choices, so that a second run
# makes the same ones. *ImageNet* is a collection of a million photographs of a thousand
# classes.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("shapes", "flowers"),
    "licence": ("Apache-2.0; weights non-commercial", "CC BY, see LICENSE.txt"),
    "backbone": ("MobileNet", "MobileNet"),
    "alpha": (0.5, 0.25),
    "weights": ("tiny", "imagenet"),
    "image_size": (96, 224),
    "download": ("nothing", "about 220 MB"),
    "minutes": (1, 5),
}

# %%
L = teach.lesson("00", SETTINGS, scale="auto")

# %% [markdown] tags=["quiz"]
# **Quick question.** You change the scale from tiny to full. Which cells must you edit
# besides the one that chooses?
#
# - [ ] The cell that loads the data :: It asks for `L.dataset`, a row of the table.
# - [ ] Every cell with a number in it :: Numbers that depend on the scale are rows of
#   the table too.
# - [x] None :: All that differs between the scales is in the table.

# %% [markdown]
# ## What is installed here
#
# If a result of yours differs from your neighbour's, compare this list first.

# %%
import importlib.metadata
import platform

print(f"{'python':<14}{platform.python_version()}")
for package in ("kerastl", "keras", "tensorflow", "jax", "numpy", "scikit-learn"):
    try:
        print(f"{package:<14}{importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        print(f"{package:<14}not installed")

# %% [markdown]
# ## Photographs first
#
# What is such a network good for? We take pieces of seven photographs, four of each.
# The network turns each into a list of numbers, its *features*, and we look up the
# piece with the most similar list. Then we do the same with the bare pixels. (Pieces of
# one photograph share light and colours.)
#
# Differences are given in *points*: a point is one in a hundred. The interval says
# where the true difference most likely lies; lesson 01 says more about it.

# %% tags=["plumbing"]
import numpy as np
from matplotlib import pyplot as plt

import kerastl

photos = teach.photographs()
reading = {"alpha": L.alpha, "weights": L.weights, "image_size": L.image_size}
extractor = kerastl.features.FeatureExtractor(L.backbone, **reading)
views = {"features": extractor.fit_transform(photos.images), "pixels": photos.images}


def most_similar(rows):  # for each piece, which other one
    rows = rows.reshape(len(rows), -1).astype("float32")
    rows = rows - rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = rows @ rows.T - 2 * np.eye(len(rows))
    return alike.argmax(axis=1)


twins = {name: most_similar(rows) for name, rows in views.items()}
own = {name: photos.labels[twin] == photos.labels for name, twin in twins.items()}
said = (
    "Features find a piece of the same photograph more often than pixels: {points:+}."
)
teach.compare("00.alike", said, own["features"], own["pixels"], low=0.1, high=0.9)
asked = np.arange(0, len(photos.labels), 4)
figure, grid = plt.subplots(3, len(asked), figsize=(8.4, 3.9))
rows = {"a piece": asked, **{f"by {name}": each[asked] for name, each in twins.items()}}
for line, (name, which) in zip(grid, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axes, k in zip(line, which, strict=True):
        axes.imshow(photos.images[k])
        axes.set(xticks=[], yticks=[])
        axes.set_title(photos.class_names[photos.labels[k]], fontsize=8)
figure.tight_layout()
counts = [f"{each.sum()} of {len(each)} by {name}" for name, each in own.items()]
caption = f"The most similar piece is of the same photograph: {', '.join(counts)}."
alt = "Seven pieces of photographs, below each the most similar one. " + caption
teach.show(figure, caption=caption, alt=alt)

# %% [markdown] tags=["quiz"]
# ## The pictures
#
# The data come in three parts. The network learns from the *training* images. The
# *validation* images are for choices, such as when to stop. The *test* images are
# looked at once, at the end. A picture in two parts would make the last number too
# good, so each lesson proves that there is none.
#
# **Quick question.** You try two networks. Which images choose between them?
#
# - [ ] The training images :: The one that remembers them best would win.
# - [x] The validation images :: They are new to both, and there to choose by.
# - [ ] The test images :: They are looked at once.

# %%
train, validation, test = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
teach.claim(
    "00.shared",
    "{value} images are in more than one part.",
    teach.shared_images(train, validation, test),
    low=0,
    high=0,
)
print(f"{len(train)} images to learn from, in the classes {train.class_names}")

# %%
few = [int(np.flatnonzero(train.labels == c)[i]) for i in (0, 1) for c in range(5)]
sample = train.subset(few)
pixels = next(iter(kerastl.batches(sample, image_size=L.image_size, batch_size=10)))[0]
options = {"labels": sample.labels, "class_names": train.class_names, "columns": 5}
figure = kerastl.plots.images(np.array(pixels), **options)
teach.show(figure, caption="Two images of five classes, with their names.")

# %% [markdown]
# ## A network that has seen other things
#
# ```
#            backbone: borrowed, frozen                     head: new, learns
#   image -> [ layer ] -> [ layer ] -> ... -> [ layer ] -> [ layer ] -> a number
#            edges        patterns            features                  for each class
# ```
#
# A *network* is a row of *layers*; each computes something from what the layer before
# gave it. How it computes is set by its *weights*, numbers that training has found.
# Most layers of our backbone are *convolutions*: they slide small windows of weights
# over the image and note how well each place fits. Each window gives a map, called a
# *channel*.
#
# The *backbone* turns an image into a list of *features*: one number for each channel
# of its last layer, averaged over the places. A new *head*, a single layer, turns
# features into one number for each class, its *logits*. *Softmax* makes probabilities
# of them: positive numbers that sum to one, in the same order. Backbone and head
# together are a *classifier*. It names the likeliest class; the probability of that
# class is its *confidence*. The head knows nothing yet.

# %%
teach.predict(
    "00.a",
    "How sure is the untrained classifier of the class of one image, in percent?",
    guess=50,  # guess: a number from 0 to 100
)

# %%
backbone = kerastl.build_backbone(
    L.backbone, alpha=L.alpha, weights=L.weights, image_size=L.image_size
)
model = kerastl.build_classifier(backbone, train.class_names, seed=L.seed)
first = kerastl.predict(model, sample)
teach.reveal("00.a", 100 * first.confidences[0], form="{:.0f} percent")
print(f"That is one part in {1 / first.confidences[0]:.1f}.")

# %% [markdown]
# The features are good, but nobody has told the head which feature means which class.
# It gives every class the same probability. So the first thing to beat is a rule that
# looks at nothing: always name the class with the most images. Such a rule is a
# *baseline*, and each lesson has one.
#
# ## Teach the head
#
# Then the head learns, and the backbone stays exactly as it is: it is *frozen*. This is
# the cheapest kind of transfer learning, a *linear probe*. The backbone looks at each
# image once; after that only the small head is trained on the features.
# `kerastl.fine_tune` does it: its `recipe` says what is to learn.
#
# How does it learn? The *loss* is one number that says how wrong the answers are: here
# it is large where the right class got a small probability. The *gradient* says for
# each weight in which direction the loss falls. An *optimizer*, here one called *Adam*,
# moves the weights a small step in that direction; the *learning rate* sets the size of
# the step. A pass over all training images is an *epoch*.
#
# The curves say how the loss fell and the *accuracy*, the share of right answers, rose.
# The head does better on the images that it learns from. That gap is *overfitting*: a
# part of what was learnt holds for them only. The star marks the epoch whose weights
# were kept, the best on the validation images. While the head learns, a part of the
# features is left out at random (*dropout*); the hollow diamond is the score on
# training images without that. Then comes the one look at the test images.

# %%
baseline = np.bincount(test.labels).max() / len(test)
teach.claim(
    "00.baseline",
    "Always naming the most frequent class is right for {value:.1%} of test images.",
    baseline,
    low=0.1,
    high=0.35,
)

# %%
history = kerastl.fine_tune(
    model,
    train,
    validation,
    recipe="linear_probe",
    seed=L.seed,
    verbose=0,
)
caption = "The loss falls, the share of right answers rises; the star marks the best."
teach.show(kerastl.plots.history(history), caption=caption)

# %%
teach.predict(
    "00.b",
    "For how many of 100 test images will the trained head name the right class?",
    guess=50,  # guess: a number from 0 to 100
)

# %%
predictions = kerastl.predict(model, test)
accuracy = float(np.mean(predictions.indices == test.labels))
teach.reveal("00.b", 100 * accuracy, form="{:.0f} of 100")
teach.claim(
    "00.gain",
    "On the test images the trained head is {points} above the baseline.",
    accuracy - baseline,
    low=0.3,
    high=0.75,
)

# %%
caption = "Rows: what it is. Columns: what was said. Off the diagonal: mistakes."
teach.show(kerastl.plots.confusion(kerastl.evaluate(model, test)), caption=caption)

# %% tags=["plumbing"]
after = kerastl.predict(model, sample)
place = np.arange(len(train.class_names))
figure, axes = plt.subplots(figsize=(6, 2.6))
before = {"label": "before training", "hatch": "//", "color": teach.COLOURS[1]}
axes.bar(place - 0.2, first.probabilities[0], 0.4, **before)
after_style = {"label": "after training", "color": teach.COLOURS[0]}
axes.bar(place + 0.2, after.probabilities[0], 0.4, **after_style)
axes.set_xticks(place, train.class_names)
title = f"One image of the class {train.class_names[sample.labels[0]]}"
axes.set(ylim=(0, 1), ylabel="probability", title=title)
axes.legend()
words = f"{after.labels[0]} leads with {after.confidences[0]:.2f}"
alt = f"Bars: all classes alike before training; after it {words}."
teach.show(figure, caption="After training one class leads.", alt=alt)

# %% [markdown]
# ## Exercise 00.1: the doubtful picture
#
# `predictions` holds one row for each test image. Which image is the classifier least
# sure of? Give its position. `predictions.confidences` is a good place to start: an
# array with the confidence for each image.
#
# The check asks for *properties*, from coarse to fine, and gives one hint at the first
# that does not hold. Run it as often as you like; it never stops the notebook.

# %% tags=["stub"]
doubtful = ...

# %% tags=["wrong"]
doubtful = predictions.confidences.min()  # the probability, not where it is

# %% tags=["wrong"]
doubtful = int(predictions.confidences.argmax())  # the other end

# %% tags=["wrong"]
doubtful = predictions.labels[int(predictions.confidences.argmin())]  # its name

# %% tags=["solution"]
doubtful = int(predictions.confidences.argmin())

# %% tags=["check"]
teach.check(
    "00.1",
    doubtful,
    [
        (
            lambda i: not isinstance(i, str),
            "That is the name of a class. Where in the list is the image?",
        ),
        (
            lambda i: int(i) == i,
            "That is a probability. `argmin` says where the least one is.",
        ),
        (
            lambda i: 0 <= i < len(predictions.confidences),
            "There are not so many images. Look in `confidences`: one for each image.",
        ),
        (
            lambda i: predictions.confidences[i] < np.median(predictions.confidences),
            "It is sure of that one. Look for the least confidence, not the greatest.",
        ),
        (
            lambda i: predictions.confidences[i] == predictions.confidences.min(),
            "Another image has a smaller greatest probability.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 00.2: other pictures, the same network
#
# `sketches` holds drawings on paper of the same shapes, in a style that the network has
# not met. How well does the trained `model` do on them?
#
# Write `share_right(model, images)`. `images` is an image set: `kerastl.predict(model,
# images)` gives `.indices`, the position of the likeliest class of each image, and
# `images.labels` holds the right positions. Return the share that is right, from zero
# to one. Print `share_right(model, sketches)` too.

# %%
sketches, _ = kerastl.make_shapes(60, image_size=L.image_size, style="sketch", seed=7)


# %% tags=["stub"]
def share_right(model, images):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def share_right(model, images):  # how many, not which share
    return (kerastl.predict(model, images).indices == images.labels).sum()


# %% tags=["wrong"]
def share_right(model, images):  # how sure it is, not whether it is right
    return kerastl.predict(model, images).confidences.mean()


# %% tags=["wrong"]
def share_right(model, images):  # the share that is wrong
    return (kerastl.predict(model, images).indices != images.labels).mean()


# %% tags=["solution"]
def share_right(model, images):
    return (kerastl.predict(model, images).indices == images.labels).mean()


# %% tags=["check"]
import functools


@functools.cache
def measured(answer, which):
    part = {"sketches": sketches, "sample": sample}[which]
    return float(answer(model, part))


drawn = kerastl.predict(model, sketches)
truly = float(np.mean(drawn.indices == sketches.labels))
teach.check(
    "00.2",
    share_right,
    [
        (
            lambda f: 0 <= measured(f, "sketches") <= 1,
            "A share is at most one: divide by the number of images.",
        ),
        (
            lambda f: abs(measured(f, "sketches") - 1 + truly) > 1e-6,
            "That is the share that is wrong.",
        ),
        (
            lambda f: abs(measured(f, "sketches") - truly) < 1e-6,
            "Compare the positions in `indices` with `images.labels`.",
        ),
        (
            lambda f: abs(measured(f, "sample") * len(sample) % 1) < 1e-3,
            "Use the images that are given, whichever they are.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 00.3: your own transfer
#
# Now the whole thing, on pictures of another kind: scans of handwritten digits.
# `digits` and `check_digits` are image sets. Make `reader`: a classifier of the digits
# on `small`, a backbone for smaller images, with a head taught by `digits`. You
# need two calls from above: `kerastl.build_classifier(small, digits.class_names)` and
# `kerastl.fine_tune(reader, digits, check_digits, recipe="linear_probe", verbose=0)`.

# %%
small = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny", image_size=32)
whole = kerastl.load_dataset("digits", seed=L.seed)
digits, check_digits = whole.train.subset(range(300)), whole.validation

# %% tags=["stub"]
reader = ...

# %% tags=["wrong"]
reader = model  # it knows shapes, not digits

# %% tags=["wrong"]
reader = kerastl.build_classifier(small, digits.class_names)  # has learnt nothing

# %% tags=["wrong"]
# what the training returns is its history, not the model
reader = kerastl.fine_tune(
    kerastl.build_classifier(small, digits.class_names),
    digits.subset(range(40)),
    recipe="linear_probe",
    verbose=0,
)

# %% tags=["solution"]
reader = kerastl.build_classifier(small, digits.class_names)
options = {"recipe": "linear_probe", "verbose": 0}
run = kerastl.fine_tune(reader, digits, check_digits, **options)

# %% tags=["check"]
digit_names = tuple(digits.class_names)
teach.check(
    "00.3",
    reader,
    [
        (
            lambda m: hasattr(m, "predict"),
            "`reader` is to be the model; what `fine_tune` returns is a history.",
        ),
        (
            lambda m: tuple(kerastl.class_names(m)) == digit_names,
            "It does not name digits. Build a new classifier on `small`.",
        ),
        (
            lambda m: kerastl.evaluate(m, check_digits).accuracy > 0.4,
            "It hardly reads a digit. Has its head learnt from `digits`?",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Look at what goes wrong
#
# One number hides which images fail, and how. Below are the mistakes that the network
# was most certain of: above each what it is, then what was said, and the confidence.
#
# **Quick question.** After the head has learnt, which numbers of the backbone differ
# from those it came with?
#
# - [ ] All of them, a little :: That would be fine-tuning: see lesson 05.
# - [ ] Those of its last layers :: Nobody unfroze any layer.
# - [x] None :: In a linear probe only the head learns.

# %%
wrong = np.flatnonzero(predictions.indices != test.labels)
images = kerastl.batches(test, image_size=L.image_size, batch_size=len(test))
pixels = np.array(next(iter(images))[0])
seen = pixels, test.labels, predictions.probabilities, test.class_names
caption = "The mistakes that the network was most certain of."
teach.show(kerastl.plots.mistakes(*seen, count=8), caption=caption)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the same cells load photographs of flowers and a network that was
# trained on ImageNet. Is the gain over the baseline larger or smaller there? Guess
# before you run.

# %% [markdown] tags=["quiz"]
# ## What we saw
#
# - With a new head every class is equally likely at first.
# - A trained head on a frozen backbone beats the baseline.
#
# Next: lesson 01 asks how much the borrowed weights are worth, and why.
#
# **Quick question.** A claim on your screen says that it does not hold on this run.
# What is the first thing to do?
#
# - [ ] Change the seed until it holds :: Then you would have chosen your result.
# - [x] Compare versions, scale and data with those of the lesson :: A claim held on
#   several seeds when the lesson was made; most likely something else differs.
# - [ ] Ignore it, since nothing stopped :: It goes on so that you can look for the
#   cause.

# %% [markdown]
# ## Words
#
# - **layer**: one step of a network's computation; **weights**: its numbers.
# - **backbone**: the part of a network that turns an image into features.
# - **head**: the layers on top that turn features into classes.
# - **frozen**: not changed by training.
# - **loss**: how wrong the answers are, as one number.
# - **optimizer**: what moves the weights so that the loss falls.
# - **epoch**: one pass over the training images.
# - **overfitting**: doing better on the training images than on others.
# - **linear probe**: training the head only, on the features of a frozen backbone.
# - **baseline**: a result that needs no learning, to compare with.
#
# ## Sources
#
# - J. Yosinski and others, *How transferable are features in deep neural networks?*,
#   NeurIPS 2014.
# - Keras, *Transfer learning and fine-tuning*, the developer guide.
# - A. Howard and others, *MobileNets*, arXiv:1704.04861, section 3.3 on alpha.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 25 minutes: 5 for the installation, 10 for the first prediction and the head, 10 for
# the exercises. Have everybody run the cell with the versions before
# the lesson: most trouble in a classroom is an old version.
#
# ## Misconceptions
#
# - "Without a GPU nothing works." The tiny scale is made for two CPU cores; only the
#   full scale gains from a GPU.
# - "A pretrained network already knows my classes." It knows features. Before the head
#   is trained, every class is equally likely, as question 00.a shows.
# - "A gap between the two curves means that training failed." Some overfitting is
#   normal; the validation curve decides.
#
# ## Discussion
#
# Two students have a different number in the same cell. Which three things do you
# compare first, and when is a difference no cause for concern?
#
# An answer: the versions, the scale and the seed. A difference within a claim's band is
# none: other processors round in another way, and training carries that on.
