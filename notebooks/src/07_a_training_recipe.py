# %% [markdown]
# # 07 A training recipe
#
# Guides are full of tips: augment, stop early, warm up, smooth the labels. Which of ten
# of them helps here, and by how much?
#
# You start from the recipe of lesson 05, change one thing at a time, and measure. With
# few images a tip may help, do nothing, or cost you points.
#
# ## You will be able to
#
# - find a learning rate by a sweep, and tell from two curves what goes wrong;
# - try a tip alone, over several seeds, and read what it gains;
# - stop in time, and refuse an augmentation that changes the label.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("digits", "digits"),
    "licence": ("Apache-2.0; weights non-commercial", "Apache-2.0; weights of Keras"),
    "backbone": ("MobileNet", "MobileNet"),
    "alpha": (0.25, 0.25),
    "weights": ("tiny", "imagenet"),
    "image_size": (32, 96),
    "download": ("nothing", "about 2 MB"),
    "minutes": (2, 8),
}

# %%
import keras
import numpy as np

import kerastl

L = teach.lesson("07", SETTINGS, scale="auto")
parts = kerastl.load_dataset(L.dataset, validation=0.6, test=0.2, seed=L.seed)
said = "{value} images are in more than one part."
teach.claim("07.shared", said, teach.shared_images(*parts), low=0, high=0)

# %% tags=["plumbing"]
from dataclasses import replace

from matplotlib import pyplot as plt

names, SEEDS = parts.train.class_names, [3 * L.seed + i for i in range(3)]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def as_arrays(part, size=L.image_size):
    whole = kerastl.batches(part, image_size=size, batch_size=len(part))
    return np.array(next(iter(whole))[0], "uint8"), np.asarray(part.labels)


(scans, digits), (seen, truth) = as_arrays(parts.train), as_arrays(parts.validation)
watch, judge = (seen[:300], truth[:300]), (seen[300:], truth[300:])
building = {"alpha": L.alpha, "weights": L.weights, "image_size": L.image_size}
whole = kerastl.build_backbone(L.backbone, **building)
cut = kerastl.features.truncate(whole, "conv_pw_6_relu")
MODELS = {
    dropout: kerastl.build_classifier(cut, names, dropout=dropout, seed=L.seed)
    for dropout in (0.0, 0.3)
}
# Scored by models of their own: those that train are compiled again and again.
SCORERS = {d: keras.Model(m.inputs, m.outputs) for d, m in MODELS.items()}
fresh, STARTS, RIGHT, RUNS = MODELS[0.0].get_weights(), {}, {}, {}


def few(seed):  # 20 images of each class, another draw for each seed
    order = np.random.default_rng(seed).permutation(len(digits))
    own = [order[digits[order] == c][:20] for c in range(len(names))]
    return scans[np.concatenate(own)], digits[np.concatenate(own)]


def begin(seed, dropout=0.0):  # the model after the first phase: the head has learnt
    if seed not in STARTS:
        MODELS[0.0].set_weights(fresh)
        options = {"phases": [HEAD], "seed": seed, "verbose": 0}
        kerastl.run_phases(MODELS[0.0], few(seed), **options)
        STARTS[seed] = MODELS[0.0].get_weights()
    MODELS[dropout].set_weights(STARTS[seed])
    return MODELS[dropout]


def right(dropout=0.0):  # which images that judge are named rightly
    said = SCORERS[dropout].predict(judge[0], batch_size=400, verbose=0)
    return said.argmax(axis=1) == judge[1]


def run(tip, phase, options):
    for seed in SEEDS:
        given = {"batch_size": 40, "seed": seed, "verbose": 0, **options}
        dropout = given.pop("dropout", 0.0)
        tuned = [replace(RECIPE, **phase)]
        model = begin(seed, dropout)
        done = kerastl.run_phases(model, few(seed), phases=tuned, **given)
        RUNS[tip, seed] = done.history
        RIGHT.setdefault(tip, []).append(right(dropout))
        print(f"{tip}, seed {seed}: {RIGHT[tip][-1].mean():.3f}", flush=True)


# %% [markdown] tags=["quiz"]
# ## The recipe
#
# The data are scans of digits, 20 of each. The backbone is short: we cut it at its
# sixth block, as in lesson 03. In the *first phase* the head learns on frozen features.
# In the *second* the two upper blocks learn too, for 24 epochs at one rate. A tip
# changes one thing in the second phase.
#
# ## A rate, by a sweep
#
# Before all tips comes the *learning rate*. A *sweep* tries many: one step at a tiny
# rate, the next at a higher one, until the loss explodes. Take the rate at which the
# loss falls fastest, or a little less. Where it is lowest the rate is already too high.
#
# **Quick question.** Why not the rate with the lowest loss?
#
# - [ ] It is too low :: It is the last one before the loss climbs.
# - [x] It is at the edge :: A little higher, and training is destroyed. And the loss is
#   low there because of all the steps before.
# - [ ] The sweep is too short to find it :: It finds it. But a low loss there does not
#   make it a good rate.

