# %% [markdown]
# # 10 When the target looks different
#
# Your network learnt from photographs. Now come images from another machine, and nobody
# has labelled them. What can you do?
#
# The images that you have labels for are the **source**, the new ones the **target**:
# two *domains*. (So *source* is here no longer what the backbone was pre-trained on.)
# Using both to do better on the target is **domain adaptation**. Some ways gain, some
# lose, and without labels you do not see which. So we keep some labels of target images
# secret, and judge by them.
#
# ## You will be able to
#
# - tell what has changed: the images, or only how frequent the classes are;
# - adapt in four ways that need no target labels, and name two cases where one loses;
# - choose among the results without labels, and know how far to trust the choice.

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
    "minutes": (1, 8),
}

# %%
import keras
import numpy as np

import kerastl

L = teach.lesson("10", SETTINGS, scale="auto")
parts = kerastl.load_dataset(L.dataset, validation=0.5, test=0.2, seed=L.seed)
shared = teach.shared_images(*parts)
said = "{value} images are in more than one part."
teach.claim("10.shared", said, shared, low=0, high=0)
size, names = L.image_size, parts.train.class_names

# %% tags=["plumbing"]
from matplotlib import pyplot as plt
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from sklearn.model_selection import cross_val_score


def as_arrays(part):
    whole = kerastl.batches(part, image_size=size, batch_size=len(part))
    return np.array(next(iter(whole))[0], "uint8"), part.labels


def scan(images, seed, low=0.5, grain=0.01):  # as the other machine would take it
    noise = np.random.default_rng(seed).normal(size=images.shape[:3])
    noise = gaussian_filter(noise, (0, 1, 1))
    grey = 0.25 + low * (1 - images.mean(axis=-1) / 255)
    grey = grey * (1 + grain * noise / noise.std())
    return np.repeat(255 * grey.clip(0, 1)[..., None], 3, axis=-1).astype("uint8")


def standard(part, by):  # each column less its mean, over its deviation
    return ((part - by.mean(axis=0)) / (by.std(axis=0) + 1e-6)).astype("float32")


def by_source(made):  # all parts by the source's mean and deviation
    return {part: standard(each, rows["learn"]) for part, each in made.items()}


def by_itself(made):  # the target's parts by the target's
    own = {"learn": "learn", "check": "learn", "adapt": "adapt", "judge": "adapt"}
    return {part: standard(each, made[own[part]]) for part, each in made.items()}


def domain_auc(first, second):  # how well a classifier tells two domains apart
    both = np.concatenate([first, second])
    domain = np.repeat([0, 1], [len(first), len(second)])
    tell = kerastl.features.classical_head("logistic")
    return cross_val_score(tell, both, domain, cv=5, scoring="roc_auc").mean()


(learn, taught), (others, labels), (last, last_labels) = map(as_arrays, parts)
order = np.random.default_rng(L.seed).permutation(len(labels))
fifth = len(order) // 5
check, adapt, judge = np.split(order, [fifth, 3 * fifth])  # source, target, secret
building = {"alpha": L.alpha, "weights": L.weights, "image_size": size}
backbone = kerastl.build_backbone(L.backbone, **building)
stored = backbone.get_weights()


def features(images):
    reader = kerastl.features.FeatureExtractor(backbone, cache="off")
    return reader.fit_transform(images)


photos = {"learn": learn, "check": others[check]}
scans_of = {"adapt": scan(others[adapt], 1), "judge": scan(others[judge], 2)}
rows = {part: features(each) for part, each in (photos | scans_of).items()}
truth = labels[judge]
print(len(learn), "source images to learn from,", len(check), "to check by")
print(len(adapt), "target images without labels,", len(judge), "with secret labels")

# %% [markdown] tags=["quiz"]
# ## First: what has changed?
#
# The other machine makes grey pictures, pale, inverted and a little grainy, as X-rays
# are. We made them ourselves; real medical images differ by more.
#
# Two things can change. The *images* of each class look different; or they look as
# before, and only the *shares* of the classes are others, as an illness is rarer in the
# street than in a hospital. The two need different remedies. A first test: can a
# classifier of *domains* tell source from target? Its *AUC* is one half where it
# cannot, and one where it always can. `kerastl.adaptation.shift_report` does this, and
# also says which of the two has changed.
#
# **Quick question.** What does a perfect classifier of domains tell you?
#
# - [ ] Your network fails on the target :: It may use what your classes do not need.
# - [x] The domains differ, nothing more :: How much that costs, only labels say.
# - [ ] You should align the domains :: Not if only the shares have changed: see the
#   end.

