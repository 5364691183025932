# %% [markdown]
# # 01 What and why
#
# You have five pictures of each class, and a network that has never seen one of them.
# Why should its weights be worth anything to you, and when are they worth nothing?
#
# ## You will be able to
#
# - name the four parts of every transfer: source, target, backbone, head;
# - read a curve of accuracy against images, and the paired interval of a difference;
# - recognise a case in which transfer does harm.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("shapes", "flowers"),
    "licence": ("Apache-2.0; weights non-commercial", "CC BY, see LICENSE.txt"),
    "backbone": ("MobileNet", "MobileNet"),
    "alpha": (0.5, 0.25),
    "weights": ("tiny", "imagenet"),
    "image_size": (64, 144),
    "download": ("nothing", "about 220 MB"),
    "minutes": (2, 12),
}

# %% [markdown] tags=["quiz"]
# ## Four words
#
# Somebody trained a network on a *source*: a hundred thousand photographs of animals,
# tools and food. You have a *target*: other pictures, other classes, few of each. You
# take over the *backbone*, which turns a picture into a list of numbers, its
# *features*. You throw away the old *head*, which named the old classes, and train a
# new one for yours.
#
# The next cell loads the target. As always it comes in three parts, and no picture is
# in two. The digits are for later, when something goes wrong on purpose.
#
# **Quick question.** A network was trained on photographs of animals. You want to sort
# scans of leaves by tree, and keep all of the network but its last layer. What is the
# target?
#
# - [ ] The photographs of animals :: They are the source: what the weights come from.
# - [x] The scans of leaves, sorted by tree :: The target is your own task and data.
# - [ ] The layers that you keep :: They are the backbone.
# - [ ] The last layer :: The old head goes away; a new head serves the target.

# %%
import kerastl

L = teach.lesson("01", SETTINGS, scale="auto")
train, validation, test = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
digits, check_digits, _ = kerastl.load_dataset("digits", test=0.2, seed=L.seed)
shared = teach.shared_images(train, validation, test)
shared += teach.shared_images(digits, check_digits)
said = "{value} images are in more than one part."
teach.claim("01.shared", said, shared, low=0, high=0)

# %%
import numpy as np


def as_array(part):
    options = {"image_size": L.image_size, "batch_size": len(part)}
    return np.array(next(iter(kerastl.batches(part, **options)))[0], "uint8")


few = [np.flatnonzero(train.labels == c)[i] for i in (0, 1) for c in range(5)]
pixels, check_pixels, names = as_array(train), as_array(validation), train.class_names
words = {"labels": train.labels[few], "class_names": names, "columns": 5}
teach.show(kerastl.plots.images(pixels[few], **words), caption="Images of the target.")

# %% [markdown] tags=["quiz"]
# ## What the first layers look at
#
# A picture of a cat and a picture of a bicycle have no object in common, but both have
# edges, corners and patches of colour. The first layers of a network see only a few
# pixels at a time, so they cannot know cats. What do they know?
#
# Most layers are *convolutions*: small windows of weights that slide over the picture.
# Each window gives a map of how well every place fits it, called a *channel*. We cut
# the network off after its first block with `kerastl.features.truncate`, and compare
# each channel's map of a picture with a plain map of its edges. In plain Keras:
# `keras.Model(base.input, base.get_layer("conv_pw_1_relu").output)`.
#
# **Quick question.** Why are the first layers the easiest to reuse?
#
# - [ ] They have the most weights :: They have the fewest; most weights sit near the
#   top.
# - [x] Edges and colours occur in nearly every picture :: What they respond to does not
#   depend on the classes of the source.
# - [ ] They are trained first :: All layers are trained at the same time.

# %% tags=["plumbing"]
building = {"alpha": L.alpha, "image_size": L.image_size, "weights": L.weights}
backbone = kerastl.build_backbone(L.backbone, **building)
early = kerastl.features.truncate(backbone, "conv_pw_1_relu")
answers = early.predict(pixels[few], verbose=0)
height, side = answers.shape[1], L.image_size // answers.shape[1]
edges = np.hypot(*np.gradient(pixels[few].mean(-1), axis=(1, 2)))
edges = edges.reshape(len(few), height, side, height, side).mean((2, 4))
centred = [each - each.mean((0, 1, 2)) for each in (edges, answers)]
product = (centred[0][..., None] * centred[1]).mean((0, 1, 2))
same = product / (edges.std() * (answers.std((0, 1, 2)) + 1e-6))

