# %% [markdown]
# # 03 Feature extraction
#
# How do you teach an old network new classes without touching one of its weights?
#
# The network stays frozen and only describes each image; a small new layer learns what
# the descriptions mean. It is the cheapest kind of transfer learning, and the one to
# try first.
#
# ## You will be able to
#
# - build a frozen backbone with a new head in five steps, and prove that it is frozen;
# - compute features once and train on them, and say when you may not;
# - find a wrong preprocessing, and choose the layer to cut at.

# %%
from kerastl import teach

data = {"dataset": ("shapes", "flowers")}
data |= {"licence": ("Apache-2.0; weights non-commercial", "CC BY")}
network = {"backbone": ("MobileNet", "MobileNet"), "alpha": (0.5, 0.25)}
weights = {"weights": ("tiny", "imagenet"), "image_size": (96, 224)}
costs = {"download": ("nothing", "about 220 MB"), "minutes": (1, 9)}
bands = {"least_cut_gain": (0.02, 0.0)}  # the lower limit of a claim near the end
L = teach.lesson("03", {**data, **network, **weights, **costs, **bands})

# %%
import kerastl

train, validation, test = kerastl.load_dataset(L.dataset, test=0.2, seed=L.seed)
teach.claim(
    "03.shared",
    "{value} images are in more than one part.",
    teach.shared_images(train, validation, test),
    low=0,
    high=0,
)

# %% [markdown]
# ## What is to be beaten
#
# First a look at the images, and a baseline: a rule that always names the most frequent
# class. A network that does no better has learnt nothing.

# %%
import numpy as np

few = validation.subset(range(10))
pixels = np.array(next(iter(kerastl.batches(few, image_size=L.image_size)))[0])
names = train.class_names
figure = kerastl.plots.images(pixels, labels=few.labels, class_names=names, columns=5)
teach.show(figure, caption="Ten validation images with their classes.")
baseline = np.bincount(validation.labels).max() / len(validation)
words = "The most frequent class makes up {value:.1%} of the validation images."
teach.claim("03.baseline", words, baseline, low=0.1, high=0.35)

# %% [markdown] tags=["quiz"]
# ## The five steps
#
# 1. **Select** a backbone that was trained on much more than you have.
# 2. **Remove the top**: its last layer names the old classes, which are not yours.
# 3. **Add a head**: average each feature over the image, then one dense layer.
# 4. **Freeze** the backbone: none of its weights may move.
# 5. **Train** what is left.
#
# In plain Keras:
#
# ```python
# base = keras.applications.MobileNet(include_top=False, weights="imagenet")  # 1, 2
# base.trainable = False  # 4
# row = keras.layers.GlobalAveragePooling2D()(base.output)  # 3
# model = keras.Model(base.input, keras.layers.Dense(classes)(row))
# loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
# model.fit(images, labels, epochs=20)  # 5; Keras's MobileNet wants pixels in -1 .. 1
# ```
#
# The dense layer holds two arrays: its *kernel*, a weight for each pair of feature and
# class, and its *bias*, a number for each class. It gives each class a *logit*: the
# higher, the more likely. *Softmax* would make probabilities of them;
# `from_logits=True` tells the loss that it has not been done. *Adam* is the optimizer;
# `3e-3` is its learning rate, the length of a step.
#
# **Quick question.** What comes out of a backbone whose top has been removed?
#
# - [ ] The probabilities of the old classes :: Those came from the top, which is gone.
# - [x] A small map of features, one list of numbers for each place :: The head averages
#   the places away, and one list for each image is left.
# - [ ] The image, but smaller :: The places are fewer, but what is stored at each is
#   no longer a colour.

# %%
teach.predict(
    "03.a",
    "Backbone and head have many arrays of weights. How many of them will train?",
    ["none", "two", "all of them"],
    guess=2,  # guess: 1, 2 or 3
)

# %%
import keras

