# %% [markdown]
# # 02 When to use it
#
# You have a backbone that somebody else trained. How much of it should you keep, and
# how much should you train again?
#
# Textbooks answer with two questions: how many pictures do you have, and how near are
# they to the source? Their four answers are these:
#
# | | near the source | far from the source |
# |---|---|---|
# | **few images** | train a new head only | cut off the top, then a new head |
# | **many images** | fine-tune the network | fine-tune it, or train from scratch |
#
# Here you measure the answer, and see whether the textbook agrees.
#
# A word on words: *transfer learning* means any use of what was learnt elsewhere. Some
# texts mean by it the new head alone, and set *fine-tuning* against it. In this course
# fine-tuning, training borrowed weights further, is one way of transfer learning.
#
# ## You will be able to
#
# - place a task by its size and by its nearness to the source;
# - choose among four ways to reuse a backbone;
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
    "minutes": (3, 15),
}

# %% [markdown] tags=["quiz"]
# ## Two tasks
#
# Both tasks use the same backbone. Its source was photographs. The pictures of the one
# task have colour, light and texture; those of the other are grey scans of digits. We
# call them *near* and *far*, and shall soon ask whether the names are deserved.
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

L = teach.lesson("02", SETTINGS, scale="auto")
near = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
far = kerastl.load_dataset("digits", test=0.2, seed=L.seed)
names = near.train.class_names + far.train.class_names
said = "{value} images are in more than one part."
shared = teach.shared_images(*near) + teach.shared_images(*far)
teach.claim("02.shared", said, shared, low=0, high=0)

# %%
import numpy as np


def as_array(part):
    whole = kerastl.batches(part, image_size=L.image_size, batch_size=len(part))
    return np.array(next(iter(whole))[0], "uint8")


pixels = [[as_array(part) for part in (t.train, t.validation)] for t in (near, far)]
order = [*near.train.labels[:5], *far.train.labels[:5] + len(near.train.class_names)]
images = [*pixels[0][0][:5], *pixels[1][0][:5]]
teach.show(kerastl.plots.images(images, labels=order, class_names=names, columns=5))

# %% [markdown]
# ## Four ways to reuse a backbone
#
# - **head**: freeze everything, train a new head on the features of the top.
# - **cut**: throw the upper layers away, freeze the rest, train a head on what is left.
# - **top**: freeze the early layers, train the upper ones and the head.
# - **all**: train every weight, starting from those that came.
#
# The middle of this backbone is the layer `conv_pw_6_relu`: there we cut and there we
# freeze. How many weights does each way train?

# %%
teach.predict(
    "02.a",
    "Of all weights that the way *all* trains, how many percent does *top* train?",
    guess=50,  # guess: a number from 0 to 100
)

# %%
CUT = "conv_pw_6_relu"


def open_task(task):
    options = {"alpha": L.alpha, "image_size": L.image_size, "weights": L.weights}
    backbone = kerastl.build_backbone(L.backbone, **options)
    model = kerastl.build_classifier(backbone, task.train.class_names, seed=L.seed)
    kerastl.unfreeze(model, "all", batch_norm="affine")
    return model, *kerastl.features.split_model(model, CUT)


networks = [open_task(task) for task in (near, far)]


# %%
def describe(network, parts):
    model, lower, _ = network
    maps = [lower.predict(part, verbose=0) for part in parts]
    extractor = kerastl.features.FeatureExtractor(model).fit(parts[0])
    tops = [extractor.transform(part) for part in parts]
    return {"head": tops, "cut": [m.mean((1, 2)) for m in maps], "top": maps}


known = [
    describe(*pair) | {"all": pair[1]} for pair in zip(networks, pixels, strict=True)
]

# %%
from matplotlib import pyplot as plt

WAYS, classes = ["head", "cut", "top", "all"], len(near.train.class_names)
trained = [classes * (known[0][way][0].shape[1] + 1) for way in ("head", "cut")]
for network in (networks[0][2], networks[0][0]):
    trained.append(sum(int(np.prod(w.shape)) for w in network.trainable_weights))
