# %% [markdown]
# # 05 Fine-tuning in two phases
#
# A frozen backbone does not get better. How do you let it learn your task without
# losing what it already knows?
#
# You train the new head first, then everything, at a low learning rate. That is this
# library's default recipe, `lp_ft`: a *linear probe*, then *fine-tuning*. Some mistakes
# in it are so common that they stand in books, and often they raise no error. You will
# repair them, and then measure what the recipe gains at equal cost.
#
# ## You will be able to
#
# - fine-tune in two phases, and prove which weights moved in which phase;
# - keep BatchNorm statistics still on the Keras that you have, whatever a guide says;
# - compare ways of fine-tuning at equal cost, over several seeds.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("shapes", "flowers"),
    "licence": ("Apache-2.0; weights non-commercial", "CC BY, see LICENSE.txt"),
    "backbone": ("MobileNet", "MobileNet"),
    "alpha": (0.25, 0.25),
    "weights": ("tiny", "imagenet"),
    "image_size": (64, 144),
    "download": ("nothing", "about 220 MB"),
    "minutes": (2, 15),
}

# %%
import kerastl

# `least_gain`: the lower limit of a claim near the end.
L = teach.lesson("05", SETTINGS | {"least_gain": (0.0, -0.05)}, scale="auto")
parts = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
validation = parts.validation
shared = teach.shared_images(*parts)
said = "{value} images are in more than one part."
teach.claim("05.shared", said, shared, low=0, high=0)

# %%
import keras
import numpy as np


def as_arrays(part, size=L.image_size):
    whole = kerastl.batches(part, image_size=size, batch_size=len(part))
    return np.array(next(iter(whole))[0], "uint8"), part.labels


labels, names = parts.train.labels, parts.train.class_names
own = [np.flatnonzero(labels == c)[:60] for c in range(len(names))]  # 60 a class
learn, watch = as_arrays(parts.train.subset(np.sort(own, None))), as_arrays(validation)

# %% [markdown] tags=["quiz"]
# ## The recipe
#
# A new head knows nothing. Its errors are arbitrary, and their correction (the
# *gradient*) is passed on to the layers below. It can spoil weights that took days to
# find. So the head learns first, while the backbone is *frozen*. In plain Keras, where
# `base` is the backbone inside `model`:
#
# ```python
# base.trainable = False  # first phase: the head
# model.compile(keras.optimizers.Adam(3e-3), loss)
# model.fit(images, labels, epochs=40)
#
# base.trainable = True  # second phase: everything but BatchNorm layers
# for layer in base.layers:
#     if isinstance(layer, keras.layers.BatchNormalization):
#         layer.trainable = False
# model.compile(keras.optimizers.Adam(5e-4), loss)  # again, at a lower rate
# model.fit(images, labels, epochs=8)
# ```
#
# `kerastl.fine_tune` does this with more care. In its second phase the *learning rate*,
# the length of a step, climbs for a quarter of the time, up to `5e-4`, and then falls
# smoothly to nearly zero; and of a BatchNorm layer it holds only a part (see below).
#
# **Quick question.** What is the first phase for?
#
# - [ ] It saves time, and that is all :: It is quick, but that is not what it is for.
# - [x] The head makes sense before its corrections reach the backbone :: Then what is
#   passed down is about your classes, not about a random start.
# - [ ] The backbone learns the range of the new pixels :: It learns nothing: it is
#   frozen.

# %%
teach.predict(
    "05.a",
    "By how many points will the second phase raise the validation accuracy?",
    guess=5,  # guess: a number, such as 0, 5 or 20
)

# %%
building = {"alpha": L.alpha, "weights": L.weights, "image_size": L.image_size}
backbone = kerastl.build_backbone(L.backbone, **building)
model = kerastl.build_classifier(backbone, names, seed=L.seed)
fresh = model.get_weights()
history = kerastl.fine_tune(
    model, learn, watch, recipe="lp_ft", epochs=(40, 8), seed=L.seed, verbose=0
)
tuned, few = model.get_weights(), (learn[0][:64], learn[1][:64])

# %%
baseline = np.bincount(watch[1]).max() / len(watch[1])
said = "Always naming the most frequent class is right for {value:.1%}."
teach.claim("05.baseline", said, baseline, low=0.1, high=0.35)
reached = history.history["val_accuracy"]
risen = reached[-1] - reached[history.phases[0].stop - 1]
teach.reveal("05.a", 100 * risen, form="{:.0f}")
words = f"from {reached[history.phases[0].stop - 1]:.0%} to {reached[-1]:.0%}"
caption = f"Once everything trains, the validation accuracy goes {words}."
teach.show(kerastl.plots.history(history), caption=caption)