# Steps 1 and 2; then 3 and 4: a head, and a frozen backbone.
backbone = kerastl.build_backbone(
    L.backbone, alpha=L.alpha, weights=L.weights, image_size=L.image_size
)
print(isinstance(backbone, keras.Model), "one image becomes", backbone.output_shape[1:])
model = kerastl.build_classifier(backbone, names, seed=L.seed)
moving = len(model.trainable_weights)
teach.reveal("03.a", {0: 1, 2: 2}.get(moving, 3))
words = "{value} arrays of weights will train: the head's kernel and its bias."
teach.claim("03.trainable", words, moving, low=2, high=2)

# %% tags=["plumbing"]
from matplotlib import pyplot as plt

rows = kerastl.trainable_report(model).rows
frozen = [row.parameters - row.trainable for row in rows]
trains = [row.trainable for row in rows]
blocks = [row.block for row in rows]
figure, axes = plt.subplots(figsize=(6.4, 3.8))
axes.barh(blocks, frozen, color=teach.COLOURS[0], label="frozen")
bars = axes.barh(blocks, trains, left=frozen, color=teach.COLOURS[1], hatch="//")
bars.set_label("trained")
axes.set(xlabel="numbers in the block", ylim=(len(rows) - 0.5, -0.5))
axes.legend()
words = f"{sum(trains):,} numbers train, {sum(frozen):,} are frozen"
caption = f"From the first layers, the stem, down to the head: {words}."
teach.show(figure, caption=caption, alt=f"Bars for each block: {words}.")

# %% [markdown]
# ## Exercise 03.1: the same in plain Keras
#
# Write `with_head(backbone, classes)`. It gets any functional Keras backbone and gives
# back a `keras.Model` that shares the backbone's weights, holds them frozen, averages
# over the places of the map, and ends in one dense layer with a number for each class,
# without softmax. The check trains it on a small hidden backbone, and sees whether a
# weight of it has moved.
#
# In Keras a layer is called on what comes before it, and a model goes from an input to
# an output:
#
# ```python
# image = keras.Input((32, 32, 3))
# maps = keras.layers.Conv2D(8, 3)(image)
# row = keras.layers.GlobalMaxPooling2D()(maps)
# logits = keras.layers.Dense(5)(row)
# small = keras.Model(image, logits)
# ```
#
# A finished model has these two ends too, `backbone.input` and `backbone.output`, and
# you may go on from there. The layer that averages is `GlobalAveragePooling2D`.


# %% tags=["stub"]
def with_head(backbone, classes):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def with_head(backbone, classes):  # adds a head, and forgets to freeze
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(classes)(row))


# %% tags=["wrong"]
def with_head(backbone, classes):  # no pooling: an answer for each place
    backbone.trainable = False
    logits = keras.layers.Dense(classes)(backbone.output)
    return keras.Model(backbone.input, logits)


# %% tags=["wrong"]
def with_head(backbone, classes):  # the greatest value of the map, not the average
    backbone.trainable = False
    row = keras.layers.GlobalMaxPooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(classes)(row))


# %% tags=["wrong"]
def with_head(backbone, classes):  # a clone has the layers, but random weights
    copy = keras.models.clone_model(backbone)
    copy.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(copy.output)
    return keras.Model(copy.input, keras.layers.Dense(classes)(row))


# %% tags=["solution"]
def with_head(backbone, classes):
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(classes)(row))


# %% tags=["check"]
def hidden_backbone():
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, strides=2)(image)
    maps = keras.layers.BatchNormalization()(maps)
    return keras.Model(image, keras.layers.ReLU()(maps))


