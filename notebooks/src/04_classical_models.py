# %% [markdown]
# # 04 Deep features with classical models
#
# When the network is frozen, who says that the head must be a network too?
#
# Features are a table: a row for each image, a column for each feature. For tables
# there are sixty years of classical models. They are fitted in moments, and they come
# with traps of their own. The worst of them makes noise look like knowledge.
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
# A `FeatureExtractor` is a frozen backbone that speaks scikit-learn: `fit_transform`
# turns images into rows. Each image goes through the network once; after that, every
# model below works on the same small table. As always, a baseline comes first.

# %%
import numpy as np

extractor = kerastl.features.FeatureExtractor(
    L.backbone, alpha=L.alpha, weights=L.weights, image_size=L.image_size
)
features, labels = extractor.fit_transform(train.images), train.labels
print("rows and columns:", features.shape)
baseline = np.bincount(labels).max() / len(labels)
words = "Always naming the most frequent class is right for {value:.1%}."
teach.claim("04.baseline", words, baseline, low=0.1, high=0.35)

# %%
from matplotlib import pyplot as plt
from sklearn.decomposition import PCA

flat = PCA(2).fit_transform(features)
figure, axes = plt.subplots(figsize=(7.5, 4))
colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
for c, name in enumerate(train.class_names):
    axes.scatter(*flat[labels == c].T, marker="osD^vP"[c], color=colours[c], label=name)
axes.set(xlabel="first component", ylabel="second component")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
words = f"{len(flat)} images by their first two components"
teach.show(figure, alt=f"Scatter plot of {words}: {', '.join(train.class_names)}.")

# %% [markdown] tags=["quiz"]
# ## Four models, one table
#
# A *linear SVM* separates classes by flat borders, an *RBF SVM* by curved ones. A
# *forest* lets many decision trees vote; each asks for one feature at a time. *Nearest
# neighbours* looks up the most similar training images. We score each by
# *cross-validation*: the images are cut into five folds, and each fold is judged once
# by a model fitted on the other four. We draw the folds three times.
#
# **Quick question.** What does five-fold cross-validation give you?
#
# - [ ] One model that is the mean of five :: The five models are thrown away; they only
#   served to judge.
# - [x] Five scores, each on images its model had not seen :: Their mean is steadier
#   than one validation score, and every image is used for both.
# - [ ] The test accuracy :: The test images have no part in it, and keep their secret.

# %%
teach.predict(
    "04.a",
    "Which of these does worst on deep features?",
    ["linear SVM", "RBF SVM", "forest", "nearest neighbours"],
    guess=4,  # guess: 1, 2, 3 or 4
)

# %%
from sklearn.model_selection import StratifiedKFold, cross_validate

models = {
    "linear SVM": kerastl.features.classical_head("svm"),
    "RBF SVM": kerastl.features.classical_head("svm", kernel="rbf"),
    "forest": kerastl.features.classical_head("forest", trees=100),
    "neighbours": kerastl.features.classical_head("knn"),
}
folds = [StratifiedKFold(5, shuffle=True, random_state=L.seed + s) for s in range(3)]

# %%
runs = {
    name: [cross_validate(model, features, labels, cv=each) for each in folds]
    for name, model in models.items()
}
scores = np.array([[r["test_score"].mean() for r in run] for run in runs.values()])
seconds = np.array([[r["fit_time"].mean() for r in run] for run in runs.values()])
teach.reveal("04.a", 1 + int(scores.mean(axis=1).argmin()))
lead = (scores[:2].mean(axis=1).max() - scores[2:].mean(axis=1)).min()
words = "The better SVM is {points} above the better of forest and neighbours."
teach.claim("04.svm", words, lead, low=0.02, high=0.15)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), sharey=True)
for place, row in enumerate(scores):
    left.plot(row, [place] * 3, "osD^"[place], color="#0072B2")