# %%
teach.predict(
    "10.a",
    "By how many points does accuracy fall on the other machine's images?",
    guess=10,  # guess: a number, such as 5 or 40
)
pairs = [*photos["learn"][:5], *scan(learn[:5], 0)]
words = {"labels": [0] * 5 + [1] * 5, "class_names": ["source", "as target"]}
figure = kerastl.plots.images(pairs, columns=5, **words)
caption = (
    "Source images, and below as the other machine makes them: grey, pale, inverted."
)
teach.show(figure, caption=caption)

# %% tags=["plumbing"]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SEEDS, RIGHT, SAID, ANSWERS = [3 * L.seed + i for i in range(3)], {}, {}, {}


def confused(y, logits):  # the loss of source rows, and MCC of target rows (y = -1)
    y = keras.ops.reshape(y, (-1,))
    known = keras.ops.cast(y >= 0, "float32")
    each = keras.losses.sparse_categorical_crossentropy(
        keras.ops.maximum(y, 0), logits, from_logits=True
    )
    loss = keras.ops.sum(each * known) / keras.ops.maximum(keras.ops.sum(known), 1)
    p = keras.ops.softmax(logits / 2.5) * (1 - known)[:, None]
    together = keras.ops.transpose(p) @ p
    share = together / (keras.ops.sum(together, axis=1, keepdims=True) + 1e-6)
    return loss + 1 - keras.ops.trace(share) / len(names)


def compiled(network, loss):  # once: each run starts again from stored numbers
    network.compile(keras.optimizers.Adam(3e-3), loss)
    network.optimizer.build(network.trainable_variables)
    return network


def restart(network, seed):
    random = np.random.default_rng(seed)
    shapes = [each.shape for each in network.get_weights()]
    network.set_weights([random.normal(0, 0.05 * (len(s) > 1), s) for s in shapes])
    for variable in network.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    keras.utils.set_random_seed(seed)


width = rows["learn"].shape[1]
linear = [keras.Input((width,)), keras.layers.Dense(len(names))]
head = compiled(keras.Sequential(linear), confused)


def answer(way, network, made, secret):  # what it says, and where it is right
    parts = [made[part] for part in ("check", "adapt", "judge")]
    logits = [keras.ops.convert_to_numpy(network(part)) for part in parts]
    said = [softmax(each, axis=1) for each in logits]
    SAID.setdefault(way, []).append(said[2])
    RIGHT.setdefault(way, []).append(said[2].argmax(axis=1) == secret)
    ANSWERS[way] = kerastl.adaptation.Candidate(*said[:2], *parts[:2])


def learn_head(way, made, target=None, known=taught, secret=truth):
    x, y = made["learn"], known
    if target is not None:
        x = np.concatenate([x, target])
        y = np.concatenate([y, np.full(len(target), -1)])
    epochs = 150 // -(-len(x) // 120)  # 150 steps for each way
    for seed in SEEDS:
        restart(head, seed)
        head.fit(x, y, epochs=epochs, batch_size=120, verbose=0)
        answer(way, head, made, secret)
    print(f"{way}: {np.mean(RIGHT[way]):.3f}", flush=True)


# %%
before, apart = by_source(rows), by_itself(rows)
learn_head("source only", before)
learn_head("standardise", apart)
known = np.argmax(ANSWERS["source only"].source_probabilities, axis=1) == labels[check]
fall = known.mean() - np.mean(RIGHT["source only"])
teach.reveal("10.a", 100 * fall, form="{:.0f}")
baseline = np.bincount(truth).max() / len(truth)
said = "Always naming the most frequent class is right for {value:.1%}."
teach.claim("10.baseline", said, baseline, low=0.1, high=0.35)
said = "On the target it is {points} less right than on the source."
teach.claim("10.fall", said, fall, low=0.1, high=0.45)


# %%
far = domain_auc(rows["check"], rows["adapt"])
near = domain_auc(rows["check"], rows["learn"])
said = "Source and target are told apart with an AUC of {value:.2f}."
teach.claim("10.auc", said, far, low=0.9, high=1)
said = "Two parts of the source: {value:.2f}."
teach.claim("10.same", said, near, low=0.3, high=0.65)

# %% [markdown] tags=["quiz"]
# ## Second: without training
#
# **Standardise each domain by itself**: subtract from each feature its mean over its
# own domain, and divide by its standard deviation. What a machine does to all images
# alike goes away. `kerastl.adaptation.StandardAlign` does it. `CoralAlign` also matches
# how the features vary together, their *covariance*.
#
# **AdaBN** does the same inside the network: the statistics of its BatchNorm layers
# become those of the target. But whose were they before? In a frozen backbone they come
# from *pre-training*, so from neither domain. Then the target gets its own statistics
# and the source keeps foreign ones, and the two may be further apart than before. We
# try both: the target's alone, and each domain with its own.
#
# **Quick question.** Which images must the statistics of the target come from?
#
# - [ ] Source and target mixed :: A mixture has the statistics of neither.
# - [x] Target images, a hundred or more :: Of all classes, in their usual shares.
# - [ ] Each image alone :: One image shows itself, not its domain.