def still_the_same(answer):
    base = hidden_backbone()
    built = answer(base, 4)
    before = [weight.numpy() for weight in base.weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(keras.optimizers.SGD(0.1), loss)
    rows = np.random.default_rng(0).uniform(0, 255, (8, 8, 8, 3))
    built.fit(rows, np.arange(8) % 4, verbose=0)
    pairs = zip(before, base.weights, strict=True)
    return all(np.array_equal(old, new.numpy()) for old, new in pairs)


def shares_weights(answer):
    base = hidden_backbone()
    kept = {id(weight) for weight in answer(base, 4).weights}
    return {id(weight) for weight in base.weights} <= kept


def averages(answer):  # one dense layer, on the mean over the places
    base = hidden_backbone()
    built = answer(base, 4)
    rows = np.random.default_rng(1).uniform(0, 255, (2, 8, 8, 3))
    kernel, bias = (weight.numpy() for weight in built.trainable_weights)
    expected = base.predict(rows, verbose=0).mean(axis=(1, 2)) @ kernel + bias
    return np.allclose(built.predict(rows, verbose=0), expected, rtol=1e-3, atol=1e-3)


teach.check(
    "03.1",
    with_head,
    [
        (
            lambda f: f(hidden_backbone(), 4).output_shape == (None, 4),
            "One row of numbers for each image: average over the places of the map.",
        ),
        (
            lambda f: len(f(hidden_backbone(), 4).trainable_weights) > 0,
            "Nothing would train. Freeze the backbone, not the model with its head.",
        ),
        (
            lambda f: len(f(hidden_backbone(), 4).trainable_weights) == 2,
            "More than one dense layer would train. Freeze the backbone, and add one "
            "dense layer only.",
        ),
        (
            shares_weights,
            "The weights are not those of the given backbone: a copy starts at random.",
        ),
        (
            averages,
            "The outputs are not one dense layer on the averages. Average over the "
            "places, and use no softmax.",
        ),
        (still_the_same, "A weight of the backbone changed while the head trained."),
    ],
)

# %% [markdown]
# ## The fifth step: train
#
# The curves show the loss and the accuracy from epoch to epoch. Did the backbone stay
# as it was? We compare each of its arrays before and after, number by number.

# %%
before = [weight.numpy() for weight in backbone.weights]
history = kerastl.fine_tune(
    model, train, validation, recipe="linear_probe", seed=L.seed, verbose=0
)
teach.show(kerastl.plots.history(history), caption="The head learns in seconds.")
pairs = zip(before, backbone.weights, strict=True)
changed = sum(not np.array_equal(old, new.numpy()) for old, new in pairs)
words = f"{{value}} of the {len(before)} arrays of the backbone changed."
teach.claim("03.changed", words, changed, low=0, high=0)
gain = history.best.value - baseline
words = "On the validation images it is {points} above the baseline."
teach.claim("03.gain", words, gain, low=0.4, high=0.75)

# %% [markdown] tags=["quiz"]
# ## Never compute twice
#
# A frozen network gives the same features for the same image in every epoch. So it need
# look at each image only once: keep the features, and train the head on those. That is
# what `fine_tune` did above by itself. How much does it save? We time epochs with and
# without, and leave out the first, in which Keras also prepares the computation. A
# `Phase` says what trains, how long, and at which rate; `run_phases` runs it.
#
# **Quick question.** When may you *not* replace an image by its stored features?
#
# - [ ] When the backbone has BatchNorm layers :: Frozen, they use stored statistics, so
#   an image always gives the same features.
# - [x] When each epoch changes the images at random :: That is called *augmentation*. A
#   mirrored or turned image has other features; stored ones would be those of the
#   image as it was.
# - [ ] When the head has several layers :: What lies above the features may change.

# %%
teach.predict(
    "03.b",
    "How many times faster is an epoch of the head on stored features?",
    guess=10,  # guess: a number, such as 2, 10 or 100
)


# %%
def seconds(cache):
    fresh = kerastl.build_classifier(backbone, names, seed=L.seed)
    phase = kerastl.Phase("head", trainable="head", epochs=3, learning_rate=3e-3)
    run = kerastl.run_phases(
        fresh, train, phases=[phase], cache=cache, seed=L.seed, verbose=0
    )
    each = run.history["seconds"]
    return min(each[1:]), run.phases[0].seconds - sum(each)


whole, _ = seconds("off")
alone, once = seconds("memory")

# %% tags=["plumbing"]
teach.reveal("03.b", whole / alone, form="{:.0f}")
words = "An epoch on stored features is {value:.0f} times faster."
teach.claim("03.faster", words, whole / alone, low=4, high=400)
epochs = np.arange(21)
figure, axes = plt.subplots(figsize=(6, 3))
blue, orange = teach.COLOURS[:2]
axes.plot(epochs, whole * epochs, "--", color=orange, label="through the backbone")
axes.plot(epochs, once + alone * epochs, color=blue, label="on stored features")
axes.set(xlabel="epochs", ylabel="seconds in all", xlim=(0, 20), ylim=(0, None))
axes.legend()
words = f"{20 * whole:.0f} seconds through the backbone, {once + 20 * alone:.0f} stored"
alt = f"Lines of seconds against epochs; after 20 epochs {words}."
caption = "The features cost one pass; after it an epoch is nearly free."
teach.show(figure, caption=caption, alt=alt)

# %% [markdown]
# ## Something goes wrong on purpose
#
# Networks disagree about pixels: one wants them from 0 to 255, another from 0 to 1, or
# from -1 to 1. This backbone takes 0 to 255 and does the rest in its first layer. A
# colleague, used to another library, divides the images by 255 first. A third person
# mixes up red and blue. Both faults are in training *and* validation, so the head may
# adapt to them.

# %%
teach.predict(
    "03.c",
    "Images are divided by 255 before a network that scales them itself. What happens?",
    [
        "an error message",
        "nothing much: the head adapts",
        "it trains without a word, and badly",
    ],
    guess=2,  # guess: 1, 2 or 3
)


# %%
def features(images, change):
    batches = kerastl.batches(images, image_size=L.image_size, batch_size=60)
    maps = [backbone.predict_on_batch(change(np.array(x))) for x, _ in batches]
    return np.concatenate(maps).mean(axis=(1, 2))


def right_with(rows, seed):  # which validation images
    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.layers.Dense(len(names), activation="softmax")])
    head.compile("adam", "sparse_categorical_crossentropy")
    head.fit(rows[0], train.labels, epochs=40, batch_size=90, verbose=0)
    return head.predict(rows[1], verbose=0).argmax(axis=1) == validation.labels


