# %% [markdown]
# # 09 Choosing a model: VGG, ResNet, Inception, MobileNet or EfficientNet?
#
# `keras.applications` offers dozens of networks. Is the newest the best? Is the one
# with the fewest weights the fastest?
#
# Published networks differ in everything at once: idea, size, images, training. Here
# five small *siblings* differ in one idea only. They have about equally many weights,
# and learnt from the same photographs of flowers, in the same order, for equally long.
#
# ## You will be able to
#
# - say the one idea of each family, and count the weights of its block;
# - measure what a network costs on your computer, and what it is worth on your images;
# - leave out what is beaten, and choose among the rest under limits.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("shapes", "shapes"),
    "licence": ("weights non-commercial", "weights non-commercial"),
    "backbone": ("five small siblings", "five small siblings"),
    "weights": ("tiny", "tiny"),
    "image_size": (48, 96),
    "download": ("nothing", "nothing"),
    "minutes": (1, 3),
}

# %%
import time

import keras
import numpy as np

import kerastl

L = teach.lesson("09", SETTINGS, scale="auto")

# %%
size, families = L.image_size, list(teach.siblings())
parts = kerastl.load_dataset(L.dataset, validation=0.5, seed=L.seed)
scans = kerastl.load_dataset("digits", validation=0.5, seed=L.seed)
shared = teach.shared_images(*parts) + teach.shared_images(*scans)
said = "{value} images are in more than one part."
teach.claim("09.shared", said, shared, low=0, high=0)

# %% [markdown] tags=["quiz"]
# ## First: five ideas
#
# - **VGG** (2014): only convolutions that look at three by three pixels, stacked. Two
#   of them see five by five, with fewer weights than one of that size.
# - **ResNet** (2015): the same, and every few layers the input is added to the output,
#   a *skip*.
# - **Inception** (2014): several scales beside each other, joined.
# - **MobileNet** (2017): first a convolution of each channel by itself (*depthwise*),
#   then one that looks at a single pixel and mixes the channels (*pointwise*).
# - **EfficientNet** (2019): narrow between blocks and wide inside, with a skip; each
#   channel is weighed by what the whole image holds (*squeeze and excite*). Larger
#   members grow in depth, width and image size together.
#
# Most later networks mix these ideas. In Keras a block is a few lines:
#
# ```python
# x = keras.Input((24, 24, 64))
# stack = keras.layers.Conv2D(64, 3, padding="same")(x)  # VGG
# skip = keras.layers.Add()([x, stack])  # ResNet
# deep = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # MobileNet ...
# mixed = keras.layers.Conv2D(64, 1)(deep)  # ... in two steps
# ```
#
# **Quick question.** Why does nobody take one large convolution in place of two small?
#
# - [ ] It sees less :: It sees as much.
# - [x] It has more weights, and one activation less :: Twenty-five for each pair of
#   channels, against twice nine.
# - [ ] Keras has none :: It takes any size.

# %% tags=["plumbing"]
from matplotlib import pyplot as plt

EACH = "3 x 3\neach channel"
PLANS = {
    "VGG": ([["3 x 3"], ["3 x 3"]], False),
    "ResNet": ([["3 x 3"], ["3 x 3"], ["add"]], True),
    "Inception": (
        [["1 x 1", "1 x 1", "1 x 1", "pool"], ["", "3 x 3", "3 x 3", "1 x 1"],
         ["", "", "3 x 3", ""], ["join"]],
        False,
    ),
    "MobileNet": ([[EACH], ["1 x 1"]], False),
    "EfficientNet": (
        [["1 x 1, wider"], [EACH], ["weigh channels"], ["1 x 1, narrower"], ["add"]],
        True,
    ),
}  # fmt: skip


def put(axes, x, y, text, colour):
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=3)


def arrow(axes, start, end, colour="gray", bend=0.0):
    look = {"arrowstyle": "->", "color": colour, "shrinkA": 6, "shrinkB": 8}
    look["connectionstyle"] = f"arc3,rad={bend}"
    axes.annotate("", end, start, arrowprops=look, zorder=1)