from matplotlib import pyplot as plt

best, worst = same.argmax(), abs(same).argmin()
pictures = pixels[few[0]], edges[0], answers[0, ..., best], answers[0, ..., worst]
titles = "picture", "its edges", f"channel {best}", f"channel {worst}"
figure, grid = plt.subplots(1, 4, figsize=(8, 2.2))
for axes, picture, title in zip(grid, pictures, titles, strict=True):
    axes.imshow(picture, cmap="gray")
    axes.set(xticks=[], yticks=[], title=title)
words = f"A {names[train.labels[few[0]]]}, its edges, channel {best}, most like edges"
caption = f"Channel {best} maps the edges; channel {worst} has least to do with them."
teach.show(figure, caption=caption, alt=f"{words}, and channel {worst}, least like.")

# %% [markdown]
# ## Is it the weights, or only the size?
#
# Perhaps any big network makes good features. Let us compare three descriptions of the
# same pictures: plain pixels, features of the same backbone with *random* weights, and
# features with the weights it came with. On each of them we train the same simple
# classifier, three times with other images. It is a *logistic regression*: a head of
# one layer, which needs no network below it; `regularization` keeps its weights small.
# Which description do you expect to win?
#
# Right answers are counted image by image, so that two descriptions can be compared on
# the *same* images. The *paired interval* of their difference says where the true
# difference most likely lies; it allows for chance in the images and in the draws.
# Where it holds zero, these runs do not settle who is better.
#
# The maps show the validation images along the two directions that best separate the
# *training* classes (*linear discriminant analysis*), for pixels and for features. The
# share above each is that of the simple classifier.

# %%
import time

step = L.image_size // 16
small, check_small = (p[:, ::step, ::step] for p in (pixels, check_pixels))
pairs = [[p.reshape(len(p), -1) / 255 for p in (small, check_small)]]
for weights in (None, L.weights):
    options = building | {"weights": weights, "seed": L.seed}
    extractor = kerastl.features.FeatureExtractor(L.backbone, **options).fit(pixels)
    start = time.perf_counter()
    pairs.append([extractor.transform(pixels)])
    seconds = time.perf_counter() - start  # of the last one, the learnt weights
    pairs[-1].append(extractor.transform(check_pixels))


# %%
def draw(labels, count, seed):  # positions of `count` images of each class
    mix = np.random.default_rng(seed).permutation(len(labels))
    return np.concatenate([mix[labels[mix] == c][:count] for c in np.unique(labels)])


SEEDS = [3 * L.seed + i for i in range(3)]


# %%
def trials(rows, labels, check_rows, check_labels, count):  # right: seeds, images
    draws = [draw(labels, count, seed) for seed in SEEDS]
    probe = kerastl.features.classical_head("logistic", regularization=10)
    answers = [probe.fit(rows[i], labels[i]).predict(check_rows) for i in draws]
    return np.array(answers) == check_labels


# %%
right = [trials(a, train.labels, b, validation.labels, 40) for a, b in pairs]
means = [each.mean() for each in right]
baseline = np.bincount(validation.labels).max() / len(validation)
said = "Always naming the most frequent class is right for {value:.1%}."
teach.claim("01.baseline", said, baseline, low=0.1, high=0.35)
said = "Random weights are {points} above that."
teach.claim("01.random", said, means[1] - baseline, low=-0.05, high=0.15)
said = "Learnt weights lead random ones by {points}."
teach.compare("01.weights", said, right[2], right[1], low=0.2, high=0.5)

# %% tags=["plumbing"]
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

figure, grid = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for axes, i, word in zip(grid, (0, 2), ("pixels", "features"), strict=True):
    view = LinearDiscriminantAnalysis("eigen", shrinkage="auto", n_components=2)
    flat = view.fit(pairs[i][0], train.labels).transform(pairs[i][1])
    for c, name in enumerate(names):
        style = {"marker": teach.MARKS[c], "color": teach.COLOURS[c], "label": name}
        axes.scatter(*flat[validation.labels == c].T, s=14, **style)
    axes.set(title=f"{word}: {means[i]:.0%} right", xticks=[], yticks=[])