# %%
teach.predict(
    "07.a",
    "At which rate will the loss fall fastest? Lesson 05 took 0.0005.",
    guess=0.001,  # guess: a number, such as 0.0001 or 0.1
)
HEAD = kerastl.Phase("head", trainable="head", epochs=30, learning_rate=3e-3)
options = {"trainable": 2, "batch_norm": "affine", "batch_size": 40, "low": 1e-6}
curve = kerastl.rates.find_learning_rate(
    begin(SEEDS[0]), few(SEEDS[0]), high=1.0, **options
)

# %%
steepest = curve.suggestions["steepest"]
teach.reveal("07.a", steepest, form="{:.4f}")
said = "The loss falls fastest at a rate of {value:.4f}."
teach.claim("07.steepest", said, steepest, low=5e-4, high=2e-2)
edge = curve.rates[curve.smoothed.argmin()]
caption = f"The loss falls fastest near {steepest:.0e}, and climbs from {edge:.0e} on."
teach.show(curve.plot(), caption=caption)
RECIPE = kerastl.Phase(
    "tune", trainable=2, epochs=24, learning_rate=3e-3, batch_norm="affine"
)

# %% [markdown]
# The three marks are suggestions: `valley`, halfway down; `steepest`, where the loss
# falls fastest; and `minimum`, a tenth of the rate with the lowest loss. We take `3e-3`
# for all that follows. The best rate depends on the optimizer, the batch size and the
# blocks that learn: sweep again when you change one of them.
#
# ## Exercise 07.1: a sweep of your own
#
# Write `sweep(model, images, labels, rates)`. `rates` rises. For each rate set
# `model.optimizer.learning_rate`, and take one step on all images:
# `model.fit(images, labels, batch_size=len(images), verbose=0).history["loss"][0]` is
# the loss before the step. Stop when it is above four times the lowest so far. Then
# give the model its old weights back, and return *a tenth* of the rate with the lowest
# loss. The check uses drawings.


# %% tags=["stub"]
def sweep(model, images, labels, rates):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def sweep(model, images, labels, rates):  # the model stays changed
    losses, size = [], len(images)
    for rate in rates:
        model.optimizer.learning_rate = rate
        history = model.fit(images, labels, batch_size=size, verbose=0).history
        losses.append(history["loss"][0])
        if losses[-1] > 4 * min(losses):
            break
    return rates[int(np.argmin(losses))] / 10


# %% tags=["wrong"]
def sweep(model, images, labels, rates):  # the rate at the edge
    before, losses, size = model.get_weights(), [], len(images)
    for rate in rates:
        model.optimizer.learning_rate = rate
        history = model.fit(images, labels, batch_size=size, verbose=0).history
        losses.append(history["loss"][0])
        if losses[-1] > 4 * min(losses):
            break
    model.set_weights(before)
    return rates[int(np.argmin(losses))]


# %% tags=["wrong"]
def sweep(model, images, labels, rates):  # goes on after the explosion
    before, losses, size = model.get_weights(), [], len(images)
    for rate in rates:
        model.optimizer.learning_rate = rate
        history = model.fit(images, labels, batch_size=size, verbose=0).history
        losses.append(history["loss"][0])
    model.set_weights(before)
    return rates[int(np.nanargmin(losses))] / 10


# %% tags=["wrong"]
def sweep(model, images, labels, rates):  # the usual batches: several steps at a rate
    before, losses = model.get_weights(), []
    for rate in rates:
        model.optimizer.learning_rate = rate
        losses.append(model.fit(images, labels, verbose=0).history["loss"][0])
        if losses[-1] > 4 * min(losses):
            break
    model.set_weights(before)
    return rates[int(np.argmin(losses))] / 10


# %% tags=["solution"]
def sweep(model, images, labels, rates):
    before, losses, size = model.get_weights(), [], len(images)
    for rate in rates:
        model.optimizer.learning_rate = rate
        history = model.fit(images, labels, batch_size=size, verbose=0).history
        losses.append(history["loss"][0])
        if losses[-1] > 4 * min(losses):
            break
    model.set_weights(before)
    return rates[int(np.argmin(losses))] / 10


# %% tags=["check"]
import functools

RATES = np.geomspace(1e-4, 100, 40)


def drawn(number, seed, size=16, style="flat"):
    options = {"image_size": size, "style": style, "seed": seed}
    return as_arrays(kerastl.make_shapes(number, **options)[0], size)


def small(seed):  # a network for drawings of 16 pixels
    keras.utils.set_random_seed(seed)
    image = keras.Input((16, 16, 3))
    row = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    row = keras.layers.Dense(16, activation="relu")(row)
    model = keras.Model(image, keras.layers.Dense(6)(row))
    model.compile(keras.optimizers.Adam(1e-3), LOSS)
    return model


