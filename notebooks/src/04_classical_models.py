# %% [markdown]
# # 04 Deep features with classical models
#
# When the network is frozen, who says that the head must be a network too?
#
# Features are a table: a row for each image, a column for each feature. For tables
# there are many older models. They are fitted in moments, and they come with traps of
# their own. The worst one makes pure noise look as if something could be learnt from
# it. We take the models from *scikit-learn*, the usual library for them.
#
# ## You will be able to
#
# - put a support vector machine, a forest or nearest neighbours on deep features;
# - say when scaling and PCA matter, and measure it;
# - build a pipeline that does not leak, and catch one that does.

# %%
from kerastl import teach

data = {"dataset": ("shapes", "flowers")}
data |= {"licence": ("Apache-2.0; weights non-commercial", "CC BY")}
network = {"backbone": ("MobileNet", "MobileNet"), "alpha": (0.5, 0.25)}
weights = {"weights": ("tiny", "imagenet"), "image_size": (96, 224)}
costs = {"download": ("nothing", "about 220 MB"), "minutes": (1, 6)}
L = teach.lesson("04", {**data, **network, **weights, **costs})

# %%
import kerastl

# No validation part: cross-validation will take its place.
train, _, test = kerastl.load_dataset(L.dataset, validation=0.0, test=0.2, seed=L.seed)
teach.claim(
    "04.shared",
    "{value} images are in both parts.",
    teach.shared_images(train, test),
    low=0,
    high=0,
)

# %% [markdown]
# ## Images become a table
#
# A `FeatureExtractor` is a frozen backbone with the methods of scikit-learn:
# `fit_transform` turns images into rows. Each image goes through the network once;
# after that, every model below works on the same small table. As always, a baseline
# comes first.

# %%
import keras
import numpy as np

extractor = kerastl.features.FeatureExtractor(
    L.backbone, alpha=L.alpha, weights=L.weights, image_size=L.image_size
)
features, labels = extractor.fit_transform(train.images), train.labels
print("rows and columns:", features.shape)
baseline = np.bincount(labels).max() / len(labels)
words = "Always naming the most frequent class is right for {value:.1%}."
teach.claim("04.baseline", words, baseline, low=0.1, high=0.35)

# %% [markdown] tags=["quiz"]
# ## Four models, one table
#
# A *linear SVM* (support vector machine) separates classes by flat borders, an *RBF
# SVM* by curved ones. A *forest* lets many decision trees vote; a tree asks a row of
# questions, each about one feature. *Nearest neighbours* looks up the most similar
# training images. We score each by *cross-validation*: the images are cut into five
# *folds*, and each fold is judged once by a model fitted on the other four. We draw the
# folds three times.
#
# **Quick question.** What does five-fold cross-validation give you?
#
# - [ ] One model that is the mean of five :: The five models are thrown away; they only
#   served to judge.
# - [x] Five scores, each on images its model had not seen :: Their mean is steadier
#   than one validation score, and every image is used for both.
# - [ ] The test accuracy :: The test images have no part in it.

# %%
teach.predict(
    "04.a",
    "Which of these does worst on deep features?",
    ["linear SVM", "RBF SVM", "forest", "nearest neighbours"],
    guess=4,  # guess: 1, 2, 3 or 4
)

# %%
import time

from sklearn.model_selection import StratifiedKFold, cross_val_predict

models = {
    "linear SVM": kerastl.features.classical_head("svm"),
    "RBF SVM": kerastl.features.classical_head("svm", kernel="rbf"),
    "forest": kerastl.features.classical_head("forest", trees=100),
    "neighbours": kerastl.features.classical_head("knn"),
}
folds = [StratifiedKFold(5, shuffle=True, random_state=L.seed + s) for s in range(3)]

# %%
right, seconds = {}, {}
for name, each in models.items():
    start = time.perf_counter()
    said = [cross_val_predict(each, features, labels, cv=draw) for draw in folds]
    seconds[name] = (time.perf_counter() - start) / 15  # three draws of five folds
    right[name] = np.array(said) == labels
    print(f"{name}: {seconds[name]:.2g} s for a fold", flush=True)