def diagram(axes, family, colour):
    rows, skip = PLANS[family]
    axes.set(xlim=(-2.2, 2.2), ylim=(-6.2, 0.7), title=family)
    axes.axis("off")
    put(axes, 0, 0, "input", "gray")
    last = -len(rows) * 1.15
    wide = max(map(len, rows))
    ends = [(0, 0)] * wide
    for i, row in enumerate(rows, 1):
        lanes = np.linspace(-1.65, 1.65, wide) if len(row) > 1 else [0]
        for lane, text in enumerate(row):
            if text:
                place = (lanes[lane], -1.15 * i)
                for end in set(ends) if len(row) < wide else {ends[lane]}:
                    arrow(axes, end, place)
                put(axes, *place, text, colour)
                ends[lane] = place
    if skip:
        arrow(axes, (0.3, 0), (0.35, last), colour, bend=-0.55)


figure, panels = plt.subplots(1, 5, figsize=(12.5, 4), width_ratios=(2, 2, 4, 3, 3))
for axes, family, colour in zip(panels, families, teach.COLOURS, strict=False):
    diagram(axes, family, colour)
caption = "One block of each family. The bent line is the skip."
alt = "Diagrams of five blocks, boxes joined by arrows: a stack, a stack with a skip, "
alt += "four branches, depthwise and pointwise, and five steps with a skip."
teach.show(figure, caption=caption, alt=alt)

# %% [markdown]
# ## Exercise 09.1: weights by hand
#
# A convolution of size `k` from `a` to `b` channels has `k * k * a * b` weights, and
# `b` biases. A depthwise one has `k * k * a` and `a`. Write `count(block, a, b)`:
#
# - `"stack"`: two convolutions of three by three, the first from `a` to `b` channels;
# - `"separable"`: a depthwise one of three by three, then a pointwise one to `b`;
# - `"scales"`: three branches from `a` to `b / 4` channels each: a pointwise one; a
#   pointwise one followed by a three by three; a pool followed by a pointwise one. The
#   three by three keeps `b / 4` channels.


# %% tags=["stub"]
def count(block, a, b):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def count(block, a, b):  # no biases
    c = b // 4
    return {"stack": 9 * a * b + 9 * b * b, "separable": 9 * a + a * b,
            "scales": 3 * a * c + 9 * c * c}[block]  # fmt: skip


# %% tags=["wrong"]
def count(block, a, b):  # the second layer of the stack begins with a channels again
    c = b // 4
    return {"stack": 2 * (9 * a * b + b), "separable": 10 * a + a * b + b,
            "scales": 3 * (a * c + c) + 9 * c * c + c}[block]  # fmt: skip


# %% tags=["wrong"]
def count(block, a, b):  # the depthwise one mixes channels
    c = b // 4
    return {"stack": 9 * (a + b) * b + 2 * b, "separable": 9 * a * a + a + a * b + b,
            "scales": 3 * (a * c + c) + 9 * c * c + c}[block]  # fmt: skip


# %% tags=["wrong"]
def count(block, a, b):  # the three by three of a branch begins with a channels
    c = b // 4
    return {"stack": 9 * a * b + b + 9 * b * b + b, "separable": 10 * a + a * b + b,
            "scales": 3 * (a * c + c) + 9 * a * c + c}[block]  # fmt: skip


# %% tags=["solution"]
def count(block, a, b):
    c = b // 4
    if block == "stack":
        return 9 * a * b + b + 9 * b * b + b
    if block == "separable":
        return 9 * a + a + a * b + b
    return 3 * (a * c + c) + 9 * c * c + c