# %%
teach.predict(
    "10.b",
    "Statistics of the target alone, in the frozen backbone. What happens?",
    ["it gains", "no clear difference", "it loses"],
    guess=1,  # guess: 1, 2 or 3
)
kerastl.adaptation.adapt_statistics(backbone, scans_of["adapt"])
of_target = {part: features(each) for part, each in scans_of.items()}
kerastl.adaptation.adapt_statistics(backbone, learn)
of_source = {part: features(each) for part, each in photos.items()}

# %%
backbone.set_weights(stored)
learn_head("AdaBN, target", by_source(rows | of_target))
each = of_source | of_target
each = {part: standard(each[part], of_source["learn"]) for part in each}
learn_head("AdaBN, both", each)
old = RIGHT["source only"]
change = np.mean(RIGHT["AdaBN, target"]) - np.mean(old)
teach.reveal("10.b", 1 if change > 0.02 else 3 if change < -0.02 else 2)

# %% tags=["plumbing"]
said = "Standardised, against source only: {points:+}."
teach.compare("10.standard", said, RIGHT["standardise"], old, low=-0.05, high=0.2)
said = "AdaBN of the target alone: {points:+}."
teach.compare("10.adabn", said, RIGHT["AdaBN, target"], old, low=-0.25, high=0.02)
said = "AdaBN of both: {points:+}."
teach.compare("10.both", said, RIGHT["AdaBN, both"], old, low=-0.1, high=0.2)
# Across: from the middle of the source to that of the target. Up: the direction along
# which the source varies most.
across = before["adapt"].mean(axis=0) - before["learn"].mean(axis=0)
up = np.linalg.svd(before["learn"], full_matrices=False)[2][0]
axes_of = np.stack([across / np.linalg.norm(across), up], axis=1)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
ways = {"by the source": before, "each by itself": apart}
for axes, (title, made) in zip(panels, ways.items(), strict=True):
    for i, part in enumerate(("check", "adapt")):
        look = {"c": teach.COLOURS[i], "marker": teach.MARKS[i], "alpha": 0.6}
        axes.scatter(
            *(made[part] @ axes_of).T, s=16, label=("source", "target")[i], **look
        )
    axes.set(title=title, xlabel="from source to target")
panels[0].set_ylabel("where the source varies most")
panels[0].legend()
gap = [np.linalg.norm(m["check"].mean(0) - m["adapt"].mean(0)) for m in ways.values()]
words = f"Their means are {gap[0]:.1f} apart before, {gap[1]:.1f} after."
alt = f"Features of source and target as two clouds of points. {words}"
caption = "Standardising each domain by itself brings the means of the two together."
teach.show(figure, caption=caption, alt=alt)


def like_the_machine(images, seed):  # half of them inverted; some paler than others
    random = np.random.default_rng(seed)
    inverted = random.random((len(images), 1, 1, 1)) < 0.5
    images = np.where(inverted, 255 - images, images)
    return scan(images, seed, low=random.uniform(0.3, 0.8, (len(images), 1, 1)))


# %% [markdown]
# ## Exercise 10.1: the statistics of the target
#
# A small network has learnt dark digits from nothing, so its BatchNorm statistics are
# those of its source. Now the scanner is brighter and paler. Write `move(model,
# images)` in plain Keras: give each BatchNorm layer, from the first to the last, the
# mean and variance (`moving_mean`, `moving_variance`) of what it receives from these
# images, and move nothing else. `keras.Model(model.input, layer.input)` gives what a
# layer receives; `layer.moving_mean.assign(x)` sets it. Take both over all places:
# `axis=(0, 1, 2)`.


# %% tags=["stub"]
def move(model, images):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def move(model, images):  # trains: kernels move, and statistics a little
    guessed = model.predict(images, verbose=0).argmax(axis=1)
    model.fit(images, guessed, verbose=0)


# %% tags=["wrong"]
def move(model, images):  # one pass in training mode: a hundredth of the way
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = True
    model(images, training=True)


# %% tags=["wrong"]
def move(model, images):  # from the last to the first: what comes in changes after
    for layer in model.layers[::-1]:
        if isinstance(layer, keras.layers.BatchNormalization):
            maps = keras.Model(model.input, layer.input).predict(images, verbose=0)
            layer.moving_mean.assign(maps.mean(axis=(0, 1, 2)))
            layer.moving_variance.assign(maps.var(axis=(0, 1, 2)))


# %% tags=["wrong"]
def move(model, images):  # the deviation in place of the variance
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            maps = keras.Model(model.input, layer.input).predict(images, verbose=0)
            layer.moving_mean.assign(maps.mean(axis=(0, 1, 2)))
            layer.moving_variance.assign(maps.std(axis=(0, 1, 2)))