# %%
changes = {
    "as they are": lambda batch: batch,
    "red and blue swapped": lambda batch: batch[..., ::-1],
    "divided by 255": lambda batch: batch / 255,
}
measured = {}
for name, change in changes.items():
    rows = features(train, change), features(validation, change)
    measured[name] = np.array([right_with(rows, L.seed + seed) for seed in range(3)])
right, swapped, divided = measured.values()
teach.reveal("03.c", 3 if right.mean() - divided.mean() > 0.05 else 2)

# %%
words = "Dividing by 255 cost {points}."
teach.compare("03.divided", words, right, divided, low=0.3, high=0.7)
words = "Swapping red and blue cost {points}."
teach.compare("03.swapped", words, right, swapped, low=-0.02, high=0.12)
shown = {name: values.mean(axis=1) for name, values in measured.items()}
caption = "Divided pixels ruin the features, and nothing warns."
teach.show(teach.dots(shown, baseline=baseline), caption=caption)

# %% [markdown] tags=["quiz"]
# No error, no warning. To the network every image divided by 255 is nearly black, and
# nearly the same as every other. The swapped colours are harder to find: where colour
# matters little to the task, they cost little, and no curve would make you suspicious.
#
# **Quick question.** Where is preprocessing safest?
#
# - [ ] In a note beside the weights file :: Whoever loads the file next year will not
#   read the note.
# - [ ] In the loop that loads the images :: There will be a second such loop, in the
#   program that uses the model. Do the two agree?
# - [x] Inside the model, as its first layer :: It is saved with the weights, and nobody
#   can forget it or do it differently.