figure.legend(*axes.get_legend_handles_labels(), loc="outside right")
words = f"of {len(validation)} images: from pixels {means[0]:.0%}"
caption = "Learnt features pull the classes apart; bare pixels do not."
alt = f"Two maps {words}, from features {means[2]:.0%} right."
teach.show(figure, caption=caption, alt=alt)

# %% [markdown]
# ## How many images, and how much time?
#
# Now the question that decides a project. We give both sides the same few images of
# each class, then twice as many, and so on. *Transfer*: the frozen backbone and a new
# head. *Scratch*: a small network that starts from random numbers and may change every
# weight. Each point is run with three seeds: other images, other starting weights. The
# band shows the least and the greatest of them.
#
# In the network below, `Conv2D(16, 3)` is a convolution with 16 windows of 3 by 3
# pixels, `strides=2` halves the map, `padding="same"` keeps its border, and `ReLU`
# turns negative numbers into zero. `BatchNormalization` keeps the numbers in range, and
# `Rescaling` does so with the pixels. `GlobalAveragePooling2D` averages each channel
# over the places; `Dense` is the head. `compile` gives a network its loss and its
# optimizer, `fit` trains it. The *optimizer* is `SGD`: small steps along the
# *gradient*, the direction in which the loss falls. `from_logits=True` says that the
# last layer gives *logits*, not yet probabilities. Scratch gets 200 steps of 24 images;
# more steps help it a little, and do not close the gap.
#
# Then the clock runs, with all training images. Transfer looks at each picture *once*;
# the time for this pass counts. Scratch looks at pictures again and again. The seconds
# are those of your computer; compare the heights first.

# %%
teach.predict(
    "01.b",
    "From how many images of each class on does scratch do as well on average?",
    ["from 5", "from 20", "from 80", "not within 80"],
    guess=2,  # guess: 1, 2, 3 or 4
)

# %%
import keras


def small_network(seed):
    keras.utils.set_random_seed(seed)
    shape, parts = (L.image_size, L.image_size, 3), []
    for width in (16, 32, 64, 128):
        parts.append(keras.layers.Conv2D(width, 3, strides=2, padding="same"))
        parts += [keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(len(names))]
    bottom = [keras.Input(shape), keras.layers.Rescaling(1 / 127.5, -1)]
    return keras.Sequential(bottom + parts + top)


# %%
scratch = small_network(0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
scratch.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)


def train_scratch(own, steps, seed):
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(own) for _ in range(steps)])
    order = order[: steps * 24]
    scratch.fit(pixels[order], train.labels[order], batch_size=24, verbose=0)
    answers = scratch.predict(check_pixels, verbose=0).argmax(axis=1)
    return answers == validation.labels


# %%
SIZES = [5, 20, 80]
starts = [small_network(seed).get_weights() for seed in SEEDS]
features, check_features = pairs[2]
given = features, train.labels, check_features, validation.labels
hits = {"transfer": [trials(*given, count) for count in SIZES], "scratch": []}
for count in SIZES:
    for j, seed in enumerate(SEEDS):
        scratch.set_weights(starts[j])  # compiled once: only the numbers go back
        own = draw(train.labels, count, seed)
        hits["scratch"].append(train_scratch(own, 200, seed))
    print(f"{count} images of each class: done", flush=True)

# %% tags=["plumbing"]
right = {way: np.reshape(each, (3, 3, -1)) for way, each in hits.items()}
curves = np.array([right[way].mean(axis=2) for way in ("transfer", "scratch")])
figure, axes = plt.subplots(figsize=(6, 3.4))
blue, orange = teach.COLOURS[:2]
styles = ("transfer", blue, "o-"), ("scratch", orange, "s--")
for each, (word, colour, style) in zip(curves, styles, strict=True):
    axes.plot(SIZES, each.mean(1), style, color=colour, label=word)
    axes.fill_between(SIZES, each.min(1), each.max(1), color=colour, alpha=0.2)
