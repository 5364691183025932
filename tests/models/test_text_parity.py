"""Text networks against BERT in NumPy."""

import keras
import numpy as np
from numpy_bert import numpy_bert, weights_of
from texts import arrays, hub_backbone, token_rows

from kerastl.models.text_backbones import build_text_backbone


def test_bert_is_what_its_paper_says():
    network = build_text_backbone(hub_backbone())
    rows = token_rows(network)
    rows["segment_ids"] = rows["token_ids"] % 2
    sequence, pooled = numpy_bert(weights_of(network), rows, layers=3)
    made = network(rows)
    real = rows["padding_mask"].astype(bool)
    found = arrays(made["sequence_output"])[0]
    np.testing.assert_allclose(found[real], sequence[real], atol=2e-5)
    np.testing.assert_allclose(arrays(made["pooled_output"])[0], pooled, atol=2e-5)
    # Every weight counts: the parity sees each of them.
    assert len(network.weights) == 3 * 16 + 3 + 2 + 2
    assert keras.ops.shape(made["sequence_output"])[-1] == 16