# %% [markdown]
# ## Exercise 03.2: repair it
#
# A colleague's loader gives float pixels from 0 to 1. Write `repaired(pixels)`, which
# turns an array of such images into what our backbone expects.


# %% tags=["stub"]
def repaired(pixels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def repaired(pixels):  # leaves it to the backbone
    return pixels


# %% tags=["wrong"]
def repaired(pixels):  # what MobileNet's paper wants: but that layer is there already
    return 2 * pixels - 1


# %% tags=["wrong"]
def repaired(pixels):  # stretches each image to the full range
    low = pixels.min(axis=(1, 2, 3), keepdims=True)
    high = pixels.max(axis=(1, 2, 3), keepdims=True)
    return 255 * (pixels - low) / (high - low)


# %% tags=["solution"]
def repaired(pixels):
    return 255 * pixels


# %% tags=["check"]
delivered = pixels / 255
dim = 0.2 * delivered


def same_features(answer):
    got = backbone.predict_on_batch(np.asarray(answer(delivered), "float32"))
    return np.allclose(got, backbone.predict_on_batch(pixels), atol=0.01)


teach.check(
    "03.2",
    repaired,
    [
        (
            lambda f: np.min(f(delivered)) >= 0,
            "There are negative pixels. The backbone scales to -1 and 1 itself; done "
            "twice, it is wrong.",
        ),
        (
            lambda f: np.max(f(delivered)) > 1,
            "The greatest pixel is still 1. For this backbone white is 255.",
        ),
        (
            lambda f: np.max(f(dim)) < 60,
            "A dark image came out bright. Use one factor for all images.",
        ),
        (same_features, "The features still differ from those of the right pixels."),
    ],
)

# %% [markdown]
# ## Where to cut
#
# Removing the top does not settle how much to remove. Early layers see edges and
# colours; late ones what the *old* task needed. So the last layer need not be the best
# one to cut at. And a cut further down saves time in every use.
#
# `depth_profile` puts a simple linear classifier, a *probe*, on features from several
# depths. It cuts the training images into five parts, called *folds*: each is scored
# once by a probe that has learnt from the other four. We draw the folds three times. In
# the table `+-` is the *standard error* of the mean: about how far it is off by chance.

# %%
teach.predict(
    "03.d",
    "From which depth will the features serve best?",
    ["the first third", "the middle", "the last of all"],
    guess=3,  # guess: 1, 2 or 3
)

# %%
draws = [
    kerastl.selection.depth_profile(backbone, train, cuts=6, seed=L.seed + seed)
    for seed in range(3)
]
profile = draws[0]
print(profile)
scores = np.array([draw.accuracies for draw in draws])
best = int(scores.mean(axis=0).argmax())
teach.reveal("03.d", 1 if best < 2 else 2 if best < 5 else 3)
words = "The best cut is {points} above the last one, the mean of three draws."
gain = scores.mean(axis=0)[best] - scores.mean(axis=0)[-1]
teach.claim("03.cut", words, gain, low=L.least_cut_gain, high=0.15)

# %% tags=["plumbing"]
figure, axes = plt.subplots(figsize=(6.4, 3.4))
for draw, label in zip(scores, ("one draw of folds", None, None), strict=True):
    axes.plot(profile.computation, draw, "o", color=teach.COLOURS[0], label=label)
axes.plot(profile.computation, scores.mean(axis=0), color="black", label="mean")
axes.axhline(baseline, color="gray", linestyle="--", label="baseline")
names_of = [cut.removesuffix("_relu") for cut in profile.cuts]
axes.set_xticks(profile.computation, names_of, rotation=45, ha="right")
axes.set(xlabel="cut, by its share of the computation", ylabel="accuracy of a probe")
axes.legend()
top = f"{scores[:, best].mean():.2f} at {profile.cuts[best]}"
words = f"best {top}, {scores[:, -1].mean():.2f} at the last cut"
alt = f"Probe accuracy by depth, three draws of folds: {words}."
teach.show(figure, caption="The last layer is not the best one to cut at.", alt=alt)

# %% [markdown]
# ## Exercise 03.3: a transfer of your own
#
# Now all five steps, on pictures that this lesson has not shown: scans of digits. Write
# `read_digits(backbone, images, labels)` in plain Keras. Build a frozen backbone with a
# head for ten classes, train it for 20 epochs with Adam at `1e-2`, and return the
# trained model. The check gives you a small backbone that scales the pixels itself, and
# asks your model about digits that it has not seen.


# %% tags=["stub"]
def read_digits(backbone, images, labels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def read_digits(backbone, images, labels):  # builds, and never trains
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(10)(row))


# %% tags=["wrong"]
def read_digits(backbone, images, labels):  # trains the backbone too
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(10)(row))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(images, labels, epochs=20, verbose=0)
    return model