left.axvline(baseline, color="#D55E00", linestyle="--", label="baseline")
left.set(xlabel="accuracy, three draws of folds", xlim=(0, 1))
left.set_yticks(range(4), list(models))
left.legend()
right.barh(range(4), seconds.mean(axis=1), color="#009E73")
right.set(xscale="log", xlabel="seconds for a fit")
pairs = zip(models, scores.mean(axis=1), seconds.mean(axis=1), strict=True)
words = "; ".join(f"{name} {score:.2f} in {s:.2g} s" for name, score, s in pairs)
teach.show(figure, alt=f"Accuracy and seconds of a fit for four models: {words}.")

# %% [markdown]
# Deep features are made for a linear layer: the network's old top was one. A class is a
# direction that many columns share. A tree asks for one column at a time, and needs
# many questions for what a flat border does at once. On other tables, of ages and
# incomes, the order is often the opposite.
#
# ## Columns in different units
#
# Suppose we add a column of our own: the mean brightness of the image, from 0 to 255.
# The deep features are small numbers. A model that adds up differences over columns
# will now see little else than brightness, unless we scale each column first.

# %%
teach.predict(
    "04.b",
    "One column is in large units. Who needs scaling?",
    ["the RBF SVM", "the forest", "both", "neither"],
    guess=3,  # guess: 1, 2, 3 or 4
)

# %%
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

stream = kerastl.batches(train, image_size=L.image_size)
brightness = [np.array(batch).mean(axis=(1, 2, 3)) for batch, _ in stream]
wider = np.column_stack([features, np.concatenate(brightness)])


def three_draws(kind, normalize, **options):
    head = kerastl.features.classical_head(kind, normalize=normalize, **options)
    return [cross_val_score(head, wider, labels, cv=each).mean() for each in folds]


# %%
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
figure, axes = plt.subplots(figsize=(6, 2.6))
for place, (before, after) in enumerate(gains.values()):
    axes.plot([place - 0.15] * 3, before, "s", color="#D55E00")
    axes.plot([place + 0.15] * 3, after, "o", color="#0072B2")
axes.plot([], [], "s", color="#D55E00", label="as it is")
axes.plot([], [], "o", color="#0072B2", label="scaled")
axes.set_xticks(range(2), list(gains))
axes.set(xlim=(-0.6, 1.6), ylim=(0, 1), ylabel="accuracy")
axes.legend()
words = f"by {svm:.2f} for the SVM and {forest:.2f} for the forest"
teach.show(figure, alt=f"Accuracy without and with scaling: it rises {words}.")

# %% [markdown]
# ## Exercise 04.1: what scaling gains
#
# Write `gain_from_scaling(model, table, labels)`: the mean five-fold accuracy of the
# model behind a `StandardScaler`, minus that of the model alone. The scaler must be
# fitted inside the folds: `make_pipeline` sees to that.


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
# new columns, sorted by how much of the variance each carries. Keep the first few, and
# the table shrinks. It does not choose among the old columns: each new one mixes all of
# them. (Choosing columns is *feature selection*; you will meet `SelectKBest` below.)
# Guess how many are enough before you run the next cell.
#
# **Quick question.** Which labels does PCA look at?
#
# - [ ] Those of the training images :: A method that does so is linear discriminant
#   analysis.
# - [x] None :: It keeps what varies most, which need not be what tells classes apart.
# - [ ] All of them :: It has no argument for labels that it would use.

# %%
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

# %%
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(np.arange(1, len(kept) + 1), kept, "--", color="#009E73", label="variance")
places = (*counts[:-1], len(kept))
axes.plot(places, by_count, "o", color="#0072B2")
axes.plot(places, by_count.mean(axis=1), color="#0072B2", label="accuracy")
axes.set(xscale="log", xlabel="components (at the right: no PCA)", ylim=(0, 1.02))
axes.legend()
words = ", ".join(f"{a:.2f}" for a in by_count.mean(axis=1))
teach.show(figure, alt=f"Variance kept, and accuracy at {places} columns: {words}.")
cost = (by_count[-1] - by_count[0]).mean()
teach.claim("04.two", "Two components cost {points}.", cost, low=0.25, high=0.6)

# %% [markdown]
# ## Exercise 04.2: how many are enough
#
# The two lines do not rise together: PCA sorts by variance, and variance is not what
# we are after. Take as many components as your cross-validation asks for.
#
# Write `components_for(table, share)`: the least number of principal components of the
# table, unscaled, that together keep at least `share` of its variance.
# `PCA().fit(table).explained_variance_ratio_` holds the share of each component.