figure, axes = plt.subplots(figsize=(6, 2.2))
axes.bar_label(axes.barh(WAYS, trained, color="#0072B2"), padding=3)
axes.set(xlim=(0, 1.2 * max(trained)), xlabel="weights that train")
words = ", ".join(f"{way} {number}" for way, number in zip(WAYS, trained, strict=True))
teach.show(figure, alt=f"Bars with the number of weights that train: {words}.")
teach.reveal("02.a", 100 * trained[2] / trained[3], form="{:.0f} percent")

# %% [markdown] tags=["quiz"]
# Half of the depth is not half of the weights: upper layers are wider, and the weights
# sit there.
#
# **Quick question.** Which way keeps the *features of the early layers* and never asks
# what the upper layers think of the picture?
#
# - [ ] head :: Its features come from the very top; all layers are asked.
# - [x] cut :: The upper layers are gone, for training and for prediction.
# - [ ] top :: The upper layers stay, and learn.
# - [ ] all :: Every layer stays, and learns.

# %% [markdown]
# ## How near is near?
#
# "Near" is easily said. Here is a way to measure it. Take features at several depths of
# the frozen backbone and let a simple probe name the classes. If the top is as good as
# any earlier depth, the top understands these pictures. The more an earlier depth is
# better, the more the upper layers are made for something else. Few tasks are as near
# as the source itself, so compare two tasks by it. `kerastl.selection.depth_profile`
# does it, by cross-validation on training images only.


# %%
def draw(labels, number, seed):  # positions of `number` images of each class
    mix = np.random.default_rng(seed).permutation(len(labels))
    return np.concatenate([mix[labels[mix] == c][:number] for c in np.unique(labels)])


profiles, options = [], {"alpha": L.alpha, "weights": L.weights, "cuts": 5}
options |= {"image_size": L.image_size, "seed": L.seed}
for part in (near.train, far.train):
    some = part.subset(draw(part.labels, 40, L.seed))
    profiles.append(
        kerastl.selection.depth_profile(L.backbone, some, **options).accuracies
    )

# %%
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(profiles[0], "o-", label="near", color="#0072B2")
axes.plot(profiles[1], "s--", label="far", color="#D55E00")
axes.set(xlabel="depth, early to top", ylabel="accuracy", ylim=(0, 1), xticks=range(5))
axes.legend()
lost = [each[-1] - max(each) for each in profiles]
words = f"Two curves over depth: the top is {-lost[0]:.0%} below the best depth"
teach.show(figure, alt=f"{words} for the near task, {-lost[1]:.0%} for the far one.")
said = "The near task loses {points} less at the top than the far one."
teach.claim("02.near", said, lost[0] - lost[1], low=0.05, high=0.3)

# %% [markdown]
# ## The table, measured
#
# Now all four ways, with few and with many images, near and far. *Head* and *cut* are
# probes on frozen features. *Top* and *all* begin with the head of the probe and then
# train at a low rate. Each cell has three seeds: other images, another order.
#
# The rate in the next code cells was chosen on one draw of far images, by validation.
# The table holds for this rate. At five times the rate *all* was no better than *head*
# in the panel "far, many images".

# %%
teach.predict(
    "02.b",
    "Far from the source, five images of each class: which way is best?",
    ["head", "cut", "top", "all"],
    guess=1,  # guess: 1, 2, 3 or 4
)

# %%
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
jit = keras.backend.backend() == "jax"
wholes = [keras.Model(n[0].inputs, n[0].outputs) for n in networks]  # same weights
for part in (*wholes, networks[0][2], networks[1][2]):
    part.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=jit)


def restart(optimizer):  # compiled once: only the numbers go back
    for variable in optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))


# %%
def tune(which, way, own, seed, steps=80):
    model, _, upper = networks[which]
    part = {"top": upper, "all": wholes[which]}[way]
    labels = (near, far)[which].train.labels
    model.set_weights(starts[which])
    kerastl.features.set_head(model, probe(which, "head", own))
    restart(part.optimizer)
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(own) for _ in range(steps)])
    order = order[: 20 * steps]
    part.fit(known[which][way][0][order], labels[order], batch_size=20, verbose=0)
    return part


# %%
def probe(which, way, own):
    rows, labels = known[which][way][0], (near, far)[which].train.labels
    return kerastl.features.classical_head("logistic").fit(rows[own], labels[own])