# %% tags=["wrong"]
def read_digits(backbone, images, labels):  # no softmax, and the loss is not told
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(10)(row))
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=20, verbose=0)
    return model


# %% tags=["wrong"]
def read_digits(backbone, images, labels):  # the classes of another task
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(len(names))(row))


# %% tags=["solution"]
def read_digits(backbone, images, labels):
    backbone.trainable = False
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(10)(row))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(images, labels, epochs=20, verbose=0)
    return model


# %% tags=["check"]
import functools

digits, check_digits, _ = kerastl.load_dataset("digits", seed=0)


def digit_backbone():  # fixed filters: differences of neighbours, and their sums
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Rescaling(1 / 255)(image)
    maps = keras.layers.Conv2D(96, 5, activation="relu")(maps)
    return keras.Model(image, keras.layers.Conv2D(96, 3, activation="relu")(maps))


@functools.cache
def after_digits(answer):  # classes, moved arrays of the backbone, accuracy
    base = digit_backbone()
    before = base.get_weights()
    keras.utils.set_random_seed(4)
    built = answer(base, digits.images, digits.labels)
    moved = sum(
        not np.array_equal(*pair)
        for pair in zip(before, base.get_weights(), strict=True)
    )
    said = built.predict(check_digits.images, verbose=0)
    right = (said.argmax(axis=-1) == check_digits.labels).mean()
    return said.shape[-1], built.compiled, moved, right