# %% tags=["solution"]
def move(model, images):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            maps = keras.Model(model.input, layer.input).predict(images, verbose=0)
            layer.moving_mean.assign(maps.mean(axis=(0, 1, 2)))
            layer.moving_variance.assign(maps.var(axis=(0, 1, 2)))


# %% tags=["check"]
import functools

scans, other_scans, _ = kerastl.load_dataset("digits", seed=0)
dark, pale = scans.images, (150 + other_scans.images // 4).astype("uint8")


def reader_of_digits():
    keras.utils.set_random_seed(2)
    maps = image = keras.Input((8, 8, 3))
    for filters in (8, 16):
        maps = keras.layers.Conv2D(filters, 3, strides=filters // 8)(maps)
        maps = keras.layers.BatchNormalization(momentum=0.9)(maps)
        maps = keras.layers.ReLU()(maps)
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(maps)))
    model.compile(keras.optimizers.Adam(3e-3), LOSS)
    return model


@functools.cache
def learnt():
    model = reader_of_digits()
    model.fit(dark, scans.labels, epochs=8, batch_size=64, verbose=0)
    return model.get_weights()


@functools.cache
def after_move(answer):  # weights that moved, statistics that are off, the accuracies
    model = reader_of_digits()
    model.set_weights(learnt())
    said = [model.predict(pale, verbose=0).argmax(axis=1)]
    answer(model, pale)
    pairs = zip(model.weights, learnt(), model.get_weights(), strict=True)
    moved = [w.path for w, *both in pairs if not np.array_equal(*both)]
    off = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            maps = keras.Model(model.input, layer.input).predict(pale, verbose=0)
            means, spreads = (
                keras.ops.convert_to_numpy(each)
                for each in (layer.moving_mean, layer.moving_variance)
            )
            apart = np.abs(means - maps.mean(axis=(0, 1, 2))).max() / maps.std()
            ratio = spreads / np.maximum(maps.var(axis=(0, 1, 2)), 1e-3)
            off.append((apart < 0.1, np.abs(np.log(ratio)).max() < 0.3))
    said.append(model.predict(pale, verbose=0).argmax(axis=1))
    right = [float((each == other_scans.labels).mean()) for each in said]
    return [path for path in moved if "moving" not in path], off, right