# %%
scores = {name: each.mean(axis=1) for name, each in right.items()}
means = [each.mean() for each in scores.values()]
teach.reveal("04.a", 1 + int(np.argmin(means)))
svm = max(("linear SVM", "RBF SVM"), key=lambda name: scores[name].mean())
rest = max(("forest", "neighbours"), key=lambda name: scores[name].mean())
words = f"The {svm} against the better of the rest, {rest}: {{points:+}}."
teach.compare("04.svm", words, right[svm], right[rest], low=0.02, high=0.15)
figure = teach.dots(scores, baseline=baseline, mark="one draw of folds")
teach.show(figure, caption="The SVMs lead on deep features.")

# %% [markdown]
# Deep features are made for a linear layer: the network's old top was one. What tells a
# class from the others is spread over many columns. A flat border uses all of them at
# once; a tree asks for one column at a time, and needs many questions. On other tables,
# of ages and incomes, the order is often the opposite.
#
# ## Columns in different units
#
# Suppose we add a column of our own: the mean brightness of the image, from 0 to 255.
# The deep features are small numbers. A model that adds up differences over columns
# will now see little else than brightness, unless we scale each column first: a
# `StandardScaler` brings it to mean 0 and standard deviation 1. The models above do so
# by themselves; in the next cell we switch it off and on.

# %%
teach.predict(
    "04.b",
    "One column is in large units. Who needs scaling?",
    ["the RBF SVM", "the forest", "both", "neither"],
    guess=3,  # guess: 1, 2, 3 or 4
)

# %% tags=["plumbing"]
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

stream = kerastl.batches(train, image_size=L.image_size)
brightness = [np.array(batch).mean(axis=(1, 2, 3)) for batch, _ in stream]
wider = np.column_stack([features, np.concatenate(brightness)])


def three_draws(kind, normalize, **options):
    head = kerastl.features.classical_head(kind, normalize=normalize, **options)
    return [cross_val_score(head, wider, labels, cv=each).mean() for each in folds]


ways = (None, "standard")
gains = {
    "RBF SVM": np.array([three_draws("svm", way, kernel="rbf") for way in ways]),
    "forest": np.array([three_draws("forest", way, trees=30) for way in ways]),
}

# %%
svm, forest = ((after - before).mean() for before, after in gains.values())
needs = (svm > 0.05, forest > 0.05)
answers = {(True, False): 1, (False, True): 2, (True, True): 3}
teach.reveal("04.b", answers.get(needs, 4))
words = "Scaling gained the RBF SVM {points}, the mean of three draws."
teach.claim("04.scaled_svm", words, svm, low=0.25, high=0.75)
words = "Scaling gained the forest {points}."
teach.claim("04.scaled_forest", words, forest, low=-0.02, high=0.02)

# %%
rows = {
    f"{name}, {way}": values
    for name, pair in gains.items()
    for way, values in zip(("as it is", "scaled"), pair, strict=True)
}
looks = dict(zip(rows, (1, 1, 2, 2), strict=True))  # as in the figure above
figure = teach.dots(rows, baseline=baseline, mark="one draw of folds", looks=looks)
teach.show(figure, caption="Scaling helps the SVM; for the forest it changes nothing.")

# %% [markdown]
# ## Exercise 04.1: what scaling gains
#
# Write `gain_from_scaling(model, table, labels)`: the mean five-fold accuracy of the
# model behind a `StandardScaler`, minus that of the model alone. The scaler must be
# fitted inside the folds. You need two functions of scikit-learn:
#
# - `make_pipeline(StandardScaler(), model)` makes one model of two steps; both are
#   fitted on the same rows;
# - `cross_val_score(model, table, labels)` gives the accuracy on each of five folds.


