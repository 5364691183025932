# %% [markdown]
# # 12 Detection: from what to where
#
# A classifier gives an image one name. Here up to three shapes lie in each. Which ones,
# and where?
#
# A **detector** gives a list: for each object a *box*, a class and a *score*, how sure
# it is. A box is four numbers in pixels: left, top, right, bottom. Nobody says how long
# the list is. Can a network that learnt to name images learn this from 100 images?
#
# ## You will be able to
#
# - say how right a box is, and why a classifier's features have lost the place;
# - build a detector on a frozen backbone: cells, anchors, and who answers for what;
# - tell each object once, and score the list with one number.

# %%
from kerastl import teach

SETTINGS = {
    "dataset": ("drawn scenes", "drawn scenes, larger"),
    "licence": ("Apache-2.0; weights non-commercial", "Apache-2.0"),
    "backbone": ("MobileNet", "MobileNet"),
    "weights": ("tiny", "imagenet"),
    "image_size": (96, 160),
    "images": (100, 200),
    "download": ("nothing", "about 2 MB"),
    "minutes": (1, 6),
}

# %%
import keras
import numpy as np

import kerastl

L = teach.lesson("12", SETTINGS, scale="auto")
size, names = L.image_size, ("circle", "cross", "star")


def draw(seed, **kind):  # images, and the box and the class of each shape in them
    kind = {"objects": (1, 3), "image_size": size, "classes": names} | kind
    return kerastl.make_shapes(L.images, seed=1000 + 10 * L.seed + seed, **kind)[0]


# %% [markdown]
# ## First: how right is a box?
#
# No box is right to the pixel. The **overlap** of two boxes, *intersection over union*
# or *IoU*, is the area that they share, divided by the area that they cover together:
# one if they are equal, zero if they are apart. By habit a box has found an object if
# it says the right class and overlaps the object's own box by one half or more. That is
# mild: see the figure.
#
# ## Exercise 12.1: intersection over union
#
# Write `iou(first, second)` for two boxes, each `(left, top, right, bottom)`. Boxes
# that are apart, or that only touch, have an overlap of zero.

# %% tags=["plumbing"]
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

train, check, test = draw(0), draw(1), draw(2)  # one to three shapes an image
alone, others = draw(3, objects=(1, 1)), draw(4, objects=(1, 1))  # one
said = "{value} images are in more than one part."
shared = teach.shared_images(train, check, test, alone, others)
teach.claim("12.shared", said, shared, low=0, high=0)
CUT, STRIDE = "conv_pw_5_relu", 8  # a map with a cell for each 8 x 8 pixels
building = {"alpha": 0.25, "image_size": size}
whole = kerastl.build_backbone(L.backbone, weights=L.weights, **building)
low_cut = kerastl.features.truncate(whole, CUT)
given, wanted = (np.concatenate(part.labels.boxes) for part in (alone, others))


def pixels(part):
    return np.stack(list(part.images)).astype("float32")


def maps_of(part):
    return low_cut.predict(pixels(part), verbose=0)


def overlap(first, second):  # of each of the first boxes with each of the second
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    one, two = (np.prod(b[:, 2:] - b[:, :2], axis=-1) for b in (first, second))
    return both / (one[:, None] + two - both)


def outline(axes, boxes, place=0, width=2):
    for left, top, right, bottom in boxes:
        look = {"color": teach.COLOURS[place], "ls": ("-", "--")[place], "lw": width}
        corner, wide, tall = (left, top), right - left, bottom - top
        axes.add_patch(Rectangle(corner, wide, tall, fill=False, **look))


def pictures(image, titles):  # the same image side by side
    how = {"figsize": (2.9 * len(titles), 3.2), "layout": "constrained"}
    figure, panels = plt.subplots(1, len(titles), **how)
    for axes, title in zip(panels, titles, strict=True):
        axes.imshow(np.asarray(image).astype("uint8"))
        axes.set(xticks=[], yticks=[], title=title)
    return figure, panels


moved = [[10, 20, 50, 60], [30, 20, 70, 60], [18, 26, 58, 66], [13, 21, 51, 58]]
moved = np.array(moved)
titles = [f"overlap {value:.2f}" for value in overlap(moved[:1], moved[1:])[0]]
figure, panels = pictures(np.full((96, 96, 3), 255), titles)
for i, axes in enumerate(panels, 1):
    outline(axes, moved[:1])
    outline(axes, moved[i : i + 1], 1)
caption = "Line: an object's box. Dashes: an answer. One half (middle) is not exact."
alt = f"A box beside three others, shifted less and less: {', '.join(titles)}."
teach.show(figure, caption=caption, alt=alt)


# %% tags=["stub"]
def iou(first, second):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def iou(first, second):  # sides below zero: two of them make an area
    wide = min(first[2], second[2]) - max(first[0], second[0])
    tall = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return wide * tall / (sum(areas) - wide * tall)


# %% tags=["wrong"]
def iou(first, second):  # what they share counts twice below the line
    wide = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    tall = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return wide * tall / sum(areas)


# %% tags=["wrong"]
def iou(first, second):  # divides by the smaller box
    wide = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    tall = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return wide * tall / min(areas)


# %% tags=["wrong"]
def iou(first, second):  # divides by the first box: the order matters
    wide = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    tall = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    return wide * tall / ((first[2] - first[0]) * (first[3] - first[1]))


