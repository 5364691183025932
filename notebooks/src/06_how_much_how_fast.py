# %% [markdown]
# # 06 How much, how fast
#
# A network knows one task. You want it to learn another. Which of its blocks should
# learn, at which rate, and what does it forget?
#
# In lesson 05 everything learnt in the second phase, at one rate. Here you choose,
# block by block. And you keep an eye on something that most guides leave out: whether
# the network can still do what it could before.
#
# ## You will be able to
#
# - open some blocks of a backbone and hold the others, in plain Keras;
# - read a map of depth and rate, and say why fewer blocks bear a higher rate;
# - measure what a network has forgotten, and try ways to keep more.
#
# ## One source, two targets
#
# - The *source*, what the network knows: sketches of four things, black on white.
# - *Chalk*: the same four things, white on black, and only a few of them.
# - *Digits*: scans of handwritten digits. Other things, ten classes, more images.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("digits", "digits"),
    "licence": ("Apache-2.0; weights non-commercial", "Apache-2.0; weights of Keras"),
    "backbone": ("MobileNet", "MobileNet"),
    "alpha": (0.25, 0.25),
    "weights": ("tiny", "imagenet"),
    "image_size": (40, 96),
    "download": ("nothing", "about 2 MB"),
    "minutes": (2, 10),
}

# %%
import keras
import numpy as np

import kerastl

L = teach.lesson("06", SETTINGS, scale="auto")
KNOWN = ("circle", "cross", "heart", "square")


def sketched(number, seed, classes=KNOWN):  # outlines on paper
    options = {"image_size": L.image_size, "style": "sketch", "classes": classes}
    return kerastl.make_shapes(number, seed=10 * L.seed + seed, **options)[0]


# %%
def as_arrays(part):
    whole = kerastl.batches(part, image_size=L.image_size, batch_size=len(part))
    return np.array(next(iter(whole))[0], "uint8"), np.asarray(part.labels)


sketches = [sketched(number, seed) for number, seed in ((320, 0), (240, 1))]
more = [sketched(number, seed) for number, seed in ((120, 2), (240, 3))]
digits = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
source, source_check = map(as_arrays, sketches)
chalk, chalk_check = ((255 - x, y) for x, y in map(as_arrays, more))
scans, scans_check = map(as_arrays, (digits.train, digits.validation))

# %%
shared = teach.shared_images(*sketches, *more, *digits)
said = "{value} images are in more than one part."
teach.claim("06.shared", said, shared, low=0, high=0)
shown = [*source[0][:6], *chalk[0][:6], *scans[0][:6]]
figure = kerastl.plots.images(np.array(shown), columns=6)
words = "Three rows of six: outlines on paper, the same in white on black, digits."
caption = "Chalk (middle) shows the four things of the sketches (top); digits are far."
teach.show(figure, caption=caption, alt=words)

# %% [markdown] tags=["quiz"]
# ## A rate for each block
#
# Our MobileNet is a stack of 14 *blocks*, from the image up to the head. Each block may
# learn at a rate of its own: the *learning rate*, the length of a step, times a number.
# The number 0 is freezing, 1 is learning at the full rate. So "which blocks?" and "how
# fast?" are one question: which numbers?
#
# In plain Keras you open the upper layers of a backbone `base`, and hold the rest:
#
# ```python
# base.trainable = True  # the whole, then hold what shall not learn
# for layer in base.layers:
#     upper = layer in base.layers[-20:]
#     norm = isinstance(layer, keras.layers.BatchNormalization)
#     layer.trainable = upper and not norm
# model.compile(keras.optimizers.Adam(5e-4), loss)  # after the flags, as always
# model.fit(images, labels, epochs=8)
# ```
#
# In this library the same is `kerastl.unfreeze(model, 4)`, for the top four blocks.
# Numbers between 0 and 1 go through `kerastl.rates.layerwise_optimizer`: with a *layer
# decay* of `0.7` each block learns at `0.7` times the rate of the block above it.
#
# **Quick question.** Why do the upper blocks get the larger numbers, and not the lower?
#
# - [ ] They hold fewer weights :: They hold most of the weights.
# - [x] The lower ones find edges and strokes, which every task needs :: What is of use
#   everywhere should change least. What is special to the old task sits at the top.
# - [ ] The lower ones learn nothing from a gradient :: They do; it is passed down to
#   them.


# %%
def top(blocks):  # 14 numbers for the blocks, and one for the head
    return [0.0] * (14 - blocks) + [1.0] * (blocks + 1)