teach.check(
    "03.3",
    read_digits,
    [
        (lambda f: after_digits(f)[0] == 10, "Ten digits, so ten numbers an image."),
        (lambda f: after_digits(f)[1], "The model was never compiled and trained."),
        (
            lambda f: after_digits(f)[2] == 0,
            "The backbone moved. Freeze it before you build the model.",
        ),
        (
            lambda f: after_digits(f)[3] > 0.6,
            "It trained, and hardly reads a digit. Does the loss know that it gets "
            "logits?",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## The validation images decide
#
# The probe has seen the training images only, so it gives no more than a hint. We fit
# a head at the last layer and one at the cut marked `*` in the table, and compare them
# on the validation images.
#
# Both are fitted in the same way: *standardise* each feature first, so that its mean
# over the training images is 0 and its standard deviation 1, then find the best weights
# of a linear classifier. That matters. Features of an early layer are small numbers,
# and an optimizer that takes small steps on them is far from the best head when it
# stops. `set_head` writes the fitted head, its standardising included, into the
# network's last layer. The cell below prints the interval of the difference on the same
# images (and `p`: how often chance alone makes such a difference). Unless the whole
# interval is below zero, we take the lower cut: its network is cheaper.
#
# ## One look at the test images
#
# Then all choices are made, and the test images are used, once.
#
# **Quick question.** The test accuracy is lower than you hoped. You try another cut,
# and test again. What is wrong with that?
#
# - [ ] Nothing: the second number is a test accuracy too :: It was chosen *because* it
#   is higher, and part of that is luck.
# - [x] The test images then take part in a choice :: They stop being new to the model,
#   and their number promises too much.
# - [ ] The features must be computed anew :: That costs time, but it is no mistake.


# %%
def fitted(network):  # with a head on standardised features
    rows = kerastl.features.FeatureExtractor(network).fit_transform(train)
    head = kerastl.features.classical_head("logistic").fit(rows, train.labels)
    built = kerastl.build_classifier(network, names, seed=L.seed)
    kerastl.features.set_head(built, head)
    return built


lower = kerastl.features.truncate(backbone, profile.chosen)
heads = [fitted(network) for network in (backbone, lower)]
said = [kerastl.predict(each, validation).indices for each in heads]

# %%
compared = kerastl.metrics.compare_classifiers(validation.labels, *said)
words = "Validation accuracy at the probe's cut, against the last layer: {points:+}."
teach.claim("03.shorter", words, compared.difference, low=-0.06, high=0.12)
print(compared.summary)
final = heads[0] if compared.interval[1] < 0 else heads[1]
result = kerastl.evaluate(final, test)
low, high = result.accuracy_interval
print(f"accuracy {result.accuracy:.1%}, 95% interval {low:.1%} to {high:.1%}")
gain = result.accuracy - np.bincount(test.labels).max() / len(test)
words = "On the test images it is {points} above the baseline."
teach.claim("03.test", words, gain, low=0.35, high=0.75)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the images are photographs of flowers and the weights come from
# ImageNet. Photographs of flowers are close to what those weights were trained on, so
# late layers should serve well: guess where the best cut lies before you run it.
#
# ## What we saw
#
# - Select, remove the top, add a head, freeze, train: only two arrays moved, and we
#   compared the others number by number.
# - Stored features make the head's epochs cheap, until images change at random.
# - Wrong preprocessing raises no error. Only a comparison shows it, and some faults
#   stay hidden even then.
# - The last layer need not be the best cut: measure, with a probe for a hint and with
#   validation images for the decision. Standardise features before you compare.
#
# Next: lesson 04 hands the same features to classical models.
#
# ## Words
#
# - **backbone**: the part of a network that turns an image into features.
# - **head**: the new layers that turn features into classes.
# - **pooling**: averaging a feature over all places of the image.
# - **preprocessing**: bringing pixels to the range a network was trained on.
# - **cut**: the layer after which the rest of a network is removed.
# - **logit**: a number for a class before softmax makes a probability of it.
# - **standardise**: shift and scale a feature to mean 0 and standard deviation 1.
# - **probe**: a simple classifier that tells how good features are.
#
# ## Sources
#
# - A. Razavian and others, *CNN Features off-the-shelf*, CVPR workshops 2014.
# - H. Azizpour and others, *Factors of Transferability for a Generic ConvNet
#   Representation*, 2015, arXiv:1406.5774.
# - Keras, *Transfer learning and fine-tuning*, the developer guide.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 50 minutes: 10 for the five steps and exercise 03.1, 10 for stored features, 15 for
# the wrong preprocessing with exercise 03.2, 15 for the cut and exercise 03.3. Let the
# class vote on 03.c before anybody runs it: the error message usually wins.
#
# ## Misconceptions
#
# - "A wrong input would give an error." Shapes are checked, meanings are not. Numbers
#   from 0 to 1 are perfectly legal pixels from 0 to 255, of very dark images.
# - "The head will adapt to any constant change." It can undo a scaling of the features,
#   but the network is not linear: on nearly black images its features hardly differ.
# - "The last layer is the best, because it knows most." It knows most about the old
#   task; the further the new one is from it, the earlier the best cut.
# - "Freezing is for speed." It also keeps a random head's first steps from spoiling
#   good weights, which lesson 05 is about.
#
# ## Discussion
#
# Swapped colours cost little here. In which task would they cost a lot, and how would
# you notice the fault in a model that somebody else has trained?
#
# An answer: where colour names the class, as with ripe and unripe fruit. Ask the model
# about a picture whose answer hangs on colour, once as it is and once swapped: a right
# model is surer of the first.