# %% tags=["plumbing"]
from matplotlib import pyplot as plt

kernels = [i for i, w in enumerate(model.weights) if w.path.endswith("kernel")][:-1]
size = np.linalg.norm
far = np.array([size(tuned[i] - fresh[i]) / size(fresh[i]) for i in kernels])
blocks = [model.weights[i].path.split("/")[-2] for i in kernels]
figure, axes = plt.subplots(figsize=(7.5, 3))
kinds = {
    "mixes channels (pw)": "conv_pw",
    "looks at places (dw)": "conv_dw",
    "does both (the first)": "conv1",
}
for k, (word, part) in enumerate(kinds.items()):
    some = [place for place, name in enumerate(blocks) if part in name]
    style = {"color": teach.COLOURS[k], "label": word}
    axes.plot(some, 100 * far[some], teach.MARKS[k], **style)
pointwise = [k for k, name in enumerate(blocks) if "conv_pw" in name]
axes.set_xticks(pointwise, [blocks[k].removeprefix("conv_") for k in pointwise])
axes.tick_params("x", rotation=60)
axes.set(ylabel="moved, percent of its size", ylim=(0, 115 * far.max()))
axes.set_xlabel("block, from the image to the head")
axes.legend()
caption = f"All {len(far)} kernels moved a little, by {far.min():.0%} to "
caption += f"{far.max():.0%} of their size."
alt = f"Dots from the image to the head: {sum(far > 0)} of {len(far)} kernels moved, "
teach.show(figure, caption=caption, alt=alt + f"at most by {far.max():.0%}.")
first, second = (phase.moved for phase in history.phases)
said = "In the first phase {value} arrays of weights moved: the head's two."
teach.claim("05.first", said, len(first), low=2, high=2)
number = sum(path.endswith("kernel") for path in second) - 1  # without the head
said = "In the second phase {value} kernels of the backbone moved."
teach.claim("05.second", said, number, low=27, high=27)
still = sum("moving" in path for path in second)
said = "And {value} BatchNorm statistics: the recipe holds them."
teach.claim("05.still", said, still, low=0, high=0)

# %% [markdown] tags=["quiz"]
# Left of the dotted line the head learns, right of it everything. The star marks the
# weights that you have now, the best of both phases: a second phase that fails costs
# only time. Whether weights moved, only a comparison of weights can tell. In the second
# figure each mark is a *kernel*, the weights of one convolution. They take turns: one
# looks at the places of each channel, the next mixes the channels.
#
# ## First trap: the phase that trains nothing
#
# The first `fit` after a `compile` makes a program that trains what is trainable *at
# that moment*. A flag that you set later is not read by that program. Where TensorFlow
# computes for Keras, nothing happens and nothing is said; with JAX, its other engine,
# `fit` stops, and may take the weights with it. So keep this order: set `trainable`,
# `compile`, `fit`.
#
# `kerastl.TrainableGuard` compares what trains with what is asked for, and stops before
# the first step. Give it to your own `fit` as a callback. We try both with a short
# network: the first layers of our backbone, with a new head.
#
# **Quick question.** How would you notice, without the guard?
#
# - [ ] The loss stands still :: The head trains on, so it goes on falling.
# - [ ] `summary` shows it :: It shows the flags, and they are as you set them.
# - [x] Weights from before and after are the same :: Only the weights themselves tell
#   what has trained. Compare a few.

# %%
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def short_base(blocks=2, image_size=32):  # the first layers of the same backbone
    options = {**building, "image_size": image_size}
    whole = kerastl.build_backbone(L.backbone, **options)
    return keras.Model(whole.input, whole.get_layer(f"conv_pw_{blocks}_relu").output)


def add_head(base, classes):
    row = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, keras.layers.Dense(classes)(row))


# %%
teach.predict(
    "05.b",
    "Fitted while frozen, then unfrozen, then `fit` again. What moves in the backbone?",
    ["what was unfrozen", "nothing, without a word", "nothing: it stops with an error"],
    guess=1,  # guess: 1, 2 or 3
)
base = short_base(image_size=L.image_size)
base.trainable = False
careless = add_head(base, len(names))
careless.compile(keras.optimizers.Adam(1e-3), LOSS)
guard = kerastl.TrainableGuard(careless)
head_run = careless.fit(*few, verbose=0)