PLANS = {"head": top(0), "top 4": top(4), "top 8": top(8), "all": top(14)}
PLANS["decay"] = [0.7 ** (14 - block) for block in range(15)]
for name, plan in PLANS.items():
    print(f"{name:6}", *(f"{number:.2f}" for number in plan))

# %% tags=["plumbing"]
from matplotlib import pyplot as plt
from sklearn.linear_model import LogisticRegression

STEPS, BATCH = 32, 20
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
options = {"alpha": L.alpha, "weights": L.weights, "image_size": L.image_size}
backbone = kerastl.build_backbone(L.backbone, **options)
model = kerastl.build_classifier(backbone, 10, dropout=0.0, seed=L.seed)
kerastl.unfreeze(model, "all", batch_norm="affine")
network = keras.Model(model.inputs, model.outputs)
pooled = keras.Model(model.inputs, model.get_layer("head_pool_avg").output)
optimizer = kerastl.rates.layerwise_optimizer("adamw", network, layer_decay=1.0)
network.compile(optimizer, LOSS, jit_compile=keras.backend.backend() == "jax")
network.optimizer.build(network.trainable_variables)


def block_of(variable):  # 0 to 13, and 14 for the head
    layer = variable.path.split("/")[-2]
    if layer.startswith("head"):
        return 14
    return 0 if layer.startswith("conv1") else int(layer.split("_")[2])


def set_plan(plan):
    variables = network.trainable_variables
    pairs = [(variable, plan[block_of(variable)]) for variable in variables]
    network.optimizer.set_multipliers(pairs)


def restart(weights):  # and forget the steps of the run before
    network.set_weights(weights)
    for variable in network.optimizer.variables:
        if not variable.path.endswith(("learning_rate", "multipliers")):
            variable.assign(np.zeros(variable.shape, variable.dtype))


def rates(peak, steps):  # climb for a quarter, then fall along a cosine
    done, turn = np.arange(steps) + 0.5, steps / 4
    fall = 0.5 + 0.5 * np.cos(np.pi * (done - turn) / (steps - turn))
    return peak * np.where(done < turn, done / turn, fall)


def features(images):
    return pooled.predict(images, batch_size=320, verbose=0)


def right(part):  # which images of a part the network names rightly
    said = network.predict(part[0], batch_size=400, verbose=0)
    return said.argmax(axis=1) == part[1]


