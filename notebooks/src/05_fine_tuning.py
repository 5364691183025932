# %% [markdown]
# # 05 Fine-tuning in two phases
#
# A frozen backbone has given what it has. How do you let it learn your task without
# losing what it already knows?
#
# You train the new head first, then a part of the backbone with it, slowly. Three
# mistakes in this are so common that they stand in published material. Not one of them
# raises an error everywhere. You will meet each, measure it and repair it.
#
# ## You will be able to
#
# - fine-tune in two phases, and prove which weights moved in which phase;
# - keep BatchNorm statistics still on the Keras that you have, whatever a guide says;
# - choose a learning rate for the second phase, from several seeds.

# %%
from kerastl import teach

data = {"dataset": ("shapes", "flowers")}
data |= {"licence": ("Apache-2.0; weights non-commercial", "CC BY")}
network = {"backbone": ("MobileNet", "MobileNet"), "alpha": (0.5, 0.25)}
weights = {"weights": ("tiny", "imagenet"), "image_size": (64, 144)}
costs = {"download": ("nothing", "about 220 MB"), "minutes": (2, 12)}
tuning = {"depth": (4, 4), "cut": ("conv_pw_9_relu", "conv_pw_9_relu")}
rates = {"rates": ((1e-5, 5e-4, 2e-2), (1e-5, 5e-4, 2e-2)), "epochs": (3, 3)}
bands = {"least_gain": (0.01, -0.06), "least_lead": (-0.01, -0.05)}
rows = {**data, **network, **weights, **costs, **tuning, **rates, **bands}
L = teach.lesson("05", rows, scale="auto")

# %%
import kerastl

train, validation, test = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
teach.claim(
    "05.shared",
    "{value} images are in more than one part.",
    teach.shared_images(train, validation, test),
    low=0,
    high=0,
)

# %%
import keras
import numpy as np


def as_arrays(part):
    whole = kerastl.batches(part, image_size=L.image_size, batch_size=len(part))
    return np.array(next(iter(whole))[0], "uint8"), part.labels


learn, watch, names = as_arrays(train), as_arrays(validation), train.class_names
options = {"labels": watch[1][:10], "class_names": names, "columns": 5}
teach.show(kerastl.plots.images(watch[0][:10], **options))

# %% [markdown] tags=["quiz"]
# ## Why two phases
#
# A new head knows nothing. Whatever it says about an image is wrong in some arbitrary
# direction, and the correction is passed on to the layers below. Weights that took days
# to find would be bent to suit a head that is about to change anyway.
#
# So, first phase: **freeze** the backbone and **train** the head. Second phase:
# **unfreeze** some of the top blocks, **compile again**, train on at a **low rate**.
# The lower blocks stay frozen. What they see, edges and colours, is needed everywhere.
#
# Accuracy means something beside a *baseline*, so the next but one cell says first how
# far you get by always naming the most frequent class.
#
# **Quick question.** What is the first phase for?
#
# - [ ] It saves time, and that is all :: It is quick, but a quick start that spoils the
#   backbone would be no bargain.
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
fresh, rate = model.get_weights(), L.rates[1]
first = {"trainable": "head", "epochs": 10, "learning_rate": 3e-3}
second = {"trainable": L.depth, "epochs": L.epochs, "learning_rate": rate}
head = kerastl.Phase("head", schedule="cosine", **first)
top = kerastl.Phase("top blocks", batch_norm="affine", **second)
history = kerastl.run_phases(
    model, learn, watch, phases=[head, top], seed=L.seed, verbose=0
)
tuned = model.get_weights()

# %%
baseline = np.bincount(watch[1]).max() / len(watch[1])
said = "Always naming the most frequent class is right for {value:.1%}."
teach.claim("05.baseline", said, baseline, low=0.1, high=0.35)
teach.show(kerastl.plots.history(history))
record = history.phases[0]
said = "In the first phase {value} arrays of weights moved: the head's two."
teach.claim("05.first", said, len(record.moved), low=2, high=2)
reached = history.history["val_accuracy"]
risen = reached[-1] - reached[record.stop - 1]
teach.reveal("05.a", 100 * risen, form="{:.0f}")

