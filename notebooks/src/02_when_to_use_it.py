# %% [markdown]
# # 02 When to use it
#
# You have a backbone that somebody else trained. How much of it should you keep, and
# how much should you train again?
#
# Textbooks ask two questions: how many pictures do you have, and how near are they to
# the source, the pictures that the backbone was trained on? They give four answers:
#
# | | near the source | far from the source |
# |---|---|---|
# | **few images** | train a new head only | cut off the top, then a new head |
# | **many images** | fine-tune the network | fine-tune it, or train from scratch |
#
# Here you measure all four fields, and see where the textbook is right.
#
# *Fine-tuning* is training borrowed weights further. *Transfer learning* means any use
# of what was learnt elsewhere, so fine-tuning is one way of it. (Some texts mean by
# transfer learning the new head alone.)
#
# ## You will be able to
#
# - place a task by its size and by its nearness to the source;
# - choose among five ways to use, or not to use, a backbone;
# - read a rule off a table of runs, without mistaking luck for a result.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("shapes", "flowers"),
    "licence": ("Apache-2.0; weights non-commercial", "CC BY, see LICENSE.txt"),
    "backbone": ("MobileNet", "MobileNet"),
    "alpha": (0.25, 0.25),
    "weights": ("tiny", "imagenet"),
    "image_size": (48, 96),
    "download": ("nothing", "about 220 MB"),
    "minutes": (2, 15),
}

# %% [markdown] tags=["quiz"]
# ## Two tasks
#
# Both tasks use the same backbone. Its source was photographs. The pictures of the one
# task are in colour, with light, blur and textures; those of the other are grey scans
# of handwritten digits. We call them *near* and *far*, and test these names first.
#
# **Quick question.** Which pair of questions places a task on the textbook's map?
#
# - [ ] How deep is the network, and how fast the computer? :: These decide how long you
#   wait, not what you should train.
# - [x] How many labelled pictures, and how like the source? :: Few pictures cannot
#   teach many weights; far pictures need other features.
# - [ ] How many classes, and how balanced? :: Both matter for the scores, but they do
#   not say how much of a backbone fits.

# %%
import keras

import kerastl

L = teach.lesson("02", SETTINGS | {"least_lead": (0.05, -0.1)}, scale="auto")
near = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
far = kerastl.load_dataset("digits", test=0.2, seed=L.seed)
names = near.train.class_names + far.train.class_names
shared = teach.shared_images(*near) + teach.shared_images(*far)
teach.claim("02.shared", "{value} images are in two parts.", shared, low=0, high=0)
answers = [[part.labels for part in (t.train, t.validation)] for t in (near, far)]
known = [*answers[0][0][:5], *answers[1][0][:5] + len(near.train.class_names)]

# %%
import numpy as np


def as_array(part):
    options = {"image_size": L.image_size, "batch_size": len(part)}
    return np.array(next(iter(kerastl.batches(part, **options)))[0], "uint8")


pixels = [[as_array(part) for part in (t.train, t.validation)] for t in (near, far)]
options = {"labels": known, "class_names": names, "columns": 5}
figure = kerastl.plots.images([*pixels[0][0][:5], *pixels[1][0][:5]], **options)
teach.show(figure, caption="Above: the near task. Below: the far one.")

# %% [markdown]
# ## How to measure nearness
#
# Take the *features* of a picture: the numbers that the top of the frozen backbone
# makes of it. (*Frozen*: no weight changes.) Fit a simple linear classifier, a *probe*,
# on them: the logistic regression of lesson 01. Fit the same probe on the bare pixels.
# Do the features tell more about your classes than the pixels do? Then the task is
# near. Do they tell less? Then the task is far.


# %%
def draw(labels, number, seed):  # positions of `number` images of each class
    mix = np.random.default_rng(seed).permutation(len(labels))
    return np.concatenate([mix[labels[mix] == c][:number] for c in np.unique(labels)])


def flatten(images):
    return images.reshape(len(images), -1) / 255


def probe(rows, labels, own):
    return kerastl.features.classical_head("logistic").fit(rows[own], labels[own])


