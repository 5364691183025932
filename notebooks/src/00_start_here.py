# %% [markdown]
# # 00 Start here
#
# Does this course run on your computer, and can you believe what it shows you?
#
# You will let a network that has seen a hundred thousand photographs look at pictures
# it has never seen, before and after you give it something to learn. Each lesson has
# three tools. A *guess* asks what you expect before a cell runs. A *check* tries your
# answer to an exercise and gives a hint. A *claim* is a sentence with a number that was
# just measured, and the band in which that number should lie.
#
# ## You will be able to
#
# - say which versions you run;
# - name the parts of a network, and which of them learn here;
# - make a first prediction with a network that somebody else has trained;
# - use the guesses, the checks and the claims of this course.
#
# Work from top to bottom and run each cell with Shift and Enter. No cell needs a
# network or a GPU.

# %% [markdown]
# ## One setting
#
# Each row of the table below has two values. The left one is the *tiny* scale: data and
# weights are part of the library, so that a classroom without a network loses nothing.
# The right one is the *full* scale: real photographs and weights from ImageNet.
#
# The cell after it chooses. Write `scale="full"` there, or set `KERASTL_SCALE`, and
# every later cell follows. Begin with the tiny scale.
#
# Four rows need a word. `backbone` is the network that we borrow, `alpha` its width (at
# one half it has half the channels of the full network, and is quicker), `weights` the
# numbers it has learnt, `image_size` the pixels of height and width to which each image
# is brought. *ImageNet* is a collection of a million photographs of a thousand classes.
#
# TensorFlow may write some lines on `oneDNN` and `CUDA` below some cells: it has found
# no GPU, and none is needed.

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
# - [ ] The cell that loads the data :: It asks for `L.dataset`, and that is a row of
#   the table: the table has already changed it.
# - [ ] Every cell with a number in it :: The numbers that depend on the scale are rows
#   of the table too.
# - [x] None :: All that differs between the scales is in the table, and only the cell
#   that chooses reads it.

# %% [markdown]
# ## What is installed here
#
# A result belongs to the versions it was made with. If a figure of yours differs from
# your neighbour's, compare this list first.

# %%
import importlib.metadata
import platform

print(f"{'python':<14}{platform.python_version()}")
for package in ("kerastl", "keras", "tensorflow", "jax", "numpy", "scikit-learn"):
    try:
        print(f"{package:<14}{importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        print(f"{package:<14}not installed")

# %%
import numpy as np
from matplotlib import pyplot as plt

import kerastl

# %% [markdown] tags=["quiz"]
# ## The pictures
#
# The data come in three parts. The network learns from the first, the *validation*
# images say when to stop, and the *test* images are looked at once, at the end. A
# picture that is in two parts would make the last number a lie, so each lesson proves
# that there is none.
#
# **Quick question.** You try two networks. Which images choose between them?
#
# - [ ] The training images :: The better memory would win.
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
teach.show(
    kerastl.plots.images(
        np.array(pixels), labels=sample.labels, class_names=train.class_names, columns=5
    )
)

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
# of them: positive numbers that sum to one, in the same order. The head knows nothing
# yet.
#
# How sure will the whole be of its first answer?

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
# *baseline*, and each lesson has one before it praises any network.
#
# ## Teach the head
#
# Then the head learns, and the backbone stays exactly as it is: it is *frozen*. This is
# the cheapest kind of transfer learning, a *linear probe*. The backbone looks at each
# image once; after that only the small head is trained on the features.
#
# How does it learn? The *loss* is one number that says how wrong the answers are: here
# it is large where the right class got a small probability. The *gradient* says for
# each weight in which direction the loss falls. An *optimizer*, here one called *Adam*,
# moves the weights a small step in that direction; the *learning rate* sets the size of
# the step. A pass over all training images is an *epoch*.
#
# The curves say how the loss fell and the *accuracy*, the share of right answers, rose.
# On the images that it learns from, the head does better than on the validation images.
# That gap is called *overfitting*: a part of what was learnt holds for the training
# images only. The star marks the epoch whose weights were kept, the best on the
# validation images. After that comes the one look at the test images.

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
teach.show(kerastl.plots.history(history))

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
    "The trained head is {points} above that on the test images.",
    accuracy - baseline,
    low=0.3,
    high=0.75,
)

# %%
teach.show(kerastl.plots.confusion(kerastl.evaluate(model, test)))

# %%
after = kerastl.predict(model, sample)
place = np.arange(len(train.class_names))
figure, axes = plt.subplots(figsize=(6, 2.6))
axes.bar(place - 0.2, first.probabilities[0], 0.4, label="before", hatch="//")
axes.bar(place + 0.2, after.probabilities[0], 0.4, label="after")
axes.set_xticks(place, train.class_names)
title = f"One image of the class {train.class_names[sample.labels[0]]}"
axes.set(ylim=(0, 1), ylabel="probability", title=title)
axes.legend()
words = f"{after.labels[0]} leads with {after.confidences[0]:.2f}"
teach.show(figure, alt=f"Bars: all classes alike before training; after it {words}.")