teach.check(
    "10.1",
    move,
    [
        (
            lambda f: not after_move(f)[0],
            "A weight moved that is no statistic. Train nothing.",
        ),
        (
            lambda f: after_move(f)[1][0][0],
            "The first BatchNorm layer has not the mean of what it receives.",
        ),
        (
            lambda f: after_move(f)[1][0][1],
            "Its mean fits, its variance does not: that is the deviation squared.",
        ),
        (
            lambda f: all(after_move(f)[1][1]),
            "The second BatchNorm layer does not fit. What it receives changes when "
            "the first one is moved: mind the order.",
        ),
        (
            lambda f: after_move(f)[2][1] > after_move(f)[2][0],
            "It reads no more of these digits than before.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Third: with training
#
# Now the head may look at target images while it learns. Their label is -1: no class.
#
# - **MCC**, *minimum class confusion*: a second term of the loss is high where the head
#   hesitates between classes on target images. It makes the head surer, right or wrong,
#   so it needs a good start: first standardise.
# - **DANN** is *adversarial*: one layer serves two heads, one for the class and one for
#   the domain. Going down from the domain's head the gradient is turned round, so the
#   layer learns features that hide where an image is from. In plain Keras:
#
# ```python
# def turn(x):  # gives x; its gradient is that of -x
#     return keras.ops.stop_gradient(2 * x) - x  # the first term has no gradient
#
# rows = keras.Input((width,))
# shared = keras.layers.Dense(64, "relu")(rows)
# classes = keras.layers.Dense(6)(shared)
# domain = keras.layers.Dense(1)(keras.layers.Lambda(turn)(shared))
# model = keras.Model(rows, [classes, domain])
# model.compile("adam", [class_loss, domain_loss])
# ```
#
# For your own images: `kerastl.Phase(..., adapt=kerastl.adaptation.Adaptation("mcc"))`
# and `run_phases(..., target=images)`.
#
# **Quick question.** The domain's head is fooled. Does that make the classes right?
#
# - [ ] Yes, source and target now look the same :: Stars of one may lie among the
#   other's circles.
# - [x] Not by itself :: Two clouds can lie on each other with their classes crossed.
# - [ ] No, it always harms :: Where the clouds fit class by class it can help.

# %%
teach.predict(
    "10.c",
    "Which of these is best on the secret labels?",
    ["standardise", "MCC alone", "standardise, then MCC", "DANN"],
    guess=4,  # guess: a number from 1 to 4
)


# %%
def turn(x):  # gives x; its gradient is that of -x
    return keras.ops.stop_gradient(2 * x) - x


learn_head("MCC", before, before["adapt"])
learn_head("standardise, MCC", apart, apart["adapt"])
inputs = keras.Input((width,))
hidden = keras.layers.Dense(64, "relu")(inputs)
classes = keras.layers.Dense(len(names))(hidden)
domain = keras.layers.Dense(1)(keras.layers.Lambda(turn)(hidden))
losses = [LOSS, keras.losses.BinaryCrossentropy(from_logits=True)]
network = compiled(keras.Model(inputs, [classes, domain]), losses)

# %%
both = np.concatenate([before["learn"], before["adapt"]])
target = np.repeat([0.0, 1.0], [len(learn), len(adapt)])
wanted = [np.concatenate([taught, 0 * adapt]), target]
for seed in SEEDS:
    restart(network, seed)
    counted = [1 - target, np.ones(len(both))]  # target rows teach no class
    network.fit(
        both, wanted, sample_weight=counted, epochs=30, batch_size=120, verbose=0
    )
    answer("DANN", keras.Model(inputs, classes), before, truth)
print(f"DANN: {np.mean(RIGHT['DANN']):.3f}")

# %%
ways = ["standardise", "MCC", "standardise, MCC", "DANN"]
teach.reveal("10.c", 1 + int(np.argmax([np.mean(RIGHT[way]) for way in ways])))
said = "MCC alone, against source only: {points:+}."
teach.compare("10.mcc", said, RIGHT["MCC"], old, low=-0.2, high=0.15)
said = "Standardised first: {points:+}."
teach.compare("10.after", said, RIGHT["standardise, MCC"], old, low=-0.1, high=0.2)
said = "DANN: {points:+}."
teach.compare("10.dann", said, RIGHT["DANN"], old, low=-0.25, high=0.15)

# %% [markdown]
# ## Exercise 10.2: an adversary
#
# Write `adversary(width, classes)`: a `keras.Model` from rows of `width` numbers to
# *two* outputs, the logits of the classes and one logit of the domain, in this order.
# Both come from the same single `Dense(8, "relu")`; between it and the domain's
# `Dense(1)`, which learns as usual, the gradient turns round. `turn` of the text above
# does that: `keras.layers.Lambda(turn)` makes a layer of it.


# %% tags=["stub"]
def adversary(width, classes):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def adversary(width, classes):  # nothing turns: the domains are told apart
    rows = keras.Input((width,))
    shared = keras.layers.Dense(8, "relu")(rows)
    domain = keras.layers.Dense(1)(shared)
    return keras.Model(rows, [keras.layers.Dense(classes)(shared), domain])


# %% tags=["wrong"]
def adversary(width, classes):  # turns the gradient of the classes too
    rows = keras.Input((width,))
    shared = keras.layers.Lambda(turn)(keras.layers.Dense(8, "relu")(rows))
    domain = keras.layers.Dense(1)(shared)
    return keras.Model(rows, [keras.layers.Dense(classes)(shared), domain])


# %% tags=["wrong"]
def adversary(width, classes):  # lets no gradient through: nobody is fooled
    rows = keras.Input((width,))
    shared = keras.layers.Dense(8, "relu")(rows)
    held = keras.layers.Lambda(keras.ops.stop_gradient)(shared)
    domain = keras.layers.Dense(1)(held)
    return keras.Model(rows, [keras.layers.Dense(classes)(shared), domain])


# %% tags=["wrong"]
def adversary(width, classes):  # turns above the domain's own layer, which errs
    rows = keras.Input((width,))
    shared = keras.layers.Dense(8, "relu")(rows)
    domain = keras.layers.Lambda(turn)(keras.layers.Dense(1)(shared))
    return keras.Model(rows, [keras.layers.Dense(classes)(shared), domain])


# %% tags=["solution"]
def adversary(width, classes):
    rows = keras.Input((width,))
    shared = keras.layers.Dense(8, "relu")(rows)
    domain = keras.layers.Dense(1)(keras.layers.Lambda(turn)(shared))
    return keras.Model(rows, [keras.layers.Dense(classes)(shared), domain])


# %% tags=["check"]
ROWS = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
GROUPS = [np.arange(60) % 3, (ROWS[:, 0] > 0).astype("float32")]
BOTH = [LOSS, keras.losses.BinaryCrossentropy(from_logits=True)]


def loudly(answer):  # its outputs for large numbers: only logits are large too
    keras.utils.set_random_seed(1)
    return answer(5, 3).predict(100 * ROWS, verbose=0)


@functools.cache
def one_step(answer, weights):  # how far the shared layer moves; how that loss
    # changes by its step alone, and by the steps of the layers above it alone
    keras.utils.set_random_seed(1)
    model = answer(5, 3)
    model.compile(keras.optimizers.SGD(0.1), BOTH, loss_weights=list(weights))
    before, old = model.get_weights(), model.evaluate(ROWS, GROUPS, verbose=0)
    model.fit(ROWS, GROUPS, batch_size=60, verbose=0)
    shared, heads, change = model.get_weights()[:2], model.get_weights()[2:], []
    for mixed in ([*shared, *before[2:]], [*before[:2], *heads]):
        model.set_weights(mixed)
        change.append(model.evaluate(ROWS, GROUPS, verbose=0)[0] - old[0])
    return float(np.abs(shared[0] - before[0]).max()), *change


teach.check(
    "10.2",
    adversary,
    [
        (
            lambda f: (
                [each.shape for each in f(5, 3).outputs] == [(None, 3), (None, 1)]
            ),
            "Return a model with two outputs: the classes' logits, then the domain's.",
        ),
        (
            lambda f: len(f(5, 3).weights) == 6,
            'Three layers have weights: one `Dense(8, "relu")` under both outputs, and '
            "one for each output.",
        ),
        (
            lambda f: all(np.abs(each).max() > 1 for each in loudly(f)),
            "These are probabilities. Give logits: no activation in the last layers.",
        ),
        (
            lambda f: one_step(f, (1, 0))[1] < 0,
            "Trained for the classes, the shared layer gets worse at them. Turn the "
            "gradient of the domain alone.",
        ),
        (
            lambda f: one_step(f, (0, 1))[0] > 0,
            "The domain's loss does not reach the shared layer. Turn its gradient, do "
            "not stop it.",
        ),
        (
            lambda f: one_step(f, (0, 1))[2] < 0,
            "The domain's own layer learns to err. Turn the gradient below it, not "
            "above.",
        ),
        (
            lambda f: one_step(f, (0, 1))[1] > 0,
            "The shared layer helps to tell the domains apart. It is to hinder that.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Fourth: make the source look like the target
#
# Read the intervals so far: what works blindly has gained little for sure on this
# target. On other pairs it does: from drawings to sketches, standardising and then MCC
# gained most (see the sources). But you may *know* what the other machine does. Then
# change your *source* images in the same way while you learn: *augmentation* that fits
# the domain. Their labels are known, so nothing is guessed. Here: grey, inverted or
# not, paler. Presets such as `augment="xray"` hold what keeps the label: an X-ray is
# never mirrored, since the heart is on one side. The figure's last row, for comparison,
# learns from labelled target images.
#
# **Quick question.** Slides under a microscope. Which change keeps the label?
#
# - [ ] Mirror, but no quarter turn :: A slide has no up and no left.
# - [x] Mirror and any turn :: However it lies on the glass, it is the same cell.
# - [ ] Neither :: Turned slides are free training images.


# %%
changed = features(like_the_machine(learn, L.seed))
more = {**rows, "learn": np.concatenate([rows["learn"], changed])}
by = more["learn"]
more = {part: standard(each, by) for part, each in more.items()}
learn_head("augmented", more, known=np.concatenate([taught, taught]))
said = "Augmented, against source only: {points:+}."
teach.compare("10.augmented", said, RIGHT["augmented"], old, low=0.01, high=0.25)
learn_head("target labels", {**apart, "learn": apart["adapt"]}, known=labels[adapt])
shown = {way: np.mean(each, axis=1) for way, each in RIGHT.items()}
caption = "Of the ways without target labels, augmentation that fits leads."
teach.show(teach.dots(shown, baseline=baseline), caption=caption)

# %% [markdown]
# ## Fifth: choose without labels
#
# At work you have no secret labels. But a good way is sure of each image and yet uses
# all classes: its *mutual information* is high. And it must not have lost much on the
# *source*, where labels are known. `target_scores` computes both, and leaves out what
# fails the second. Beside it we let fifty labelled target images choose.

# %%
found = {way: each for way, each in ANSWERS.items() if way != "target labels"}
scores = kerastl.adaptation.target_scores(found, labels[check])
fifty = np.arange(50), labels[adapt][:50]
known = kerastl.adaptation.target_scores(found, labels[check], labelled=fifty)
choices = [scores.choose(), known.choose()]
print("\n".join(f"{choice.name}: {choice.reason}" for choice in choices))
gains = [np.mean(RIGHT[choice.name]) - np.mean(old) for choice in choices]
said = "The choice without labels, against source only: {points:+}."
teach.claim("10.chosen", said, gains[0], low=-0.1, high=0.25)
said = "The choice by fifty labels: {points:+}."
teach.claim("10.fifty", said, gains[1], low=-0.05, high=0.25)

# %%
figure, axes = plt.subplots(figsize=(7, 3.6))
for i, row in enumerate(scores.rows):
    look = {"color": teach.COLOURS[i % 6], "label": row.name}
    look["marker"] = (teach.MARKS + "pX*<")[i]
    axes.scatter(row.mutual_information, np.mean(RIGHT[row.name][-1]), s=50, **look)
axes.set(xlabel="mutual information (no labels)", ylabel="accuracy (secret labels)")
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
words = "; ".join(f"{r.name} {r.mutual_information:.2f}" for r in scores.rows)
caption = "A higher score without labels need not mean a higher accuracy (last seed)."
teach.show(figure, caption=caption, alt=f"Mutual information by way: {words}.")

# %% [markdown] tags=["quiz"]
# In the figure, how far is the choice without labels below the highest way?
#
# ## Sixth: when aligning hurts
#
# The target shows photos like those of the source, but half of the classes have become
# rare: *label shift*. Its features have another mean, and nothing is wrong with that:
# there is more of some classes. Whoever makes the means equal moves the classes.
#
# The remedy needs no training. Estimate the shares from the network's own answers: in
# each answer multiply the probabilities by *share so far over share before*, make their
# sum one, take the mean over the answers as the new shares, again and again (*EM*).
# Then give each logit the logarithm of *share now over share before*.
# `kerastl.adaptation.estimate_prior` and `set_prior` do it, and refuse where the images
# have changed too: there the estimate is wrong.
#
# **Quick question.** `shift_report` says that the shares explain it all. What now?
#
# - [ ] Standardise each domain, to be safe :: Their means ought to differ.
# - [x] Correct the shares, and adapt nothing :: The images look as before.
# - [ ] Learn with other features :: Nothing is wrong with these.

# %%
teach.predict(
    "10.d",
    "Half of the classes are rare now, all images as before. Standardising?",
    ["gains", "makes no clear difference", "loses"],
    guess=1,  # guess: 1, 2 or 3
)
everyone = np.concatenate([adapt, judge])
rare = labels[everyone] >= len(names) // 2
skewed = everyone[~rare | (np.arange(len(everyone)) % 8 == 0)]
new = {"adapt": skewed[::2], "judge": skewed[1::2]}
photo_rows = {**rows, **{part: features(others[each]) for part, each in new.items()}}
secret = labels[new["judge"]]

# %%
learn_head("as before", by_source(photo_rows), secret=secret)
learn_head("each by itself", by_itself(photo_rows), secret=secret)
shares = np.bincount(taught, minlength=len(names)) / len(taught)
now, answers = shares, ANSWERS["as before"].target_probabilities
for _ in range(100):
    weighed = answers * now / shares
    now = (weighed / weighed.sum(axis=1, keepdims=True)).mean(axis=0)
corrected_answers = np.array(SAID["as before"]) * now / shares
RIGHT["shares corrected"] = list(corrected_answers.argmax(axis=2) == secret)

# %%
loss = np.mean(RIGHT["each by itself"]) - np.mean(RIGHT["as before"])
teach.reveal("10.d", 1 if loss > 0.02 else 3 if loss < -0.02 else 2)
said = "Standardised, where only shares changed: {points:+}."
pair = RIGHT["each by itself"], RIGHT["as before"]
teach.compare("10.hurts", said, *pair, low=-0.4, high=0.02)
said = "The shares corrected: {points:+}."
pair = RIGHT["shares corrected"], RIGHT["as before"]
teach.compare("10.shares", said, *pair, low=-0.02, high=0.4)
ways = ["as before", "each by itself", "shares corrected"]
shown = {way: np.mean(RIGHT[way], axis=1) for way in ways}
caption = "Only the shares changed: {:.2f}, aligned {:.2f}, corrected {:.2f}."
teach.show(teach.dots(shown), caption=caption.format(*map(np.mean, shown.values())))

# %%
# All choices are made: the test images, once, for the head that was augmented.
final = {**more, "judge": standard(features(scan(last, 3)), by)}
both = np.concatenate([taught, taught])
learn_head("final", final, known=both, secret=last_labels)
above = np.mean(RIGHT["final"]) - np.bincount(last_labels).max() / len(last_labels)
said = "On the test images the augmented head is {points} above the baseline."
teach.claim("10.test", said, above, low=0.08, high=0.5)

# %% [markdown]
# ## Exercise 10.3: rarer than it was
#
# A network has learnt to read digits, each as frequent as the others. Then come codes
# in which some digits are rare; the scans look as before. Write `corrected(model,
# before, now)`. It gets a Keras model that gives logits, and the shares of the classes
# before and now. Return a new `keras.Model` whose logits each gain the logarithm of
# *share now over share before*. `keras.layers.Rescaling(1.0, offset=numbers)` adds a
# number to each column.


# %% tags=["stub"]
def corrected(model, before, now):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def corrected(model, before, now):  # the wrong way round
    gain = np.log(np.divide(before, now)).tolist()
    return keras.Model(
        model.input, keras.layers.Rescaling(1.0, offset=gain)(model.output)
    )


# %% tags=["wrong"]
def corrected(model, before, now):  # without the logarithm
    gain = np.divide(now, before).tolist()
    return keras.Model(
        model.input, keras.layers.Rescaling(1.0, offset=gain)(model.output)
    )


# %% tags=["wrong"]
def corrected(model, before, now):  # forgets the shares of before
    gain = np.log(now).tolist()
    return keras.Model(
        model.input, keras.layers.Rescaling(1.0, offset=gain)(model.output)
    )


# %% tags=["wrong"]
def corrected(model, before, now):  # the numbers to add, not a model
    return np.log(np.divide(now, before))


# %% tags=["solution"]
def corrected(model, before, now):
    gain = np.log(np.divide(now, before)).tolist()
    return keras.Model(
        model.input, keras.layers.Rescaling(1.0, offset=gain)(model.output)
    )


# %% tags=["check"]
BEFORE, NOW = np.r_[[0.2] * 2, [0.075] * 8], np.r_[[0.02] * 5, [0.18] * 5]


@functools.cache
def gained(answer):  # what each logit gains, image by image; None: no model
    model = reader_of_digits()
    model.set_weights(learnt())
    made = answer(model, BEFORE, NOW)
    if not isinstance(made, keras.Model):
        return None
    few = other_scans.images[:40]
    return made.predict(few, verbose=0) - model.predict(few, verbose=0)


WANTED = np.log(NOW / BEFORE)
teach.check(
    "10.3",
    corrected,
    [
        (
            lambda f: gained(f) is not None,
            "Return a model: the old one with a layer that adds to its logits.",
        ),
        (
            lambda f: gained(f)[0, 5] > gained(f)[0, 0],
            "A digit that has become more frequent must gain on the others.",
        ),
        (
            lambda f: gained(f)[0, 0] < 0,
            "A digit that has become rarer must lose: the logarithm sees to that.",
        ),
        (
            lambda f: np.allclose(gained(f), WANTED, atol=1e-3),
            "The sign is right, the size is not. Did you divide by the share before?",
        ),
    ],
)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the images are photographs of flowers and the weights come from
# ImageNet. We have not run it at that scale yet.
#
# ## What we saw
#
# - First ask what has changed: the images, or the shares of the classes.
# - AdaBN needs a network whose statistics are the source's. In a frozen backbone,
#   giving the target alone its own gained nothing, and mostly lost points.
# - What aligns blindly gained nothing for sure here. An adversary hides the domain, and
#   proves nothing about the classes.
# - Augmentation that fits the machine uses what you know. It gained.
# - If only the shares changed, align nothing: correct the shares.
# - Without labels a choice is a guess. Label some target images.
#
# Next: `kerastl.adaptation.shift_report`, on images of your own.
#
# ## Words
#
# - **source, target**: the domain with labels; the one that you want to do well on.
# - **domain adaptation**: learning for the target from both, without target labels.
# - **label shift**: the same images of each class, in other shares.
# - **align**: make features of two domains alike.
# - **AdaBN**: BatchNorm with the statistics of the target.
# - **adversarial**: trained against another part of the network.
# - **MCC**: minimum class confusion, a loss that wants sure answers to the target.
#
# ## Sources
#
# - Y. Ganin and others, *Domain-Adversarial Training of Neural Networks*, JMLR 2016,
#   arXiv:1505.07818.
# - Y. Li and others, *Revisiting Batch Normalization For Practical Domain Adaptation*,
#   arXiv:1603.04779.
# - Y. Jin and others, *Minimum Class Confusion for Versatile Domain Adaptation*, ECCV
#   2020, arXiv:1912.03699. Here without its weights.
# - M. Saerens and others, *Adjusting the Outputs of a Classifier to New a Priori
#   Probabilities*, Neural Computation 2002.
# - K. Musgrave and others, *Three New Validators*, arXiv:2208.07360: choosing.
# - More pairs of domains: the folder `benchmarks`, file `adaptation.md`.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 10 for what has changed, 15 for statistics and exercise 10.1, 15 for MCC,
# the adversary and exercise 10.2, 5 for augmentation, 5 for choosing, 10 for label
# shift and exercise 10.3.
#
# ## Misconceptions
#
# - "Adaptation always helps." Label shift is the counterexample, and AdaBN in a frozen
#   backbone another.
# - "If the domains cannot be told apart, the problem is solved." The classes may be
#   crossed.
# - "Choose the way that is best on the target." By which labels? With them it is no
#   adaptation without labels any more.
# - "Medical images are just another domain." The machine, the patients and the shares
#   of illnesses change at once, and then no rule above is safe.
#
# ## Discussion
#
# A clinic's network learnt from adults. Now it is to read images of children from
# another machine, among whom the illness is rarer. Which ways of this lesson would you
# try, and how would you know?
#
# An answer: images and shares have both changed, so that correcting shares by EM is
# wrong, and aligning by the mean mixes up both. Augment with what is known of the
# machine, label some hundred images of children, and compare on them, with intervals.