# %% tags=["solution"]
def iou(first, second):
    wide = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    tall = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return wide * tall / (sum(areas) - wide * tall)


# %% tags=["check"]
ONE, FAR, BELOW = (0, 0, 10, 20), (30, 40, 50, 60), (0, 30, 10, 50)
HALF = (0, 0, 10, 10)  # inside ONE
CORNERS = np.random.default_rng(0).uniform(0, 50, (40, 2, 2))
PAIRS = [np.concatenate([c.min(0), c.max(0)]) for c in CORNERS]

teach.check(
    "12.1",
    iou,
    [
        (
            lambda f: f(ONE, FAR) == 0 and f(ONE, BELOW) == 0,
            "Boxes that are apart share nothing. Which sides has what they share?",
        ),
        (
            lambda f: np.isclose(f(ONE, ONE), 1),
            "A box with itself must give one. What both cover counts once.",
        ),
        (
            lambda f: np.isclose(f(ONE, HALF), f(HALF, ONE)),
            "The order of the two must not matter.",
        ),
        (
            lambda f: np.isclose(f(ONE, HALF), 0.5),
            "A box inside another: divide by what both cover together.",
        ),
        (
            lambda f: all(
                np.isclose(f(a, b), overlap(a[None], b[None])[0, 0])
                for a, b in zip(PAIRS[::2], PAIRS[1::2], strict=True)
            ),
            "Right for simple boxes, and not for some others.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Second: the place is gone
#
# The simplest plan: one shape an image, and a head with four outputs for its box. A
# classifier's head stands on *pooled* features: the backbone ends in a *map*, a row of
# features for each cell of a grid over the image, and pooling takes their mean. We fit
# a linear model to the four numbers, once from the mean and once from all cells. The
# baseline always says the mean box.
#
# **Quick question.** Why should pooling hurt here and not in a classifier?
#
# - [ ] It makes the features fewer :: It does. But which ones it keeps matters more.
# - [x] A shape gives the same mean wherever it lies :: Welcome for its name, fatal for
#   its box.
# - [ ] It needs trained weights :: A mean has none.

# %%
teach.predict(
    "12.a",
    "The box from pooled features, beside the mean box. Its overlap is",
    ["about the same", "twice as high", "four times as high"],
    guess=2,  # guess: 1, 2 or 3
)


def fitted(rows_of):  # the overlap of each box that a linear model says
    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
    linear.fit(rows_of(maps_of(alone)), given)
    return np.diag(overlap(linear.predict(rows_of(maps_of(others))), wanted))


# %%
mean = np.diag(overlap(np.tile(given.mean(axis=0), (len(wanted), 1)), wanted))
pooled = fitted(lambda maps: maps.mean(axis=(1, 2)))
flat = fitted(lambda maps: maps.reshape(len(maps), -1))
times = pooled.mean() / mean.mean()
teach.reveal("12.a", 1 if times < 1.6 else 2 if times < 3 else 3)
said = "Pooled features, against the mean box: {points:+} of overlap."
teach.compare("12.pooled", said, [pooled], [mean], low=-0.05, high=0.08)
said = "The whole map, against pooled features: {points:+} of overlap."
teach.compare("12.map", said, [flat], [pooled], low=0.06, high=0.5)
shown = {"mean box": [mean.mean()], "pooled": [pooled.mean()], "map": [flat.mean()]}
figure = teach.dots(shown, label="mean overlap", mark="one fit")
teach.show(figure, caption="Pooled features do no better than one box for all images.")

# %% [markdown] tags=["quiz"]
# ## Third: ask each cell
#
# So keep the map, and ask *each cell*: does the middle of an object lie here, of which
# class, and how far is it to the object's four sides? A *convolution* asks all cells
# with the same few weights: what it learns on the left it knows on the right. That is
# the idea of **YOLO**, "you only look once".
#
# Two heads learn together: the class, with one class more for *nothing*, and the four
# sides, which count only where an object is: `sample_weight` sees to it. It is plain
# Keras: freeze, add a head, compile, fit.
#
# **Quick question.** The middles of two shapes lie in one cell. What does it answer?
#
# - [ ] Both shapes :: It has one class and one box to give.
# - [x] One of them, the other is lost :: So real detectors have finer maps, several
#   boxes a cell, or both.
# - [ ] A box around both :: It is trained with one of them.

# %%
grid = size // STRIDE
middles = (np.arange(grid) + 0.5) * STRIDE
kind, sides = np.zeros((L.images, grid, grid)), np.zeros((L.images, grid, grid, 4))
for i, boxes in enumerate(train.labels.boxes):
    for box, each in zip(boxes, train.labels.classes[i], strict=True):
        x, y = ((box[:2] + box[2:]) / 2 // STRIDE).astype(int)  # its middle's cell
        kind[i, y, x] = each + 1  # 0 is nothing
        sides[i, y, x] = np.abs(box - middles[[x, y, x, y]]) / STRIDE

# %%
base = keras.applications.MobileNet(
    (size, size, 3), alpha=0.25, include_top=False, weights=None
)
base.set_weights(whole.get_weights())  # with a network: weights="imagenet"
frozen = keras.Model(base.input, base.get_layer(CUT).output)
frozen.trainable = False
image = keras.Input((size, size, 3))
cells = frozen(keras.layers.Rescaling(1 / 127.5, -1)(image))
heads = [keras.layers.Conv2D(n, 3, padding="same")(cells) for n in (4, 4)]
plain = keras.Model(image, heads)  # nothing and three classes; four sides
classes_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
plain.compile(keras.optimizers.Adam(3e-3), [classes_loss, "mae"])

# %%
keras.utils.set_random_seed(L.seed)
here = (kind > 0).astype("float32")
options = {"sample_weight": [1 + 9 * here, 40 * here], "batch_size": 10}
plain.fit(pixels(train), [kind, sides], epochs=20, verbose=0, **options)
logits, away = plain.predict(pixels(check), verbose=0)
some = keras.ops.convert_to_numpy(1 - keras.ops.softmax(logits)[..., 0])

# %% tags=["plumbing"]
centres = np.stack(np.meshgrid(middles, middles), axis=-1)
low, high = centres - STRIDE * away[..., :2], centres + STRIDE * away[..., 2:]
around = np.concatenate([low, high], axis=-1).reshape(len(some), -1, 4)
surest = centres.reshape(-1, 2)[some.reshape(len(some), -1).argmax(axis=1)]
inside, area = [], []  # whether the surest cell lies in a shape; what shapes cover
for point, boxes in zip(surest, check.labels.boxes, strict=True):
    inside.append(((point > boxes[:, :2]) & (point < boxes[:, 2:])).all(axis=1).any())
    area.append(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum() / size**2)
titles = ["image", "how sure of something", "boxes of the six surest"]
figure, panels = pictures(check.images[0], titles)
look = {"cmap": "Greys", "vmin": 0, "vmax": 1}
shade = panels[1].imshow(some[0], extent=(0, size, size, 0), **look)
figure.colorbar(shade, ax=panels[1], shrink=0.7)
outline(panels[1], check.labels.boxes[0])
outline(panels[2], around[0][np.argsort(-some[0].ravel())[:6]], 1)
caption = "Neighbours answer for the same shape: several boxes for one object."
words = f"The surest cell says {some[0].max():.2f}; {(some[0] > 0.3).sum()} of "
alt = (
    f"An image, its cells shaded by how sure they are of something, six boxes. {words}"
)
teach.show(figure, caption=caption, alt=f"{alt}{grid * grid} cells say above 0.3.")
said = "The surest cell of an image lies in a shape's box in {value:.0%} of images."
teach.claim("12.cell", said, np.mean(inside), low=0.5, high=1)
said = "A cell taken blindly would in {value:.0%}."
teach.claim("12.blind", said, np.mean(area), low=0.05, high=0.3)


def matched(boxes, scores, true, limit=0.5):  # which boxes are right, the surest first
    right, free = np.zeros(len(boxes), bool), np.ones(len(true), bool)
    shared = overlap(boxes, true)
    for i in np.argsort(-scores, kind="stable"):
        each = np.where(free, shared[i], 0)
        if free.any() and each.max() >= limit:
            right[i], free[each.argmax()] = True, False  # each object once
    return right


def gathered(told, part, k, limit=0.5):  # of a class: scores, which are right, objects
    scores, right, objects, labels = [], [], 0, part.labels
    for i, (boxes, kinds, sure) in enumerate(told):
        true = labels.boxes[i][labels.classes[i] == k]
        scores.append(sure[kinds == k])
        right.append(matched(boxes[kinds == k], scores[-1], true, limit))
        objects += len(true)
    return np.concatenate(scores), np.concatenate(right), objects


def judged(told, limit=0.5):  # of each image: right, told and true boxes
    rows, labels = [], check.labels
    for i, found in enumerate(told):
        boxes, kinds, scores = (each[found[2] >= 0.3] for each in found)
        pairs = [(kinds == k, labels.classes[i] == k) for k in range(len(names))]
        right = [
            matched(boxes[mine], scores[mine], labels.boxes[i][true], limit).sum()
            for mine, true in pairs
        ]
        rows.append((sum(right), len(boxes), len(labels.boxes[i])))
    return np.array(rows).T


# %% [markdown] tags=["quiz"]
# ## Fourth: anchors, and who answers for what
#
# **SSD**, "single shot detector", puts a few fixed boxes on each cell, the **anchors**,
# and asks of each: are you about an object, of which class, and how must you be moved
# and stretched? While it learns, an anchor *answers* for the object that it overlaps by
# one half or more. Each object also gets its best anchor, however poor: else a shape
# that no anchor fits would be learnt as nothing.
#
# Of the empty anchors SSD learns from the hardest only; the published one looks at
# several maps. *RetinaNet* learns from all, by a *focal loss* that counts easy ones
# little, and adds coarse features to fine maps (*feature pyramid*). Later *YOLOs*
# choose who answers by what the network says at that moment. All have larger backbones
# and more images.
#
# We run the library's heads with all weights open: `kind="ssd"` from the trained
# backbone and again from random weights, and `kind="yolo"`, where the cells around a
# middle answer. All make equally many steps; each rival has the best of a few rates.
# The short way is `kerastl.build_detector(backbone, train)` and `kerastl.fine_tune`.
#
# **Quick question.** Nearly all anchors answer for no object. What follows?
#
# - [ ] A network that always says "nothing" is bad at them :: It is right for nearly
#   all. So *accuracy* says nothing here.
# - [x] If all count alike, the empty ones outweigh the others :: So SSD takes the
#   hardest, and the focal loss counts easy ones little.
# - [ ] The boxes get worse :: Empty anchors have no box to learn.

# %% tags=["plumbing"]
anchors = kerastl.tasks.fit_anchors(train, image_size=size, levels=(3,))
count, answering = len(anchors.shapes[0]), []
for boxes in train.labels.boxes:
    shared = overlap(boxes, anchors.boxes)
    best = shared == shared.max(axis=1, keepdims=True)
    answering.append(((shared >= 0.5) | best).any(axis=0))
figure, panels = pictures(train.images[0], ["anchors of one cell", "those that answer"])
middle = (grid // 2 * grid + grid // 2) * count
outline(panels[0], anchors.boxes[middle : middle + count], 1)
outline(panels[1], anchors.boxes[answering[0]], 1, 1)
outline(panels[1], train.labels.boxes[0])
words = f"{answering[0].sum()} of {len(anchors)} anchors answer for"
alt = f"{count} anchors of a cell. {words} {len(train.labels.boxes[0])} objects."
caption = "Several anchors (dashes) answer for each object (line), the rest for none."
teach.show(figure, caption=caption, alt=alt)
said = "{value:.1%} of all anchors answer for no object."
teach.claim("12.empty", said, 1 - np.mean(answering), low=0.9, high=1)
SEEDS, SAID, NETS = [3 * L.seed + i for i in range(3)], {}, {}


def start(kind, weights, seed):  # a detector on the cut backbone, all of it open
    keras.utils.set_random_seed(seed)
    backbone = kerastl.build_backbone(L.backbone, weights=weights, **building)
    backbone = kerastl.features.truncate(backbone, CUT)
    task = kerastl.tasks.DetectionTask(names, kind, levels=(3,), labels=train.labels)
    task = task.on_network(backbone, "pad")
    network = kerastl.tasks.build_detector(backbone, task, seed=seed)
    kerastl.unfreeze(network, "all")
    for layer in network.layers:  # random weights soon need statistics of their own
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return network, task


def learn(way, kind, weights, rate, epochs=20, batch=5):
    network, task = start(kind, weights, SEEDS[0])
    pairs = zip(train.labels.boxes, train.labels.classes, strict=True)
    rows = np.stack([task.encode(np.column_stack(pair)[None])[0] for pair in pairs])
    steps = epochs * len(rows) // batch
    falling = keras.optimizers.schedules.CosineDecay(rate, steps)
    network.compile(keras.optimizers.Adam(falling), task.loss())
    network.optimizer.build(network.trainable_variables)
    for seed in SEEDS:  # compiled once: each run starts again
        network.set_weights(start(kind, weights, seed)[0].get_weights())
        for variable in network.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        keras.utils.set_random_seed(seed)
        network.fit(pixels(train), rows, epochs=epochs, batch_size=batch, verbose=0)
        out = task.decode(network.predict(pixels(check), verbose=0))
        SAID.setdefault(way, []).append(out)
        print(f"{way}: {len(SAID[way])} of {len(SEEDS)} runs", flush=True)
    NETS[way] = network


# %%
learn("SSD, transferred", "ssd", L.weights, 2e-3)
learn("SSD, random", "ssd", None, 5e-3)

# %%
learn("YOLO, transferred", "yolo", L.weights, 2e-3)


def once(out, threshold=0.5):  # boxes, classes and scores of each image, thinned
    for row in out:
        told = row[:, :4], row[:, 4:].argmax(axis=1), row[:, 4:].max(axis=1)
        boxes, kinds, scores = (each[told[2] > 0.01] for each in told)
        limit = {"threshold": threshold}
        kept = kerastl.metrics.non_maximum_suppression(boxes, scores, kinds, **limit)
        yield boxes[kept], kinds[kept], scores[kept]


# %% [markdown] tags=["quiz"]
# ## Fifth: each object once
#
# Several anchors answer for one object, as they were taught. **Non-maximum
# suppression**, *NMS*, thins their boxes: take the surest, strike all of its class that
# overlap it by more than a limit, take the surest that is left, and so on. Only the
# first box of an object counts as right; a second counts as invented.
#
# *Precision* is the share of the told boxes that are right, *recall* the share of the
# objects that are found, and *F1* joins them: twice the right boxes, divided by told
# plus true ones. We tell boxes from a score of `0.3` on.
#
# **Quick question.** Two circles overlap by more than the limit. What does NMS do?
#
# - [ ] It keeps both, as both are circles :: It knows boxes, classes and scores only.
# - [x] It strikes the less sure one, though it is right :: A higher limit would keep
#   it, and doubles too.
# - [ ] It joins them into one box :: It only strikes.

# %%
ways = list(SAID)
thin = {way: [list(once(out)) for out in SAID[way]] for way in ways}
raw = [list(once(out, threshold=1)) for out in SAID[ways[0]]]  # strikes nothing


def f1(told, limit=0.5):  # of each image, a row for each seed
    right, said, true = np.swapaxes([judged(each, limit) for each in told], 0, 1)
    return 2 * right / (said + true)


counts = [np.sum([judged(x) for x in told], (0, 2)) for told in (thin[ways[0]], raw)]

# %%
good, bad = (right / told for right, told, _ in counts)
teach.claim("12.right", "NMS: {value:.0%} of boxes are right.", good, low=0.35, high=1)
teach.claim("12.doubles", "Without: {value:.0%}.", bad, low=0.05, high=0.35)
said = "F1 of an image, without against with: {points:+}."
teach.compare("12.nms", said, f1(raw), f1(thin[ways[0]]), low=-0.7, high=-0.1)
told = [each[0][0][each[0][2] >= 0.3] for each in (raw[0], thin[ways[0]][0])]
figure, panels = pictures(check.images[0], [f"{len(boxes)} boxes" for boxes in told])
for axes, boxes in zip(panels, told, strict=True):
    outline(axes, boxes, 1, 1)
caption = "All boxes that are sure enough, and the few that NMS leaves."
alt = f"An image with {len(told[0])} told boxes, and with the {len(told[1])} after NMS."
teach.show(figure, caption=caption, alt=alt)

# %% [markdown]
# ## Exercise 12.2: non-maximum suppression
#
# Write `thin_out(boxes, scores, limit)` for boxes of one class, an array `(n, 4)`, and
# their scores `(n,)`. Return the places of the boxes to keep, as a list, the surest
# first. A box goes if its overlap with a surer box that is *kept* is above `limit`.
# `overlap(boxes, boxes)` gives the overlaps of all pairs, `(n, n)`.


# %% tags=["stub"]
def thin_out(boxes, scores, limit):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def thin_out(boxes, scores, limit):  # in the order in which they come
    kept = []
    for i in range(len(boxes)):
        if all(overlap(boxes, boxes)[i, j] <= limit for j in kept):
            kept.append(i)
    return kept


# %% tags=["wrong"]
def thin_out(boxes, scores, limit):  # what was struck strikes others
    order = np.argsort(-scores)
    shared = overlap(boxes, boxes)[order][:, order]
    return [i for n, i in enumerate(order) if all(shared[n, :n] <= limit)]


# %% tags=["wrong"]
def thin_out(boxes, scores, limit):  # the places in the sorted list
    order = np.argsort(-scores)
    shared, kept = overlap(boxes, boxes)[order][:, order], []
    for i in range(len(order)):
        if all(shared[i, j] <= limit for j in kept):
            kept.append(i)
    return kept


# %% tags=["wrong"]
def thin_out(boxes, scores, limit):  # the limit the wrong way round
    shared, kept = overlap(boxes, boxes), []
    for i in np.argsort(-scores):
        if all(shared[i, j] >= limit for j in kept):
            kept.append(i)
    return kept


# %% tags=["solution"]
def thin_out(boxes, scores, limit):
    shared, kept = overlap(boxes, boxes), []
    for i in np.argsort(-scores):
        if all(shared[i, j] <= limit for j in kept):
            kept.append(i)
    return kept


# %% tags=["check"]
import itertools

LINE = np.array([[x, 0, x + 10, 10] for x in (50, 0, 4, 8, 90)], float)  # a chain
SURE = np.array([0.2, 0.9, 0.8, 0.7, 0.3])
RANDOM = np.random.default_rng(1)
LISTS = []
for _ in range(30):
    corner, wide = RANDOM.uniform(0, 30, (6, 2)), RANDOM.uniform(8, 25, (6, 2))
    LISTS.append((np.hstack([corner, corner + wide]), RANDOM.permutation(6) / 7 + 0.1))


def brute(boxes, scores, limit):  # of all sets, the one that obeys the rule
    shared, places = overlap(boxes, boxes), range(len(boxes))
    for size in places:
        for kept in itertools.combinations(places, size + 1):
            goes = [
                any(scores[j] > scores[i] and shared[i, j] > limit for j in kept)
                for i in places
            ]
            if {i for i in places if not goes[i]} == set(kept):
                return sorted(kept, key=lambda i: -scores[i])
    return []


def kept_of(answer, *given):
    return [int(i) for i in answer(*given)]


def by_rank(kept, scores):  # as if they were places in the list sorted by score
    return [int(np.argsort(-scores)[i]) for i in kept]


teach.check(
    "12.2",
    thin_out,
    [
        (
            lambda f: len(kept_of(f, LINE[[0, 1, 4]], SURE[[0, 1, 4]], 0.5)) == 3,
            "Return a list of places. Boxes that are apart all stay.",
        ),
        (
            lambda f: kept_of(f, LINE[[1, 2, 4]], SURE[[0, 1, 2]], 0.3) != [0, 2],
            "The surer one stays, wherever it stands in the list.",
        ),
        (
            lambda f: set(kept_of(f, LINE, SURE, 0.3)) != {1, 4, 0},
            "What was struck strikes nothing: compare with the kept ones only.",
        ),
        (
            lambda f: any(
                by_rank(kept_of(f, *x, 0.3), x[1]) != brute(*x, 0.3) for x in LISTS
            ),
            "These are places in the sorted list. Return those in the given arrays.",
        ),
        (
            lambda f: all(
                set(kept_of(f, *x, 0.3)) == set(brute(*x, 0.3)) for x in LISTS
            ),
            "Compare each box with every kept one that is surer, not with one alone.",
        ),
        (
            lambda f: all(kept_of(f, *x, 0.3) == brute(*x, 0.3) for x in LISTS),
            "The right boxes are kept. Return the surest first.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Sixth: the list in one number
#
# From which score on boxes are told is a choice: a low one finds more, and invents
# more. The **average precision** of a class, *AP*, looks at all choices. Sort its boxes
# of all images by score. After each, note precision and recall so far: a curve. For
# each recall from 0 to 1, in steps of a hundredth, read the best precision at that
# *or a higher one*, zero if there is none. AP is the mean; *AP50* counts an overlap
# of one half as found, *AP75* three quarters; *mAP* is the mean over classes.
#
# **Quick question.** A detector adds a thousand boxes of the lowest scores to its list.
# What does its AP do?
#
# - [ ] It falls far, as precision does :: Precision falls only at the end of the list.
# - [x] It stays, or gains a little :: The list before is as it was; some may be right.
# - [ ] It cannot be computed :: The list may be of any length.

# %%
teach.predict(
    "12.b",
    "SSD from random weights: what percentage of the transferred one's AP50?",
    guess=80,  # guess: a number from 0 to 100
)
truth = list(zip(check.labels.boxes, check.labels.classes, strict=True))
score = kerastl.metrics.average_precision
options = {"class_names": names, "resamples": 0}
ap = {way: [score(truth, x, **options).overall for x in thin[way]] for way in ways}
ap50 = {way: [each.ap50 for each in ap[way]] for way in ways}
ap75 = {way: [each.ap75 for each in ap[way]] for way in ways}

# %%
found, rival = (np.mean(ap50[way]) for way in ways[:2])
teach.reveal("12.b", 100 * rival / found, form="{:.0f}")
teach.claim("12.ap50", "AP50 of SSD, transferred: {value:.2f}.", found, low=0.4, high=1)
teach.claim("12.random", "From random weights: {value:.2f}.", rival, low=0.05, high=0.7)
base, other, third = (f1(thin[way]) for way in ways)
said = "Transferred against random: {points:+} of F1."
teach.compare("12.gain", said, base, other, low=0.05, high=0.8)
said = "The YOLO-style head against SSD's: {points:+} of F1."
teach.compare("12.yolo", said, third, base, low=-0.6, high=0.1)

# %%
strict, said = np.mean(ap75[ways[0]]), "AP75 of SSD, transferred: {value:.2f}."
teach.claim("12.ap75", said, strict, low=0.05, high=0.7)
said = "F1 where three quarters must overlap: {points:+}."
teach.compare("12.strict", said, f1(thin[ways[0]], 0.75), base, low=-0.6, high=-0.03)
shown = {f"{way}, AP50": ap50[way] for way in ways}
shown |= {f"{way}, AP75": ap75[way] for way in ways}
looks = {row: i % 3 for i, row in enumerate(shown)}
figure = teach.dots(shown, label="average precision", looks=looks)
caption = "SSD does better from trained weights; a stricter overlap costs each way."
teach.show(figure, caption=caption)

# %%
figure, axes = plt.subplots(figsize=(5.4, 3.4))
for i, limit in enumerate((0.5, 0.75)):
    scores, right, objects = gathered(thin[ways[0]][0], check, 0, limit)
    hit = np.cumsum(right[np.argsort(-scores)])
    curve = hit / objects, hit / np.arange(1, len(hit) + 1)
    axes.plot(*curve, "-:"[i], color=teach.COLOURS[i], label=f"overlap of {limit}")
axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall", ylabel="precision")
axes.legend()
alt = f"Precision against recall for {names[0]}, at an overlap of one half and "
caption = "Further down the list more is found, and more is invented."
teach.show(figure, caption=caption, alt=f"{alt}of three quarters, which is lower.")

# %%
# All choices are made: the test images, once.
result = kerastl.evaluate(NETS[ways[0]], test)
low_end, high_end = result.overall.ap50_interval
print(f"AP50 {result.ap50:.2f}, 95% interval {low_end:.2f} to {high_end:.2f}")
said = "On the test images AP50 is {value:.2f}."
teach.claim("12.test", said, result.ap50, low=0.4, high=1)

# %% [markdown]
# ## Exercise 12.3: average precision
#
# Score a detector on images that it was not trained for: scenes by night. Write
# `precision_of(model, part, k)`: the AP50 of class `k` of a kerastl detector on a set
# of images, as told above. `kerastl.predict(model, part)` has, for each image,
# `.boxes`, `.classes` and `.scores`, thinned already. `gathered(told, part, k)` takes
# them as `told = zip(found.boxes, found.classes, found.scores)` and returns the scores
# of all boxes of the class, which ones are right, and how many objects there are.


# %% tags=["stub"]
def precision_of(model, part, k):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def precision_of(model, part, k):  # not sorted: image by image
    found = kerastl.predict(model, part)
    told = zip(found.boxes, found.classes, found.scores, strict=True)
    _, right, objects = gathered(told, part, k)
    hit = np.cumsum(right)
    recall, precision = hit / objects, hit / np.arange(1, len(hit) + 1)
    steps = np.linspace(0, 1, 101)
    return np.mean([max(precision[recall >= r], default=0) for r in steps])


# %% tags=["wrong"]
def precision_of(model, part, k):  # the precision of the whole list
    found = kerastl.predict(model, part)
    told = zip(found.boxes, found.classes, found.scores, strict=True)
    return gathered(told, part, k)[1].mean()


# %% tags=["wrong"]
def precision_of(model, part, k):  # of the found objects alone: missed ones are free
    found = kerastl.predict(model, part)
    told = zip(found.boxes, found.classes, found.scores, strict=True)
    scores, right, _ = gathered(told, part, k)
    right = right[np.argsort(-scores)]
    return (np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean()


# %% tags=["solution"]
def precision_of(model, part, k):
    found = kerastl.predict(model, part)
    told = zip(found.boxes, found.classes, found.scores, strict=True)
    scores, right, objects = gathered(told, part, k)
    hit = np.cumsum(right[np.argsort(-scores)])
    recall, precision = hit / objects, hit / np.arange(1, len(hit) + 1)
    steps = np.linspace(0, 1, 101)
    return np.mean([max(precision[recall >= r], default=0) for r in steps])


# %% tags=["check"]
import functools

NIGHT = draw(5, style="night")


@functools.cache
def answered(answer, k):
    return float(answer(NETS["SSD, transferred"], NIGHT, k))


@functools.cache
def known(k):  # the library's AP50; the precision of the whole list; of hits alone
    found = kerastl.predict(NETS["SSD, transferred"], NIGHT)
    told = list(zip(found.boxes, found.classes, found.scores, strict=True))
    wanted = list(zip(NIGHT.labels.boxes, NIGHT.labels.classes, strict=True))
    every = kerastl.metrics.average_precision(wanted, told, class_names=names)
    scores, right, _ = gathered(told, NIGHT, k)
    right = right[np.argsort(-scores)]
    alone = (np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean()
    return every.per_class[k].ap50, right.mean(), alone


teach.check(
    "12.3",
    precision_of,
    [
        (
            lambda f: 0 <= answered(f, 0) <= 1,
            "Return one number between zero and one.",
        ),
        (
            lambda f: any(abs(answered(f, k) - known(k)[1]) > 1e-6 for k in range(3)),
            "That is the precision of the whole list. Take the mean over recalls.",
        ),
        (
            lambda f: any(abs(answered(f, k) - known(k)[2]) > 1e-3 for k in range(3)),
            "Objects that are never found count nothing here. They must cost.",
        ),
        (
            lambda f: all(abs(answered(f, k) - known(k)[0]) < 3e-3 for k in range(3)),
            "That is no AP. Sort the boxes of all images in one list by score. For "
            "each recall read the best precision there or at a higher one.",
        ),
    ],
)

# %% [markdown]
# ## Exercise 12.4: find the digit
#
# Scanned digits lie on clouds, one an image, 96 pixels wide. Write `finder(base,
# images, here)` in plain Keras. `base` is the cut backbone with trained weights: it
# takes pixels from -1 to 1 and gives a map of 12 by 12 cells. `here` is `(n, 12, 12,
# 1)`: one in the cell with the digit's middle, else zero. Return a model from pixels
# (0 to 255) to a logit for each cell, `(n, 12, 12, 1)`. Freeze the base, let the head
# ask all cells alike, and train it: twenty epochs are enough.


# %% tags=["stub"]
def finder(base, images, here):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def finder(base, images, here):  # the base learns too
    image = keras.Input((96, 96, 3))
    maps = base(keras.layers.Rescaling(1 / 127.5, -1)(image))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(maps))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images, here, epochs=20, batch_size=10, verbose=0)
    return model


# %% tags=["wrong"]
def finder(base, images, here):  # pooled: the place is gone
    base.trainable = False
    image = keras.Input((96, 96, 3))
    maps = base(keras.layers.Rescaling(1 / 127.5, -1)(image))
    row = keras.layers.GlobalAveragePooling2D()(maps)
    places = keras.layers.Reshape((12, 12, 1))(keras.layers.Dense(144)(row))
    model = keras.Model(image, places)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images, here, epochs=20, batch_size=10, verbose=0)
    return model


# %% tags=["wrong"]
def finder(base, images, here):  # never trained
    base.trainable = False
    image = keras.Input((96, 96, 3))
    maps = base(keras.layers.Rescaling(1 / 127.5, -1)(image))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(maps))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model


# %% tags=["wrong"]
def finder(base, images, here):  # probabilities, not logits
    base.trainable = False
    image = keras.Input((96, 96, 3))
    maps = base(keras.layers.Rescaling(1 / 127.5, -1)(image))
    head = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    model = keras.Model(image, head(maps))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    model.fit(images, here, epochs=20, batch_size=10, verbose=0)
    return model


# %% tags=["solution"]
def finder(base, images, here):
    base.trainable = False
    image = keras.Input((96, 96, 3))
    maps = base(keras.layers.Rescaling(1 / 127.5, -1)(image))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(maps))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images, here, epochs=20, batch_size=10, verbose=0)
    return model


# %% tags=["check"]
@functools.cache
def scenes():  # digits on clouds, and the middles of their cells
    scans = kerastl.load_dataset("digits", seed=0).train.images
    random = np.random.default_rng(3)
    clouds = random.uniform(0, 150, (120, 6, 6, 3)).repeat(16, 1).repeat(16, 2)
    here = np.zeros((120, 12, 12, 1), "float32")
    for i in range(120):
        y, x = random.integers(0, 72, 2)
        scan = scans[i].astype(float).repeat(3, 0).repeat(3, 1)
        spot = clouds[i, y : y + 24, x : x + 24]
        clouds[i, y : y + 24, x : x + 24] = np.maximum(spot, scan)
        here[i, (y + 12) // 8, (x + 12) // 8] = 1
    return clouds.astype("float32"), here


@functools.cache
def made(answer):  # the model, whether its base moved, and how many digits it finds
    images, here = scenes()
    fresh = keras.applications.MobileNet(
        (96, 96, 3), alpha=0.25, include_top=False, weights=None
    )
    fresh.set_weights(whole.get_weights())
    given = keras.Model(fresh.input, fresh.get_layer(CUT).output)
    before = given.get_weights()
    keras.utils.set_random_seed(5)
    model = answer(given, images[:80], here[:80])
    if not isinstance(model, keras.Model):
        return model, False, 0.0
    same = all(map(np.array_equal, before, given.get_weights()))
    said = model.predict(images[80:], verbose=0)
    if said.shape != (40, 12, 12, 1):
        return None, same, 0.0
    told, true = (each.reshape(40, -1).argmax(axis=1) for each in (said, here[80:]))
    rows, columns = np.abs(told // 12 - true // 12), np.abs(told % 12 - true % 12)
    return model, same, np.mean((rows <= 1) & (columns <= 1))


def follows(model):  # whether its answers move with the images
    images = scenes()[0][80:90]
    here, there = (
        model.predict(each, verbose=0) for each in (images, np.roll(images, 48, axis=2))
    )
    back = np.roll(there, -6, axis=2)
    return np.abs(back - here).mean() < np.abs(there - here).mean()


teach.check(
    "12.4",
    finder,
    [
        (
            lambda f: isinstance(made(f)[0], keras.Model),
            "Return a model with one logit for each cell, (n, 12, 12, 1).",
        ),
        (
            lambda f: made(f)[1],
            "The base has changed. Freeze it before you compile.",
        ),
        (
            lambda f: follows(made(f)[0]),
            "Its answers do not move with the digits. Ask all cells alike.",
        ),
        (
            lambda f: made(f)[0].predict(scenes()[0][80:], verbose=0).min() < 0,
            "These are probabilities. Give logits: no activation at the end.",
        ),
        (
            lambda f: made(f)[2] > 0.5,
            "It finds too few digits. Did you train it, and on pixels from -1 to 1?",
        ),
    ],
)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the scenes are more and larger, the weights from ImageNet. We have
# not run it yet.
#
# ## What we saw
#
# - A box is judged by its overlap, a list by what it finds and what it invents.
# - Pooled features have lost the place. Detection is not classification plus a box: the
#   map must stay, and something must say who answers for which object.
# - Nearly all anchors answer for no object, so the loss must not count all alike.
# - Without NMS an object is told several times.
# - With the same images and as many steps, transferred weights found more.
# - AP75 is below AP50: finding is easier than outlining.
#
# Next: `kerastl train` on a folder with boxes of your own.
#
# ## Words
#
# - **detector**: gives boxes with classes and scores.
# - **overlap, IoU**: shared area over covered area.
# - **map**: features for each cell of a grid over the image.
# - **anchor**: a fixed box that an answer is measured from.
# - **NMS**: of boxes that overlap, keep the surest.
# - **AP50, AP75**: average precision at an overlap of one half, of three quarters.
#
# ## Sources
#
# - W. Liu and others, *SSD*, ECCV 2016, arXiv:1512.02325.
# - J. Redmon and others, *You Only Look Once*, CVPR 2016, arXiv:1506.02640.
# - T.-Y. Lin and others, *Focal Loss for Dense Object Detection* (RetinaNet), ICCV
#   2017, arXiv:1708.02002.
# - T.-Y. Lin and others, *Microsoft COCO*, ECCV 2014, arXiv:1405.0312: the scores.
# - Photographs of blood cells, other detectors: the folder `benchmarks`, file
#   `detection.md`.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 75 minutes: 10 for the overlap and exercise 12.1, 10 for the lost place, 15 for cells
# and anchors, 10 for the runs and NMS, 10 for exercise 12.2, 10 for average precision
# and exercise 12.3, 10 for exercise 12.4. With an hour, leave 12.2 for home.
#
# ## Misconceptions
#
# - "Detection is classification plus a box." Nobody says how many objects there are;
#   someone must answer for each and all others for nothing.
# - "Accuracy for boxes." Of which questions? Nearly all anchors are empty, so "nothing"
#   everywhere would be right for nearly all.
# - "NMS makes the boxes better." It strikes, and moves none.
# - "AP is precision at some threshold." It is a mean over recalls; a threshold is
#   chosen afterwards.
# - "YOLO is better than SSD", or the reverse, by this lesson. Two small heads on one
#   map say nothing about the published networks.
#
# ## Discussion
#
# A camera counts apples in trees. Apples hang in clusters, half behind leaves. Which of
# the parts of this lesson will fail first, and what would you try?
#
# An answer: NMS strikes true apples that overlap: raise its limit, or use soft
# suppression. One cell has several middles: a finer map, a larger image. Boxes of half
# hidden apples are a matter of opinion, so that AP75 says little. For counting, the
# threshold matters more than AP: choose it on images whose apples were counted.