axes.axhline(baseline, color="gray", ls=":", label="most frequent class")
axes.set(xlabel="images of each class", ylabel="accuracy", ylim=(0, 1), xscale="log")
axes.set_xticks(SIZES, map(str, SIZES))
axes.minorticks_off()
axes.legend(title="line: mean of 3 seeds, band: least to greatest")
ends = curves.mean(2)[:, [0, -1]]
words = f"transfer {ends[0, 0]:.0%} and {ends[0, 1]:.0%}, scratch {ends[1, 0]:.0%} and"
caption = "Transfer leads at each size; scratch has not caught up."
alt = f"Curves, 5 and 80 images: {words} {ends[1, 1]:.0%} right."
teach.show(figure, caption=caption, alt=alt)

# %%
gain = (curves[0] - curves[1]).mean(1)
caught = np.append(gain <= 0, True).argmax()
teach.reveal("01.b", caught + 1)
said = "With 5 images of each class transfer leads by {points}."
few_right, many_right = ([right[way][i] for way in right] for i in (0, -1))
teach.compare("01.few", said, *few_right, low=0.05, high=0.45)
said = "With 80 images of each class transfer leads by {points}."
teach.compare("01.many", said, *many_right, low=0.1, high=0.4)

# %%
start = time.perf_counter()
probe = kerastl.features.classical_head("logistic", regularization=10)
reached = probe.fit(features, train.labels).score(check_features, validation.labels)
spent = seconds + time.perf_counter() - start
scratch.set_weights(starts[0])
clock, course = [0.0], [baseline]
for turn in range(8):
    start = time.perf_counter()
    course.append(train_scratch(np.arange(len(train)), 30, L.seed + turn).mean())
    clock.append(clock[-1] + time.perf_counter() - start)

# %%
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(clock, course, "s--", color=orange, label="scratch")
axes.plot(spent, reached, "o", ms=10, color=blue, label="transfer")
axes.set(xlabel="seconds", ylabel="accuracy", ylim=(0, 1))
axes.legend()
words = f"Transfer is at {reached:.0%} after {spent:.1f} seconds; scratch ends"
alt = f"{words} at {course[-1]:.0%} after {clock[-1]:.1f} seconds."
teach.show(figure, caption="Transfer is ahead of all that scratch reaches.", alt=alt)
said = "At its best moment scratch is {points} below transfer."
teach.claim("01.time", said, reached - max(course), low=0.05, high=0.4)

# %% [markdown]
# ## Exercise 01.1: how many images are needed?
#
# Write `images_needed(sizes, accuracies, target)`. It returns the smallest size at
# which the accuracy reaches the target, and `None` if it never does. The sizes are in
# rising order; the accuracies need not be.


# %% tags=["stub"]
def images_needed(sizes, accuracies, target):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def images_needed(sizes, accuracies, target):  # the place in the list, not the size
    return next((i for i, a in enumerate(accuracies) if a >= target), None)


# %% tags=["wrong"]
def images_needed(sizes, accuracies, target):  # the best size, not the first enough
    return sizes[int(np.argmax(accuracies))] if max(accuracies) >= target else None


# %% tags=["wrong"]
def images_needed(sizes, accuracies, target):  # reaching it exactly does not count
    return next((s for s, a in zip(sizes, accuracies, strict=True) if a > target), None)


# %% tags=["wrong"]
def images_needed(sizes, accuracies, target):  # "never" becomes the largest size
    pairs = zip(sizes, accuracies, strict=True)
    return next((s for s, a in pairs if a >= target), sizes[-1])


# %% tags=["solution"]
def images_needed(sizes, accuracies, target):
    for size, accuracy in zip(sizes, accuracies, strict=True):
        if accuracy >= target:
            return size
    return None