# %%
def train(rows, labels, seed, peak, plans, steps=STEPS):
    mix, own = np.random.default_rng(seed), np.array([], int)
    for step, rate in enumerate(rates(peak, steps)):
        if step % (steps // len(plans)) == 0:  # one plan, or several in turn
            set_plan(plans[step * len(plans) // steps])
        if len(own) < BATCH:
            own = np.concatenate([own, mix.permutation(len(labels))])
        network.optimizer.learning_rate.assign(rate)
        network.train_on_batch(rows[own[:BATCH]], labels[own[:BATCH]])
        own = own[BATCH:]


# %% tags=["plumbing"]
SEEDS, RUNS, HEADS, ENDS = [3 * L.seed + i for i in range(3)], {}, {}, {}
TASKS = {"chalk": (chalk, chalk_check, 6), "digits": (scans, scans_check, 10)}
TASKS["many digits"] = (scans, scans_check, 64)


def fit_head(rows, labels):  # a probe, as the ten outputs of a head
    middle, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    probe = LogisticRegression(C=0.02, max_iter=500)
    probe.fit((rows - middle) / spread, labels)
    kernel, bias = np.zeros((rows.shape[1], 10)), np.full(10, -5.0)
    kernel[:, probe.classes_] = probe.coef_.T / spread[:, None]
    shift = (middle / spread) @ probe.coef_.T
    bias[probe.classes_] = probe.intercept_ - shift
    return [kernel, bias]


def images_of(task, seed):  # the same number of each class
    (images, labels), _, number = TASKS[task]
    mix = np.random.default_rng(seed).permutation(len(labels))
    classes = [mix[labels[mix] == c][:number] for c in np.unique(labels)]
    own = np.concatenate(classes)
    return images[own], labels[own]


def begin(task, seed):  # the network as it was, with a fitted head for the task
    if (task, seed) not in HEADS:
        network.set_weights(start)
        images, labels = images_of(task, seed)
        HEADS[task, seed] = fit_head(features(images), labels)
    return [*start[:-2], *HEADS[task, seed]]


def score(task, weights):  # the task, and the sketches with the old head
    network.set_weights(weights)
    new = right(TASKS[task][1])
    network.set_weights([*weights[:-2], *old_head])
    return new, right(source_check)


def run(task, name, peak=5e-4, seeds=SEEDS, plans=None):
    RUNS[task, name, peak] = []
    for seed in seeds:
        restart(begin(task, seed))
        if name != "head":
            train(*images_of(task, seed), seed, peak, plans or [PLANS[name]])
        ENDS[task, name, peak, seed] = weights = network.get_weights()
        RUNS[task, name, peak].append(score(task, weights))
        reached = RUNS[task, name, peak][-1][0].mean()
        print(f"{task}, {name}, {peak:g}, seed {seed}: {reached:.2f}", flush=True)


# %% tags=["plumbing"]
def target(task, name, peak=5e-4):  # (seeds, images): which are right
    return np.array([new for new, _ in RUNS[task, name, peak]])


def kept(task, name, peak=5e-4):
    return np.array([old for _, old in RUNS[task, name, peak]])


def two(task, first, second):
    return target(task, first), target(task, second)


def versus(name, peak, other="all"):  # against 5e-4: on digits, and on sketches
    new, old = target("digits", name, peak), kept("digits", name, peak)
    return (new, target("digits", other)), (old, kept("digits", other))


def short(rate):  # 5e-4, as it is written in code
    return f"{rate:.0e}".replace("e-0", "e-")


def named(one, part):  # the share that a model names rightly
    said = one.predict(part[0], verbose=0).argmax(axis=1)
    return float((said == part[1]).mean())


def refitted(weights):  # a new head for sketches, on the changed features
    network.set_weights(weights)
    new_head = fit_head(features(source[0]), source[1])
    network.set_weights([*weights[:-2], *new_head])
    return right(source_check)


def draw_maps(depths, rates_):  # of the first seed
    titles = "digits named rightly", "sketches still named rightly"
    figure, pair = plt.subplots(1, 2, figsize=(8.6, 3.1), layout="constrained")
    words, falls = [], []
    for which, axes in enumerate(pair):
        runs = [[RUNS["digits", n, r][0][which] for r in rates_] for n in depths]
        cells = np.array([[each.mean() for each in row] for row in runs])
        axes.imshow(cells, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(cells):
            style = {"ha": "center", "va": "center", "fontsize": 13}
            style["color"] = "black" if value > 0.5 else "white"
            axes.text(column, row, f"{value:.0%}", **style)
        axes.set_xticks(range(3), [short(rate) for rate in rates_])
        axes.set_yticks(range(3), [f"{name} blocks" for name in depths])
        axes.set(xlabel="peak learning rate", title=titles[which])
        listed = [f"{n} {x.round(2).tolist()}" for n, x in zip(depths, cells, strict=1)]
        words.append(f"{titles[which]}, from slow to fast: {'; '.join(listed)}.")
        falls.append(cells[:, 1] - cells[:, 2])
    return figure, " ".join(words), 1 + int(falls[0].argmax())


# %%
fresh = network.get_weights()
restart([*fresh[:-2], *fit_head(features(source[0]), source[1])])
train(*source, L.seed, 1e-3, [PLANS["all"]], steps=128)
start, before = network.get_weights(), right(source_check)
old_head = start[-2:]
least = np.bincount(source_check[1]).max() / len(before)
said = "Always naming one thing is right for {value:.0%} of the sketches."
teach.claim("06.baseline", said, least, low=0.2, high=0.35)
said = "The network names {value:.0%} of new sketches."
teach.claim("06.source", said, before.mean(), low=0.85, high=1)

# %% [markdown] tags=["quiz"]
# We took the backbone of this course and trained all of it on sketches. Now this
# network shall learn something else.
#
# ## How many blocks?
#
# It depends on the task, says every guide. Does it?
#
# *Chalk* is near the source, and there are few images: six of each class. *Digits* are
# far, with ten of each class. In both we train nothing but the head, or everything at
# `5e-4`. For digits we also try the top four blocks. *Many digits* repeats both with 64
# images of each class.
#
# All runs have 32 steps of 20 images. The rate climbs, then falls, as in lesson 05. The
# head is not random: it is a *probe*, fitted on the frozen features first. It has ten
# outputs; chalk needs four.
#
# **Quick question.** Why the same number of steps, also with more images?
#
# - [ ] More steps would overfit :: They might, but that is not the reason.
# - [x] Otherwise two things change at once :: Then you could not tell the images from
#   the longer training.
# - [ ] The rate would be too high :: It follows the number of steps, whatever it is.

# %%
teach.predict(
    "06.a",
    "Digits: how many points does opening all blocks gain over the head alone?",
    guess=5,  # guess: a number, such as -10, 0 or 10
)
for name in ("head", "all"):
    run("chalk", name)
    run("digits", name)
    run("many digits", name)
run("digits", "top 4")

# %%
gain = np.subtract(*(each.mean() for each in two("digits", "all", "head")))
teach.reveal("06.a", 100 * gain, form="{:.0f}")
said = "Chalk, few images: all blocks against the head {points:+}."
teach.compare("06.chalk", said, *two("chalk", "all", "head"), low=-0.25, high=0.15)
said = "Digits: all blocks against the head {points:+}."
teach.compare("06.digits", said, *two("digits", "all", "head"), low=0.04, high=0.3)
said = "Digits: all blocks against the top four {points:+}."
teach.compare("06.depth", said, *two("digits", "all", "top 4"), low=-0.03, high=0.25)
said = "Many digits: all blocks against the head {points:+}."
teach.compare("06.many", said, *two("many digits", "all", "head"), low=-0.3, high=0.3)

# %%
looks = {"head": 0, "top 4": 1, "all": 2}
pairs = [(t, n) for t in TASKS for n in looks if (t, n, 5e-4) in RUNS]
rows = {f"{t}, {n}": target(t, n).mean(axis=1) for t, n in pairs}
looks = {row: looks[row.split(", ")[1]] for row in rows}
near = np.subtract(*(each.mean() for each in two("chalk", "all", "head")))
caption = f"All blocks against the head: {100 * near:+.0f} points on chalk, "
caption += f"{100 * gain:+.0f} on digits. Each mark is a seed."
teach.show(teach.dots(rows, looks=looks), caption=caption)

# %% [markdown]
# On digits the top four blocks, some 20 layers, were behind: "always unfreeze the last
# 20 layers" is no rule. Try a few depths on validation images, and read the intervals
# before you choose. The two tasks differ in nearness *and* in the number of images:
# which matters, these runs do not say.
#
# ## Exercise 06.1: the last convolutions, for drawings at night
#
# Write `open_top(model, base, number)` in plain Keras. `base` is a backbone inside
# `model`; it was frozen, and the head has learnt. Open its last
# `number` layers of the type `keras.layers.Conv2D`, and no BatchNorm layer. Compile
# with `LOSS` and any optimizer. The check trains your model on dark drawings.


# %% tags=["stub"]
def open_top(model, base, number):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def open_top(model, base, number):  # the flags alone
    base.trainable = True
    found = [x for x in base.layers if isinstance(x, keras.layers.Conv2D)]
    for layer in base.layers:
        layer.trainable = layer in found[-number:]


# %% tags=["wrong"]
def open_top(model, base, number):  # opens all of it, BatchNorm too
    base.trainable = True
    model.compile("adam", LOSS)


# %% tags=["wrong"]
def open_top(model, base, number):  # the first ones
    base.trainable = True
    found = [x for x in base.layers if isinstance(x, keras.layers.Conv2D)]
    for layer in base.layers:
        layer.trainable = layer in found[:number]
    model.compile("adam", LOSS)


# %% tags=["solution"]
def open_top(model, base, number):
    base.trainable = True
    found = [x for x in base.layers if isinstance(x, keras.layers.Conv2D)]
    for layer in base.layers:
        layer.trainable = layer in found[-number:]
    model.compile("adam", LOSS)


# %% tags=["check"]
import functools

night, _ = kerastl.make_shapes(24, image_size=16, style="night", classes=KNOWN)
night = np.stack(list(night.images)), np.asarray(night.labels)


def add_head(base, classes):  # the backbone stays one layer of the model
    image = keras.Input(base.input_shape[1:])
    row = keras.layers.GlobalAveragePooling2D()(base(image))
    return keras.Model(image, keras.layers.Dense(classes)(row))


@functools.cache
def opened(answer):  # which convolutions moved, and how many BatchNorm arrays
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    maps = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for _ in range(4):
        maps = keras.layers.Conv2D(4, 3, padding="same")(maps)
        maps = keras.layers.BatchNormalization()(maps)
        maps = keras.layers.LeakyReLU()(maps)
    base = keras.Model(image, maps)
    base.trainable = False
    model = add_head(base, 4)
    model.compile("adam", LOSS)
    model.fit(*night, verbose=0)  # the first phase
    answer(model, base, 2)
    weights = base.get_weights()
    model.fit(*night, verbose=0)
    pairs = zip(weights, base.get_weights(), base.weights, strict=True)
    moved = [(v.path, not np.array_equal(a, b)) for a, b, v in pairs]
    kernels = [changed for path, changed in moved if path.endswith("kernel")]
    return kernels, sum(changed for path, changed in moved if "norm" in path)


teach.check(
    "06.1",
    open_top,
    [
        (
            lambda f: any(opened(f)[0]),
            "No convolution moved. Set the flags of the layers in `base`, and compile "
            "after them.",
        ),
        (
            lambda f: opened(f)[1] == 0,
            "A BatchNorm layer moved. Hold every layer that is none of the last "
            "convolutions.",
        ),
        (
            lambda f: opened(f)[0] == [False, False, True, True],
            "Other convolutions moved than the last `number`. Which end is the head?",
        ),
    ],
)

# %% [markdown]
# ## How fast, and what is forgotten?
#
# Now the rate, for digits: three depths and three rates. The recipe of lesson 05 had
# `5e-4`. We try a fifth of it, and four times as much. A map like this is for looking,
# so it has one seed. What it suggests is then tested on three.
#
# And we look at the old skill. We kept the old head, the one for sketches. Put back on
# the changed backbone, it says what is left. The rest is *forgotten*: nobody taught the
# network anything wrong about sketches, it was only not asked for them.

# %%
teach.predict(
    "06.c",
    "Digits, at four times the rate: which depth suffers most?",
    ["top 4", "top 8", "all"],
    guess=1,  # guess: 1, 2 or 3
)
teach.predict(
    "06.d",
    "After digits, all blocks at 5e-4: what percentage of the sketches is still right?",
    guess=90,  # guess: a number from 0 to 100
)

# %%
RATES, DEPTHS = (1e-4, 5e-4, 2e-3), ("top 4", "top 8", "all")
for name in ("top 4", "all"):
    run("digits", name, RATES[2])
for name in DEPTHS:
    run("digits", name, RATES[0], seeds=SEEDS[:1])
for rate in RATES[1:]:
    run("digits", "top 8", rate, seeds=SEEDS[:1])

# %%
figure, words, worst = draw_maps(DEPTHS, RATES)
caption = "Right: all blocks at the highest rate keep fewest of the sketches. One seed."
teach.show(figure, caption=caption, alt=words)
teach.reveal("06.c", worst)
said = "Top four blocks, digits, at four times the rate: {points:+}."
pair = versus("top 4", 2e-3, "top 4")[0]
teach.compare("06.few_fast", said, *pair, low=-0.1, high=0.15)
on_digits, old = versus("all", 2e-3)
said = "All blocks, digits, at four times the rate: {points:+}."
teach.compare("06.all_fast", said, *on_digits, low=-0.7, high=0.05)
teach.compare("06.all_fast_kept", "Sketches: {points:+}.", *old, low=-0.85, high=-0.1)

# %% [markdown] tags=["quiz"]
# The more blocks learn at once, the more their steps add up in the output, and the
# lower the rate that they bear. So choose depth and rate together.
#
# ## Two kinds of forgetting
#
# Is the old skill gone, or only mislaid? Take the backbone that has learnt digits, and
# fit a *new* head for sketches on it. If that head does well, the features are still
# good, and only the old head no longer fits them.
#
# **Quick question.** You never need the old task again. Why should you care?
#
# - [ ] You need not :: At the highest rate the digits went down with the sketches.
# - [x] What is forgotten may serve the new task too :: You took the backbone for its
#   features. A few images cannot teach them again.
# - [ ] Because the file grows :: It has as many weights as before.

# %%
left = kept("digits", "all")
fitted = np.array([refitted(ENDS["digits", "all", 5e-4, s]) for s in SEEDS])
teach.reveal("06.d", 100 * left.mean(), form="{:.0f}")
said = "Sketches, after digits with all blocks at 5e-4: {points:+}."
teach.compare("06.forgot", said, left, [before] * 3, low=-0.5, high=-0.02)
said = "With a new head for sketches, against the old head: {points:+}."
teach.compare("06.features", said, fitted, left, low=-0.02, high=0.45)
rows = {"before": [before.mean()], "old head": left.mean(1), "new head": fitted.mean(1)}
figure = teach.dots(rows, baseline=least, label="sketches named rightly")
caption = "A new head names more of the sketches than the old one: much is still there."
teach.show(figure, caption=caption)

# %% [markdown]
# What a new head brings back was lost in the *match* of head and features. What it does
# not is gone from the features. Here, in the mean, it brings back nearly all. But the
# marks of the old head lie far apart: where an interval holds zero, three seeds do not
# settle it.
#
# ## Exercise 06.2: measure it yourself
#
# `old` and `new` are two models on *one* small backbone. `old` knows the digits 0 to 4.
# Write `forgotten(old, new, task, old_task)`: train `new`, which is compiled, for three
# epochs on `task`, a pair of images and labels (the digits 5 to 9). Return the share
# that `old` has lost on `old_task`: before minus after. `named(old, old_task)` gives
# the share that a model names rightly.


# %% tags=["stub"]
def forgotten(old, new, task, old_task):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def forgotten(old, new, task, old_task):  # nothing is trained
    return named(old, old_task) - named(new, old_task)


# %% tags=["wrong"]
def forgotten(old, new, task, old_task):  # what is left, not what is lost
    new.fit(*task, epochs=3, verbose=0)
    return named(old, old_task)


# %% tags=["wrong"]
def forgotten(old, new, task, old_task):  # the gain, not the loss
    before = named(old, old_task)
    new.fit(*task, epochs=3, verbose=0)
    return named(old, old_task) - before


# %% tags=["wrong"]
def forgotten(old, new, task, old_task):  # the skill of the other model
    before = named(new, task)
    new.fit(*task, epochs=3, verbose=0)
    return before - named(new, task)


# %% tags=["solution"]
def forgotten(old, new, task, old_task):
    before = named(old, old_task)
    new.fit(*task, epochs=3, verbose=0)
    return before - named(old, old_task)


# %% tags=["check"]
pixels, values = np.stack(list(digits.train.images)), digits.train.labels
halves = [(pixels[values // 5 == h], values[values // 5 == h] % 5) for h in (0, 1)]
five_to_nine = tuple(each[:200] for each in halves[1])
zero_to_four = tuple(each[:200] for each in halves[0])
zero_to_four_check = tuple(each[200:400] for each in halves[0])


@functools.cache
def lost(answer):  # its answer, before, after, and whether the backbone moved
    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Rescaling(1 / 127.5, -1)(image)
    maps = keras.layers.Conv2D(16, 3, activation="relu")(maps)
    maps = keras.layers.Conv2D(16, 3, activation="relu")(maps)
    base = keras.Model(image, keras.layers.Flatten()(maps))
    old, new = (keras.Model(image, keras.layers.Dense(5)(base.output)) for _ in "ab")
    for one in (old, new):
        one.compile(keras.optimizers.Adam(5e-3), LOSS)
    old.fit(*zero_to_four, epochs=8, verbose=0)
    before, weights = named(old, zero_to_four_check), base.get_weights()
    got = answer(old, new, five_to_nine, zero_to_four_check)
    pairs = zip(weights, base.get_weights(), strict=True)
    moved = any(not np.array_equal(*pair) for pair in pairs)
    return got, before, named(old, zero_to_four_check), moved


teach.check(
    "06.2",
    forgotten,
    [
        (
            lambda f: lost(f)[3],
            "The backbone is as it was. Train `new` between the two scores.",
        ),
        (
            lambda f: abs(lost(f)[0] - lost(f)[2]) > 1e-6,
            "That is what is left. How much was there before?",
        ),
        (
            lambda f: abs(lost(f)[0] - (lost(f)[2] - lost(f)[1])) > 1e-6,
            "The sign is turned round: before minus after.",
        ),
        (
            lambda f: abs(lost(f)[0] - (lost(f)[1] - lost(f)[2])) < 1e-6,
            "Score `old` on `old_task`, both times.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Three ways to keep more
#
# - **decay**: each block at `0.7` times the rate of the one above it, the head at
#   `2e-3`.
# - **gradual**: first the top block, then four, then eight, then all, for a quarter of
#   the steps each, at `5e-4`. Many guides recommend it.
# - **mixing**: no training. Take all blocks at `5e-4`, and go back a quarter of the way
#   to the old weights: `(1 - share) * old + share * new`, with a share of `0.75`.
#   `kerastl.averaging.wise_ft` does it for a model.
#
# A fourth is *regularisation*: a *penalty* in the loss that pulls each weight back to
# where it began (`kerastl.penalties.L2SP`). Mixing does something similar afterwards.
# We compare each way with *all* at `5e-4`, on digits and on sketches.
#
# **Quick question.** Two ways are equally good on digits. How do you choose?
#
# - [ ] The one whose mean is higher :: Where the interval holds zero, seeds decide
#   that.
# - [ ] The more complicated one :: It must earn its trouble.
# - [x] By what else they do: forgetting, time, simplicity :: So look at the sketches
#   too.

# %%
teach.predict(
    "06.e",
    "Which of the three keeps most of the sketches?",
    ["decay", "gradual", "mixing"],
    guess=3,  # guess: 1, 2 or 3
)
run("digits", "decay", 2e-3)
run("digits", "gradual", 5e-4, plans=[top(1), top(4), top(8), top(14)])


# %%
def mixed(seed, share):
    ends = begin("digits", seed), ENDS["digits", "all", 5e-4, seed]
    pairs = zip(*ends, strict=True)
    return [(1 - share) * old + share * new for old, new in pairs]


for share in (0.25, 0.5, 0.75):
    scores = [score("digits", mixed(seed, share)) for seed in SEEDS]
    RUNS["digits", f"mixing {share}", 5e-4] = scores
ways = (("decay", 2e-3), ("gradual", 5e-4), ("mixing 0.75", 5e-4))
teach.reveal("06.e", 1 + int(np.argmax([kept("digits", *w).mean() for w in ways])))

# %%
new, old = versus("decay", 2e-3)
teach.compare("06.decay", "Decay, digits: {points:+}.", *new, low=-0.18, high=0.08)
teach.compare("06.decay_kept", "Sketches: {points:+}.", *old, low=-0.2, high=0.4)
new, old = versus("gradual", 5e-4)
teach.compare("06.gradual", "Gradual, digits: {points:+}.", *new, low=-0.2, high=0.04)
teach.compare("06.gradual_kept", "Sketches: {points:+}.", *old, low=-0.2, high=0.45)
new, old = versus("mixing 0.75", 5e-4)
teach.compare("06.mixing", "Mixing, digits: {points:+}.", *new, low=-0.12, high=0.08)
teach.compare("06.mixing_kept", "Sketches: {points:+}.", *old, low=-0.05, high=0.3)
LINE = [(name, 5e-4) for name in ("head", "mixing 0.25", "mixing 0.5", "mixing 0.75")]
OTHER = [("all", 5e-4), ("top 4", 5e-4), *ways[:2], ("all", 2e-3)]
every = [*LINE, *OTHER]

# %%
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
points = {k: (kept("digits", *k).mean(), target("digits", *k).mean()) for k in every}
line = np.array([points[key] for key in every[:5]]).T
axes.plot(*line, "--.", color="gray", label="mixing head and all")
for place, key in enumerate((LINE[0], *OTHER)):
    style = {"color": teach.COLOURS[place], "label": f"{key[0]} at {short(key[1])}"}
    axes.plot(*points[key], teach.MARKS[place], linestyle="", markersize=10, **style)
axes.set(xlabel="sketches still named rightly", ylabel="digits named rightly")
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
words = [f"{n} at {short(r)}: {x:.0%} and {y:.0%}" for (n, r), (x, y) in points.items()]
caption = "Mixing (dashed) costs digits little, and keeps as many sketches or more."
teach.show(figure, caption=caption, alt=f"Kept and learnt: {'; '.join(words)}.")

# %% [markdown]
# In the mean *mixing* (the dashed line) keeps more of the sketches, and costs the
# digits hardly anything. But forgetting differs from seed to seed: read each interval.
# *Gradual*, in as many steps, learns the digits no better. In this library's own tests
# it took twice the time and gained nothing. None of the three is better on digits
# alone.
#
# ## Exercise 06.3: a plan of your own
#
# A new task: four *other* things, sketched, with 25 images of each. Give `answer`, a
# pair: a plan of 15 numbers, for the blocks and the head, and a peak rate. The check
# trains the network with it, as above. Of 100 new things it must name at least one more
# than the head alone, and of 100 old ones still `75`.

# %% tags=["stub"]
answer = ...

# %% tags=["wrong"]
answer = (top(0), 5e-4)  # nothing but the head, which is fitted already

# %% tags=["wrong"]
answer = (top(14), 5e-3)  # all, at a rate that destroys

# %% tags=["wrong"]
answer = (top(14), 1.5e-3)  # learns well, and forgets

# %% tags=["wrong"]
answer = ([1.0] * 14, 5e-4)  # the head is left out

# %% tags=["solution"]
answer = (top(14), 3e-4)

# %% tags=["check"]
NEW = ("crescent", "ring", "star", "triangle")


@functools.cache
def new_sketches():
    return tuple(as_arrays(sketched(n, seed, NEW)) for n, seed in ((100, 4), (240, 5)))


@functools.cache
def new_head():
    network.set_weights(start)
    images, labels = new_sketches()[0]
    return fit_head(features(images), labels)


@functools.cache
def outcome(plan, peak):  # gain over the head, and the share of sketches kept
    learn, watch = new_sketches()
    restart([*start[:-2], *new_head()])
    alone = right(watch).mean()
    train(*learn, L.seed, peak, [list(plan)])
    weights, gain = network.get_weights(), right(watch).mean() - alone
    network.set_weights([*weights[:-2], *old_head])
    return gain, right(source_check).mean()


def tried(pair):
    return outcome(tuple(map(float, pair[0])), float(pair[1]))


teach.check(
    "06.3",
    answer,
    [
        (lambda a: len(a) == 2, "Give a pair: the plan, and the rate."),
        (
            lambda a: len(a[0]) == 15,
            "A plan has 15 numbers: 14 blocks from the image upwards, and the head.",
        ),
        (
            lambda a: tried(a)[0] > -0.3,
            "It names far fewer new things than the head alone. Too fast for so many?",
        ),
        (
            lambda a: tried(a)[1] >= 0.75,
            "It forgets too many of the old things. Go slower, or open fewer blocks.",
        ),
        (
            lambda a: tried(a)[0] >= 0.01,
            "It hardly gains on the head alone. Let more blocks learn, or faster.",
        ),
    ],
)

# %%
network.set_weights(ENDS["digits", "all", 5e-4, SEEDS[0]])
unseen = as_arrays(digits.test)
reached = right(unseen).mean()
above = reached - np.bincount(unseen[1]).max() / len(unseen[1])
said = "On the test digits, all at 5e-4 is {points} above the most frequent class."
teach.claim("06.test", said, above, low=0.4, high=0.75)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the backbone has learnt from ImageNet, and the images are larger.
# The tasks are the same, as forgetting can be measured only where the source's images
# are at hand.
#
# ## What we saw
#
# - A rate for each block: 0 is freezing. Depth and rate are one choice.
# - How many blocks should learn depends on the task and its images. With many images
#   the whole network may gain or lose; the interval says what it did here.
# - The more blocks learn, the lower the rate they bear.
# - Fine-tuning forgets, at higher rates more. Much of it may be only the match of head
#   and features.
# - Mixing old and new weights, or lower rates for lower blocks, may keep more.
#
# ## Words
#
# - **block**: a few layers that belong together; backbones repeat them.
# - **plan**: in this lesson, a number for each block that its rate is multiplied by.
# - **layer decay**: rates that shrink from block to block, from the head down; also
#   *discriminative rates*.
# - **gradual unfreezing**: opening blocks one after the other, from the top.
# - **forgetting**: losing an old skill while a new one is learnt.
# - **regularisation**: what holds weights back, such as a penalty in the loss.
# - **mixing**: a weighted mean of the weights before and after.
#
# ## Sources
#
# - J. Howard and S. Ruder, *Universal Language Model Fine-tuning for Text
#   Classification*, ACL 2018, arXiv:1801.06146: rates by layer, gradual unfreezing.
# - J. Kirkpatrick and others, *Overcoming catastrophic forgetting in neural networks*,
#   PNAS 2017, arXiv:1612.00796.
# - X. Li and others, *Explicit Inductive Bias for Transfer Learning with Convolutional
#   Networks*, ICML 2018, arXiv:1802.01483: the penalty.
# - M. Wortsman and others, *Robust fine-tuning of zero-shot models*, CVPR 2022,
#   arXiv:2109.01903: mixing weights.
# - The tests of this library are in its folder `benchmarks`, file `recipes.md`.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 10 for the tasks and the idea of a rate for each block, 15 for the first
# runs and exercise 06.1, 10 for the map, 15 for forgetting and exercise 06.2, 10 for
# the three ways and exercise 06.3. Start the cells with the runs before you discuss the
# guesses: each of them prints a line a run.
#
# ## Misconceptions
#
# - "More layers are better." At the same rate, opening everything gained more on digits
#   than on chalk, in the mean; at a high rate it destroyed the network.
# - "A low rate is safe." At a fifth of the rate the digits hardly gained in the same
#   number of steps. Safe from forgetting is not the same as learning.
# - "Forgetting means that the features are gone." First the match is lost: a new head
#   on the changed features names most sketches again.
# - "Gradual unfreezing is the careful, better way." At equal cost it was no better, and
#   on some draws slower.
# - "Three seeds are always enough." For the digits nearly, for forgetting hardly: the
#   marks of the old head lie far apart.
# - "The best field of the map is the best choice." One seed, nine fields: the best of
#   nine looks better than it is. Test it on new seeds, as the lesson does with two.
#
# ## Discussion
#
# A clinic has a network for X-ray images of lungs, and fine-tunes it for knees with a
# few images. The lungs must still be read. What would you measure, and which of the
# ways of this lesson would you try first?
#
# An answer: score the lungs' validation images with the lungs' own head before and
# after each run, beside the knees. Keep two heads. First try the head alone on frozen
# features, which forgets nothing; then layer decay or mixing, which cost nothing extra;
# last of all two separate networks, if the memory allows. The share that may be lost is
# not for the programmer to decide.