# %% tags=["stub"]
def gain_from_scaling(model, table, labels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def gain_from_scaling(model, table, labels):  # the accuracy, not the gain
    scaled = make_pipeline(StandardScaler(), model)
    return cross_val_score(scaled, table, labels).mean()


# %% tags=["wrong"]
def gain_from_scaling(model, table, labels):  # the scaler has seen all folds
    plain = cross_val_score(model, table, labels).mean()
    table = StandardScaler().fit_transform(table)
    return cross_val_score(model, table, labels).mean() - plain


# %% tags=["wrong"]
def gain_from_scaling(model, table, labels):  # judged by the rows it was fitted on
    plain = model.fit(table, labels).score(table, labels)
    scaled = make_pipeline(StandardScaler(), model)
    return scaled.fit(table, labels).score(table, labels) - plain


# %% tags=["wrong"]
def gain_from_scaling(model, table, labels):  # scales the table for both
    table = StandardScaler().fit_transform(table)
    first = cross_val_score(model, table, labels).mean()
    return cross_val_score(model, table, labels).mean() - first


# %% tags=["solution"]
def gain_from_scaling(model, table, labels):
    scaled = make_pipeline(StandardScaler(), model)
    plain = cross_val_score(model, table, labels).mean()
    return cross_val_score(scaled, table, labels).mean() - plain


# %% tags=["check"]
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

draw = np.random.default_rng(0)
halves = np.repeat([0, 1], 40)
useful = 4 * halves + draw.normal(size=80)
table = np.column_stack([useful, 1000 * draw.normal(size=80)])
neighbours, tree = KNeighborsClassifier(), DecisionTreeClassifier(random_state=0)


seen = []


class Watched(KNeighborsClassifier):  # notes the rows that it is fitted on
    def fit(self, rows, labels):
        seen.append((len(rows), abs(rows.mean(axis=0)).max()))
        return super().fit(rows, labels)


def fits(answer):
    seen.clear()
    answer(Watched(), table, halves)
    return seen


teach.check(
    "04.1",
    gain_from_scaling,
    [
        (
            lambda f: abs(f(tree, table, halves)) < 0.2,
            "A tree gains nothing, yet you report much. Return a difference.",
        ),
        (
            lambda f: f(neighbours, table, halves) >= 0,
            "Scaling helps here, and your gain is negative: scaled minus plain.",
        ),
        (
            lambda f: f(neighbours, table, halves) > 0.2,
            "No gain where there is a large one. One of the two scores is that of the "
            "model without a scaler.",
        ),
        (
            lambda f: max(rows for rows, _ in fits(f)) < len(table),
            "A model is judged by rows that it was fitted on. Use `cross_val_score`.",
        ),
        (
            lambda f: sum(mean < 1e-9 for _, mean in fits(f)) >= 5,
            "The scaler has seen the rows that judge the model. Put both into one "
            "pipeline.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Fewer columns: PCA
#
# Many columns say nearly the same. *Principal component analysis* (PCA) turns them into
# new columns, the *components*, sorted by how much each varies (its *variance*). Keep
# the first few, and the table shrinks. It does not choose among the old columns: each
# new one mixes all of them. (Choosing columns is *feature selection*; you will meet
# `SelectKBest` below.) Guess how many carry nearly all of the variance before you run
# the next cell. The classifier there, `ridge`, is one more with flat borders, the
# quickest to fit.
#
# **Quick question.** Which labels does PCA look at?
#
# - [ ] Those of the training images :: A method that does so is linear discriminant
#   analysis.
# - [x] None :: It keeps what varies most, which need not be what tells classes apart.
# - [ ] All of them :: It is given no labels.

# %%
from sklearn.decomposition import PCA

components = PCA().fit(StandardScaler().fit_transform(features))
kept = np.cumsum(components.explained_variance_ratio_)
enough = int(np.argmax(kept >= 0.95)) + 1
words = "95 of 100 parts of the variance need {value:.1%} of the columns."
teach.claim("04.components", words, enough / features.shape[1], low=0.3, high=0.8)
counts = (2, 8, 32, 128, None)
heads = [kerastl.features.classical_head("ridge", pca=count) for count in counts]
by_count = np.array(
    [[cross_val_score(h, features, labels, cv=f).mean() for f in folds] for h in heads]
)

# %% tags=["plumbing"]
from matplotlib import pyplot as plt

flat, (figure, axes) = PCA(2).fit_transform(features), plt.subplots(figsize=(7, 4))
for c, name in enumerate(train.class_names):
    style = {"marker": teach.MARKS[c], "color": teach.COLOURS[c], "label": name}
    axes.scatter(*flat[labels == c].T, s=12, alpha=0.5, **style)
axes.set(xlabel="first component", ylabel="second component")
axes.legend()
caption = "The two directions that vary most do not tell the classes apart."
alt = f"Scatter plot of {len(flat)} images by their first two components, all mixed."
teach.show(figure, caption=caption, alt=alt)

figure, axes = plt.subplots(figsize=(6, 3))
blue, _, green = teach.COLOURS[:3]
axes.plot(np.arange(1, len(kept) + 1), kept, "--", color=green, label="variance kept")
places = (*counts[:-1], len(kept))
axes.plot(
    np.repeat(places, 3), by_count.ravel(), "o", color=blue, label="accuracy, one draw"
)
axes.plot(places, by_count.mean(axis=1), color=blue, label="mean accuracy")
axes.set(xscale="log", xlabel="components (at the right: no PCA)", ylim=(0, 1.02))
axes.set(ylabel="share")
axes.set_xticks(places, map(str, places))
axes.minorticks_off()
axes.legend()
words = ", ".join(f"{a:.2f}" for a in by_count.mean(axis=1))
alt = f"Variance kept, and accuracy at {places} columns: {words}."
caption = "Accuracy stops rising long before all of the variance is kept."
teach.show(figure, caption=caption, alt=alt)
cost = (by_count[-1] - by_count[0]).mean()
teach.claim("04.two", "Two components cost {points}.", cost, low=0.25, high=0.6)

# %% [markdown]
# ## Exercise 04.2: an SVM that is a network
#
# A linear model is one matrix and one shift, so it can become the last layer of a
# network: `kerastl.features.set_head(model, fitted)` writes it there, its scaling
# included.
#
# Do it on pictures that this lesson has not shown, scans of digits. Write
# `svm_network(backbone, images)`. `images` is an image set;
# `kerastl.features.FeatureExtractor(backbone).fit_transform(images.images)` gives its
# features. Fit `kerastl.features.classical_head("svm")` on them. Build a classifier
# with `kerastl.build_classifier(backbone, images.class_names)`, set its head, and
# return it.


# %% tags=["stub"]
def svm_network(backbone, images):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def svm_network(backbone, images):  # never sets the head
    return kerastl.build_classifier(backbone, images.class_names)


# %% tags=["wrong"]
def svm_network(backbone, images):  # the SVM, not the network
    rows = kerastl.features.FeatureExtractor(backbone).fit_transform(images.images)
    return kerastl.features.classical_head("svm").fit(rows, images.labels)


# %% tags=["wrong"]
def svm_network(backbone, images):  # fitted on ten images only
    rows = kerastl.features.FeatureExtractor(backbone).fit_transform(images.images)
    few = [int(np.argmax(images.labels == c)) for c in range(10)]
    head = kerastl.features.classical_head("svm").fit(rows[few], images.labels[few])
    model = kerastl.build_classifier(backbone, images.class_names)
    kerastl.features.set_head(model, head)
    return model


# %% tags=["solution"]
def svm_network(backbone, images):
    rows = kerastl.features.FeatureExtractor(backbone).fit_transform(images.images)
    head = kerastl.features.classical_head("svm").fit(rows, images.labels)
    model = kerastl.build_classifier(backbone, images.class_names)
    kerastl.features.set_head(model, head)
    return model


# %% tags=["check"]
import functools

digits = kerastl.load_dataset("digits", seed=0)
scans, check_scans = (
    digits.train.subset(range(200)),
    digits.validation.subset(range(150)),
)


@functools.cache
def small_backbone():
    setting = {"alpha": 0.25, "weights": "tiny", "image_size": 32}
    return kerastl.build_backbone("MobileNet", **setting)


@functools.cache
def svm_answers():
    reader = kerastl.features.FeatureExtractor(small_backbone())
    rows = reader.fit_transform(scans.images)
    head = kerastl.features.classical_head("svm").fit(rows, scans.labels)
    return head.predict(reader.transform(check_scans.images))


@functools.cache
def network_answers(answer):
    made = answer(small_backbone(), scans)
    return getattr(made, "layers", None) and kerastl.predict(made, check_scans)


teach.check(
    "04.2",
    svm_network,
    [
        (
            lambda f: network_answers(f) is not None,
            "Return the Keras model, with the SVM as its head.",
        ),
        (
            lambda f: np.ptp(network_answers(f).probabilities) > 1e-6,
            "Every class is equally likely: the head is still empty. Set it.",
        ),
        (
            lambda f: np.mean(network_answers(f).indices == svm_answers()) > 0.97,
            "Network and SVM disagree. Fit the SVM on the features of all images.",
        ),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Something goes wrong on purpose
#
# A student keeps the fifty columns that go best with the labels, and *then*
# cross-validates. To see what that does, we shuffle the labels: now there is nothing to
# learn, and an honest score must be near *chance*, that of a blind guess.
#
# **Quick question.** What should any honest method score on shuffled labels?
#
# - [ ] Zero :: Even a blind guess is sometimes right.
# - [x] About one part in the number of classes :: That is chance, when the classes are
#   of about the same size.
# - [ ] The same as before :: Then it would not have used the labels at all.

# %%
teach.predict(
    "04.c",
    "Columns are chosen before the folds, labels are shuffled. What is the score?",
    ["near chance", "well above chance", "below chance"],
    guess=1,  # guess: 1, 2 or 3
)

# %%
from sklearn.feature_selection import SelectKBest

leaky, honest, head = [], [], kerastl.features.classical_head("ridge")
for seed in range(3):
    draw = np.random.default_rng(L.seed + seed)
    few = draw.choice(len(features), 200, replace=False)
    rows, noise = features[few], draw.permutation(labels[few])
    chosen = SelectKBest(k=50).fit_transform(rows, noise)
    leaky.append(cross_val_score(head, chosen, noise, cv=folds[seed]).mean())
    inside = make_pipeline(SelectKBest(k=50), head)
    honest.append(cross_val_score(inside, rows, noise, cv=folds[seed]).mean())

# %%
lift = np.mean(leaky) - np.mean(honest)
teach.reveal("04.c", 2 if lift > 0.05 else 1)
words = "Choosing before the folds made noise look {points} better than it is."
teach.claim("04.leak", words, lift, low=0.08, high=0.3)
words = "The honest pipeline is {points:+} from chance."
chance = 1 / len(train.class_names)
teach.claim("04.honest", words, np.mean(honest) - chance, low=-0.08, high=0.08)
rows = {"chosen before": leaky, "chosen inside": honest}
options = {"baseline": chance, "label": "accuracy on shuffled labels"}
figure = teach.dots(rows, mark="one draw", **options)
teach.show(figure, caption="Choosing before the folds lifts pure noise above chance.")

# %% [markdown]
# ## Exercise 04.3: a pipeline that does not leak
#
# Among many columns some agree with any labels by luck. Who chooses by all labels keeps
# the columns that are lucky on the images to be judged, too. That is a *leak*.
#
# Write `honest_scores(table, labels)`: the five scores of a five-fold cross-validation
# of a pipeline that keeps the ten best columns (`SelectKBest(k=10)`) and ends in
# `kerastl.features.classical_head("ridge")`. The check sends it noise, and real signal.


# %% tags=["stub"]
def honest_scores(table, labels):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def honest_scores(table, labels):  # judged by the rows it was fitted on
    model = make_pipeline(SelectKBest(k=10), kerastl.features.classical_head("ridge"))
    return [model.fit(table, labels).score(table, labels)] * 5


# %% tags=["wrong"]
def honest_scores(table, labels):  # the first ten columns, whatever they hold
    model = kerastl.features.classical_head("ridge")
    return cross_val_score(model, table[:, :10], labels)


# %% tags=["wrong"]
def honest_scores(table, labels):  # more columns than asked for
    model = make_pipeline(SelectKBest(k=50), kerastl.features.classical_head("ridge"))
    return cross_val_score(model, table, labels)


# %% tags=["wrong"]
def honest_scores(table, labels):  # looks at all labels before the folds
    chosen = SelectKBest(k=10).fit_transform(table, labels)
    return cross_val_score(kerastl.features.classical_head("ridge"), chosen, labels)


# %% tags=["solution"]
def honest_scores(table, labels):
    model = make_pipeline(SelectKBest(k=10), kerastl.features.classical_head("ridge"))
    return cross_val_score(model, table, labels)


# %% tags=["check"]
draw = np.random.default_rng(1)
coins = np.tile([0, 1], 30)
static = draw.normal(size=(60, 2000))
signal = static + np.where(draw.permutation(2000) < 10, 3 * coins[:, None], 0)


def kept(answer):  # how many columns each selection keeps
    plain, seen = SelectKBest.fit, set()

    def fit(self, *data):
        seen.add(self.k)
        return plain(self, *data)

    SelectKBest.fit = fit
    try:
        answer(static, coins)
    finally:
        SelectKBest.fit = plain
    return seen


teach.check(
    "04.3",
    honest_scores,
    [
        (lambda f: np.shape(f(signal, coins)) == (5,), "Five scores, one for a fold."),
        (
            lambda f: np.std(f(static, coins)) > 0,
            "The folds agree to the last digit. Is each judged by its own rows?",
        ),
        (
            lambda f: np.mean(f(static, coins)) < 0.7,
            "Noise scores far above chance. Choose columns inside the pipeline.",
        ),
        (
            lambda f: np.mean(f(signal, coins)) > 0.9,
            "The signal is in ten columns of many, and was not found. Let "
            "`SelectKBest` choose.",
        ),
        (lambda f: kept(f) == {10}, "Keep the ten best columns, no more and no fewer."),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Back into the network
#
# An SVM has a setting, `C`: the higher, the more it does to get each training image
# right. `GridSearchCV` tries some values by cross-validation, and fits the best one on
# all rows. We write that SVM into a Keras model with `set_head`. Scaling and flat
# borders are both linear, so together they are one dense layer: one file, one call, the
# same decisions. Then the test images are used, once.
#
# **Quick question.** Which of the four models could *not* become a dense layer?
#
# - [ ] The linear SVM :: Scaling and a flat border are one matrix and one shift.
# - [x] The forest :: Its borders are steps, and no single matrix makes those.
# - [ ] A ridge classifier behind PCA :: PCA is a matrix too, and two matrices are one.

# %%
from sklearn.model_selection import GridSearchCV

grid = {"classifier__C": [1e-4, 1e-3, 1e-2]}
search = GridSearchCV(kerastl.features.classical_head("svm"), grid, cv=folds[0])
best = search.fit(features, labels).best_estimator_
backbone = kerastl.build_backbone(
    L.backbone, alpha=L.alpha, weights=L.weights, image_size=L.image_size
)
model = kerastl.build_classifier(backbone, train.class_names, seed=L.seed)
kerastl.features.set_head(model, best)

# %%
said = kerastl.predict(model, test).indices
same = np.mean(said == best.predict(extractor.transform(test.images)))
words = "Network and SVM agree on {value:.1%} of the test images."
teach.claim("04.same", words, same, low=0.99, high=1)
right = said == test.labels
gain = right.mean() - np.bincount(test.labels).max() / len(test)
words = "On the test images the SVM in the network is {points} above the baseline."
teach.claim("04.test", words, gain, low=0.35, high=0.75)

# %% [markdown]
# ## Exercise 04.4: an SVM on half a network
#
# Sketches, drawings on paper, are far from photographs. Do features from the middle
# serve them better than those of the top? Write `cut_score(backbone, layer, train,
# check)`. `train` and `check` are pairs of images and labels. Build a `keras.Model`
# from `backbone.input` to `backbone.get_layer(layer).output`, averaged over the places
# by `keras.layers.GlobalAveragePooling2D()`. Its `predict(images, verbose=0)` gives the
# table. Fit `kerastl.features.classical_head("svm")` on `train`, and return its `score`
# on `check`.


# %% tags=["stub"]
def cut_score(backbone, layer, train, check):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def cut_score(backbone, layer, train, check):  # never cuts
    row = keras.layers.GlobalAveragePooling2D()(backbone.output)
    network = keras.Model(backbone.input, row)
    tables = [network.predict(part[0], verbose=0) for part in (train, check)]
    head = kerastl.features.classical_head("svm").fit(tables[0], train[1])
    return head.score(tables[1], check[1])


# %% tags=["wrong"]
def cut_score(backbone, layer, train, check):  # judged by the rows it was fitted on
    row = keras.layers.GlobalAveragePooling2D()(backbone.get_layer(layer).output)
    network = keras.Model(backbone.input, row)
    table = network.predict(train[0], verbose=0)
    head = kerastl.features.classical_head("svm").fit(table, train[1])
    return head.score(table, train[1])


# %% tags=["wrong"]
def cut_score(backbone, layer, train, check):  # the SVM, not its score
    row = keras.layers.GlobalAveragePooling2D()(backbone.get_layer(layer).output)
    network = keras.Model(backbone.input, row)
    table = network.predict(train[0], verbose=0)
    return kerastl.features.classical_head("svm").fit(table, train[1])


# %% tags=["solution"]
def cut_score(backbone, layer, train, check):
    row = keras.layers.GlobalAveragePooling2D()(backbone.get_layer(layer).output)
    network = keras.Model(backbone.input, row)
    tables = [network.predict(part[0], verbose=0) for part in (train, check)]
    head = kerastl.features.classical_head("svm").fit(tables[0], train[1])
    return head.score(tables[1], check[1])


# %% tags=["check"]
def sketched(number):
    drawn, _ = kerastl.make_shapes(number, image_size=32, style="sketch", seed=number)
    stream = kerastl.batches(drawn, image_size=32, batch_size=number)
    return np.array(next(iter(stream))[0], "uint8"), drawn.labels


sketches, check_sketches = sketched(60), sketched(96)


@functools.cache
def cut_answer(answer):
    return answer(small_backbone(), "conv_pw_5_relu", sketches, check_sketches)


@functools.cache
def cut_scores(layer):  # on the training images, and on the others
    output = small_backbone().get_layer(layer).output
    row = keras.layers.GlobalAveragePooling2D()(output)
    network = keras.Model(small_backbone().input, row)
    tables = [network.predict(p[0], verbose=0) for p in (sketches, check_sketches)]
    head = kerastl.features.classical_head("svm").fit(tables[0], sketches[1])
    return head.score(tables[0], sketches[1]), head.score(tables[1], check_sketches[1])


def is_near(answer, score):
    return abs(float(cut_answer(answer)) - score) < 1e-6


teach.check(
    "04.4",
    cut_score,
    [
        (
            lambda f: not hasattr(cut_answer(f), "predict"),
            "Return the score, a number, not the SVM.",
        ),
        (
            lambda f: not is_near(f, cut_scores("conv_pw_13_relu")[1]),
            "That is the score of the whole backbone. Cut it at `layer`.",
        ),
        (
            lambda f: not is_near(f, cut_scores("conv_pw_5_relu")[0]),
            "That is the score on the images it was fitted on. Judge by `check`.",
        ),
        (
            lambda f: is_near(f, cut_scores("conv_pw_5_relu")[1]),
            "Another score comes out. Average over the places, then fit the SVM.",
        ),
    ],
)

# %% [markdown]
# ## At full scale
#
# With `scale="full"` the rows are photographs of flowers, described by a network that
# has learnt from ImageNet. Flowers are close to what it knows, so all four models get
# better. Guess before you run: will they come closer together, or drift apart?
#
# ## What we saw
#
# - One pass through a frozen network makes a table; on it every model is quick.
# - SVMs led on deep features, and the forest gained nothing from scaling.
# - A column in large units can drown the others: scale inside a pipeline.
# - Whatever looks at labels belongs inside the folds. Shuffled labels show a leak.
# - A linear model can become the last layer of the network.
#
# Next: lesson 05 lets the backbone itself learn.
#
# ## Words
#
# - **fold**: one of the parts into which cross-validation cuts the images.
# - **pipeline**: steps that are fitted together, and only on the training folds.
# - **leak**: anything that tells a model about the images it is judged on.
# - **PCA**: new columns, sorted by the variance they carry.
# - **SVM**: support vector machine; it looks for a border with a wide margin.
#
# ## Sources
#
# - A. Razavian and others, *CNN Features off-the-shelf*, CVPR workshops 2014.
# - T. Hastie, R. Tibshirani and J. Friedman, *The Elements of Statistical Learning*,
#   section 7.10.2: the wrong and the right way to do cross-validation.
# - scikit-learn, *Common pitfalls and recommended practices*, the user guide.

# %% [markdown] tags=["teacher"]
# ## Timing
#
# 50 minutes: 15 for the table and the four models, 10 for scaling, 10 for PCA, 15 for
# the leak. The leak is the heart of the lesson: let the class commit to 04.c before it
# runs, and leave time for the silence after it. Exercise 04.4 is for who is quick.
#
# ## Misconceptions
#
# - "Cross-validation protects against leaks." Only for what happens inside it. A step
#   that saw all labels before has told every fold.
# - "Scaling never hurts, so always scale." It makes every column equally loud, also the
#   ones that are noise; nearest neighbours may lose by it. Measure.
# - "PCA keeps what matters." It keeps what varies. What tells classes apart may vary
#   little.
# - "A forest is the safe choice." On deep features a flat border usually wins.
#
# ## Discussion
#
# Scaling before the folds leaks as well, yet it hardly ever changes a score. Why is
# that, and would you let it pass in a colleague's paper?
#
# An answer: means and deviations look at no label, and few rows more hardly move them.
# Still no: with few rows or with a choice by labels it matters, and a pipeline is free.