def accuracy(which, way, own, seed):
    rows, labels = known[which][way][1], (near, far)[which].validation.labels
    if way in ("head", "cut"):
        return probe(which, way, own).score(rows, labels)
    answers = tune(which, way, own, seed).predict(rows, batch_size=120, verbose=0)
    return float(np.mean(answers.argmax(axis=1) == labels))


# %%
SEEDS, SIZES = [3 * L.seed + i for i in range(3)], [5, 60]
starts = [network[0].get_weights() for network in networks]


def fill(which):  # size, way, seed
    panel, labels = np.zeros((2, 4, 3)), (near, far)[which].train.labels
    for i, j, k in np.ndindex(panel.shape):
        own = draw(labels, SIZES[i], SEEDS[k])
        panel[i, j, k] = accuracy(which, WAYS[j], own, SEEDS[k])
    return panel


# %%
near_panel = fill(0)

# %%
table = np.array([near_panel, fill(1)])
figure, grid = plt.subplots(2, 2, figsize=(7, 5), sharey=True, layout="constrained")
for (which, i), axes in np.ndenumerate(grid):
    each = table[which, i]
    middle = each.mean(axis=1)
    spread = abs(middle - [each.min(axis=1), each.max(axis=1)])
    axes.bar(WAYS, middle, yerr=spread, capsize=4, color="#56B4E9")
    axes.set(title=f"{('near', 'far')[which]}, {SIZES[i]} of each class", ylim=(0, 1))
best = [[WAYS[k] for k in row] for row in table.mean(axis=3).argmax(axis=2)]
figure.supylabel("accuracy")
words = f"Best on average with few images: near {best[0][0]}, far {best[1][0]}"
teach.show(figure, alt=f"{words}; with many: near {best[0][1]}, far {best[1][1]}.")

# %%
teach.reveal("02.b", WAYS.index(best[1][0]) + 1)
means = table.mean(axis=3)
rule = [np.bincount(t.validation.labels).max() / len(t.validation) for t in (near, far)]
said = "The weakest cell of the table is {points} above its most frequent class."
lowest = (means - np.reshape(rule, (2, 1, 1))).min()
teach.claim("02.baseline", said, lowest, low=0.02, high=0.2)
said = "Far, few images: cut leads head by {points}."
teach.claim("02.cut", said, means[1, 0, 1] - means[1, 0, 0], low=0.05, high=0.3)
said = "Far, many images: training all leads head by {points}."
teach.claim("02.all", said, means[1, 1, 3] - means[1, 1, 0], low=0.05, high=0.2)

# %% [markdown] tags=["quiz"]
# The textbook says: *few and near: train only the head*. Look at the two near panels
# and at the length of their error bars: on this small network and these drawings the
# four ways cannot be told apart there, so the panels speak neither for the rule nor
# against it. The far panels do tell: *head* is behind. With many far images compare
# *cut* with *all* too: *all* trains hundreds of times as many weights, and need not be
# ahead.
#
# **Quick question.** In one panel the bars of two ways overlap. Which one do you take?
#
# - [ ] The higher one :: With other seeds it may be the lower one.
# - [x] The cheaper one :: These runs cannot tell them apart, but the bill can.
# - [ ] Neither :: Both are good; only their order is unknown.

# %% [markdown]
# ## Something goes wrong
#
# Few far images, all weights, everything as before, but the learning rate is a hundred
# times too high. The first steps then write over what the backbone brought along, and
# a handful of images cannot bring it back.

# %%
hasty, optimizer = [], wholes[1].optimizer
optimizer.learning_rate.assign(100 * 1e-4)
for seed in SEEDS:
    own = draw(far.train.labels, SIZES[0], seed)
    hasty.append(accuracy(1, "all", own, seed))
optimizer.learning_rate.assign(1e-4)
said = "At a hundred times the rate the way *all* loses {points}."
teach.claim("02.rate", said, means[1, 0, 3] - np.mean(hasty), low=0.4, high=0.75)