def spied(answer, model, *given, script=None):  # and of each `fit` what it did
    plain, plain_score, seen = keras.Model.fit, keras.Model.evaluate, []

    def fit(self, *data, **options):
        result = plain(self, *data, **options)
        rate = float(self.optimizer.learning_rate)
        seen.append((rate, result.history["loss"], self.get_weights()))
        if script and "val_loss" in result.history:
            result.history["val_loss"] = [script[len(seen) - 1]]
        return result

    def evaluate(self, x, y=None, **options):  # scripted: the loss that is to be seen
        if script is None or "_use_cached_eval_dataset" in options:  # `fit` asks
            return plain_score(self, x, y, **options)
        on_check = y is given[1][1]
        loss = script[len(seen) - 1] if on_check else 1 / (1 + len(seen))
        return {"loss": loss} if options.get("return_dict") else loss

    keras.Model.fit, keras.Model.evaluate = fit, evaluate
    try:
        return answer(model, *given), seen
    finally:
        keras.Model.fit, keras.Model.evaluate = plain, plain_score


def same(one, two):
    return all(np.array_equal(*pair) for pair in zip(one, two, strict=True))


@functools.cache
def swept(answer):  # its rate, rates that were set, losses, whether undone, steps
    model = small(2)
    before = model.get_weights()
    rate, seen = spied(answer, model, *drawn(60, 7), RATES)
    used, losses = [each[0] for each in seen], [each[1][0] for each in seen]
    steps = int(model.optimizer.iterations)
    return float(rate), used, losses, same(before, model.get_weights()), steps