# %%
from matplotlib import pyplot as plt

n = sum(path.endswith("kernel") for path in history.phases[1].moved) - 1  # the head
teach.claim("05.second", "Then {value} backbone kernels moved.", n, low=8, high=8)
kernels = [i for i, w in enumerate(model.weights) if w.path.endswith("kernel")][:-1]
size = np.linalg.norm
far = np.array([size(tuned[i] - fresh[i]) / size(fresh[i]) for i in kernels])
figure, axes = plt.subplots(figsize=(7, 2.6))
axes.bar(range(len(far)), 100 * far, color="#0072B2")
axes.set(xlabel="kernel, from the image to the head", ylabel="moved, percent of size")
words = f"{sum(far > 0)} of {len(far)} kernels moved, at most by {max(far):.0%}"
teach.show(figure, alt=f"Bars from the image to the head: {words}.")

# %% [markdown] tags=["quiz"]
# In the curves, left of the dotted line the head learns, right of it the top blocks
# too. The bars show what was touched. The frozen blocks have not moved by a bit, which
# is more than "hardly".
#
# The star marks the weights that you have now. `run_phases` compares *all* epochs of
# both phases. Keras's own `EarlyStopping` forgets, with each new `fit`, how good the
# last one was, so a failed second phase replaces a good first one.
#
# **Quick question.** The second phase has made the validation results worse. Which
# weights does `run_phases` leave in the model?
#
# - [ ] Those of the last epoch :: Only where there are no validation data to compare.
# - [ ] The best of the second phase :: That is what a new `EarlyStopping` would do.
# - [x] The best of the first phase :: It looks at all epochs, so a bad second phase
#   costs time and nothing else.

# %% [markdown]
# ## Exercise 05.1: the phase that tunes nothing
#
# The notebook of a well-known book came with a second phase like this one. The text
# calls it fine-tuning. `base` is the backbone inside `model`; it was frozen in the
# first phase, and the head was trained at `1e-3`.
#
# ```python
# def second_phase(model, base):
#     loss = "sparse_categorical_crossentropy"
#     model.compile(keras.optimizers.Adam(1e-5), loss)
# ```
#
# It runs, and the curves look well: the head learns on. Repair it. After your function,
# `model.fit` is to train the head *and all of* the backbone, at a tenth of the first
# rate or less. The check calls `fit` on a small hidden model and looks at what has
# moved.
#
# One trap: set the flag of `base`. That of `model` is True already, and setting it
# again does nothing on TensorFlow.


# %% tags=["stub"]
def second_phase(model, base):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def second_phase(model, base):  # as published: nobody unfreezes
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")


# %% tags=["wrong"]
def second_phase(model, base):  # opens one layer of the backbone alone
    base.trainable = True
    for layer in base.layers[:-1]:
        layer.trainable = False
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")


# %% tags=["wrong"]
def second_phase(model, base):  # unfreezes, at the rate of the first phase
    base.trainable = True
    model.compile("adam", "sparse_categorical_crossentropy")


# %% tags=["wrong"]
def second_phase(model, base):  # takes turns: the head is frozen instead
    base.trainable = True
    model.layers[-1].trainable = False
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")


# %% tags=["solution"]
def second_phase(model, base):
    base.trainable = True
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")


# %% tags=["check"]
import functools

LOSS = "sparse_categorical_crossentropy"
IMAGES = np.random.default_rng(0).uniform(0, 1, (12, 8, 8, 3)).astype("float32")
LABELS = np.arange(12) % 3


def small_pair():
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu")(image)
    base = keras.Model(image, keras.layers.Conv2D(4, 3)(maps))
    row = keras.layers.GlobalAveragePooling2D()(base.output)
    base.trainable = False
    return keras.Model(image, keras.layers.Dense(3, "softmax")(row)), base


def differs(before, variables):
    now = [keras.ops.convert_to_numpy(each) for each in variables]
    return [not np.array_equal(*pair) for pair in zip(before, now, strict=True)]


