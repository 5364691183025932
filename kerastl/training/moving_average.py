"""Keras's moving average of the weights, kept wherever a phase ends."""

from typing import Any

import keras

from kerastl._compat import keep_averages


class KeepAverages(keras.callbacks.Callback):
    """Leaves the averages in the model also where a phase ends early.

    Keras keeps them after the last epoch that `fit` was asked for; stopped before, it
    puts back the weights of the last step. To stand behind every callback that stops.

    Args:
        averages: The callback that puts the averages into the model.
    """

    def __init__(self, averages: keras.callbacks.SwapEMAWeights) -> None:
        """See the class."""
        super().__init__()
        self.averages = averages

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After everybody had a word about going on."""
        if self.model.stop_training:
            keep_averages(self.averages)


def averaging(
    ema: float | None,
) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
    """Callbacks to stand first and last in a phase; none without an average.

    Args:
        ema: The phase's momentum, or None.
    """
    if ema is None:
        return [], []
    averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    return [averages], [KeepAverages(averages)]