# %% [markdown]
# ## Exercise 00.1: the doubtful picture
#
# `predictions` holds one row for each test image. Which image is the classifier least
# sure of? Give its position. `predictions.confidences` is a good place to start.
#
# The check does not compare your answer with a stored one. It asks for *properties*,
# from coarse to fine, and stops with one hint at the first that does not hold. Run it
# as often as you like; it never stops the notebook. Open the folded cell to read what
# it asks: that is no cheating, for the properties do not say how to get there.

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
# ## Exercise 00.2: probabilities that are none
#
# Probabilities of classes that exclude each other are between zero and one, there is
# one for each class, and together they make one. Write a list `broken` that keeps the
# first two rules and breaks the third.

# %% tags=["stub"]
broken = ...

# %% tags=["wrong"]
broken = [1 / len(test.class_names)] * len(test.class_names)  # sums to one after all

# %% tags=["wrong"]
broken = [2.0] * len(test.class_names)  # breaks the first rule instead

# %% tags=["wrong"]
broken = [0.9, 0.9]  # forgets that there is one for each class

# %% tags=["solution"]
broken = [0.9] * len(test.class_names)

# %% tags=["check"]
teach.check(
    "00.2",
    broken,
    [
        (
            lambda p: np.shape(p) == (len(test.class_names),),
            "One number for each class: `len(test.class_names)` of them.",
        ),
        (
            lambda p: min(p) >= 0 and max(p) <= 1,
            "Each number is to stay between zero and one.",
        ),
        (
            lambda p: abs(sum(p) - 1) > 1e-3,
            "Together these make one, so they are good probabilities. Break that.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 00.3: the share that is right
#
# Write `share_right(probabilities, labels)`. The first argument has a row for each
# image and a column for each class; the second has the right column of each row. Return
# the share of rows whose greatest probability is in the right column, from zero to one.


# %% tags=["stub"]
def share_right(probabilities, labels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def share_right(probabilities, labels):  # how many, not which share
    return (probabilities.argmax(axis=1) == labels).sum()


# %% tags=["wrong"]
def share_right(probabilities, labels):  # the probability itself, not its column
    return (probabilities.max(axis=1) == labels).mean()


# %% tags=["wrong"]
def share_right(probabilities, labels):  # the best row of each column
    return (probabilities.argmax(axis=0) == labels).mean()


# %% tags=["solution"]
def share_right(probabilities, labels):
    return (probabilities.argmax(axis=1) == labels).mean()


# %% tags=["check"]
table = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.1, 0.7]])
teach.check(
    "00.3",
    share_right,
    [
        (
            lambda f: 0 <= f(table, np.array([0, 0, 2])) <= 1,
            "A share is at most one: divide by the number of rows.",
        ),
        (
            lambda f: f(table, np.array([0, 0, 2])) > 0,
            "Compare the column of the greatest probability, not the probability.",
        ),
        (
            lambda f: f(table, np.array([0, 0, 2])) == 1,
            "Each row is an image: look for its greatest column, along axis 1.",
        ),
        (
            lambda f: abs(f(table, np.array([0, 1, 1])) - 1 / 3) < 1e-6,
            "One row in three is right here. Does your function compare with `labels`?",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Look at what goes wrong
#
# One number hides which images fail, and how. Look at the mistakes before you believe
# or blame a network: below are those that it was most certain of.
#
# **Quick question.** After the head has learnt, which numbers of the backbone differ
# from those it came with?
#
# - [ ] All of them, a little :: That would be fine-tuning, which lesson 05 is about.
# - [ ] Those of its last layers :: Nobody unfroze any layer.
# - [x] None :: In a linear probe only the head learns; the backbone is read and never
#   written.

# %%
wrong = np.flatnonzero(predictions.indices != test.labels)
images = kerastl.batches(test, image_size=L.image_size, batch_size=len(test))
pixels = np.array(next(iter(images))[0])
figure = kerastl.plots.mistakes(
    pixels, test.labels, predictions.probabilities, test.class_names, count=8
)
teach.show(figure)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the same cells load photographs of flowers and a network that was
# trained on ImageNet. The first run downloads both, and each step takes longer. The
# pictures are harder, but the network has seen far more of the world: look at whether
# the gain over the rule is larger or smaller, and guess before you run.

# %% [markdown] tags=["quiz"]
# ## What we saw
#
# - A backbone with weights and a head without: at first every class is equally likely.
# - A head on top of a frozen backbone beats the rule that looks at nothing.
# - A guess comes before a run, a check asks for properties, and a claim says a measured
#   number together with the band in which it belongs.
#
# Next: lesson 01 asks how much the borrowed weights are worth, and why.
#
# **Quick question.** A claim on your screen says that it does not hold on this run.
# What is the first thing to do?
#
# - [ ] Change the seed until it holds :: Then you would have chosen your result.
# - [x] Compare versions, scale and data with those of the lesson :: A claim held on
#   several seeds when the lesson was made, so most likely something else differs.
# - [ ] Ignore it, since nothing stopped :: It did not stop so that you can look; the
#   sentence itself is the alarm.

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
