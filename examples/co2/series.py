"""The weekly CO2 record of Mauna Loa, and the numbers that the model sees of it: the same for training and demo."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

YEAR = 52  # weeks; also the number of weeks that the model looks ahead
SCALE = 3.0  # ppm; about one standard deviation of the seasonal swing
FIRST_HELD_OUT = "1995-01-01"  # no week from here on is seen in training

HERE = Path(__file__).parent
MODEL = HERE / "co2.keras"
EXPECTED = HERE / "expected.npz"


def load() -> tuple[np.ndarray, np.ndarray]:
    """Dates (weeks,) and CO2 in ppm (weeks,); the few missing weeks are drawn straight between their neighbours."""
    with open(HERE / "co2.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    dates = np.array([row["date"] for row in rows], dtype="datetime64[D]")
    ppm = np.array([float(row["co2_ppm"] or "nan") for row in rows])
    known = ~np.isnan(ppm)
    return dates, np.interp(np.arange(len(ppm)), np.flatnonzero(known), ppm[known])


def features(dates: np.ndarray, ppm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model reads each week (weeks, 6), and the past year's mean in ppm (weeks,), to which its forecast adds.

    A week needs the two years before it; rows without them are left out, so row 0 is week 2 * YEAR - 1 of the record.
    """
    sums = np.concatenate([[0.0], np.cumsum(ppm)])
    mean = (sums[YEAR:] - sums[:-YEAR]) / YEAR  # mean[i]: weeks i .. i + YEAR - 1
    past_year, year_before = mean[YEAR:], mean[:-YEAR]
    kept = slice(2 * YEAR - 1, None)
    phase = 2 * np.pi * (dates[kept] - dates[kept].astype("datetime64[Y]")).astype(float) / 365.25
    columns = [
        (ppm[kept] - past_year) / SCALE,
        past_year - year_before - 1.3,  # ppm a year; 1.3 is about the record's mean growth
        np.sin(phase),
        np.cos(phase),
        np.sin(2 * phase),
        np.cos(2 * phase),
    ]
    return np.stack(columns, axis=1).astype(np.float32), past_year


def to_ppm(prediction: np.ndarray, past_year: np.ndarray) -> np.ndarray:
    """The model's output (weeks, YEAR) as ppm for each of the coming YEAR weeks."""
    return past_year[:, None] + SCALE * prediction.astype(np.float64)