@functools.cache
def after_second(answer):
    model, base = small_pair()
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
            lambda f: after_second(f)[2] <= 1.01e-4,
            "The backbone moves, but as fast as a new head. Give a lower rate.",
        ),
    ],
)

# %%
teach.predict(
    "05.b",
    "Compiled and fitted while frozen, then unfrozen, then `fit` again. What moves in "
    "the backbone?",
    ["what was unfrozen", "nothing, without a word", "nothing: it stops with an error"],
    guess=1,  # guess: 1, 2 or 3
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
own = kerastl.build_backbone(L.backbone, **building)
careless = kerastl.build_classifier(own, names, seed=L.seed)
few = learn[0][:64], learn[1][:64]

# %%
kerastl.freeze(careless)
careless.compile(keras.optimizers.Adam(1e-3), loss)
guard = kerastl.TrainableGuard(careless)
careless.fit(*few, verbose=0)
before = own.get_weights()
kerastl.unfreeze(careless, L.depth)  # and no compile after it
try:
    careless.fit(*few, verbose=0, callbacks=[guard])
except ValueError as error:
    print("The guard says:", error)

# %%
moved, outcome = 0, 3
try:
    careless.fit(*few, verbose=0)  # without the guard
    pairs = zip(before, own.get_weights(), strict=True)
    moved = sum(not np.array_equal(*pair) for pair in pairs)
    outcome = 1 if moved else 2
except ValueError:
    pass  # with JAX
teach.reveal("05.b", outcome)
said = "Unfrozen without a new compile, {value} arrays of the backbone moved."
teach.claim("05.forgotten", said, moved, low=0, high=0)

# %% [markdown] tags=["quiz"]
# ## Forgetting to compile again
#
# The first `fit` after a `compile` makes a program that trains what is trainable at
# that moment. Setting `trainable` afterwards changes a flag that
# the program does not read. With TensorFlow nothing happens and nothing is said; with
# JAX, `fit` stops, and may take the weights with it. The order to keep: set
# `trainable`, `compile`, `fit`. `kerastl.TrainableGuard` compares what
# trains with what is asked for, and stops before the first step. Give it to your own
# `fit` as a callback.
#
# **Quick question.** How would you notice, without the guard?
#
# - [ ] The loss stands still :: The head trains on, so it goes on falling.
# - [ ] `summary` shows it :: It shows the flags, and they are as you set them.
# - [x] Weights from before and after are the same :: Only the weights themselves tell
#   what has trained. Compare a few.

# %% [markdown]
# ## Exercise 05.2: two phases of your own
#
# Write `train_twice(model, base, images, labels)`, in plain Keras. `base` is the
# backbone inside `model`; nothing is frozen or compiled yet. Two calls of `fit`: in the
# first only the head moves, in the second the backbone too, at a tenth of the rate or
# less. The loss is `"sparse_categorical_crossentropy"`. The check watches each `fit`.


# %% tags=["stub"]
def train_twice(model, base, images, labels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def train_twice(model, base, images, labels):  # one phase, all at once
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    model.fit(images, labels, epochs=2, verbose=0)


# %% tags=["wrong"]
def train_twice(model, base, images, labels):  # changes flag and rate, but no compile
    base.trainable = False
    model.compile(keras.optimizers.Adam(1e-3), LOSS)
    model.fit(images, labels, verbose=0)
    base.trainable = True
    model.optimizer.learning_rate = 1e-5
    model.fit(images, labels, verbose=0)


# %% tags=["wrong"]
def train_twice(model, base, images, labels):  # takes turns: head, then backbone
    head = model.layers[-1]
    for flag, rate in ((False, 1e-3), (True, 1e-5)):
        base.trainable, head.trainable = flag, not flag
        model.compile(keras.optimizers.Adam(rate), LOSS)
        model.fit(images, labels, verbose=0)


# %% tags=["wrong"]
def train_twice(model, base, images, labels):  # compiles again at the same rate
    for flag in (False, True):
        base.trainable = flag
        model.compile("adam", LOSS)
        model.fit(images, labels, verbose=0)


# %% tags=["solution"]
def train_twice(model, base, images, labels):
    for flag, rate in ((False, 1e-3), (True, 1e-5)):
        base.trainable = flag
        model.compile(keras.optimizers.Adam(rate), LOSS)
        model.fit(images, labels, verbose=0)


# %% tags=["check"]
@functools.cache
def watched(answer):
    model, base = small_pair()
    base.trainable = True
    plain_fit, seen, count = model.fit, [], len(base.weights)

    def fit(*arguments, **options):
        before, moved = model.get_weights(), [False] * len(model.weights)
        rate = float(model.optimizer.learning_rate)
        try:
            plain_fit(*arguments, **options)
            moved = differs(before, model.weights)
        except (ValueError, RuntimeError):
            pass  # with JAX, a forgotten compile ends here
        seen.append((any(moved[:count]), rate, any(moved[count:])))

    model.fit = fit
    answer(model, base, IMAGES, LABELS)
    return seen


teach.check(
    "05.2",
    train_twice,
    [
        (
            lambda f: len(watched(f)) == 2,
            "Call `model.fit` twice, once for each phase.",
        ),
        (
            lambda f: not watched(f)[0][0],
            "The backbone moved in the first phase. Freeze it before the first `fit`.",
        ),
        (
            lambda f: watched(f)[1][0],
            "`fit` left the backbone alone in the second phase. Unfreeze it, and "
            "compile again before `fit`.",
        ),
        (
            lambda f: watched(f)[0][2] and watched(f)[1][2],
            "The head did not move in each phase. It trains in both.",
        ),
        (
            lambda f: watched(f)[1][1] <= 0.101 * watched(f)[0][1],
            "The second phase is as fast as the first. A tenth of the rate, or less.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Something goes wrong on purpose
#
# *BatchNorm* layers hold four arrays each. The optimizer trains two: a scale and a
# shift, *gamma* and *beta*. The other two are *statistics*, a running mean and
# variance of what passes by. No gradient moves them. They follow the batches, whenever
# the layer runs in training mode, and the network depends on them when it predicts.
#
# So there are three modes: *frozen*, all four held; *affine*, statistics held, gamma
# and beta trained; *train*, all move. A well-known recipe promises the second mode by
# `base(x, training=False)`. We do not take its word for it. Now the
# call and the three modes, with a real backbone, on your Keras: one epoch on a few
# batches, then we count.
#
# **Quick question.** Which learning rate keeps the statistics still?
#
# - [ ] A very low one :: They are no business of the optimizer; its rate does not
#   matter to them.
# - [ ] Zero :: Not even zero: watching a batch is enough.
# - [x] None :: Only the mode of the layer decides whether they follow the batches.


# %%
def network_in(mode):
    base = kerastl.build_backbone(L.backbone, **building)
    base.trainable = True
    image = keras.Input(base.input_shape[1:])
    row = keras.layers.GlobalAveragePooling2D()(base(image, training=False))
    network = keras.Model(image, keras.layers.Dense(len(names), "softmax")(row))
    if mode != "call":  # kerastl sets the layers themselves
        kerastl.unfreeze(network, "all", batch_norm=mode)
    adam = keras.optimizers.Adam(1e-5)
    network.compile(adam, "sparse_categorical_crossentropy", run_eagerly=True)
    return network, base


# %%
def moved_in(mode):  # how many statistics, and how many gammas and betas
    keras.utils.set_random_seed(L.seed)
    network, base = network_in(mode)
    before = base.get_weights()
    network.fit(*few, verbose=0)
    now = zip(base.weights, before, base.get_weights(), strict=True)
    moved = [each.path for each, old, new in now if not np.array_equal(old, new)]
    statistics = sum(path.endswith(("mean", "variance")) for path in moved)
    return statistics, sum(path.endswith(("gamma", "beta")) for path in moved)


counts = {mode: moved_in(mode) for mode in ("call", "frozen", "affine", "train")}

# %%
total, by_call = counts["train"][0], counts["call"][0]
said = "Held by the call alone, {value} statistics moved on this Keras."
teach.claim("05.by_call", said, by_call, low=0, high=total)
held = counts["frozen"][0] + counts["affine"][0]
said = "Held by the layers, frozen or affine, {value} statistics moved."
teach.claim("05.by_layer", said, held, low=0, high=0)
said = "In mode train all {value} moved, after one epoch at a rate of 1e-5."
teach.claim("05.all", said, total, low=54, high=54)

# %%
figure, axes = plt.subplots(figsize=(6, 2.6))
place = np.arange(len(counts))
for i, word in enumerate(("statistics", "gamma and beta")):
    values, hatch = [each[i] for each in counts.values()], ("", "//")[i]
    bars = axes.bar(place + 0.4 * i - 0.2, values, 0.4, hatch=hatch, label=word)
    axes.bar_label(bars)
axes.set_xticks(place, ["training=False\nin the call", "frozen", "affine", "train"])
axes.set(ylabel="arrays that moved", ylim=(0, 1.5 * total))
axes.legend(ncols=2)
words = ", ".join(f"{mode} {each[0]}" for mode, each in counts.items())
teach.show(figure, alt=f"Bars, arrays that moved; statistics by mode: {words}.")

# %% [markdown]
# ## Exercise 05.3: hold them yourself
#
# Up to version `3.15.1` Keras tells each layer inside `base` that it trains, and what
# the call said is lost. Newer versions repair it. Your code should hold on both.
#
# Write `open_base(base)`, in plain Keras. `base` comes to you frozen. Afterwards every
# convolution of `base` trains and no BatchNorm layer moves at all, however `base` is
# called. The check trains.


# %% tags=["stub"]
def open_base(base):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def open_base(base):  # trusts the training=False of the call
    base.trainable = True


# %% tags=["wrong"]
def open_base(base):  # holds the statistics, and all the rest
    base.trainable = False


# %% tags=["wrong"]
def open_base(base):  # goes by the name, which may be any
    base.trainable = True
    for layer in base.layers:
        if "bn" in layer.name:
            layer.trainable = False


# %% tags=["solution"]
def open_base(base):
    base.trainable = True
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


# %% tags=["check"]
@functools.cache
def after_opening(answer):
    keras.utils.set_random_seed(6)
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, name="stem")(image)
    maps = keras.layers.BatchNormalization(name="stem_bn")(maps)
    maps = keras.layers.Conv2D(4, 3, name="top")(maps)
    maps = keras.layers.BatchNormalization(name="top_normalization")(maps)
    base = keras.Model(image, maps)
    row = keras.layers.GlobalAveragePooling2D()(base(image))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(row))
    base.trainable = False
    answer(base)
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    before = base.get_weights()
    model.fit(IMAGES, LABELS, verbose=0)
    moved = zip(base.weights, differs(before, base.weights), strict=True)
    return {variable.path.split("/")[-2] for variable, changed in moved if changed}


teach.check(
    "05.3",
    open_base,
    [
        (
            lambda f: {"stem", "top"} <= after_opening(f),
            "A convolution did not move. Open the backbone, then hold a part of it.",
        ),
        (
            lambda f: not {"stem_bn", "top_normalization"} <= after_opening(f),
            "Every BatchNorm layer moved. What the call says is no protection: set the "
            "layers themselves.",
        ),
        (
            lambda f: not {"stem_bn", "top_normalization"} & after_opening(f),
            "One BatchNorm layer still moves. Not every name has `bn` in it: ask for "
            "the type with `isinstance`.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## How low is a low rate?
#
# Guides say `1e-5`, the recipes of `kerastl` say `5e-4`, and a careless hand takes more
# than any network bears. We take one of each and compare them on three seeds.
#
# The same three seeds answer two more questions. Does the order matter: what if the top
# blocks train at once, under a random head? And what do moving statistics cost? All get
# the same number of epochs with the top blocks open. The frozen part is computed once,
# and each variant is compiled once and started again from stored weights.
#
# Be warned: we chose the number of blocks and of epochs, and the highest rate, after a
# few trials on the validation images of the drawings. That favours the middle rate. In
# those trials moving statistics cost more, the more blocks were open.
#
# **Quick question.** Suppose that the curve is flat at the lowest rate. What follows?
#
# - [ ] Fine-tuning does not help here :: It was hardly tried: the weights have not gone
#   anywhere yet.
# - [x] Rate and epochs belong together :: A tenth of the rate needs about ten times as
#   many steps to get as far.
# - [ ] The backbone is still frozen :: Possible, and worth a look; but a low rate alone
#   looks the same.

# %%
teach.predict(
    "05.c",
    "Which rate gives the best second phase of this length?",
    [f"{rate:g}" for rate in L.rates],
    guess=1,  # guess: 1, 2 or 3
)

# %%
SEEDS = [3 * L.seed + i for i in range(3)]
lower, upper = kerastl.features.split_model(model, L.cut)
maps, check_maps = (lower.predict(part[0], verbose=0) for part in (learn, watch))
probed, ready, untaught = [], [], []
for seed in SEEDS:
    model.set_weights(fresh)
    run = kerastl.run_phases(model, learn, watch, phases=[head], seed=seed, verbose=0)
    probed.append(run.history["val_accuracy"][-1])
    ready.append(model.get_weights())
    noise = np.random.default_rng(seed).normal(0, 0.05, fresh[-2].shape)
    untaught.append([*fresh[:-2], noise, fresh[-1]])


# %%
def tune(rate, starts, optimizer):  # one accuracy for each seed
    found = []
    for seed, start in zip(SEEDS, starts, strict=True):
        model.set_weights(start)
        for variable, value in zip(upper.optimizer.variables, optimizer, strict=True):
            variable.assign(value)  # no memory of the run before
        upper.optimizer.learning_rate.assign(rate)
        keras.utils.set_random_seed(seed)
        upper.fit(maps, learn[1], epochs=L.epochs, batch_size=32, verbose=0)
        found.append(upper.evaluate(check_maps, watch[1], verbose=0)[1])
    return np.array(found)


# %%
def compiled(batch_norm):  # and the optimizer as it is before its first step
    kerastl.unfreeze(model, L.depth, batch_norm=batch_norm)
    upper.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    upper.optimizer.build(upper.trainable_variables)
    return [keras.ops.convert_to_numpy(each) for each in upper.optimizer.variables]


state = compiled("affine")
by_rate = {f"{each:g}": tune(each, ready, state) for each in L.rates}

# %%
two, once = by_rate[f"{rate:g}"], tune(rate, untaught, state)
loose = tune(rate, ready, compiled("train"))
gains = [float((values - probed).mean()) for values in by_rate.values()]
teach.reveal("05.c", 1 + int(np.argmax(gains)))
said = "The middle rate against the head alone: {points:+}, mean of three seeds."
teach.claim("05.gain", said, gains[1], low=L.least_gain, high=0.2)
teach.claim("05.slow", "The lowest: {points:+}.", gains[0], low=-0.03, high=0.06)
teach.claim("05.fast", "The highest: {points:+}.", gains[2], low=-0.8, high=-0.2)
ahead = [(two - other).mean() for other in (once, loose)]
least = L.least_lead
teach.claim("05.order", "Head first: {points:+}.", ahead[0], low=least, high=0.1)
teach.claim("05.held", "Statistics held: {points:+}.", ahead[1], low=least, high=0.12)

# %%
figure, axes = plt.subplots(figsize=(6, 2.8))
for marker, values in zip("osD", np.transpose([*by_rate.values()]), strict=True):
    axes.plot(range(3), values, marker, color="#0072B2", markersize=8)
axes.set_xticks(range(3), list(by_rate))
axes.set_xlim(-0.5, 2.5)
axes.axhline(np.mean(probed), color="#009E73", label="head only")
axes.axhline(baseline, color="#D55E00", linestyle="--", label="baseline")
axes.set(xlabel="learning rate of the second phase", ylabel="accuracy", ylim=(0, 1))
axes.legend()
words = ", ".join(f"{rate}: {values.mean():.2f}" for rate, values in by_rate.items())
teach.show(figure, alt=f"Accuracy by learning rate, mean of three seeds: {words}.")

# %%
shown = {"head only": np.array(probed), "two phases": two, "at once": once}
shown["statistics move"] = loose
figure, axes = plt.subplots(figsize=(6, 2.4))
for place, values in enumerate(shown.values()):
    axes.plot(values, [place] * 3, "osDv"[place], color="#0072B2", markersize=8)
axes.axvline(baseline, color="#D55E00", linestyle="--")
axes.set(xlabel="accuracy (dashed: baseline)", xlim=(0, 1), ylim=(-0.5, 3.5))
axes.set_yticks(range(4), list(shown))
words = "; ".join(f"{name} {values.mean():.2f}" for name, values in shown.items())
teach.show(figure, alt=f"Accuracy, three seeds each, mean: {words}.")

# %%
model.set_weights(tuned)  # of the run at the beginning of the lesson
result = kerastl.evaluate(model, test)
least, most = result.accuracy_interval
print(f"accuracy {result.accuracy:.1%}, 95% interval {least:.1%} to {most:.1%}")
above = result.accuracy - np.bincount(test.labels).max() / len(test)
said = "On the test images the tuned model is {points} above the baseline."
teach.claim("05.test", said, above, low=0.35, high=0.75)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the images are photographs of flowers and the weights come from
# ImageNet. The head alone does much better there, so the second phase has less to add,
# and a rate that is too high has more to lose. When we ran it, even the middle rate
# lost a little, which `run_phases` would have undone: a rate belongs to its weights.
# Whether statistics may move depends on the batch: the smaller it is, the less it
# tells about all images.
#
# ## What we saw
#
# - Freeze, train the head, unfreeze, *compile again*, train at a low rate. Only a
#   comparison of weights proves that it happened.
# - The first `fit` after a `compile` fixes what trains. A flag that is set later does
#   nothing, and the curve still looks well.
# - Statistics are held by the layers, not by the call. The rate has no say in it.
# - Too low a rate wastes the epochs, too high a one destroys the backbone. The choice
#   needs more than one seed.
# - If two rows of marks in the last picture overlap, these runs do not settle which is
#   better. That holds for the order of the phases too: read it off, do not recite it.
#
# Next: the README of the notebooks has this cycle in plain Keras. Take your own
# photographs through both phases, with `kerastl.transfer`.
#
# ## Words
#
# - **fine-tuning**: training loaded weights further, for a new task.
# - **phase**: a stretch of training with its own trainable part, rate and compile.
# - **compile**: giving a model its optimizer and loss. The first `fit` after it fixes
#   what trains.
# - **BatchNorm**: a layer that centres and scales features by statistics.
# - **gamma, beta**: the scale and the shift that it learns.
# - **learning rate**: how far a weight moves in one step.
#
# ## Sources
#
# - Keras, *Transfer learning and fine-tuning*, the developer guide.
# - keras-team/keras on GitHub: issue 20285 and pull request 23364, on `training=False`.
# - fchollet/deep-learning-with-python-notebooks on GitHub: issue 257, on the phase that
#   never unfreezes.
# - A. Kumar and others, *Fine-Tuning can Distort Pretrained Features and Underperform
#   Out-of-Distribution*, ICLR 2022, arXiv:2202.10054.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 15 for the two phases and exercise 05.1, 15 for forgetting to compile and
# exercise 05.2, 15 for BatchNorm and exercise 05.3, 15 for the rates and the test. The
# long cells are the first run and the one with all variants: start them before you
# talk about them. Let the class vote on 05.c before anybody runs it.
#
# ## Misconceptions
#
# - "`trainable = True` makes it train." It changes a flag. What trains was fixed by the
#   first `fit` after the last `compile`.
# - "`training=False` and `trainable=False` mean the same." One is a request about a
#   single call, the other a property of a layer. Only in BatchNorm layers does the
#   second imply the first.
# - "Falling loss proves fine-tuning." The head alone makes it fall. Compare weights.
# - "The lowest rate is the safest." It is safe because nothing happens. A fair
#   comparison gives it more epochs.
# - "All at once must be worse." In few epochs, with an optimizer that scales its steps,
#   it may come close. The measured bands say so; the argument alone does not.
#
# ## Discussion
#
# With TensorFlow none of the three mistakes raises an error. Which single test, run
# after each training in your own project, would have found all of them?