# %%
runs = table[1, 0, 0], table[1, 0, 3], np.array(hasty)
middle = np.array([each.mean() for each in runs])
spread = [abs(f(each) - each.mean()) for f in (np.min, np.max) for each in runs]
figure, axes = plt.subplots(figsize=(6, 2.8))
words = ["head", "all", "all, hasty"]
axes.bar(words, middle, yerr=np.reshape(spread, (2, 3)), capsize=4, color="#E69F00")
axes.axhline(rule[1], ls=":", color="gray", label="most frequent class")
axes.set(ylabel="accuracy", title="far, few images", ylim=(0, 1))
axes.legend()
words = f"Bars: head {middle[0]:.0%}, all {middle[1]:.0%}"
teach.show(figure, alt=f"{words}, all at a hundred times the rate {middle[2]:.0%}.")

# %% [markdown]
# ## Exercise 02.1: who is good enough?
#
# Write `good_ways(runs)`. `runs` maps each way to its list of accuracies, one for each
# seed. First find the way with the best *mean*. Return the set of all ways whose best
# run reaches at least the worst run of that one: their bands overlap with its band.


# %% tags=["stub"]
def good_ways(runs):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def good_ways(runs):  # one winner, as if there were no luck
    return max(runs, key=lambda way: np.mean(runs[way]))


# %% tags=["wrong"]
def good_ways(runs):  # only the winner itself, in a set
    return {max(runs, key=lambda way: np.mean(runs[way]))}


# %% tags=["wrong"]
def good_ways(runs):  # the luckiest single run decides who is best
    best = max(runs, key=lambda way: max(runs[way]))
    return {way for way in runs if max(runs[way]) >= min(runs[best])}


# %% tags=["wrong"]
def good_ways(runs):  # means against the band, instead of bands against each other
    best = max(runs, key=lambda way: np.mean(runs[way]))
    return {way for way in runs if np.mean(runs[way]) >= min(runs[best])}


# %% tags=["solution"]
def good_ways(runs):
    best = max(runs, key=lambda way: np.mean(runs[way]))
    return {way for way in runs if max(runs[way]) >= min(runs[best])}