# %%
before, moved, outcome = base.get_weights(), 0, 0
base.trainable = True  # and no compile after it
try:
    careless.fit(*few, verbose=0, callbacks=[guard])
except ValueError as error:
    print("The guard says:", error)
try:
    careless.fit(*few, verbose=0)  # without the guard
    pairs = zip(before, base.get_weights(), strict=True)
    moved = sum(not np.array_equal(*pair) for pair in pairs)
except ValueError:
    outcome = 3  # with JAX

# %%
teach.reveal("05.b", outcome or (1 if moved else 2))
said = "Unfrozen without a new compile, {value} arrays of the backbone moved."
teach.claim("05.forgotten", said, moved, low=0, high=0)
other = short_base()
other.trainable = False
outer = add_head(other, len(names))
outer.trainable = True  # but that flag of the whole model is True already
trains, every = len(outer.trainable_weights), len(outer.weights)
said = f"After `outer.trainable = True` {{value}} of {every} arrays can train."
teach.claim("05.flag", said, trains, low=2, high=every)

# %% [markdown]
# The last line is a trap of its own. The flag of the whole model was True all the
# time; only `base` was frozen. Setting True again does nothing on TensorFlow, and opens
# all layers on JAX. Set the flag of the part that you mean.
#
# ## Exercise 05.1: the phase that tunes nothing
#
# The notebook of a well-known book came with a second phase like this one. Its text
# calls it fine-tuning. `base` is the backbone inside `model`. It was frozen in the
# first phase, and the head was trained at `1e-3`.
#
# ```python
# def second_phase(model, base):
#     model.compile(keras.optimizers.Adam(1e-5), LOSS)
# ```
#
# It runs, and the loss falls: the head learns on. Repair it. After your function,
# `model.fit` is to train the head *and all of* the backbone, at a fifth of the first
# rate or less.


# %% tags=["stub"]
def second_phase(model, base):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def second_phase(model, base):  # as published: nobody unfreezes
    model.compile(keras.optimizers.Adam(1e-5), LOSS)


# %% tags=["wrong"]
def second_phase(model, base):  # opens one layer of the backbone alone
    base.trainable = True
    for layer in base.layers[:-1]:
        layer.trainable = False
    model.compile(keras.optimizers.Adam(1e-5), LOSS)


# %% tags=["wrong"]
def second_phase(model, base):  # unfreezes, at the rate of the first phase
    base.trainable = True
    model.compile("adam", LOSS)


# %% tags=["wrong"]
def second_phase(model, base):  # takes turns: the head is frozen instead
    base.trainable = True
    model.layers[-1].trainable = False
    model.compile(keras.optimizers.Adam(1e-5), LOSS)


# %% tags=["solution"]
def second_phase(model, base):
    base.trainable = True
    model.compile(keras.optimizers.Adam(1e-5), LOSS)


# %% tags=["check"]
import functools

IMAGES = np.random.default_rng(0).uniform(0, 1, (12, 8, 8, 3)).astype("float32")
LABELS = np.arange(12) % 3


def differs(before, variables):
    now = [keras.ops.convert_to_numpy(each) for each in variables]
    return [not np.array_equal(*pair) for pair in zip(before, now, strict=True)]


@functools.cache
def after_second(answer):
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu")(image)
    base = keras.Model(image, keras.layers.Conv2D(4, 3)(maps))
    base.trainable = False
    model = add_head(base, 3)
    model.compile(keras.optimizers.Adam(1e-3), LOSS)
    model.fit(IMAGES, LABELS, verbose=0)
    answer(model, base)
    before = model.get_weights()
    model.fit(IMAGES, LABELS, verbose=0)
    moved, count = differs(before, model.weights), len(base.weights)
    rate = float(model.optimizer.learning_rate)
    return sum(moved[:count]) / count, any(moved[count:]), rate