# %% tags=["stub"]
def components_for(table, share):
    raise NotImplementedError("your code here")


# %% tags=["wrong"]
def components_for(table, share):  # a position, counted from zero
    kept = np.cumsum(PCA().fit(table).explained_variance_ratio_)
    return int(np.argmax(kept >= share))


# %% tags=["wrong"]
def components_for(table, share):  # deviations instead of variances
    deviations = PCA().fit(table).singular_values_
    kept = np.cumsum(deviations) / deviations.sum()
    return int(np.argmax(kept >= share)) + 1


# %% tags=["wrong"]
def components_for(table, share):  # forgets to add them up
    ratios = PCA().fit(table).explained_variance_ratio_
    return int((ratios >= 1 - share).sum())


# %% tags=["solution"]
def components_for(table, share):
    kept = np.cumsum(PCA().fit(table).explained_variance_ratio_)
    return int(np.argmax(kept >= share)) + 1


# %% tags=["check"]
# Components of variance 16, 9, 4 and 1, turned so that no column is one of them.
signs = np.array([[1, 1, 1, -1], [1, -1, 1, 1], [1, 1, -1, 1], [1, -1, -1, -1]])
turn = np.array([[1, 0, -1, 0], [0, 1, 0, -1], [1, 0, 1, 0], [0, 1, 0, 1]])
known = np.vstack([signs, -signs]) * [4.0, 3.0, 2.0, 1.0] @ turn / np.sqrt(2)
teach.check(
    "04.2",
    components_for,
    [
        (
            lambda f: f(known, 0.5) > 0,
            "Zero components keep nothing. Positions count from zero, numbers do not.",
        ),
        (
            lambda f: f(known, 0.6) > 1,
            "Too few. Add the shares up from the first component on.",
        ),
        (
            lambda f: f(known, 0.8) == 2,
            "Take the shares of the components in the variance. A singular value is a "
            "deviation, its square the variance; a column is no component.",
        ),
        (
            lambda f: f(known, 0.5) == 1,
            "The first component keeps more than half. Leave the columns unscaled.",
        ),
        (lambda f: f(known, 0.97) == 4, "The last one is needed for that share."),
    ],
)

# %% [markdown] tags=["quiz"]
# ## Something goes wrong on purpose
#
# A student keeps the fifty columns that go best with the labels, and *then*
# cross-validates. To see what that does, we shuffle the labels: now there is nothing to
# learn, and an honest score must be near chance.
#
# **Quick question.** What should any honest method score on shuffled labels?
#
# - [ ] Zero :: Even a blind guess is right now and then.
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

# %%
figure, axes = plt.subplots(figsize=(6, 2))
axes.plot(leaky, [0] * 3, "s", color="#D55E00", markersize=8)
axes.plot(honest, [1] * 3, "o", color="#0072B2", markersize=8)
axes.axvline(chance, color="black", linestyle="--", label="chance")
axes.set_yticks([0, 1], ["chosen before", "chosen inside"])
axes.set(ylim=(-0.5, 1.5), xlim=(0, 0.6), xlabel="accuracy on shuffled labels")
axes.legend()
words = f"{np.mean(leaky):.2f} chosen before the folds, {np.mean(honest):.2f} inside"
teach.show(figure, alt=f"Accuracy on shuffled labels, three seeds each: {words}.")

# %% [markdown]
# ## Exercise 04.3: a pipeline that does not leak
#
# Among many columns some agree with any labels by luck, on the images to be judged as
# well. Choosing by all labels carries that luck into every fold.
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
# We choose the SVM's penalty inside a cross-validation, fit it, and write it into a
# Keras model with `set_head`. Scaling and borders are all linear, so they fold into one
# dense layer: one file, one call, the same decisions. Then the test images are
# asked, once.
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
words = "On the test images the folded SVM is {points} above the baseline."
teach.claim("04.test", words, gain, low=0.35, high=0.75)

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
# - A linear model folds back into the network.
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
# runs, and leave time for the silence after it.
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
