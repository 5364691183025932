"""Accuracy and loss in NumPy, against Keras's own."""

import numpy as np
import pytest
from networks import coloured, small_classifier

from kerastl.training.averaging import Judge

IMAGES, CODES = coloured(5)
CASES = {
    "multiclass": (("ash", "beech", "cedar"), CODES),
    "binary": (("ash", "beech"), CODES % 2),
    "multilabel": (("ash", "beech", "cedar"), np.eye(3, dtype=int)[CODES] | [0, 1, 0]),
}


@pytest.mark.parametrize("task", CASES)
def test_scores_are_those_of_keras(task):
    names, labels = CASES[task]
    model = small_classifier(names, task=task, learnt=True)
    found = Judge(model, (IMAGES, labels), batch_size=4).score(model)
    wanted = model.evaluate(
        IMAGES.astype("float32"), labels, verbose=0, return_dict=True
    )
    assert found.accuracy == pytest.approx(wanted["accuracy"])
    assert found.loss == pytest.approx(wanted["loss"], rel=1e-4)
    assert 0 < found.accuracy < 1


def test_more_accurate_is_better_and_of_equals_the_one_of_less_loss():
    model = small_classifier(learnt=True)
    judge = Judge(model, (IMAGES, CODES))
    one = judge.score(model)
    dense = model.get_layer("head_dense")
    dense.set_weights([0.1 * weight for weight in dense.get_weights()])
    two = judge.score(model)
    assert one.accuracy == two.accuracy
    assert one.loss != two.loss
    assert (one.key > two.key) == (one.loss < two.loss)


def test_a_model_without_a_task_is_refused():
    import keras

    x = keras.Input((2,))
    with pytest.raises(ValueError, match="a classifier built by"):
        Judge(keras.Model(x, keras.layers.Dense(1)(x)), (IMAGES, CODES))