teach.check(
    "05.1",
    second_phase,
    [
        (
            lambda f: after_second(f)[1],
            "The head has stopped learning. It is to train in both phases.",
        ),
        (
            lambda f: after_second(f)[0],
            "The backbone's kernels are as they were. Set `trainable` of `base` "
            "itself, and compile after it.",
        ),
        (
            lambda f: after_second(f)[0] == 1,
            "A part of the backbone moves, and a part is as it was. Open all of it.",
        ),
        (
            lambda f: after_second(f)[2] <= 2.01e-4,
            "The backbone moves, but as fast as a new head. Give a lower rate.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Second trap: what the optimizer does not train
#
# A *BatchNorm* layer scales each channel by its *statistics*, a running mean and a
# running variance of what passes by, and then by two trained arrays, *gamma* and
# *beta*. No gradient moves the statistics. They follow the batches whenever the layer
# is in training mode, and the network needs them when it predicts.
#
# A well-known recipe promises to hold them by `base(x, training=False)`. We try that
# call, and the three modes of `kerastl.unfreeze`: *frozen* holds all four arrays,
# *affine* holds the statistics and trains gamma and beta, *train* lets all move. One
# epoch of two steps, then we count.
#
# **Quick question.** Which learning rate keeps the statistics still?
#
# - [ ] A very low one :: The optimizer does not move them, so its rate does not matter.
# - [ ] Zero :: Not even zero: seeing a batch is enough.
# - [x] None :: Only the mode of the layer decides whether they follow the batches.


# %% tags=["plumbing"]
def network_in(mode):
    base = short_base(image_size=L.image_size)
    base.trainable = True
    image = keras.Input(base.input_shape[1:])
    row = keras.layers.GlobalAveragePooling2D()(base(image, training=False))
    network = keras.Model(image, keras.layers.Dense(len(names))(row))
    if mode != "call":  # kerastl sets the layers themselves
        kerastl.unfreeze(network, "all", batch_norm=mode)
    network.compile(keras.optimizers.Adam(1e-5), LOSS)
    return network, base


def moved_in(mode):  # how many statistics, and how many gammas and betas
    network, base = network_in(mode)
    before = base.get_weights()
    network.fit(*few, verbose=0)
    pairs = zip(base.weights, differs(before, base.weights), strict=True)
    moved = [variable.path for variable, changed in pairs if changed]
    statistics = sum(path.endswith(("mean", "variance")) for path in moved)
    return statistics, sum(path.endswith(("gamma", "beta")) for path in moved)


counts = {mode: moved_in(mode) for mode in ("call", "frozen", "affine", "train")}
total, by_call = counts["train"][0], counts["call"][0]
figure, axes = plt.subplots(figsize=(6, 2.8))
place = np.arange(len(counts))
for i, word in enumerate(("statistics", "gamma and beta")):
    values, hatch = [each[i] for each in counts.values()], ("", "//")[i]
    style = {"hatch": hatch, "label": word, "color": teach.COLOURS[i]}
    axes.bar_label(axes.bar(place + 0.4 * i - 0.2, values, 0.4, **style))
axes.set_xticks(place, ["training=False\nin the call", "frozen", "affine", "train"])
axes.set(ylabel="arrays that moved", ylim=(0, 1.4 * total))
axes.legend(ncols=2, frameon=False)
words = ", ".join(f"{mode} {each[0]}" for mode, each in counts.items())
trust = "does not hold" if by_call else "holds"
caption = f"The call alone {trust} the statistics on this Keras; the layers' flags do."
alt = f"Bars, arrays that moved; statistics by mode: {words}."
teach.show(figure, caption=caption, alt=alt)

# %%
said = "Held by the call alone, {value} statistics moved on this Keras."
teach.claim("05.by_call", said, by_call, low=0, high=total)
held = counts["frozen"][0] + counts["affine"][0]
said = "Held by the layers, frozen or affine, {value} statistics moved."
teach.claim("05.by_layer", said, held, low=0, high=0)
said = "In mode train all {value} moved, after one epoch at a rate of 1e-5."
teach.claim("05.all", said, total, low=10, high=10)

# %% [markdown]
# ## Exercise 05.2: open a backbone for sketches
#
# Up to version `3.15.1` Keras tells each layer inside `base` that it trains, and what
# the call said is lost. Newer versions repair it. Your code should hold on both.
#
# New pictures: sketches, drawings on paper. Write `tune(model, base, train, check)`.
# `base` is frozen, and the head of `model` has learnt already. Open `base`, but let no
# BatchNorm layer in it move. Compile with a low rate and `LOSS`. Train one epoch on
# `train`, a pair of images and labels. Return the share of `check` that is right:
# `model.predict(images, verbose=0).argmax(axis=1)` gives the positions of the classes.


# %% tags=["stub"]
def tune(model, base, train, check):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def tune(model, base, train, check):  # opens the BatchNorm layers too
    base.trainable = True
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    model.fit(*train, verbose=0)
    return (model.predict(check[0], verbose=0).argmax(axis=1) == check[1]).mean()


# %% tags=["wrong"]
def tune(model, base, train, check):  # holds the statistics, and all the rest
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    model.fit(*train, verbose=0)
    return (model.predict(check[0], verbose=0).argmax(axis=1) == check[1]).mean()


# %% tags=["wrong"]
def tune(model, base, train, check):  # judged by what it was trained on
    base.trainable = True
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    model.fit(*train, verbose=0)
    return (model.predict(train[0], verbose=0).argmax(axis=1) == train[1]).mean()


# %% tags=["wrong"]
def tune(model, base, train, check):  # the model, not the score
    base.trainable = True
    for layer in base.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    model.fit(*train, verbose=0)
    return model


# %% tags=["solution"]
def tune(model, base, train, check):
    base.trainable = True
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    model.fit(*train, verbose=0)
    return (model.predict(check[0], verbose=0).argmax(axis=1) == check[1]).mean()


# %% tags=["check"]
def sketched(number):
    images, _ = kerastl.make_shapes(number, image_size=32, style="sketch", seed=number)
    return as_arrays(images, 32)


sketches, check_sketches = sketched(96), sketched(48)


@functools.cache
def after_tuning(answer):  # answer, kernels and BatchNorm arrays that moved, score
    keras.utils.set_random_seed(6)
    base = short_base()
    base.trainable = False
    model = add_head(base, 6)
    model.compile(keras.optimizers.Adam(1e-2), LOSS)
    model.fit(*sketches, epochs=15, verbose=0)
    before = base.get_weights()
    score = answer(model, base, sketches, check_sketches)
    moved = zip(base.weights, differs(before, base.weights), strict=True)
    paths = [variable.path for variable, changed in moved if changed]
    kernels = sum(path.endswith("kernel") for path in paths)
    said = model.predict(check_sketches[0], verbose=0).argmax(axis=1)
    true = float((said == check_sketches[1]).mean())
    return score, kernels, len(paths) - kernels, true


teach.check(
    "05.2",
    tune,
    [
        (
            lambda f: isinstance(float(after_tuning(f)[0]), float),
            "Return the share that is right, a number.",
        ),
        (
            lambda f: after_tuning(f)[1] == 5,
            "A convolution did not move. Open the backbone before you compile, then "
            "hold a part of it.",
        ),
        (
            lambda f: after_tuning(f)[2] == 0,
            "A BatchNorm layer has moved. Hold each layer of that type, which "
            "`isinstance` tells.",
        ),
        (
            lambda f: abs(after_tuning(f)[0] - after_tuning(f)[3]) < 1e-6,
            "That is not the share of `check`. Which images does `predict` get?",
        ),
    ],
)

# %% [markdown]
# ## Exercise 05.3: the whole recipe, on digits
#
# Now everything, on scans of handwritten digits. Write `two_phases(base, images,
# labels)` in plain Keras, and return the model. `base` is the short backbone, open;
# `add_head(base, 10)` puts a head on it. First phase: the head alone, five epochs at
# `1e-2`. Second phase: everything but the BatchNorm layers, five epochs, at a fifth of
# that rate or less.


# %% tags=["stub"]
def two_phases(base, images, labels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def two_phases(base, images, labels):  # one phase, all at once
    model = add_head(base, 10)
    model.compile(keras.optimizers.Adam(1e-3), LOSS)
    model.fit(images, labels, epochs=5, verbose=0)
    return model


# %% tags=["wrong"]
def two_phases(base, images, labels):  # changes flag and rate, but no compile
    base.trainable = False
    model = add_head(base, 10)
    model.compile(keras.optimizers.Adam(1e-2), LOSS)
    model.fit(images, labels, epochs=5, verbose=0)
    base.trainable = True
    model.optimizer.learning_rate = 1e-3
    model.fit(images, labels, epochs=5, verbose=0)
    return model


# %% tags=["wrong"]
def two_phases(base, images, labels):  # statistics move in the second phase
    model = add_head(base, 10)
    for flag, rate in ((False, 1e-2), (True, 1e-3)):
        base.trainable = flag
        model.compile(keras.optimizers.Adam(rate), LOSS)
        model.fit(images, labels, epochs=5, verbose=0)
    return model


# %% tags=["wrong"]
def two_phases(base, images, labels):  # compiles again at the same rate
    model = add_head(base, 10)
    for flag in (False, True):
        for layer in base.layers:
            held = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = flag and not held
        model.compile(keras.optimizers.Adam(1e-2), LOSS)
        model.fit(images, labels, epochs=5, verbose=0)
    return model


# %% tags=["solution"]
def two_phases(base, images, labels):
    model = add_head(base, 10)
    for flag, rate in ((False, 1e-2), (True, 1e-3)):
        for layer in base.layers:
            held = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = flag and not held
        model.compile(keras.optimizers.Adam(rate), LOSS)
        model.fit(images, labels, epochs=5, verbose=0)
    return model


# %% tags=["check"]
scans = kerastl.load_dataset("digits", seed=0)
read, check_read = (
    as_arrays(p.subset(range(300)), 32) for p in (scans.train, scans.validation)
)


@functools.cache
def watched(answer):  # the model, and of each fit what moved and at which rate
    keras.utils.set_random_seed(7)
    base, plain, seen = short_base(blocks=4), keras.Model.fit, []

    def fit(model, *data, **options):
        before = model.get_weights()
        rate, moved = float(model.optimizer.learning_rate), []
        try:
            result = plain(model, *data, **options)
            pairs = zip(model.weights, differs(before, model.weights), strict=True)
            moved = [variable.path for variable, changed in pairs if changed]
        except (ValueError, RuntimeError):
            result = None  # with JAX, a forgotten compile ends here
        seen.append((moved, rate))
        return result

    keras.Model.fit = fit
    try:
        model = answer(base, *read)
    finally:
        keras.Model.fit = plain
    return model, seen


def reads(model):  # the share of new scans that it names rightly
    said = model.predict(check_read[0], verbose=0).argmax(axis=1)
    return (said == check_read[1]).mean()


def moved_in_fit(answer, number, part):  # of the backbone, or of the head
    paths = watched(answer)[1][number][0]
    return [p for p in paths if ("dense" in p) == (part == "head")]


teach.check(
    "05.3",
    two_phases,
    [
        (
            lambda f: getattr(watched(f)[0], "output_shape", 0) == (None, 10),
            "Return the model, with a number for each of ten digits.",
        ),
        (
            lambda f: len(watched(f)[1]) == 2,
            "Call `model.fit` twice, once for each phase.",
        ),
        (
            lambda f: not moved_in_fit(f, 0, "base"),
            "The backbone moved in the first phase. Freeze it before the first `fit`.",
        ),
        (
            lambda f: moved_in_fit(f, 1, "base"),
            "`fit` left the backbone alone in the second phase. Unfreeze it, and "
            "compile again before `fit`.",
        ),
        (
            lambda f: moved_in_fit(f, 0, "head") and moved_in_fit(f, 1, "head"),
            "The head did not move in each phase. It trains in both.",
        ),
        (
            lambda f: all(p.endswith("kernel") for p in moved_in_fit(f, 1, "base")),
            "A BatchNorm layer moved in the second phase. Hold those layers.",
        ),
        (
            lambda f: watched(f)[1][1][1] <= 0.201 * watched(f)[1][0][1],
            "The second phase is as fast as the first. A fifth of the rate, or less.",
        ),
        (
            lambda f: reads(watched(f)[0]) > 0.25,
            "It hardly reads a digit. Has it learnt long enough, from all images?",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## What does the recipe gain, at equal cost?
#
# A comparison is fair when all ways get the same. What costs time is a *pass*: all
# training images once through the whole network, in steps of 32. **Each way may use
# nine passes.**
#
# - **head**: one pass for the features, then 40 epochs on the stored features, which
#   cost next to nothing. Another pass would bring the same features. To see that it has
#   learnt all it can, we also train it twice as long.
# - **two phases**: the same head, then eight passes in which everything trains.
# - **at once**: no first phase. All nine passes train everything, under a random head.
# - **statistics move**: as *two phases*, but BatchNorm layers follow the batches.
# - **ten times**: as *two phases*, at ten times the rate, a common slip.
#
# All keep their last weights: the best epoch on the validation images would look too
# good. Each way has three seeds: another random head, another order.
#
# **Quick question.** A colleague gives *two phases* eight passes and *at once* two.
# What does a lead of *two phases* prove?
#
# - [ ] That the order matters :: Order and length changed together.
# - [x] Nothing about the order :: It may be the passes alone. Equal budgets first.
# - [ ] That *at once* destroys the backbone :: In two passes it has hardly moved.

# %%
teach.predict(
    "05.c",
    "Which of these does best with its nine passes?",
    ["head", "two phases", "at once", "statistics move", "ten times"],
    guess=1,  # guess: a number from 1 to 5
)


# %%
def rates(peak, passes):  # climb for a quarter, then fall along a cosine
    done, turn = np.arange(passes) + 0.5, passes / 4
    fall = 0.5 + 0.5 * np.cos(np.pi * (done - turn) / (passes - turn))
    return peak * np.where(done < turn, done / turn, fall)


def train(network, seed, peak, passes):
    mix = np.random.default_rng(seed)
    for rate in rates(peak, passes):
        network.optimizer.learning_rate.assign(rate)
        order = mix.permutation(len(learn[1]))
        network.fit(learn[0][order], learn[1][order], shuffle=False, verbose=0)


# %% tags=["plumbing"]
SEEDS, FLAT = [3 * L.seed + i for i in range(3)], keras.backend.backend() == "jax"
model.set_weights(fresh)
reader = kerastl.features.FeatureExtractor(backbone)
rows = [reader.fit(learn[0]).transform(part[0]) for part in (learn, watch)]


def compiled(network):  # once: each run starts again from stored numbers
    network.compile(keras.optimizers.AdamW(1e-3), LOSS, jit_compile=FLAT)
    network.optimizer.build(network.trainable_variables)
    return network


def restart(network, weights):
    network.set_weights(weights)
    for variable in network.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))


def right(network, images):  # which validation images it names rightly
    said = network.predict(images, batch_size=120, verbose=0).argmax(axis=1)
    return said == watch[1]


width = rows[0].shape[1]
small = [keras.Input((width,)), keras.layers.Dense(len(names))]
probe, heads, RIGHT = compiled(keras.Sequential(small)), {}, {}


def run(way, seed, network, peak=5e-4):
    if way.startswith("head"):
        if way == "head":  # "head, long" goes on from it
            noise = np.random.default_rng(seed).normal(0, 0.05, (width, len(names)))
            restart(network, [noise, np.zeros(len(names))])
            start = network.get_weights()
            network.optimizer.learning_rate.assign(3e-3)
            keras.utils.set_random_seed(seed)
        network.fit(rows[0], learn[1], epochs=40, verbose=0)
        if way == "head":
            heads[seed] = start, network.get_weights()
        found = right(network, rows[1])
    else:
        at_once = way == "at once"
        restart(network, [*fresh[:-2], *heads[seed][0 if at_once else 1]])
        train(network, seed, peak, 9 if at_once else 8)
        found = right(network, watch[0])
    print(f"{way}, seed {seed}: {found.mean():.3f}", flush=True)
    RIGHT.setdefault(way, []).append(found)


def whole(batch_norm):  # compiled with all layers open
    kerastl.unfreeze(model, "all", batch_norm=batch_norm)
    return compiled(keras.Model(model.inputs, model.outputs))


# %%
for seed in SEEDS:
    for way in ("head", "head, long"):
        run(way, seed, probe)
network = whole("affine")
for seed in SEEDS:
    run("two phases", seed, network)

# %%
for seed in SEEDS:
    run("at once", seed, network)
    run("ten times", seed, network, peak=5e-3)

# %%
network = whole("train")
for seed in SEEDS:
    run("statistics move", seed, network)

# %%
ways = ["head", "two phases", "at once", "statistics move", "ten times"]
means = [np.mean(RIGHT[way]) for way in ways]
teach.reveal("05.c", 1 + int(np.argmax(means)))
two = RIGHT["two phases"]
said = "Two phases against the head alone: {points:+}."
teach.compare("05.gain", said, two, RIGHT["head"], low=L.least_gain, high=0.4)
said = "The head, twice as long: {points:+}."
teach.compare("05.long", said, RIGHT["head, long"], RIGHT["head"], low=-0.05, high=0.06)
said = "Two phases against all at once: {points:+}."
teach.compare("05.order", said, two, RIGHT["at once"], low=-0.08, high=0.1)

# %%
said = "Statistics held against statistics that move: {points:+}."
teach.compare("05.held", said, two, RIGHT["statistics move"], low=-0.05, high=0.25)
said = "The rate of the recipe against ten times as much: {points:+}."
teach.compare("05.fast", said, two, RIGHT["ten times"], low=0.2, high=0.9)

# %%
shown = {way: np.mean(RIGHT[way], axis=1) for way in ways}
style = {"baseline": baseline, "looks": {way: i for i, way in enumerate(ways)}}
some = {way: shown[way] for way in ways[:3]}
lead = 100 * (means[1] - means[0])
caption = f"At equal cost, two phases lead the head alone by {lead:.0f} points."
teach.show(teach.dots(some, **style), caption=caption)
some = {way: shown[way] for way in (ways[1], *ways[3:])}
caption = "Two phases with one mistake: ten times the rate destroys the backbone."
teach.show(teach.dots(some, **style), caption=caption)

# %%
model.set_weights(tuned)  # of the run at the beginning of the lesson
result = kerastl.evaluate(model, parts.test)
least, most = result.accuracy_interval
print(f"accuracy {result.accuracy:.1%}, 95% interval {least:.1%} to {most:.1%}")
above = result.accuracy - np.bincount(parts.test.labels).max() / len(parts.test)
said = "On the test images the tuned model is {points} above the baseline."
teach.claim("05.test", said, above, low=0.3, high=0.75)

# %% [markdown]
# ## What is settled?
#
# Read the intervals. One that holds zero says: these runs do not settle it.
#
# - *Everything against the head*: the head has learnt all that it can; only the
#   features can get better.
# - *First the head, or all at once?* That the head should come first is **not shown
#   here**; if anything, *at once* is ahead. A slow start protects the backbone as well.
#   We prefer two phases because of other data: in the tests of this library all at once
#   is as good on average, but fails on some, such as letters.
# - *Statistics*: most likely, in so few steps, the moving ones lag behind the weights.
#
# ## At full scale
#
# With `scale="full"` the images are photographs of flowers and the weights come from
# ImageNet. The head alone does much better there: the second phase has less to add, and
# high rates more to lose. There *two phases* may well lead *at once*.
#
# ## What we saw
#
# - Freeze, train the head, unfreeze, *compile again*, train everything at a low rate.
#   Only a comparison of weights proves that it happened.
# - The first `fit` after a `compile` fixes what trains. A flag that is set later, or
#   set to what it was, does nothing.
# - Statistics are held by the layers, not by the call, whatever the rate.
# - Compare at equal cost, and let the interval say what is settled.
#
# Next: take your own photographs through both phases, with `kerastl.transfer`.
#
# ## Words
#
# - **fine-tuning**: training loaded weights further, for a new task.
# - **phase**: a stretch of training with its own trainable part, rate and compile.
# - **compile**: giving a model its optimizer and loss. The first `fit` after it fixes
#   what trains.
# - **BatchNorm**: a layer that centres and scales features by statistics.
# - **gamma, beta**: the scale and the shift that it learns.
# - **warm-up**: the first part of a phase, in which the rate climbs.
# - **pass**: all training images once through the whole network.
#
# ## Sources
#
# - Keras, *Transfer learning and fine-tuning*, the developer guide.
# - keras-team/keras on GitHub: issue 20285 and pull request 23364, on `training=False`.
# - fchollet/deep-learning-with-python-notebooks on GitHub: issue 257, on the phase that
#   never unfreezes.
# - A. Kumar and others, *Fine-Tuning can Distort Pretrained Features and Underperform
#   Out-of-Distribution*, ICLR 2022, arXiv:2202.10054: the recipe.
# - The tests of this library are in its folder `benchmarks`, file `recipes.md`.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 15 for the recipe and the first run, 10 for the first trap and exercise
# 05.1, 10 for BatchNorm and exercise 05.2, 10 for exercise 05.3, 15 for the comparison
# and the test. The four cells with the runs are the long ones: start them before
# exercise 05.3, or vote on 05.c while they run.
#
# ## Misconceptions
#
# - "`trainable = True` makes it train." It changes a flag. What trains was fixed by the
#   first `fit` after the last `compile`.
# - "`training=False` and `trainable=False` mean the same." One is a request about a
#   single call, the other a property of a layer. Only in BatchNorm layers does the
#   second imply the first.
# - "Falling loss proves fine-tuning." The head alone makes it fall. Compare weights.
# - "The lowest rate is the safest." It is safe because little happens. A fair
#   comparison gives it more passes.
# - "All at once must be worse." On these drawings it is not, with a slow start. The
#   argument for the head first is the worst case, not the mean.
#
# ## Discussion
#
# With TensorFlow none of the three mistakes raises an error. Which single test, run
# after each training in your own project, would have found all of them?
#
# An answer: keep a copy of the weights, and after each phase print which arrays
# differ. Kernels that should move and do not, or statistics that should not and do, are
# seen at once.
