"""Train the model of this demo with Keras, and save what the demo needs: python examples/co2/train.py

Needs Keras with the TensorFlow backend; takes a few minutes on two cores. Writes co2.keras and expected.npz.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import series

SPAN = 4 * series.YEAR  # weeks in one training sequence
WARM_UP = series.YEAR  # its first weeks, whose forecasts do not count in the loss


def network(units: int, dropout: float, every_week: bool) -> keras.Sequential:
    """Two LSTM layers read week after week; a Dense layer forecasts the coming year: after each week, or the last."""
    return keras.Sequential(
        [
            keras.Input((None, 6)),
            layers.LSTM(units, return_sequences=True),
            layers.Dropout(dropout),
            layers.LSTM(units, return_sequences=every_week),
            layers.Dropout(dropout),
            layers.Dense(series.YEAR),
        ],
        name="co2",
    )


def main(units: int = 64, dropout: float = 0.1, epochs: int = 20) -> None:
    """The defaults did best of four settings on the years 1988 to 1994, trained on those before; see README.md."""
    keras.utils.set_random_seed(7)
    dates, ppm = series.load()
    x, past_year = series.features(dates, ppm)
    first = len(ppm) - len(x)
    weeks = np.arange(first, len(ppm) - series.YEAR)  # weeks whose coming year is in the record
    coming = ppm[weeks[:, None] + 1 + np.arange(series.YEAR)]
    target = ((coming - past_year[weeks - first, None]) / series.SCALE).astype(np.float32)
    held_out = int(np.searchsorted(dates, np.datetime64(series.FIRST_HELD_OUT)))
    count = held_out - series.YEAR - first  # training weeks: neither they nor the year after them are held out

    starts = np.arange(0, count - SPAN + 1, 4)
    rows = starts[:, None] + np.arange(SPAN)
    weight = np.zeros(rows.shape, np.float32)
    weight[:, WARM_UP:] = 1
    trained = network(units, dropout, every_week=True)
    steps = epochs * -(-len(starts) // 32)
    trained.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps), clipnorm=1.0), "mse")
    trained.fit(x[rows], target[rows], sample_weight=weight, batch_size=32, epochs=epochs, verbose=2)

    model = network(units, dropout, every_week=False)
    model.set_weights(trained.get_weights())
    model.save(series.MODEL)

    # What the demo checks itself against: Keras's own forecasts from a few windows, and after some weeks of the record.
    ends = np.array([held_out - first, held_out - first + 100, len(x)])
    windows = np.stack([x[end - 2 * series.YEAR : end] for end in ends])
    predicted = trained.predict(x[None], verbose=0)[0]
    sampled = np.arange(0, len(x), 100)
    np.savez_compressed(
        series.EXPECTED,
        window_ends=ends,
        window_forecasts=model.predict(windows, verbose=0),
        weeks=sampled,
        week_forecasts=predicted[sampled],
        keras_version=keras.__version__,
    )
    forecast = series.to_ppm(predicted, past_year)
    tested = np.arange(held_out, len(ppm) - series.YEAR)
    truth = ppm[tested[:, None] + 1 + np.arange(series.YEAR)]
    last_year = ppm[tested[:, None] + 1 + np.arange(series.YEAR) - series.YEAR]
    drift = past_year[tested - first] - past_year[tested - first - series.YEAR]
    for name, guess in {
        "model": forecast[tested - first],
        "same week a year before": last_year,
        "the same plus last year's growth": last_year + drift[:, None],
    }.items():
        print(f"{name:35s} {np.sqrt(np.mean((guess - truth) ** 2)):.3f} ppm root mean square over {len(tested)} weeks")


if __name__ == "__main__":
    main()