# %% tags=["check"]
clear = {"head": [0.7, 0.8, 0.9], "top": [0.75, 0.85, 0.85], "all": [0.1, 0.2, 0.3]}
lucky = {"head": [0.1, 0.2, 0.99], "top": [0.7, 0.72, 0.74], "all": [0.4, 0.5, 0.6]}
touch = {"head": [0.5, 0.5, 0.8], "top": [0.7, 0.8, 0.9], "all": [0.2, 0.2, 0.3]}
teach.check(
    "02.1",
    good_ways,
    [
        (
            lambda f: isinstance(f(clear), set),
            "Return a set of ways, even if there is only one in it.",
        ),
        (
            lambda f: len(f(clear)) > 1,
            "Two ways are within each other's luck here: the best mean is not alone.",
        ),
        (
            lambda f: "all" not in f(lucky),
            "One lucky run does not make the best way: compare means to find it.",
        ),
        (
            lambda f: f(touch) == {"head", "top"},
            "Compare the *best* run of each way with the worst run of the best way.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 02.2: the rule
#
# Now the decision. Write `choose(good, trained)`. `good` is a set of ways; `trained`
# says for each way how many weights it trains. Return the good way that trains the
# fewest: where runs cannot tell ways apart, the bill decides.


# %% tags=["stub"]
def choose(good, trained):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def choose(good, trained):  # the cheapest of all, good or not
    return min(trained, key=trained.get)


# %% tags=["wrong"]
def choose(good, trained):  # more weights must be better
    return max(good, key=trained.get)


# %% tags=["wrong"]
def choose(good, trained):  # the first in the alphabet
    return min(good)


# %% tags=["wrong"]
def choose(good, trained):  # the number, not the way
    return min(trained[way] for way in good)


# %% tags=["solution"]
def choose(good, trained):
    return min(good, key=trained.get)


# %% tags=["check"]
bill = {"head": 10, "cut": 8, "top": 500, "all": 900}
teach.check(
    "02.2",
    choose,
    [
        (
            lambda f: isinstance(f({"head", "top"}, bill), str),
            "Return the name of one way: not its number of weights, and not a list.",
        ),
        (
            lambda f: f({"head", "top"}, bill) in {"head", "top"},
            "That way is cheap, but it is not among the good ones.",
        ),
        (
            lambda f: f({"head", "top"}, bill) != "top",
            "If both are good, why pay for the dearer one?",
        ),
        (
            lambda f: f({"all", "top"}, bill) == "top",
            "Look at the numbers of weights, not at the names.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 02.3: nearness in one number
#
# Write `nearness(accuracies)`. It takes the accuracies of a probe from the earliest
# depth to the top and returns the accuracy of the top minus that of the best *earlier*
# depth. Below zero means that an earlier depth is better. Of two tasks, the one with
# the lower number is the farther.


# %% tags=["stub"]
def nearness(accuracies):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def nearness(accuracies):  # the wrong way round
    return max(accuracies[:-1]) - accuracies[-1]


# %% tags=["wrong"]
def nearness(accuracies):  # against the first depth, not the best one
    return accuracies[-1] - accuracies[0]


# %% tags=["wrong"]
def nearness(accuracies):  # the top is among its own rivals: never above zero
    return accuracies[-1] - max(accuracies)


# %% tags=["solution"]
def nearness(accuracies):
    return accuracies[-1] - max(accuracies[:-1])


# %% tags=["check"]
teach.check(
    "02.3",
    nearness,
    [
        (
            lambda f: f([0.2, 0.6, 0.9]) > -0.1,
            "The top is the best here, so it is above zero. Is your sign right?",
        ),
        (
            lambda f: f([0.2, 0.8, 0.5]) < 0,
            "Compare the top with the *best* earlier depth, not with the first.",
        ),
        (
            lambda f: abs(f([0.2, 0.6, 0.9]) - 0.3) < 1e-9,
            "Leave the top out of its rivals, or it can never be above zero.",
        ),
        (
            lambda f: abs(f([0.8, 0.2, 0.5]) + 0.3) < 1e-9,
            "Subtract the best earlier accuracy from that of the top.",
        ),
    ],
)

# %%
# Every choice was made on the validation images; the test images are used only here.
own = draw(far.train.labels, SIZES[1], L.seed)
networks[1][0].set_weights(starts[1])  # the parts share them: undo the hasty run
rows = networks[1][1].predict(as_array(far.test), verbose=0).mean((1, 2))
score = probe(1, "cut", own).score(rows, far.test.labels)
gain = score - np.bincount(far.test.labels).max() / len(far.test)
said = "Far, many images, cut: {points} above one class on the test images."
teach.claim("02.test", said, gain, low=0.7, high=0.9)

# %% [markdown] tags=["quiz"]
# ## At full scale
#
# With `scale="full"` the near task becomes photographs of flowers, and the weights come
# from ImageNet. Guess which panel changes most. Each run takes longer.
#
# ## What we saw
#
# - Nearness can be measured: probe the features at several depths.
# - Far from the source, the upper layers of a frozen backbone stand in the way: leave
#   them out, or train them again at a low rate.
# - Near the source, these runs did not settle which way is best. That is a result too.
# - A rule holds for a backbone, a range of sizes and a way of training. Where the
#   textbook and your table differ, trust the table, with its bands.
# - A rate that is too high throws away what you came for.
#
# Next: lesson 03 takes the cheapest way apart, step by step.
#
# ## Words
#
# - **nearness**: how well the top of a backbone fits a task.
# - **cut**: a layer at which a network is taken apart.
# - **truncate**: keep what is below a cut and throw the rest away.
# - **band**: from the least to the greatest of several runs.
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
# - [ ] A network from scratch :: With few images it has the least to learn from.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 55 minutes: 10 for the four ways, 10 for nearness, 15 for the table, 20 for the
# exercises. The cell with the table is the slow one: let each pair of students predict
# all four panels on paper while it runs.
#
# ## Misconceptions
#
# - "Freezing more is always safer with few images." Frozen layers that do not fit are
#   no help; the far panel shows it.
# - "Near means that the pictures look alike to me." What counts is what the backbone's
#   features can tell apart.
# - "The highest bar is the best way." Ask first whether the bands overlap.
#
# ## Discussion
#
# The map of size and nearness has four fields. Which of your own projects falls on a
# border, and which cheap run would tell you on which side it is?