# %%
teach.predict(
    "02.a",
    "Far task: how many points do features gain over pixels? (Minus: they lose.)",
    guess=0,  # guess: a number, such as -10 or 25
)
options = {"alpha": L.alpha, "image_size": L.image_size, "weights": L.weights}
extractor = kerastl.features.FeatureExtractor(L.backbone, **options)
tops = [[extractor.fit(p[0]).transform(part) for part in p] for p in pixels]
bare = [[flatten(part[:, ::3, ::3]) for part in p] for p in pixels]  # every third

# %%
SEEDS = [3 * L.seed + i for i in range(3)]


def right(rows, labels, number):  # which validation images: a row for each seed
    heads = [probe(rows[0], labels[0], draw(labels[0], number, s)) for s in SEEDS]
    return np.array([head.predict(rows[1]) == labels[1] for head in heads])


# %%
first = [[right(r[i], answers[i], 20) for r in (tops, bare)] for i in (0, 1)]
teach.reveal("02.a", 100 * (first[1][0].mean() - first[1][1].mean()), form="{:.0f}")
said = "Near task, 20 images of each class: features against pixels {points:+}."
teach.compare("02.near", said, *first[0], low=0.02, high=0.3)
said = "Far task: features against pixels {points:+}."
teach.compare("02.far", said, *first[1], low=-0.5, high=-0.05)
kinds = "near, features", "near, pixels", "far, features", "far, pixels"
rows = zip(kinds, (each.mean(axis=1) for pair in first for each in pair), strict=True)
caption = "Features help with the near task. On the far one bare pixels are better."
looks = dict(zip(kinds, (0, 1, 0, 1), strict=True))
teach.show(teach.dots(dict(rows), looks=looks), caption=caption)

# %% [markdown] tags=["quiz"]
# ## Five ways
#
# - **scratch**: no backbone. A small network starts from random weights.
# - **head**: freeze everything, train a new head on the features of the top.
# - **cut**: throw the upper layers away, freeze the rest, train a head on what is left.
# - **top**: freeze the early layers, train the upper ones and the head.
# - **all**: train every weight, starting from the borrowed ones.
#
# In plain Keras a layer is called on the output of what comes before it, and a model
# goes from an input to an output. With `classes` classes to learn:
#
# ```python
# base = keras.applications.MobileNet(include_top=False, weights="imagenet")
# base.trainable = False  # head
# cut = keras.Model(base.input, base.get_layer("conv_pw_6_relu").output)  # cut
# row = keras.layers.GlobalAveragePooling2D()(cut.output)  # or base.output
# model = keras.Model(cut.input, keras.layers.Dense(classes)(row))
# base.trainable = True  # all
# for layer in base.layers[:40]:  # top: hold the first ones
#     layer.trainable = False
# ```
#
# `conv_pw_6_relu` is a layer in the middle: there we cut, and up to there *top*
# freezes. In the next cell `unfreeze` opens all weights but the running means and
# variances of BatchNorm layers (lesson 05 says why), and `split_model` cuts a model in
# two.
#
# **Quick question.** Which way uses the *features of the early layers* and never
# computes the upper layers?
#
# - [ ] head :: Its features come from the very top; all layers are computed.
# - [x] cut :: The upper layers are gone, for training and for prediction.
# - [ ] top :: The upper layers stay, and learn.
# - [ ] all :: Every layer stays, and learns.

# %%
CUT, WAYS = "conv_pw_6_relu", ["scratch", "head", "cut", "top", "all"]


def open_task(task):
    backbone = kerastl.build_backbone(L.backbone, **options)
    model = kerastl.build_classifier(backbone, task.train.class_names, seed=L.seed)
    kerastl.unfreeze(model, "all", batch_norm="affine")
    return model, *kerastl.features.split_model(model, CUT)


# %%
networks = [open_task(task) for task in (near, far)]
maps = [[networks[i][1].predict(part, verbose=0) for part in pixels[i]] for i in (0, 1)]
middles = [[part.mean(axis=(1, 2)) for part in pair] for pair in maps]

# %% tags=["plumbing"]
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
jit = keras.backend.backend() == "jax"
BATCH = 20