teach.check(
    "07.1",
    sweep,
    [
        (
            lambda f: swept(f)[3],
            "The model has moved. Keep its weights before, and put them back.",
        ),
        (
            lambda f: (
                len(swept(f)[1]) > 0
                and np.allclose(swept(f)[1], RATES[: len(swept(f)[1])], rtol=1e-3)
            ),
            "Call `model.fit` once at each of the given rates, one after the other.",
        ),
        (
            lambda f: swept(f)[4] == len(swept(f)[1]),
            "More than one step at a rate. Give all images as one batch.",
        ),
        (
            lambda f: 10 < len(swept(f)[1]) < len(RATES),
            "Stop when the loss is above four times the lowest so far.",
        ),
        (
            lambda f: 0.09 < swept(f)[0] / RATES[np.argmin(swept(f)[2])] < 0.11,
            "That is not a tenth of the rate with the lowest loss.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Four curves
#
# Draw the loss of training and of *validation*, images that train nothing, side by
# side. Their shape says what to change:
#
# - *underfitting*: both are high and still fall. Train longer, at a higher rate, or
#   open more blocks.
# - *overfitting*: training falls on, validation climbs. The network learns its images
#   by heart. Stop earlier, use the tips below, or get more images.
# - *noise*: they jump. Lower the rate; judge by more images.
# - *leak*: validation is as good as training, though its images should be new. Look
#   for images that are in both.
#
# **Quick question.** Training loss falls to nearly zero, validation loss climbs, and
# validation *accuracy* stays. What is it?
#
# - [ ] Underfitting :: The training images are known by heart.
# - [x] Overfitting :: It makes no more mistakes than before, but gets surer of them,
#   and the loss counts that. See calibration in lesson 08.
# - [ ] A leak :: Then validation would follow training.

# %% tags=["plumbing"]
reader = kerastl.features.FeatureExtractor(cut)
MODELS[0.0].set_weights(fresh)
rows = reader.fit_transform(few(SEEDS[0])[0]), reader.transform(watch[0])
middle, spread = rows[0].mean(axis=0), rows[0].std(axis=0) + 1e-3
learn, check = ((each - middle) / spread for each in rows)
own = few(SEEDS[0])[1]


keras.utils.set_random_seed(L.seed)
hidden = keras.layers.Dense(64, activation="relu")
layers = [keras.Input(learn.shape[1:]), hidden, keras.layers.Dense(len(names))]
probe = keras.Sequential(layers)
probe.compile(keras.optimizers.SGD(0.1, momentum=0.9), LOSS)
begun = probe.get_weights()


def losses_of(size, number, rate, valid):  # of a head with a hidden layer
    probe.set_weights(begun)
    for variable in probe.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    probe.optimizer.learning_rate = rate
    mix, pair = np.random.default_rng(L.seed), []
    pool = mix.permutation(len(own))[:number]
    for _ in range(60):
        some = mix.choice(pool, size, replace=False)
        given = (learn[some], own[some]), valid
        calls = probe.train_on_batch, probe.test_on_batch
        for call, batch in zip(calls, given, strict=True):
            probe.reset_metrics()  # otherwise it is the mean of all steps
            pair.append(float(np.ravel(call(*batch))[0]))
    return pair[::2], pair[1::2]


every = check, watch[1]
CURVES = {
    "A": losses_of(10, 200, 0.05, (check[:20], watch[1][:20])),
    "B": losses_of(200, 200, 0.05, (learn[:100], own[:100])),
    "C": losses_of(200, 200, 5e-4, every),
    "D": losses_of(60, 60, 0.1, every),
}
figure, panels = plt.subplots(1, 4, figsize=(11, 2.7), layout="constrained")
for axes, (name, pair) in zip(panels, CURVES.items(), strict=True):
    for k, (word, each) in enumerate(
        zip(("training", "validation"), pair, strict=True)
    ):
        style = {"color": teach.COLOURS[k], "linestyle": ("-", "--")[k]}
        axes.plot(range(1, 61), each, label=word, **style)
    axes.set(title=name, xlabel="step", ylim=(0, None))
panels[0].set_ylabel("loss")
panels[0].legend()
ends = [f"{n}: {a[-1]:.2f} and {b[-1]:.2f}" for n, (a, b) in CURVES.items()]
caption = "Four runs of a head. Which is which?"
alt = f"Loss over 60 steps; training and validation end at {'; '.join(ends)}."
teach.show(figure, caption=caption, alt=alt)

# %%
teach.predict(
    "07.b",
    "In which panel are the validation images among the training images?",
    ["A", "B", "C", "D"],
    guess=1,  # guess: 1, 2, 3 or 4
)

# %%
teach.reveal("07.b", 2)
print("A is noise, B the leak, C underfitting, D overfitting.")
train_loss, valid_loss = map(np.array, CURVES["D"])
said = "D: the validation loss ends at {value:.2f} times its lowest."
climbed = valid_loss[-1] / valid_loss.min()
teach.claim("07.climbs", said, climbed, low=1.02, high=5)
leak, honest = CURVES["B"][1][-1], valid_loss[-1]
said = "B: its validation loss is {value:.2f} of that of D."
teach.claim("07.leak", said, leak / honest, low=0, high=0.5)

# %% [markdown] tags=["quiz"]
# ## Ten tips, one at a time
#
# - **augmentation**: turned, shifted and zoomed a little, another way each epoch (here
#   eight versions of each image).
# - **early stopping**: end when three epochs bring nothing better on 300 validation
#   images, and go back to the best weights. Accuracy is measured on other images.
# - **cosine**: the rate falls to zero. **Warm-up**: it climbs first.
# - **dropout**: in training, three in ten inputs of the head are zero.
# - **weight decay**: each step shrinks the weights a little. *L2*, a penalty on their
#   squares in the loss, does much the same.
# - **label smoothing**: a tenth of each label is shared out among all classes.
# - **mixup**: two images are blended, and their labels too.
#
# In plain Keras most tips are one argument:
#
# ```python
# rate = keras.optimizers.schedules.CosineDecay(  # climbs for 30 steps, falls for 90
#     0.0, decay_steps=90, warmup_target=3e-3, warmup_steps=30
# )
# adam = keras.optimizers.AdamW(rate, weight_decay=0.5)
# loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
# # `base` is the backbone, with the average of its maps at the end
# model = keras.Sequential([base, keras.layers.Dropout(0.3), keras.layers.Dense(10)])
# model.compile(adam, loss)
# labels = keras.utils.to_categorical(labels)  # 3 becomes 0 0 0 1 0 0 0 0 0 0
# stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
# model.fit(images, labels, validation_data=watch, epochs=24, callbacks=[stop])
# ```
#
# Two more we test by taking them away: the **second phase**, and **the rate of the
# sweep** (`5e-4` of lesson 05 in its place). Each way has three seeds: each draws 20
# other images of each digit.
#
# **Quick question.** You add three tips at once, and gain. What do you know?
#
# - [ ] That all three help :: One may help, and two may hurt.
# - [x] That the three together gain, on these images :: To know which, add each alone.
# - [ ] Nothing :: If it was measured fairly, you know about the three together.

# %%
TIPS = {  # what each changes: settings of the phase, and of the run
    "the recipe": ({}, {}),
    "rate of lesson 05": ({"learning_rate": 5e-4}, {}),
    "augmentation": ({}, {"augment": "digits", "views": 8}),
    "early stopping": ({"patience": 3}, {"validation": watch}),
    "cosine": ({"schedule": "cosine"}, {}),
    "warm-up": ({"warmup": 6}, {}),
    "dropout": ({}, {"dropout": 0.3}),
    "weight decay": ({"weight_decay": 0.5}, {}),
    "label smoothing": ({}, {"label_smoothing": 0.1}),
    "mixup": ({"mixup": 0.2}, {}),
}  # fmt: skip

# %%
teach.predict(
    "07.c",
    "Of the eight tips that we add, how many gain a point or more?",
    guess=4,  # guess: a number from 0 to 8
)
RIGHT["no second phase"] = [(begin(seed), right())[1] for seed in SEEDS]
for tip in list(TIPS)[:5]:
    run(tip, *TIPS[tip])

# %%
for tip in list(TIPS)[5:]:
    run(tip, *TIPS[tip])

# %%
base, ADDED = RIGHT["the recipe"], list(TIPS)[2:]
gains = {tip: np.mean(RIGHT[tip]) - np.mean(base) for tip in ADDED}
teach.reveal("07.c", sum(gain >= 0.01 for gain in gains.values()))
pairs = {"second phase": (base, RIGHT["no second phase"])}
pairs["rate of the sweep"] = base, RIGHT["rate of lesson 05"]
pairs |= {tip: (RIGHT[tip], base) for tip in ADDED}
said = "What the second phase gains: {points:+}."
teach.compare("07.phase", said, *pairs["second phase"], low=0.05, high=0.4)
said = "The rate of the sweep against that of lesson 05: {points:+}."
teach.compare("07.rate", said, *pairs["rate of the sweep"], low=0, high=0.15)

# %% tags=["plumbing"]
said = "Augmentation: {points:+}."
teach.compare("07.augment", said, *pairs["augmentation"], low=-0.1, high=0.06)
said = "Early stopping: {points:+}."
teach.compare("07.early", said, *pairs["early stopping"], low=-0.12, high=0.04)
said = "Cosine: {points:+}."
teach.compare("07.cosine", said, *pairs["cosine"], low=-0.06, high=0.02)
said = "Warm-up: {points:+}."
teach.compare("07.warm_up", said, *pairs["warm-up"], low=-0.05, high=0.04)
said = "Dropout: {points:+}."
teach.compare("07.dropout", said, *pairs["dropout"], low=-0.06, high=0.05)
said = "Weight decay: {points:+}."
teach.compare("07.decay", said, *pairs["weight decay"], low=-0.05, high=0.04)
said = "Label smoothing: {points:+}."
teach.compare("07.smoothing", said, *pairs["label smoothing"], low=-0.03, high=0.05)
said = "Mixup: {points:+}."
teach.compare("07.mixup", said, *pairs["mixup"], low=-0.12, high=0.05)
figure = teach.forest(pairs)
clear = figure.axes[0].kerastl_alt_text.count(", settled)")
caption = f"Of ten tips {clear} are settled; the intervals of the others hold zero."
teach.show(figure, caption=caption)
epochs = [len(RUNS["early stopping", seed]["loss"]) for seed in SEEDS]
said = f"Early stopping ends after {epochs} epochs: {{value:.0%}} are saved."
saved = 1 - np.mean(epochs) / RECIPE.epochs
teach.claim("07.saved", said, saved, low=0, high=0.8)

# %% [markdown] tags=["quiz"]
# A tip whose interval holds zero is *not settled*: neither "it helps" nor "it does
# nothing" is shown, only that its effect is too small for three seeds. The shaded zone
# is one point to each side: what lies in it matters little here, even if it is settled.
#
# The second phase and its rate, to which all other tips are added, gain most. A cosine
# halves the mean rate: probably the network learns less in so few epochs. Tips against
# overfitting probably have little to do in so short a training. Early stopping looks
# at few images: after one lucky epoch it may end too soon.
#
# ## All tips together
#
# Each of the eight was tried alone. Now all eight at once.
#
# **Quick question.** Why might they gain less than the sum of what each gains?
#
# - [x] They do the same work, or get in each other's way :: Several slow the learning
#   down. With all of them it is so slow that early stopping may end it too soon.
# - [ ] Because the sum was wrong :: The sum is right. But what tips gain alone need not
#   add up.
# - [ ] They cannot be combined :: They can, in one call.

# %%
teach.predict(
    "07.d",
    "Against the recipe, how many points do all eight together gain?",
    guess=3,  # guess: a number, such as -5, 0 or 5
)
phase, options = {}, {}
for tip in ADDED:
    phase |= TIPS[tip][0]
    options |= TIPS[tip][1]
run("all eight", phase, options)

# %%
together, total = RIGHT["all eight"], sum(max(gain, 0) for gain in gains.values())
teach.reveal("07.d", 100 * (np.mean(together) - np.mean(base)), form="{:+.0f}")
said = "All eight together: {points:+}."
teach.compare("07.together", said, together, base, low=-0.4, high=0.05)
said = "The gains of those that gained, one by one, add up to {points:+}."
teach.claim("07.sum", said, total, low=0, high=0.2)
epochs = [len(RUNS["all eight", seed]["loss"]) for seed in SEEDS]
print("Early stopping ended all eight together after", epochs, "epochs.")

# %% [markdown]
# ## Augmentation that changes the label
#
# A mirrored flower is a flower. A mirrored 2 is no 2, and a 6 that stands on its head
# is a 9. An *augmentation* may change only what the label does not depend on.

# %%
FLIP, TURN = kerastl.Augmentation(flip=True), kerastl.Augmentation(rotation=180)
run("mirrored", {}, {"augment": FLIP, "views": 8})
run("turned", {}, {"augment": TURN, "views": 8})
said = "Half of the digits mirrored: {points:+}."
teach.compare("07.mirrored", said, RIGHT["mirrored"], base, low=-0.3, high=0.01)
said = "Turned by any angle: {points:+}."
teach.compare("07.turned", said, RIGHT["turned"], base, low=-0.6, high=-0.03)

# %%
place = int(np.flatnonzero(digits == 6)[0])
shown = kerastl.ImageSet(np.repeat(scans[[place]], 8, axis=0), [0] * 8, ("6",))
batch = {"image_size": L.image_size, "batch_size": 8, "seed": L.seed}
grid = [
    np.array(next(iter(kerastl.batches(shown, augment=each, **batch)))[0], "uint8")
    for each in ("digits", FLIP, TURN)
]
figure = kerastl.plots.images(np.concatenate(grid), columns=8)
caption = "One 6, eight times: augmented as it should be, mirrored, and turned."
alt = "Three rows of a 6: a little turned and shifted; half mirrored; at any angle."
teach.show(figure, caption=caption, alt=alt)

# %%
lost = np.mean(base, axis=0) - np.mean(RIGHT["turned"], axis=0)
each = np.array([100 * lost[judge[1] == c].mean() for c in range(len(names))])
figure, axes = plt.subplots(figsize=(6, 2.8))
axes.bar(names, each, color=teach.COLOURS[0])
axes.set(xlabel="digit", ylabel="points lost")
worst = ", ".join(names[c] for c in np.argsort(-each)[:3])
caption = f"Turning costs {worst} most, and {names[each.argmin()]} least."
alt = "; ".join(
    f"{name} {points:.0f}" for name, points in zip(names, each, strict=True)
)
teach.show(figure, caption=caption, alt=f"Points lost by turning, by digit: {alt}.")

# %% [markdown]
# ## Exercise 07.2: letters
#
# The new images are scans of four small letters: b, d, p and q. Give `answer`, a
# `kerastl.Augmentation` for them. It should turn (`rotation`, in degrees), shift
# (`translation`, a share of the side) and change the light (`brightness`, a share):
# each as much as two scans of one letter may differ, and so little that no letter
# becomes another one or cannot be read. `flip=True` mirrors half of the images, left
# to right.

# %% tags=["stub"]
answer = ...

# %% tags=["wrong"]
answer = kerastl.Augmentation(flip=True, rotation=10, translation=0.1, brightness=0.2)

# %% tags=["wrong"]
answer = kerastl.Augmentation(rotation=180, translation=0.1, brightness=0.2)

# %% tags=["wrong"]
answer = kerastl.Augmentation(rotation=10, translation=0.6, brightness=0.2)


# %% tags=["wrong"]
answer = kerastl.Augmentation(brightness=0.2)  # light alone

# %% tags=["solution"]
answer = kerastl.Augmentation(rotation=10, translation=0.1, brightness=0.2)

# %% tags=["check"]
teach.check(
    "07.2",
    answer,
    [
        (
            lambda a: isinstance(a, kerastl.Augmentation),
            "Give a `kerastl.Augmentation`, with numbers in its brackets.",
        ),
        (lambda a: not a.flip, "A mirrored b is a d. Which of these keeps letters?"),
        (
            lambda a: a.rotation <= 45,
            "So far turned, a b may be a q. How far does a scan lie askew?",
        ),
        (
            lambda a: a.translation <= 0.3,
            "So far shifted, a part of the letter is outside: a b may look like an l.",
        ),
        (
            lambda a: a.brightness <= 0.6,
            "So much darker, some letters are nearly black on black.",
        ),
        (
            lambda a: (
                a.rotation >= 3 and a.translation >= 0.02 and a.brightness >= 0.05
            ),
            "Scans differ in three ways: turned a little, shifted, lighter or darker.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 07.3: stop in time
#
# Write `stop_early(model, train, check, patience, most)`. Train one epoch at a time:
# `model.fit(*train, verbose=0)`. After each, `model.evaluate(*check, verbose=0)` is the
# validation loss. Stop after `most` epochs, or when `patience` epochs *in a row* have
# brought none lower than the lowest so far. Give the model the weights of its best
# epoch, and return how many epochs you trained. Do it without a callback.


# %% tags=["stub"]
def stop_early(model, train, check, patience, most):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def stop_early(model, train, check, patience, most):  # the last weights stay
    losses = []
    for epoch in range(most):
        model.fit(*train, verbose=0)
        losses.append(model.evaluate(*check, verbose=0))
        if epoch - int(np.argmin(losses)) >= patience:
            break
    return len(losses)


# %% tags=["wrong"]
def stop_early(model, train, check, patience, most):  # no patience
    losses, best = [np.inf], model.get_weights()
    for _ in range(most):
        model.fit(*train, verbose=0)
        losses.append(model.evaluate(*check, verbose=0))
        if losses[-1] >= min(losses[:-1]):
            break
        best = model.get_weights()
    model.set_weights(best)
    return len(losses) - 1


# %% tags=["wrong"]
def stop_early(model, train, check, patience, most):  # judges by the training images
    losses, best = [], None
    for epoch in range(most):
        model.fit(*train, verbose=0)
        losses.append(model.evaluate(*train, verbose=0))
        if losses[-1] == min(losses):
            best = model.get_weights()
        if epoch - int(np.argmin(losses)) >= patience:
            break
    model.set_weights(best)
    return len(losses)


# %% tags=["wrong"]
def stop_early(model, train, check, patience, most):  # counts them all, not in a row
    lowest, worse, best, epochs = np.inf, 0, None, 0
    while epochs < most and worse < patience:
        model.fit(*train, verbose=0)
        loss, epochs = model.evaluate(*check, verbose=0), epochs + 1
        if loss < lowest:
            lowest, best = loss, model.get_weights()
        else:
            worse += 1
    model.set_weights(best)
    return epochs


# %% tags=["solution"]
def stop_early(model, train, check, patience, most):
    losses, best = [], None
    for epoch in range(most):
        model.fit(*train, verbose=0)
        losses.append(model.evaluate(*check, verbose=0))
        if losses[-1] == min(losses):
            best = model.get_weights()
        if epoch - int(np.argmin(losses)) >= patience:
            break
    model.set_weights(best)
    return len(losses)


# %% tags=["check"]
# The validation losses are given, so that luck decides nothing; the training is real.
SCRIPT = [0.9, 0.7, 0.8, 0.6, 0.65, 0.64, 0.66, 0.5, 0.4, 0.3, 0.2, 0.1]


@functools.cache
def stopped(answer, patience, most):  # what it says, epochs trained, best, and kept
    model = small(3)
    train, check = drawn(48, 8), drawn(24, 9)
    said, seen = spied(answer, model, train, check, patience, most, script=SCRIPT)
    kept = [i + 1 for i, each in enumerate(seen) if same(each[2], model.get_weights())]
    return said, len(seen), kept, max(len(each[1]) for each in seen)


def after(losses, patience, most):  # in plain numbers: last epoch, and best epoch
    for epoch in range(1, most + 1):
        best = 1 + int(np.argmin(losses[:epoch]))
        if epoch - best >= patience:
            break
    return epoch, best


CASES = [(3, 10), (2, 12), (3, 5)]
wanted = {case: after(SCRIPT, *case) for case in CASES}
teach.check(
    "07.3",
    stop_early,
    [
        (
            lambda f: all(stopped(f, *case)[3] == 1 for case in CASES),
            "Train one epoch with each call of `fit`.",
        ),
        (
            lambda f: stopped(f, 3, 10)[1] != 10,
            "It trains until `most`. Judge by `check`, and stop as soon as `patience` "
            "epochs in a row are no better than the lowest loss so far.",
        ),
        (
            lambda f: stopped(f, 3, 10)[1] != 3,
            "It stops at the first epoch that is no better. Be patient.",
        ),
        (
            lambda f: all(stopped(f, *case)[1] == wanted[case][0] for case in CASES),
            "It stops at another epoch. Count again from each new lowest loss.",
        ),
        (
            lambda f: all(stopped(f, *case)[2] == [wanted[case][1]] for case in CASES),
            "The model does not have the weights of its best epoch.",
        ),
        (
            lambda f: all(stopped(f, *case)[0] == wanted[case][0] for case in CASES),
            "Return how many epochs you trained.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 07.4: a small recipe
#
# New images: the scans in negative, ink dark on light, 20 of each digit. The head has
# learnt, on frozen features. Give `answer`, a dictionary of settings of
# `kerastl.Phase`, for a short and plain second phase: at most `12` epochs, at most four
# settings, among them `trainable`, `epochs` and `learning_rate`. Of 100 images it must
# name at least eight more than the head alone.

# %% tags=["stub"]
answer = ...

# %% tags=["wrong"]
answer = {"trainable": "head", "epochs": 12, "learning_rate": 3e-3}  # no second phase

# %% tags=["wrong"]
answer = {"trainable": 2, "epochs": 40, "learning_rate": 3e-3}  # long

# %% tags=["wrong"]
answer = {"trainable": 2, "epochs": 12, "learning_rate": 3e-3, "mixup": 0.2,
          "weight_decay": 0.5, "schedule": "cosine", "warmup": 6}  # fmt: skip

# %% tags=["wrong"]
answer = {"trainable": 2, "epochs": 12, "learning_rate": 1e-4}  # too slow for so short

# %% tags=["solution"]
answer = {"trainable": 2, "epochs": 12, "learning_rate": 3e-3}


# %% tags=["check"]
@functools.cache
def headed():  # weights after the first phase, on scans in negative
    MODELS[0.0].set_weights(fresh)
    tune(HEAD)
    return MODELS[0.0].get_weights()


def tune(phase):
    images, labels = few(L.seed + 100)
    given = {"batch_size": 40, "seed": L.seed, "verbose": 0}
    kerastl.run_phases(MODELS[0.0], (255 - images, labels), phases=[phase], **given)


def named():  # the share of other scans in negative that is named rightly
    said = SCORERS[0.0].predict(255 - judge[0], batch_size=400, verbose=0)
    return (said.argmax(axis=1) == judge[1]).mean()


def gained(settings):
    MODELS[0.0].set_weights(headed())
    before = named()
    tune(kerastl.Phase(**{"name": "tune", "batch_norm": "affine"} | settings))
    return named() - before


teach.check(
    "07.4",
    answer,
    [
        (
            lambda a: a.keys() >= {"trainable", "epochs", "learning_rate"},
            "Give a dictionary, with `trainable`, `epochs` and `learning_rate` in it.",
        ),
        (
            lambda a: a["epochs"] <= 12,
            "It is longer than 12 epochs.",
        ),
        (
            lambda a: len(a) <= 4,
            "At most four settings. Which of them does the gain rest on?",
        ),
        (
            lambda a: a["trainable"] not in ("head", 0),
            "The head has learnt already. Let blocks of the backbone learn too.",
        ),
        (
            lambda a: gained(a) >= 0.08,
            "It gains less than that. Is the rate right for so few epochs?",
        ),
    ],
)

# %%
# All choices are made: the test images, once, for the recipe with smoothed labels.
final = begin(SEEDS[0])
given = {"label_smoothing": 0.1, "batch_size": 40, "seed": L.seed, "verbose": 0}
kerastl.run_phases(final, few(SEEDS[0]), phases=[RECIPE], **given)
result = kerastl.evaluate(final, parts.test)
low, high = result.accuracy_interval
print(f"accuracy {result.accuracy:.1%}, 95% interval {low:.1%} to {high:.1%}")
above = result.accuracy - np.bincount(parts.test.labels).max() / len(parts.test)
said = "On the test images that is {points} above always naming the most frequent."
teach.claim("07.test", said, above, low=0.6, high=0.95)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the backbone has learnt from ImageNet, and the images are larger.
# We have not run this lesson at that scale yet.
#
# ## What we saw
#
# - Find the rate by a sweep, below the rate at which the loss climbs. It mattered more
#   than most tips.
# - Two curves tell underfitting, overfitting, noise and a leak apart.
# - Most tips were not settled by three seeds. *All tips add up* was not true: all
#   eight together lost in the mean, though three seeds do not settle it. With all of
#   them learning is slow, and early stopping may end it too soon.
# - Augmentation may change only what the label does not depend on.
# - Early stopping saves epochs, though few in so short a training. With little patience
#   and few validation images it may stop too soon.
#
# Other data, a longer training or a larger network will rank the tips otherwise. The
# way to find out stays the same.
#
# ## Words
#
# - **sweep**: a *learning-rate range test*, one step at each of many rising rates.
# - **underfitting, overfitting**: learning too little; learning the training images by
#   heart.
# - **augmentation**: random changes of training images that keep the label.
# - **early stopping**: ending when validation gets no better; **patience**: how long to
#   wait for it.
# - **cosine**: a rate that falls along half a wave. **warm-up**: a rate that climbs.
# - **dropout**: setting some inputs to zero, in training only.
# - **weight decay, L2**: what pulls weights to zero.
# - **label smoothing**: labels that are a little unsure. **mixup**: blended images with
#   blended labels.
# - **regularisation**: all that holds a network back from learning by heart.
#
# ## Sources
#
# - L. Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017,
#   arXiv:1506.01186: the sweep.
# - I. Loshchilov and F. Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019,
#   arXiv:1711.05101; and *SGDR*, ICLR 2017, arXiv:1608.03983: the cosine.
# - N. Srivastava and others, *Dropout*, JMLR 2014.
# - C. Szegedy and others, *Rethinking the Inception Architecture*, CVPR 2016,
#   arXiv:1512.00567: label smoothing.
# - H. Zhang and others, *mixup*, ICLR 2018, arXiv:1710.09412.
# - L. Prechelt, *Early Stopping, But When?*, 1998.
# - The tests of this library are in its folder `benchmarks`, file `recipes.md`.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 15 for the sweep and exercise 07.1, 10 for the four curves, 15 for the
# tips, 10 for augmentation and exercise 07.2, 10 for exercises 07.3 and 07.4. Start the
# cells with the tips before you discuss the guess 07.c: each prints a line a run. Let
# every table vote for one tip, and ask for a reason.
#
# ## Misconceptions
#
# - "All tips add up." Those that gained, added up, promise more than the recipe; all
#   eight together do worse. Look at the epochs that are printed: early stopping takes a
#   slow start for the end. Let the class run them without it.
# - "A tip from a paper helps." It helped there: much longer training, other data.
#   Here a short training of a small network leaves it little to do.
# - "Not settled means that it does nothing." It means that three seeds cannot tell.
# - "More augmentation is better." Mirrored and turned digits lose; so does a network
#   that has no time to learn from stronger changes.
# - "Early stopping costs nothing." It judges by few images. One lucky epoch, and a
#   short patience ends the run too soon.
# - "The sweep gives the best rate." It gives one that learns; the edge is what it shows
#   well.
#
# ## Discussion
#
# A paper says that its augmentation gains three points. You add it to your recipe, and
# lose one point, on one seed. What do you do before you leave it out?
#
# An answer: run more seeds and read the paired interval; a point is often luck. Look at
# augmented images: do they keep the label? Look at the curves: augmented training needs
# more epochs. Then compare at equal cost, each with the rate that suits it.
