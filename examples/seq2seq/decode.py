"""Greedy decoding of a sequence-to-sequence model, one token a step, on streams that start from the encoder's states.

    python decode.py 31415 2718        prints the answers of the model that train.py trained
Next: compare.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast

HERE = Path(__file__).resolve().parent
MOST_DIGITS = 10
START, STOP = 11, 12  # 0 is padding, 1 to 10 are the digits

Tokens = np.ndarray[Any, Any]


def encode(texts: list[str]) -> Tokens:
    """Digit strings -> (rows, MOST_DIGITS) tokens, padded at the end."""
    tokens = np.zeros((len(texts), MOST_DIGITS), "int32")
    for row, text in enumerate(texts):
        if not 0 < len(text) <= MOST_DIGITS or not text.isdecimal() or not text.isascii():
            raise ValueError(f"Expected 1 to {MOST_DIGITS} digits, got {text!r}.")
        tokens[row, : len(text)] = [int(digit) + 1 for digit in text]
    return tokens


def text_of(tokens: Tokens) -> str:
    """The digits before the first STOP."""
    row = tokens.tolist()
    return "".join(str(token - 1) for token in row[: row.index(STOP) if STOP in row else None])


class Decoder:
    """The two halves of the model."""

    def __init__(self, folder: Path = HERE) -> None:
        self.encoder = lstmfast.load_model(folder / "encoder.keras")
        self.decoder = lstmfast.load_model(folder / "decoder.keras")

    def decode(self, questions: Tokens, most: int = MOST_DIGITS + 1) -> Tokens:
        """The most likely next token again and again: (rows, MOST_DIGITS) -> (rows, steps), STOP behind the end."""
        rows = len(questions)
        stream = self.decoder.stream(rows)
        h, c = self.encoder.predict(questions, verbose=0)
        stream.state = [(h, c)]
        token = np.full(rows, START, "int32")
        answers = np.full((rows, most), STOP, "int32")
        going = np.ones(rows, bool)
        for step in range(most):
            token = stream.step(token).argmax(-1).astype("int32")
            answers[going, step] = token[going]
            going &= token != STOP
            if not going.any():
                break
        return answers


def main(texts: list[str]) -> None:
    for text, answer in zip(texts, Decoder().decode(encode(texts)), strict=True):
        print(text, "->", text_of(answer))


if __name__ == "__main__":
    main(sys.argv[1:] or ["31415", "2718281828"])