def small_network(classes, seed):  # four convolutions, from random weights
    keras.utils.set_random_seed(seed)
    shape, parts = (L.image_size, L.image_size, 3), []
    for width in (16, 32, 64, 128):
        parts.append(keras.layers.Conv2D(width, 3, strides=2, padding="same"))
        parts += [keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)]
    bottom = [keras.Input(shape), keras.layers.Rescaling(1 / 127.5, -1)]
    return keras.Sequential(bottom + parts + top)


def compiled(part):  # once: each run starts again from stored numbers
    part.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=jit)
    part.optimizer.build(part.trainable_variables)
    return part


def train(part, rows, labels, own, seed, steps, rate):
    for variable in part.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    random, total = np.random.default_rng(seed), BATCH * steps
    turns = range(total // len(own) + 1)
    order = np.concatenate([random.permutation(own) for _ in turns])[:total]
    stretches = np.split(order, [total // 4, total - total // 4])
    for some, factor in zip(stretches, (0.3, 1.0, 0.1), strict=True):
        part.optimizer.learning_rate.assign(factor * rate)
        labelled = rows[some], labels[some]
        part.fit(*labelled, batch_size=BATCH, shuffle=False, verbose=0)


wholes = [compiled(keras.Model(n[0].inputs, n[0].outputs)) for n in networks]
uppers = [compiled(n[2]) for n in networks]
classes = [len(task.train.class_names) for task in (near, far)]
empty = [compiled(small_network(count, 0)) for count in classes]
starts = [network[0].get_weights() for network in networks]


def tuned(which, way, own, seed, rate=2e-4):  # which validation images are right
    rows, part = {
        "scratch": (pixels, empty[which]),
        "top": (maps, uppers[which]),
        "all": (pixels, wholes[which]),
    }[way]
    labels = answers[which][0]
    if way == "scratch":
        part.set_weights(small_network(classes[which], seed).get_weights())
        train(part, rows[which][0], labels, own, seed, 100, 3e-3)
    else:
        networks[which][0].set_weights(starts[which])
        head = probe(tops[which][0], labels, own)
        kerastl.features.set_head(networks[which][0], head)
        train(part, rows[which][0], labels, own, seed, 60, rate)
    said = part.predict(rows[which][1], batch_size=120, verbose=0).argmax(axis=1)
    return said == answers[which][1]


# %% [markdown]
# ## The table, measured
#
# Now all five ways, with few and with many images, near and far. *Head* and *cut* are
# probes on frozen features. *Top* and *all* begin with the head of the probe, and then
# train for 60 steps of 20 images. *Scratch* gets 100 steps: it has more to learn, and
# each of its steps is cheap. In these three the learning rate, which is the length of a
# step, starts low, climbs, and falls at the end. Its peak is `3e-3` for random weights
# and `2e-4` for borrowed ones: at `5e-4` some runs of so few steps failed.
#
# Each field has three seeds: other images, another order. Predict all four before you
# run.

# %%
teach.predict(
    "02.b",
    "Far from the source, many images: which way is best?",
    WAYS,
    guess=5,  # guess: 1, 2, 3, 4 or 5
)

# %%
SIZES, FIELDS = [5, 60], {}


def fill(which, size):
    labels = answers[which]
    field = {"head": right(tops[which], labels, size)}
    field["cut"] = right(middles[which], labels, size)
    for way in ("scratch", "top", "all"):
        pairs = [(draw(labels[0], size, seed), seed) for seed in SEEDS]
        field[way] = np.array([tuned(which, way, *pair) for pair in pairs])
        print(("near", "far")[which], size, way, f"{field[way].mean():.2f}", flush=True)
    FIELDS[which, size] = {way: field[way] for way in WAYS}


# %%
fill(0, SIZES[0])
fill(0, SIZES[1])

# %%
fill(1, SIZES[0])
fill(1, SIZES[1])

# %% tags=["plumbing"]
from matplotlib import pyplot as plt

rule = [np.bincount(each[1]).max() / len(each[1]) for each in answers]
figure, grid = plt.subplots(2, 2, figsize=(9.5, 4.6), layout="constrained")
words, best = [], {}
for (which, size), axes in zip(FIELDS, grid.flat, strict=True):
    runs = {way: each.mean(axis=1) for way, each in FIELDS[which, size].items()}
    teach.dots(runs, axes=axes, baseline=rule[which])
    title = f"{('near', 'far')[which]}, {size} of each class"
    axes.set(title=title)
    best[which, size] = max(runs, key=lambda way: runs[way].mean())
    words.append(f"{title}: {axes.kerastl_alt_text}")
for axes in grid[:, 0]:
    axes.get_legend().remove()
caption = "Best on average: " + ", ".join(
    f"{('near', 'far')[which]}, {size} of each class: {way}"
    for (which, size), way in best.items()
)
teach.show(figure, caption=caption + ".", alt=" ".join(words))
teach.reveal("02.b", WAYS.index(best[1, SIZES[1]]) + 1)
means = [each.mean() - rule[w] for (w, _), f in FIELDS.items() for each in f.values()]
said = "The weakest cell of the table is {points:+} against its most frequent class."
teach.claim("02.baseline", said, min(means), low=-0.02, high=0.2)

# %%
few, many = FIELDS[0, SIZES[0]], FIELDS[0, SIZES[1]]
said = "Near, few images: head against scratch {points:+}."
teach.compare("02.head", said, few["head"], few["scratch"], low=0, high=0.2)
said = "Near, few images: all against head {points:+}."
teach.compare("02.enough", said, few["all"], few["head"], low=-0.08, high=0.1)
said = "Near, many images: all against head {points:+}."
teach.compare("02.tune", said, many["all"], many["head"], low=-0.03, high=0.2)

# %%
few, many = FIELDS[1, SIZES[0]], FIELDS[1, SIZES[1]]
said = "Far, few images: cut against head {points:+}."
teach.compare("02.cut", said, few["cut"], few["head"], low=L.least_lead, high=0.3)
said = "Far, few images: all against cut {points:+}."
teach.compare("02.all", said, few["all"], few["cut"], low=-0.15, high=0.25)
said = "Far, many images: scratch against head {points:+}."
low = L.least_lead  # less at full scale
teach.compare("02.scratch", said, many["scratch"], many["head"], low=low, high=0.4)
said = "Far, many images: scratch against all {points:+}."
teach.compare("02.rival", said, many["scratch"], many["all"], low=-0.1, high=0.3)

# %% [markdown] tags=["quiz"]
# Read the table field by field, with the intervals beside it. An interval that holds
# zero says: these runs do not settle which of the two is better.
#
# - *Few and near.* Training more than the head gains little. The textbook is right.
# - *Many and near.* Borrowed weights lead scratch. Does tuning them pay? The textbook
#   says yes; look whether these few steps settle it.
# - *Few and far.* Cutting beats the plain head, as the textbook says. So does tuning.
#   Look at scratch too: on these simple scans it needs few images.
# - *Many and far.* A small network from scratch is at least as good. It needs no
#   backbone, and is far cheaper to use.
#
# **Quick question.** In one field the interval of two ways holds zero. Which do you
# take?
#
# - [ ] The one with the higher mean :: With other seeds it may be the lower one.
# - [x] The cheaper one :: These runs cannot tell them apart, but the costs can: weights
#   to train, seconds for each prediction.
# - [ ] Neither :: Both are good; only their order is unknown.

# %% [markdown]
# ## Something goes wrong
#
# Few far images, all weights, everything as before, but the learning rate is ten times
# as high. That is a common slip: it is near the rate at which new networks are trained.
# Where the three seeds are far apart, the interval is wide, and settles nothing.

# %%
own = [draw(answers[1][0], SIZES[0], seed) for seed in SEEDS]
pairs = zip(own, SEEDS, strict=True)
hasty = np.array([tuned(1, "all", *pair, rate=2e-3) for pair in pairs])
said = "At ten times the rate the way *all* loses {points}."
teach.compare("02.rate", said, few["all"], hasty, low=0.0, high=0.75)
runs = {"head": few["head"], "all": few["all"], "all, hasty": hasty}
shown = {name: each.mean(axis=1) for name, each in runs.items()}
caption = "Ten times the rate is a gamble: see how far its seeds are apart."
looks = {"head": 1, "all": 4, "all, hasty": 5}  # as in the table above
teach.show(teach.dots(shown, baseline=rule[1], looks=looks), caption=caption)

# %% [markdown]
# ## How much does each way train?
#
# The cost of a way has three parts: the weights that train, the time for training, and
# the time for each prediction. The next figure shows the first part.

# %% tags=["plumbing"]
trained = {"scratch": sum(np.prod(w.shape) for w in empty[0].trainable_weights)}
for way, rows in (("head", tops), ("cut", middles)):
    trained[way] = classes[0] * (rows[0][0].shape[1] + 1)
for way, part in (("top", uppers[0]), ("all", wholes[0])):
    trained[way] = sum(np.prod(w.shape) for w in part.trainable_weights)
figure, axes = plt.subplots(figsize=(6.4, 2.2))
bars = axes.barh(WAYS[::-1], [trained[way] for way in WAYS[::-1]], color="#0072B2")
axes.bar_label(bars, fmt="{:,.0f}", padding=3)
axes.set(xlim=(0, 1.2 * max(trained.values())), xlabel="weights that train")
words = ", ".join(f"{way} {number:,}" for way, number in trained.items())
caption = "Head and cut train few weights. Most of a backbone's are in its upper half."
teach.show(figure, caption=caption, alt=f"Bars, weights that train: {words}.")

# %% [markdown]
# ## Exercise 02.1: near or far?
#
# A new task: sketches of shapes, outlines on paper. Write `gain(train, check)`. Both
# are image sets with `.images` and `.labels`. Return the accuracy, on `check`, of a
# probe on the backbone's features minus that of a probe on the pixels, both fitted on
# `train`. `extractor.transform(images)` gives the features, `flatten(images)` the
# pixels. A probe is `kerastl.features.classical_head("logistic")`; it has
# `fit(rows, labels)` and `score(rows, labels)`.


# %% tags=["stub"]
def gain(train, check):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def gain(train, check):  # pixels minus features
    found = []
    for view in (extractor.transform, flatten):
        head = kerastl.features.classical_head("logistic")
        head.fit(view(train.images), train.labels)
        found.append(head.score(view(check.images), check.labels))
    return found[1] - found[0]


# %% tags=["wrong"]
def gain(train, check):  # judged by the images that it was fitted on
    found = []
    for view in (extractor.transform, flatten):
        head, rows = kerastl.features.classical_head("logistic"), view(train.images)
        found.append(head.fit(rows, train.labels).score(rows, train.labels))
    return found[0] - found[1]


# %% tags=["wrong"]
def gain(train, check):  # the accuracy of the features, not the gain
    head = kerastl.features.classical_head("logistic")
    head.fit(extractor.transform(train.images), train.labels)
    return head.score(extractor.transform(check.images), check.labels)


# %% tags=["solution"]
def gain(train, check):
    found = []
    for view in (extractor.transform, flatten):
        head = kerastl.features.classical_head("logistic")
        head.fit(view(train.images), train.labels)
        found.append(head.score(view(check.images), check.labels))
    return found[0] - found[1]


# %% tags=["check"]
import functools


def sketched(number, seed):
    return kerastl.make_shapes(number, image_size=48, style="sketch", seed=seed)[0]


sketches, check_sketches = sketched(60, 1), sketched(48, 2)
few_digits = far.train.subset(draw(far.train.labels, 6, 0))
some_digits = far.validation.subset(draw(far.validation.labels, 5, 0))


@functools.cache
def gained(answer, which):
    pair = ((sketches, check_sketches), (few_digits, some_digits))[which]
    return float(answer(*pair))


@functools.cache
def expected(which):  # accuracy of features, and of pixels
    parts = ((sketches, check_sketches), (few_digits, some_digits))[which]
    found = []
    for view in (extractor.transform, flatten):
        rows = [view(part.images) for part in parts]
        head = kerastl.features.classical_head("logistic").fit(rows[0], parts[0].labels)
        found.append(head.score(rows[1], parts[1].labels))
    return found


teach.check(
    "02.1",
    gain,
    [
        (
            lambda f: abs(gained(f, 1)) > 1e-9,
            "Both probes are equally good. Are they judged by `check`?",
        ),
        (
            lambda f: abs(gained(f, 1) - expected(1)[0]) > 1e-9,
            "That is the accuracy of the features. Subtract that of the pixels.",
        ),
        (
            lambda f: gained(f, 1) < 0,
            "The sign is the wrong way round: features minus pixels.",
        ),
        (
            lambda f: abs(gained(f, 0) - np.subtract(*expected(0))) < 0.05,
            "For the sketches another number comes out. Fit on `train`, score on "
            "`check`, the same way for both.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 02.2: build the way *cut*
#
# Write `cut_network(backbone, layer, classes)` in plain Keras: a `keras.Model` from the
# backbone's input to the layer of that name, all of it frozen, then
# `GlobalAveragePooling2D` and one `Dense` layer with a number for each class. The text
# on the five ways has the pieces. The check trains it on images of its own.


# %% tags=["stub"]
def cut_network(backbone, layer, classes):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def cut_network(backbone, layer, classes):  # keeps the top: that is the way "head"
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(classes)(row))


# %% tags=["wrong"]
def cut_network(backbone, layer, classes):  # cuts, and does not freeze
    middle = backbone.get_layer(layer).output
    row = keras.layers.GlobalAveragePooling2D()(middle)
    return keras.Model(backbone.input, keras.layers.Dense(classes)(row))


# %% tags=["wrong"]
def cut_network(backbone, layer, classes):  # freezes the head too
    middle = backbone.get_layer(layer).output
    row = keras.layers.GlobalAveragePooling2D()(middle)
    model = keras.Model(backbone.input, keras.layers.Dense(classes)(row))
    model.trainable = False
    return model


# %% tags=["solution"]
def cut_network(backbone, layer, classes):
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.get_layer(layer).output)
    return keras.Model(backbone.input, keras.layers.Dense(classes)(row))


# %% tags=["check"]
def hidden_backbone():
    image = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="early")(image)
    maps = keras.layers.Conv2D(6, 3, activation="relu", name="middle")(maps)
    return keras.Model(image, keras.layers.Conv2D(8, 3, name="late")(maps))


@functools.cache
def after_training(answer):  # layers, arrays that train, early arrays that moved
    base = hidden_backbone()
    built = answer(base, "middle", 3)
    before = [keras.ops.convert_to_numpy(each) for each in base.weights]
    count = len(built.trainable_weights)
    if count:
        built.compile("sgd", loss)
        built.fit(sketches.images[:12, ::3, ::3], np.arange(12) % 3, verbose=0)
    now = [keras.ops.convert_to_numpy(each) for each in base.weights]
    moved = sum(not np.array_equal(*pair) for pair in zip(before, now, strict=True))
    return [each.name for each in built.layers], count, moved, built.output_shape


teach.check(
    "02.2",
    cut_network,
    [
        (
            lambda f: after_training(f)[3] == (None, 3),
            "One number for each class: average over the places, then a dense layer.",
        ),
        (
            lambda f: "late" not in after_training(f)[0],
            "The layer above the cut is still there. Begin the head at "
            "`backbone.get_layer(layer).output`.",
        ),
        (
            lambda f: after_training(f)[1] > 0,
            "Nothing trains. Freeze the backbone, not the new model.",
        ),
        (
            lambda f: after_training(f)[2] == 0,
            "A layer below the cut has moved. Freeze it before you build the head.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 02.3: the rule
#
# Now the decision. Write `choose(behind, trained)`. Both are dicts whose keys are names
# of ways. `behind` says by how much each is behind the best one: an interval
# `(low, high)`. Where `low` is not above zero, the runs cannot tell the way from the
# best. `trained` says how many weights each way trains. Return, of the ways that cannot
# be told from the best, the name of the one that trains the fewest.


# %% tags=["stub"]
def choose(behind, trained):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def choose(behind, trained):  # the cheapest of all, good or not
    return min(trained, key=trained.get)


# %% tags=["wrong"]
def choose(behind, trained):  # the least behind on average, whatever it costs
    return min(behind, key=lambda way: sum(behind[way]))


# %% tags=["wrong"]
def choose(behind, trained):  # the number, not the way
    return min(trained[way] for way, (low, _) in behind.items() if low <= 0)


# %% tags=["wrong"]
def choose(behind, trained):  # the first in the list that is good enough
    return next(way for way, (low, _) in behind.items() if low <= 0)


# %% tags=["solution"]
def choose(behind, trained):
    good = [way for way, (low, high) in behind.items() if low <= 0]
    return min(good, key=trained.get)


# %% tags=["check"]
bill = {"top": 500, "head": 10, "cut": 8, "all": 900}
gaps = {"top": (-0.02, 0.04), "head": (-0.01, 0.06), "cut": (0.03, 0.1)}
gaps["all"] = (-0.03, 0.02)
teach.check(
    "02.3",
    choose,
    [
        (
            lambda f: isinstance(f(gaps, bill), str),
            "Return the name of one way, not its number of weights.",
        ),
        (
            lambda f: f(gaps, bill) != "cut",
            "That way is cheap, but its whole interval is above zero: it is behind.",
        ),
        (
            lambda f: f(gaps, bill) != "all",
            "That one is good, and so is a cheaper one.",
        ),
        (
            lambda f: f(gaps, bill) == "head",
            "Of the good ways look for the one with the fewest weights to train.",
        ),
    ],
)

# %%
# Every choice was made on the validation images; the test images are used only here.
networks[1][0].set_weights(starts[1])  # the parts share them: undo the hasty run
rows = networks[1][1].predict(as_array(far.test), verbose=0).mean((1, 2))
own = draw(far.train.labels, SIZES[1], L.seed)
score = probe(middles[1][0], far.train.labels, own).score(rows, far.test.labels)
above = score - np.bincount(far.test.labels).max() / len(far.test)
said = "Far, many images, cut: on the test images {points} above the baseline."
teach.claim("02.test", said, above, low=0.7, high=0.9)

# %% [markdown] tags=["quiz"]
# ## At full scale
#
# With `scale="full"` the near task becomes photographs of flowers, and the weights come
# from ImageNet. Guess which panels change most. In our run, of one seed, the far ones:
# there the plain head was no worse than cutting or scratch, and tuning all was best.
#
# ## What we saw
#
# - Nearness can be measured: do the features lead the bare pixels?
# - Near and few: a new head is enough. Near and many: try tuning.
# - Far: cut, tune, or start from scratch. The plain head is the worst choice there.
# - A rule holds for a backbone, a range of sizes and a way of training. Where the
#   textbook and your table differ, trust the table, with its intervals.
# - A learning rate that is too high can destroy the borrowed weights, in some runs and
#   not in others.
#
# Next: lesson 03 takes the cheapest way apart, step by step.
#
# ## Words
#
# - **source**: the pictures and classes that a backbone was trained on.
# - **near**: the backbone's features tell more about the classes than pixels do.
# - **cut**: a layer at which a network is taken apart.
# - **probe**: a simple linear classifier on top of features.
# - **paired interval**: where the true difference of two methods on the same images
#   most likely lies.
# - **learning rate**: how far a weight moves in one step.
#
# ## Sources
#
# - Stanford CS231n, *Transfer Learning*, course notes: the rule in its usual form.
# - H. Azizpour and others, *Factors of Transferability for a Generic ConvNet
#   Representation*, 2015.
# - A. Kumar and others, *Fine-Tuning can Distort Pretrained Features*, ICLR 2022.
#
# ## One last question
#
# **Quick question.** You have few scans that look nothing like photographs. What do you
# try first?
#
# - [ ] A new head on the top features :: The top is the part that fits least.
# - [x] A head on features from the middle :: It costs seconds, and what it reaches is a
#   rival for anything dearer.
# - [ ] A network from scratch :: It may do as well, as in the table. But it takes a
#   training of its own, and the head shows first what it must beat.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 55 minutes: 10 for nearness, 10 for the five ways, 15 for the table, 20 for the
# exercises. The two cells that fill the table are the slow ones: let each pair of
# students predict all four fields on paper while they run.
#
# ## Misconceptions
#
# - "Freezing more is always safer with few images." Frozen layers that do not fit are
#   no help; the far field shows it.
# - "Near means that the pictures look alike to me." What counts is what the backbone's
#   features can tell apart.
# - "The highest mean is the best way." Ask first whether the interval holds zero.
# - "Transfer always beats scratch." Not far from the source with enough images.
#
# ## Discussion
#
# The map of size and nearness has four fields. Which of your own projects falls on a
# border, and which cheap run would tell you on which side it is?
#
# An answer: near or far is told by the two probes of this lesson, in seconds. Few or
# many is told by running *head* and *all* once with half of the images and once with
# all of them: if the gap between them grows, you are on the side of many.