# %% tags=["check"]
teach.check(
    "01.1",
    images_needed,
    [
        (
            lambda f: f([5, 10, 20], [0.2, 0.5, 0.7], 0.4) is not None,
            "A size is enough here, and the answer is None. Look at all sizes before "
            "you give up, and end with `return`.",
        ),
        (
            lambda f: f([5, 10, 20], [0.2, 0.5, 0.7], 0.4) in (5, 10, 20),
            "Return a number of images, not its place in the list.",
        ),
        (
            lambda f: f([5, 10, 20], [0.2, 0.5, 0.7], 0.4) == 10,
            "The *smallest* size that is enough, not the one that does best.",
        ),
        (
            lambda f: f([5, 10, 20], [0.2, 0.5, 0.7], 0.5) == 10,
            "An accuracy equal to the target reaches it.",
        ),
        (
            lambda f: f([5, 10, 20], [0.2, 0.5, 0.7], 0.9) is None,
            "Nothing reaches this target: say None instead of inventing a size.",
        ),
        (
            lambda f: f([5, 10, 20, 40], [0.1, 0.6, 0.5, 0.7], 0.55) == 10,
            "A curve may dip after it has reached the target.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 01.2: what are these weights worth?
#
# You saw what learnt weights are worth on the target above. Now measure it on pictures
# that the lesson has not shown: sketches of shapes on paper.
#
# Write `worth(train, check)`. Both are image sets with `.images` and `.labels`. Build
# two frozen networks, `kerastl.features.FeatureExtractor("MobileNet", alpha=0.25,
# image_size=32, weights=...)`, one with `weights="tiny"` and one with `weights=None`,
# which are random. `.fit(images).transform(images)` gives features; this `fit` learns
# nothing, it only builds the network. Return the accuracy on `check` of
# `kerastl.features.classical_head("logistic")` with the learnt features, minus that
# with the random ones. A head has `fit(rows, labels)` and `score(rows, labels)`.


# %% tags=["stub"]
def worth(train, check):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def worth(train, check):  # random minus learnt
    found = []
    for weights in ("tiny", None):
        options = {"alpha": 0.25, "image_size": 32, "weights": weights}
        reader = kerastl.features.FeatureExtractor("MobileNet", **options)
        rows = [reader.fit(s.images).transform(s.images) for s in (train, check)]
        head = kerastl.features.classical_head("logistic").fit(rows[0], train.labels)
        found.append(head.score(rows[1], check.labels))
    return found[1] - found[0]


# %% tags=["wrong"]
def worth(train, check):  # judged by the images that it was fitted on
    found = []
    for weights in ("tiny", None):
        options = {"alpha": 0.25, "image_size": 32, "weights": weights}
        reader = kerastl.features.FeatureExtractor("MobileNet", **options)
        rows = reader.fit(train.images).transform(train.images)
        head = kerastl.features.classical_head("logistic").fit(rows, train.labels)
        found.append(head.score(rows, train.labels))
    return found[0] - found[1]


# %% tags=["wrong"]
def worth(train, check):  # the accuracy of the learnt ones, not the difference
    options = {"alpha": 0.25, "image_size": 32, "weights": "tiny"}
    reader = kerastl.features.FeatureExtractor("MobileNet", **options)
    rows = [reader.fit(s.images).transform(s.images) for s in (train, check)]
    head = kerastl.features.classical_head("logistic").fit(rows[0], train.labels)
    return head.score(rows[1], check.labels)


# %% tags=["solution"]
def worth(train, check):
    found = []
    for weights in ("tiny", None):
        options = {"alpha": 0.25, "image_size": 32, "weights": weights}
        reader = kerastl.features.FeatureExtractor("MobileNet", **options)
        rows = [reader.fit(s.images).transform(s.images) for s in (train, check)]
        head = kerastl.features.classical_head("logistic").fit(rows[0], train.labels)
        found.append(head.score(rows[1], check.labels))
    return found[0] - found[1]


# %% tags=["check"]
import functools

options = {"image_size": 32, "style": "sketch"}
drawn = kerastl.make_shapes(60, seed=1, **options)[0]
check_drawn = kerastl.make_shapes(48, seed=2, **options)[0]


@functools.cache
def worths(answer):
    return float(answer(drawn, check_drawn))


@functools.cache
def scores():  # on `check_drawn`, of learnt and of random weights
    found = []
    for weights in ("tiny", None):
        setting = {"alpha": 0.25, "image_size": 32, "weights": weights}
        reader = kerastl.features.FeatureExtractor("MobileNet", **setting)
        rows = [reader.fit(s.images).transform(s.images) for s in (drawn, check_drawn)]
        head = kerastl.features.classical_head("logistic").fit(rows[0], drawn.labels)
        found.append(head.score(rows[1], check_drawn.labels))
    return found


teach.check(
    "01.2",
    worth,
    [
        (
            lambda f: worths(f) > 0,
            "The learnt weights lead here. Return learnt minus random.",
        ),
        (
            lambda f: abs(worths(f) - scores()[0]) > 1e-6,
            "That is the accuracy of the learnt features. Subtract the random ones'.",
        ),
        (
            lambda f: abs(worths(f) - scores()[0] + scores()[1]) < 0.05,
            "Another difference comes out. Fit on `train`, and score on `check`.",
        ),
    ],
)

# %% [markdown]
# ## Something goes wrong
#
# So far transfer won. Now the same weights meet scans of handwritten digits: tiny,
# grey, neatly centred. The rival needs no network at all: the same simple classifier on
# plain pixels. Both get the same few digits.

# %%
teach.predict(
    "01.c",
    "With 5 digits of each class, which one does better?",
    ["the frozen features", "plain pixels"],
    guess=1,  # guess: 1 or 2
)

# %%
options = building | {"image_size": 32}
reader = kerastl.features.FeatureExtractor(L.backbone, **options).fit(digits.images)
ways = reader.transform, lambda images: images[..., 0].reshape(len(images), -1) / 255


def rivals(images, check_images):  # right: ways, seeds, images
    found, labels = [], (digits.labels, check_digits.labels)
    for way in ways:
        rows, check_rows = way(images), way(check_images)
        found.append(trials(rows, labels[0], check_rows, labels[1], 5))
    return np.array(found)


# %%
both = rivals(digits.images, check_digits.images)
teach.reveal("01.c", 2 if both[1].mean() > both[0].mean() else 1)
said = "With 5 digits of each class the features are {points} behind pixels."
teach.compare("01.harm", said, both[1], both[0], low=0.1, high=0.4)
shown = {"frozen features": both[0].mean(axis=1), "plain pixels": both[1].mean(axis=1)}
caption = "On small scans bare pixels beat the borrowed features."
teach.show(teach.dots(shown), caption=caption)

# %% [markdown] tags=["quiz"]
# This is called *negative transfer*: the borrowed weights did worse than doing without.
# You saw it only because there was a rival that costs nothing. Always have one.
#
# **Quick question.** What is the best explanation?
#
# - [ ] There were too few digits :: Both sides had the same few, and pixels did well.
# - [ ] The backbone is broken :: The same backbone won on the other pictures.
# - [x] The features were made for something else :: They forgive shifts and look for
#   the texture and colour of photographs. In a small centred scan, *where* the ink is
#   says nearly everything, and a description that forgets the place throws that away.
# - [ ] The classifier was too simple :: It was the same one for both.

# %% [markdown]
# ## Exercise 01.3: make transfer useless
#
# What must a picture have for a backbone to work? Write `spoil(images)` for images of
# the shape `(n, 8, 8, 3)`. It returns as many images of the same shape, from which the
# classifier on *plain pixels* learns exactly as much as before, while the frozen
# features become much worse. Change the places of pixels, not their values.
# `images.reshape(len(images), 64, 3)` makes a list of 64 pixels of each image, and
# `pixels[:, order]` puts them into another order.


# %% tags=["stub"]
def spoil(images):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def spoil(images):  # destroys what there was to learn, for both sides
    return np.zeros_like(images)


# %% tags=["wrong"]
def spoil(images):  # another order for each image: pixels lose their meaning too
    flat = images.reshape(len(images), 64, 3)
    mixed = np.random.default_rng(0).permuted(flat[..., 0], axis=1)
    return np.repeat(mixed[..., None], 3, axis=-1).reshape(images.shape)


# %% tags=["wrong"]
def spoil(images):  # a mirrored digit still has edges and corners
    return images[:, :, ::-1]


# %% tags=["solution"]
def spoil(images):
    order = np.random.default_rng(0).permutation(64)  # one order for all images
    return images.reshape(len(images), 64, 3)[:, order].reshape(images.shape)


# %% tags=["check"]
before = both.mean(axis=(1, 2))  # features, pixels


def spoilt(f):
    made = f(digits.images.copy()), f(check_digits.images.copy())
    return rivals(*made).mean(axis=(1, 2))


teach.check(
    "01.3",
    spoil,
    [
        (
            lambda f: f(digits.images[:9].copy()).shape == (9, 8, 8, 3),
            "Return as many images of the same shape.",
        ),
        (
            lambda f: np.array_equal(
                np.sort(f(digits.images[:9].copy()), axis=None),
                np.sort(digits.images[:9], axis=None),
            ),
            "Keep the values of the pixels; only their places may change.",
        ),
        (
            lambda f: spoilt(f)[1] > before[1] - 0.02,
            "Plain pixels suffer too: the same place must mean the same in each image.",
        ),
        (
            lambda f: spoilt(f)[0] < before[0] - 0.08,
            "The features still work: large parts of each picture stayed together. "
            "Scatter the pixels.",
        ),
    ],
)

# %%
# Every choice was made on the validation images; the test images are used only here.
extractor = kerastl.features.FeatureExtractor(L.backbone, **building).fit(train.images)
score = probe.score(extractor.transform(test.images), test.labels)
rule = np.bincount(test.labels).max() / len(test)
said = "On the test images transfer is {points} above the most frequent class."
teach.claim("01.test", said, score - rule, low=0.2, high=0.75)

# %% [markdown] tags=["quiz"]
# ## At full scale
#
# With `scale="full"` the same cells take photographs of flowers and weights from
# ImageNet. Flowers are much closer to that source than drawn shapes are. Guess, before
# you run it: does the gap between the curves grow or shrink? The digits stay digits.
#
# ## What we saw
#
# - Early layers look at edges and colours, which nearly all pictures have.
# - The same network with random weights does not help: what is worth something is what
#   the weights have learnt.
# - With few images of your own, borrowed weights are worth more than your images.
# - A frozen backbone made for photographs can do harm where it does not fit. A cheap
#   rival shows it.
#
# Next: lesson 02 asks *how much* of the backbone to keep.
#
# ## Words
#
# - **source**: task and data that the weights come from.
# - **target**: your own task and data.
# - **features**: the numbers that a backbone makes of a picture.
# - **scratch**: training that starts from random weights.
# - **probe**: a simple classifier on top of features.
# - **negative transfer**: borrowed weights do worse than doing without them.
# - **paired interval**: where the true difference on the same images most likely lies.
#
# ## Sources
#
# - J. Yosinski and others, *How transferable are features in deep neural networks?*,
#   NeurIPS 2014.
# - M. D. Zeiler and R. Fergus, *Visualizing and Understanding Convolutional Networks*,
#   ECCV 2014.
# - S. Kornblith, J. Shlens and Q. V. Le, *Do Better ImageNet Models Transfer Better?*,
#   CVPR 2019.
# - Z. Wang and others, *Characterizing and Avoiding Negative Transfer*, CVPR 2019.
#
# ## One last question
#
# **Quick question.** A friend has a handful of pictures for each class. What do you say
# first?
#
# - [ ] "Collect thousands, then come back." :: Transfer may well do with a handful; try
#   before you pay.
# - [ ] "Take a pretrained network, it always wins." :: You have just seen it lose.
# - [x] "Compare a frozen backbone with a cheap rival, with several seeds." :: It takes
#   minutes, and it says what is true for *these* pictures.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 50 minutes: 10 for the four words and the filters, 15 for the curves, 10 for the
# digits, 15 for the exercises. The cell with the curves is the slow one: let the class
# write down its guesses while it runs.
#
# ## Misconceptions
#
# - "Transfer learning always helps." The digits show the contrary, with a rival that
#   has no network at all.
# - "Any deep network makes good features." The same network with random weights is near
#   the rule that looks at nothing.
# - "One run per method is enough if the gap is large." Nobody knows that it is large
#   before the second run.
#
# ## Discussion
#
# The scratch network is small and has no augmentation (images changed at random in each
# epoch, mirrored or shifted). Is the comparison fair? What would you change in favour
# of scratch, and would you expect the curves to meet?
#
# An answer: more steps, another optimizer and augmentation each bring scratch a few
# points. The curves meet where there are enough images; that may be thousands.
