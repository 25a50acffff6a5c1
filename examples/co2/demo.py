"""Forecast a year of atmospheric CO2, week by week, with a saved Keras model and no Keras: `make demo`.

Two uses of one model: many windows in one `predict`, and a stream that takes each week's value as it comes.
Prints what it did, how long it took and how good the forecasts are, and writes a plot (co2.png, or the name given).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import lstmfast
import series
from series import YEAR

WINDOW = 2 * YEAR  # weeks that each window of the batch holds


def rms(errors: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.sqrt(np.mean(np.square(errors), axis=axis))


def predict_windows(model: lstmfast.Sequential, x: np.ndarray) -> np.ndarray:
    """A forecast from each window of two years, all in one call; row i is that of weeks i to i + WINDOW - 1."""
    windows = x[np.arange(len(x) - WINDOW + 1)[:, None] + np.arange(WINDOW)]  # (windows, WINDOW, features)
    model.predict(windows[:32], verbose=0)
    start = time.perf_counter()
    forecasts = model.predict(windows, verbose=0)
    seconds = time.perf_counter() - start
    print(
        f"batch    {len(windows)} windows of {WINDOW} weeks in one predict: {1e3 * seconds:.1f} ms, "
        f"{1e6 * seconds / len(windows):.1f} us a window"
    )
    return forecasts


def stream_weeks(model: lstmfast.Sequential, x: np.ndarray) -> np.ndarray:
    """A forecast after each week of the record, from all that came before it."""
    stream = model.stream()
    forecasts = np.empty((len(x), YEAR), np.float32)
    seconds = np.empty(len(x))
    for week in range(len(x)):
        start = time.perf_counter()
        forecasts[week] = stream.step(x[week : week + 1])[0]
        seconds[week] = time.perf_counter() - start
    print(
        f"stream   {len(x)} weeks, one at a time: median {1e6 * np.median(seconds):.1f} us a week, "
        f"{1e3 * np.sum(seconds):.1f} ms for all"
    )
    return forecasts


def check(model: lstmfast.Sequential, x: np.ndarray, batch: np.ndarray, streamed: np.ndarray) -> None:
    """Step by step, in a batch or alone: the same bits. And the numbers are those of Keras."""
    for row in (0, len(batch) // 2, len(batch) - 1):
        stream = model.stream()
        for week in range(row, row + WINDOW):
            last = stream.step(x[week : week + 1])
        assert np.array_equal(last[0], batch[row]), f"window {row}: stream and batch differ"
    for count in (1, 1000, len(x)):
        whole = model.predict(x[None, :count], verbose=0)
        assert np.array_equal(whole[0], streamed[count - 1]), f"{count} weeks: stream and whole sequence differ"
    print("bits     stream, batch and whole sequence agree bit for bit")

    expected = np.load(series.EXPECTED)
    off_batch = np.abs(batch[expected["window_ends"] - WINDOW] - expected["window_forecasts"]).max()
    off_stream = np.abs(streamed[expected["weeks"]] - expected["week_forecasts"]).max()
    print(f"keras    largest difference from Keras {expected['keras_version']}: {max(off_batch, off_stream):.1e}")
    assert max(off_batch, off_stream) < 1e-5, "the forecasts are not those of Keras"


def score(ppm: np.ndarray, forecast: np.ndarray, past_year: np.ndarray, held_out: int) -> dict[str, np.ndarray]:
    """Error in ppm (YEAR,) for 1 .. YEAR weeks ahead over the held-out weeks: the model, and two naive forecasts."""
    first = len(ppm) - len(forecast)
    weeks = np.arange(held_out, len(ppm) - YEAR)
    ahead = weeks[:, None] + 1 + np.arange(YEAR)
    growth = past_year[weeks - first] - past_year[weeks - first - YEAR]
    guesses = {
        "LSTM": forecast[weeks - first],
        "last year's value + last year's growth": ppm[ahead - YEAR] + growth[:, None],
        "last year's value": ppm[ahead - YEAR],
    }
    print(f"error    root mean square over {len(weeks)} held-out weeks, in ppm, 1 to {YEAR} weeks ahead:")
    for name, guess in guesses.items():
        print(f"           {rms(guess - ppm[ahead]):.2f}  {name}")
    return {name: rms(guess - ppm[ahead], axis=0) for name, guess in guesses.items()}


def plot(
    path: Path, dates: np.ndarray, ppm: np.ndarray, forecast: np.ndarray, held_out: int, errors: dict[str, np.ndarray]
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = len(ppm) - len(forecast)
    later = dates[-1] + 7 * (1 + np.arange(YEAR)).astype("timedelta64[D]")
    all_dates = np.concatenate([dates, later])
    made = np.arange(held_out - YEAR, len(ppm))  # weeks whose forecast a year ahead is held out or yet to come
    observed, predicted, colours = "#444444", "#d1495b", ["#d1495b", "#2e86ab", "#999999"]

    panels = [["record", "record"], ["year", "error"]]
    figure, axes = plt.subplot_mosaic(panels, figsize=(12, 8.5), layout="constrained")
    figure.suptitle("CO2 at Mauna Loa: a Keras LSTM forecasts the year ahead, run by lstmfast", fontsize=14)

    record = axes["record"]
    record.axvspan(dates[held_out], all_dates[-1], color="#f3e9d2", label="not seen in training")
    record.plot(dates, ppm, color=observed, linewidth=0.8, label="observed, weekly")
    year_ahead = forecast[made - first, -1]
    record.plot(
        all_dates[made + YEAR], year_ahead, color=predicted, linewidth=1.2, label="forecast, made a year before"
    )
    record.set(title="The whole record", xlabel="year", ylabel="CO2 (ppm)", xlim=(dates[0], all_dates[-1]))
    record.legend(loc="upper left")

    year = axes["year"]
    shown = slice(len(ppm) - 3 * YEAR, None)
    year.axvspan(dates[shown][0], all_dates[-1], color="#f3e9d2")
    year.plot(dates[shown], ppm[shown], ".", color=observed, markersize=4, label="observed, weekly")
    for years_ago, label in ((2, None), (1, None), (0, "forecast of a year")):
        week = len(ppm) - 1 - years_ago * YEAR
        coming = all_dates[week + 1 : week + 1 + YEAR]
        year.plot(coming, forecast[week - first], color=predicted, linewidth=1.8, label=label)
        year.axvline(all_dates[week], color=predicted, linewidth=0.8, linestyle=":")
    year.set(title="Three forecasts, each made at a dotted line", xlabel="date", ylabel="CO2 (ppm)")
    year.tick_params(axis="x", rotation=30)
    year.legend(loc="upper left")

    error = axes["error"]
    for (name, values), colour in zip(errors.items(), colours):
        error.plot(1 + np.arange(YEAR), values, color=colour, linewidth=1.8, label=name)
    error.set(title="How far off, on weeks not seen in training", xlabel="weeks ahead", xlim=(1, YEAR))
    error.set(ylabel="root mean square error (ppm)", ylim=(0, None))
    error.legend(loc="lower right")

    figure.savefig(path, dpi=110)
    print(f"plot     {path}")


def main(path: str = "co2.png") -> None:
    dates, ppm = series.load()
    x, past_year = series.features(dates, ppm)
    held_out = int(np.searchsorted(dates, np.datetime64(series.FIRST_HELD_OUT)))
    print(
        f"record   {len(ppm)} weeks of CO2 at Mauna Loa, {dates[0]} to {dates[-1]}; held out: from {dates[held_out]} on"
    )

    start = time.perf_counter()
    model = lstmfast.load_model(series.MODEL)
    milliseconds = 1e3 * (time.perf_counter() - start)
    assert not {"keras", "tensorflow"} & set(sys.modules)
    print(
        f"model    {series.MODEL.name}, {model.count_params()} parameters, loaded in {milliseconds:.1f} ms by lstmfast "
        f"{lstmfast.__version__} (no Keras, no TensorFlow; {lstmfast.get_num_threads()} threads)"
    )

    batch = predict_windows(model, x)
    streamed = stream_weeks(model, x)
    check(model, x, batch, streamed)
    forecast = series.to_ppm(streamed, past_year)
    errors = score(ppm, forecast, past_year, held_out)
    plot(Path(path), dates, ppm, forecast, held_out, errors)


if __name__ == "__main__":
    main(*sys.argv[1:])