# %% tags=["check"]
def keras_block(block, a, b):
    conv, one = keras.layers.Conv2D, {"padding": "same"}
    x = keras.Input((8, 8, a))
    if block == "stack":
        y = conv(b, 3, **one)(conv(b, 3, **one)(x))
    elif block == "separable":
        y = conv(b, 1)(keras.layers.DepthwiseConv2D(3, **one)(x))
    else:
        pool = keras.layers.MaxPooling2D(3, 1, **one)(x)
        middle = conv(b // 4, 3, **one)(conv(b // 4, 1)(x))
        y = keras.layers.Concatenate()(
            [conv(b // 4, 1)(x), middle, conv(b // 4, 1)(pool)]
        )
    return keras.Model(x, y).count_params()


def counted(block):
    return lambda f: all(
        f(block, a, b) == keras_block(block, a, b)
        for a, b in ((3, 8), (8, 8), (16, 24), (32, 12))
    )


teach.check(
    "09.1",
    count,
    [
        (
            lambda f: f("stack", 8, 8) != 2 * 9 * 8 * 8,
            "Each output channel also has a bias.",
        ),
        (
            counted("stack"),
            "In the stack the second layer gets the channels that the first one gives.",
        ),
        (
            counted("separable"),
            "A depthwise layer has nine weights and a bias for each channel, no more.",
        ),
        (
            counted("scales"),
            "Within a branch, the second layer gets what the first one gives.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Second: few weights, little time?
#
# The separable block has far fewer weights than a plain convolution, and far fewer
# **multiply-adds**: what it multiplies and adds for one image. Does it take as much
# less time? We build both equally wide and use the clock.
#
# **Quick question.** What else takes time, besides multiplying?
#
# - [ ] Nothing :: A processor often waits.
# - [x] Fetching numbers from memory and putting them back :: Depthwise does little with
#   each number it fetches.
# - [ ] Reading the weights from disk :: That happens once.

# %%
teach.predict(
    "09.a",
    "Of the plain block's time, what percentage does the separable one take?",
    guess=15,  # guess: a number from 1 to 300
)


# %%
def plain_block(x, width):
    return keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)


def separable_block(x, width):
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    return keras.layers.Conv2D(width, 1, activation="relu")(x)


# %%
def seconds(models, images, rounds=20):  # of a pass: the best of each, in turns
    spent = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            begun = time.perf_counter()
            model.predict_on_batch(images)
            spent[name].append(time.perf_counter() - begun)
    return {name: min(each) for name, each in spent.items()}


# %%
WIDTH = SIDE = 32
maps = np.random.default_rng(0).random((32, SIDE, SIDE, WIDTH), "float32")
built = {}
for name, block in (("plain", plain_block), ("separable", separable_block)):
    x = y = keras.Input((SIDE, SIDE, WIDTH))
    for _ in range(3):
        y = block(y, WIDTH)
    built[name] = keras.Model(x, y)
fewer = built["separable"].count_params() / built["plain"].count_params()
passes = seconds(built, maps)
quicker = passes["separable"] / passes["plain"]
teach.reveal("09.a", 100 * quicker, form="{:.0f}")

# %%
said = "The separable block has {value:.0%} of the weights,"
teach.claim("09.weights", said, fewer, low=0.1, high=1 / 3)
said = "and takes {value:.0%} of the time."
teach.claim("09.time", said, quicker, low=0.16, high=20)
said = "So its share of the time is {value:.1f} times its share of the weights."
teach.claim("09.slower", said, quicker / fewer, low=1.1, high=150)

# %%
figure, axes = plt.subplots(figsize=(6, 2.2))
axes.barh(["weights", "time"], [100 * fewer, 100 * quicker], color=teach.COLOURS[:2])
axes.axvline(100, color="gray", linestyle="--", label="the plain block")
axes.set(xlabel="percent of the plain block")
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
alt = f"Bars: the separable block has {fewer:.0%} of the weights and {quicker:.0%} of "
caption = "Few weights save memory for certain, and time less than they promise."
teach.show(figure, caption=caption, alt=f"{alt}the time of the plain block.")

# %% [markdown] tags=["quiz"]
# ## Third: what a skip is for
#
# Twenty layers should be no worse than two: the others need only pass on what they get.
# But a deep stack must learn to do so, and what a weight at the bottom should do comes
# to it through all layers above. A skip passes things on by itself. We train both on
# scans of digits, from small random weights and without BatchNorm: a well-chosen start
# and BatchNorm help deep stacks too.
#
# **Quick question.** A skip adds a block's input to its output. What must hold?
#
# - [ ] The block has as many weights as channels :: Weights play no part.
# - [x] Both have the same shape :: Else a pointwise convolution brings the input to it,
#   as in our small ResNet.
# - [ ] The block is a convolution :: Any layers will do.

# %%
teach.predict(
    "09.b",
    "Twenty layers with skips, against without. By how many points is it ahead?",
    guess=10,  # guess: a number, such as 0 or 30
)


# %%
def layer(x):  # three by three, from small random weights
    options = {"padding": "same", "activation": "relu"}
    start = {"kernel_initializer": "random_normal"}
    return keras.layers.Conv2D(12, 3, **options, **start)(x)


# %%
def deep(skips, seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = layer(keras.layers.Rescaling(1 / 255)(image))
    for _ in range(10):
        y = layer(layer(x))
        x = keras.layers.Add()([x, y]) if skips else y
    rows = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10)(rows))


# %%
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
learn, judge = scans.train, scans.validation
hits = {"twenty layers": [], "with skips": []}
for way, each in hits.items():
    model = deep(way == "with skips", L.seed)
    model.compile(keras.optimizers.Adam(2e-3), loss)
    model.fit(learn.images, learn.labels, epochs=8, batch_size=60, verbose=0)
    said = model.predict(judge.images, verbose=0).argmax(axis=1)
    each.append(said == judge.labels)
ahead = np.mean(hits["with skips"]) - np.mean(hits["twenty layers"])
teach.reveal("09.b", 100 * ahead, form="{:.0f}")

# %%
said = "Skips put twenty layers ahead by {points}."
teach.compare("09.skip", said, hits["with skips"], hits["twenty layers"],
              low=0.1, high=0.9)  # fmt: skip
baseline = np.bincount(judge.labels).max() / len(judge.labels)
shown = {way: np.mean(each, axis=1) for way, each in hits.items()}
caption = "The same layers and steps: without skips they hardly begin to learn."
teach.show(teach.dots(shown, baseline=baseline), caption=caption)

# %% [markdown] tags=["quiz"]
# ## Fourth: five siblings, two tasks
#
# All five learnt one task: to foretell, for a piece of a photograph, the features of a
# larger network, a *teacher*. How well they do on photographs they have not seen is
# their score on the *source*. We freeze each, take its features once, and put a
# logistic regression on top, for drawn shapes and for scans of digits. Neither was
# among the photographs.
#
# The table counts the multiply-adds in millions, and the milliseconds of an image on
# your computer.
#
# **Quick question.** What is left of a network with `include_top=False`?
#
# - [ ] A row of class scores :: Those are the top.
# - [x] A map: height, width, channels :: Our siblings halve the image four times, so
#   large images give larger maps, of equally many channels.
# - [ ] A row of features :: That comes from pooling.

# %%
teach.predict(
    "09.c",
    "Which sibling is best on the drawn shapes?",
    ["VGG", "ResNet", "Inception", "MobileNet", "EfficientNet"],
    guess=5,  # guess: 1 to 5
)

# %%
networks = {name: teach.build_sibling(name, image_size=size) for name in families}
right = {"shapes": {}, "digits": {}}
for task, (train, check, _) in (("shapes", parts), ("digits", scans)):
    for name, network in networks.items():
        reader = kerastl.features.FeatureExtractor(network)
        rows, others = (reader.fit_transform(p.images) for p in (train, check))
        head = kerastl.features.classical_head("logistic").fit(rows, train.labels)
        right[task][name] = head.predict(others) == check.labels
    print(task, "done", flush=True)
score = {t: {n: hit.mean() for n, hit in each.items()} for t, each in right.items()}

# %% tags=["plumbing"]
from scipy.stats import spearmanr

source = {name: row["held_out_cosine"] for name, row in teach.siblings().items()}
best = max(families, key=score["shapes"].get)
teach.reveal("09.c", 1 + families.index(best))


def order(task):  # the rank correlation with the order on the source
    pairs = [(source[name], score[task][name]) for name in families]
    return spearmanr(*zip(*pairs, strict=True)).statistic


def multiply_adds(network):  # of each kernel at each place, in millions
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")]
    places = [np.prod(layer.output.shape[1:3]) for layer in layers]
    kernels = [np.prod(layer.kernel.shape) for layer in layers]
    return np.dot(places, kernels) / 1e6


batch = np.random.default_rng(0).integers(0, 255, (32, size, size, 3)).astype("uint8")
spent = {name: each / len(batch) for name, each in seconds(networks, batch).items()}
columns = ("weights", "MB", "million", "ms", "source", "shapes", "digits")
print(" " * 12, *(f"{each:>7}" for each in columns))
for name, network in networks.items():
    weights = network.count_params()
    row = f"{name:12} {weights:7,} {4 * weights / 1e6:7.2f} "
    row += (
        f"{multiply_adds(network):7.1f} {1000 * spent[name]:7.2f} {source[name]:7.2f}"
    )
    print(row, *(f"{each[name]:7.1%}" for each in score.values()))
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
alt = []
for axes, task in zip(panels, score, strict=True):
    for place, name in enumerate(families):
        look = {"color": teach.COLOURS[place], "label": name, "markersize": 8}
        axes.plot(source[name], score[task][name], teach.MARKS[place], **look)
        alt.append(f"{name} {source[name]:.2f} and {score[task][name]:.2f} on {task}")
    axes.set(xlabel="score on the source", ylabel="accuracy", title=task)
panels[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
said = "The order on the source and on shapes agree by {value:.2f} (one is fully)."
teach.claim("09.order_shapes", said, order("shapes"), low=0.2, high=1)
said = "On digits by {value:.2f}."
teach.claim("09.order_digits", said, order("digits"), low=-0.4, high=1)
caption = "If the source told the order, the marks would rise from left to right."
teach.show(figure, caption=caption, alt=f"Source and task: {'; '.join(alt)}.")

# %%
pairs = []
for task, each in right.items():
    ranked = sorted(families, key=score[task].get)
    print(f"{task}: best {ranked[-1]}, worst {ranked[0]}")
    pairs.append(([each[ranked[-1]]], [each[ranked[0]]]))
said = "Best against worst, on shapes {points:+}."
teach.compare("09.spread_shapes", said, *pairs[0], low=0.01, high=0.4)
said = "On digits {points:+}."
teach.compare("09.spread_digits", said, *pairs[1], low=0.005, high=0.3)

# %% [markdown]
# ## Exercise 09.2: what is not beaten
#
# A network is *beaten* if another one costs no more and scores no less, and is better
# in one of the two. Those that nobody beats are the **Pareto front**: whatever your
# limits, the best choice is among them. Write `front(costs, scores)` for two lists:
# return the positions of all that are not beaten, in their order. Of two that are equal
# in both, neither beats the other.


# %% tags=["stub"]
def front(costs, scores):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def front(costs, scores):  # only the best of each
    return sorted({int(np.argmin(costs)), int(np.argmax(scores))})


# %% tags=["wrong"]
def front(costs, scores):  # equal ones beat each other
    places = range(len(costs))
    return [i for i in places if not any(
        costs[j] <= costs[i] and scores[j] >= scores[i] for j in places if j != i
    )]  # fmt: skip


# %% tags=["wrong"]
def front(costs, scores):  # beaten only by one that is better in both
    places = range(len(costs))
    return [i for i in places if not any(
        costs[j] < costs[i] and scores[j] > scores[i] for j in places
    )]  # fmt: skip


# %% tags=["solution"]
def front(costs, scores):
    places = range(len(costs))
    return [i for i in places if not any(
        costs[j] <= costs[i] and scores[j] >= scores[i]
        and (costs[j] < costs[i] or scores[j] > scores[i]) for j in places
    )]  # fmt: skip


# %% tags=["check"]
SIMPLE = ([1, 2, 3, 4], [0.5, 0.7, 0.6, 0.9])  # 0, 1, 3
TWINS = ([1, 1, 2], [0.5, 0.5, 0.8])  # all
TIES = ([1, 2, 2, 3], [0.5, 0.5, 0.8, 0.8])  # 0, 2


def by_sorting(costs, scores):  # another way: walk from cheap to dear
    kept, highest = [], -np.inf
    for cost in sorted(set(costs)):
        here = [s for c, s in zip(costs, scores, strict=True) if c == cost]
        if max(here) > highest:
            highest = max(here)
            pairs = enumerate(zip(costs, scores, strict=True))
            kept += [i for i, pair in pairs if pair == (cost, highest)]
    return sorted(kept)


def tables():  # with many ties
    draw = np.random.default_rng(5)
    for _ in range(30):
        costs, scores = draw.integers(0, 6, (2, 9)).tolist()
        yield costs, scores


teach.check(
    "09.2",
    front,
    [
        (
            lambda f: list(f(*SIMPLE)) == [0, 1, 3],
            "Between the cheapest and the best there are others that nobody beats.",
        ),
        (
            lambda f: list(f(*TWINS)) == [0, 1, 2],
            "Two that are equal in both: neither beats the other.",
        ),
        (
            lambda f: list(f(*TIES)) == [0, 2],
            "Equally good and cheaper is enough to beat, and so is equally cheap and "
            "better.",
        ),
        (
            lambda f: all(list(f(*table)) == by_sorting(*table) for table in tables()),
            "Right for simple tables, and not for some with many ties.",
        ),
    ],
)

# %%
times = [spent[name] for name in families]
values = [score["shapes"][name] for name in families]
figure = kerastl.plots.pareto(families, times, values)
caption = "Shapes. Only those on the dotted line are worth considering, by time."
teach.show(figure, caption=caption)
lightest = min(families, key=lambda name: networks[name].count_params())
print(f"quickest {min(spent, key=spent.get)}, fewest weights {lightest}")
said = "The slowest takes {value:.1f} times as long as the quickest."
teach.claim("09.range", said, max(times) / min(times), low=1.2, high=60)

# %% [markdown] tags=["quiz"]
# ## Fifth: the real ones
#
# The published families, from the tables of `keras.applications`: millions of weights,
# and the accuracy on ImageNet's validation images. `kerastl backbones` lists what is on
# your computer, and `kerastl rank FOLDER` compares networks on your images, with their
# time: the measurement of this lesson in one line.
#
# Two cautions. These networks were trained with different recipes, so the figure does
# not compare ideas. And ImageNet is not your task.
#
# **Quick question.** Your images are 64 pixels wide, the network was trained at 224.
#
# - [ ] It cannot be used :: Without its top it takes other sizes.
# - [x] Measure it: at your size, and enlarged :: Small objects shrink to one cell of
#   the last map, or less.
# - [ ] Always enlarge them to 224 :: That costs time, and adds nothing that is not
#   there.

# %%
PUBLISHED = {  # year, millions of weights with the top, top-1 on ImageNet
    "VGG16": (2014, 138.4, 0.713),
    "InceptionV3": (2015, 23.9, 0.779),
    "ResNet50": (2015, 25.6, 0.749),
    "MobileNet": (2017, 4.3, 0.704),
    "EfficientNetB0": (2019, 5.3, 0.771),
}

# %% tags=["plumbing"]
print(f"{'':15} {'year':>5} {'weights':>11} {'without top':>12}  map of 96 x 96 pixels")
for name, (year, millions, _) in PUBLISHED.items():
    build = getattr(keras.applications, name)
    bare = build(weights=None, include_top=False, input_shape=(96, 96, 3))
    row = f"{name:15} {year:5} {millions:9.1f} M {bare.count_params() / 1e6:10.1f} M"
    print(row, "", bare.output_shape[1:])
figure, axes = plt.subplots(figsize=(6, 3.4))
told = []
for place, (name, (year, millions, value)) in enumerate(PUBLISHED.items()):
    look = {"color": teach.COLOURS[place], "markersize": 8, "label": f"{name}, {year}"}
    axes.plot(millions, value, teach.MARKS[place], **look)
    told.append(f"{name} ({year}) {millions:g} million, {value:.1%}")
axes.set(xscale="log", xlabel="millions of weights", ylabel="top-1 on ImageNet")
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
caption = "Published: the newest is not the best, and the largest is not either."
teach.show(figure, caption=caption, alt=f"Weights and accuracy: {'; '.join(told)}.")

# %% [markdown]
# ## Exercise 09.3: under limits
#
# Write `choose(rows, megabytes, milliseconds)`. Each row is a dictionary with `name`,
# `weights` (how many), `ms` (time of an image) and `accuracy`. A weight takes four
# bytes, a megabyte is a million bytes. Return the name of the most accurate network
# within *both* limits; of equally accurate ones, the quickest. If none fits, return
# `""`.


# %% tags=["stub"]
def choose(rows, megabytes, milliseconds):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def choose(rows, megabytes, milliseconds):  # a weight is not one byte
    fit = [r for r in rows if r["weights"] <= megabytes * 1e6
           and r["ms"] <= milliseconds]  # fmt: skip
    key = lambda r: (r["accuracy"], -r["ms"])  # noqa: E731
    return max(fit, key=key)["name"] if fit else ""


# %% tags=["wrong"]
def choose(rows, megabytes, milliseconds):  # the time plays no part
    fit = [r for r in rows if 4 * r["weights"] <= megabytes * 1e6]
    key = lambda r: (r["accuracy"], -r["ms"])  # noqa: E731
    return max(fit, key=key)["name"] if fit else ""


# %% tags=["wrong"]
def choose(rows, megabytes, milliseconds):  # the smallest that fits
    fit = [r for r in rows if 4 * r["weights"] <= megabytes * 1e6
           and r["ms"] <= milliseconds]  # fmt: skip
    return min(fit, key=lambda r: r["weights"])["name"] if fit else ""


# %% tags=["solution"]
def choose(rows, megabytes, milliseconds):
    fit = [r for r in rows if 4 * r["weights"] <= megabytes * 1e6
           and r["ms"] <= milliseconds]  # fmt: skip
    if not fit:
        return ""
    return max(fit, key=lambda r: (r["accuracy"], -r["ms"]))["name"]


# %% tags=["check"]
ROWS = [
    {"name": name, "weights": weights, "ms": ms, "accuracy": accuracy}
    for name, weights, ms, accuracy in (
        ("tiny", 50_000, 2, 0.70),
        ("light", 240_000, 15, 0.86),
        ("quick", 220_000, 6, 0.80),
        ("twin", 200_000, 9, 0.80),
        ("heavy", 900_000, 8, 0.90),
    )
]

teach.check(
    "09.3",
    choose,
    [
        (
            lambda f: f(ROWS, 1, 10) != "heavy",
            "That one takes more than a megabyte: a weight is four bytes.",
        ),
        (
            lambda f: f(ROWS, 1, 10) != "light",
            "That one takes longer than allowed. Both limits count.",
        ),
        (
            lambda f: f(ROWS, 1, 10) in ("quick", "twin"),
            "Within the limits take the most accurate, not the smallest.",
        ),
        (
            lambda f: (
                (f(ROWS, 1, 10), f(ROWS, 10, 10), f(ROWS, 1, 1))
                == ("quick", "heavy", "")
            ),
            "Of equally accurate ones the quickest; and nothing where none fits.",
        ),
    ],
)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the same networks look at larger images. We have not run it at
# that scale yet.
#
# ## What we saw
#
# - Each family has one idea, and most later networks mix them.
# - Few weights save memory for certain. Time must be measured, on the computer where
#   the network will run.
# - A skip makes deep stacks easier to train; a short stack need not gain by it.
# - The order on the source is a hint for your task, no more: five networks are few, and
#   another task gives another order.
# - First leave out what is beaten, then choose within your limits.
#
# Next: images that look different from those you trained on.
#
# ## Words
#
# - **block**: a few layers that a network repeats.
# - **skip**: what adds the input of a block to its output.
# - **depthwise, pointwise**: each channel by itself; all channels at one pixel.
# - **squeeze and excite**: weigh each channel by what the whole image holds.
# - **multiply-adds**: how often a network multiplies and adds for one image.
# - **latency**: the time from an image to its answer.
# - **teacher**: a larger network whose outputs a small one learns to foretell.
# - **Pareto front**: all that nobody beats in cost and in score.
#
# ## Sources
#
# - K. Simonyan and A. Zisserman, *Very Deep Convolutional Networks*, arXiv:1409.1556.
# - K. He and others, *Deep Residual Learning*, arXiv:1512.03385.
# - C. Szegedy and others, *Going Deeper with Convolutions*, arXiv:1409.4842.
# - A. Howard and others, *MobileNets*, arXiv:1704.04861.
# - M. Tan and Q. Le, *EfficientNet*, arXiv:1905.11946.
# - S. Kornblith and others, *Do Better ImageNet Models Transfer Better?*,
#   arXiv:1805.08974: for photographs, mostly yes.
# - The table of published networks: https://keras.io/api/applications/

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 60 minutes: 15 for the five ideas and exercise 09.1, 10 for time and weights, 8 for
# skips, 10 for the siblings, 10 for exercise 09.2 and the front, 7 for the real ones
# and exercise 09.3. Collect the times that the class measured: computers differ, and
# so does the order.
#
# ## Misconceptions
#
# - "The newest is the best." On which task, at which cost? Published networks differ in
#   their training too.
# - "Few weights mean fast." Depthwise layers wait for memory, and libraries are tuned
#   for plain convolutions.
# - "The best of five siblings shows the best idea." They are tiny and were trained
#   briefly; the order of the published families may be another.
# - "A skip makes every network better." It helps deep ones to train.
#
# ## Discussion
#
# A farm wants to sort apples on a small computer without a network, ten a second. Which
# numbers do you need before you choose a model, and in which order would you measure?
#
# An answer: the time of each candidate on that computer, with the image size that shows
# the faults; its memory; then a probe on a few hundred of the farm's own apples for
# those that fit. Leave out what is beaten, tune the two or three that remain, and
# compare them in pairs on apples kept aside.
