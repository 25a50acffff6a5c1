"""The same decoding with Keras and with lstmfast: the tokens of both, and the time that each takes.

python compare.py        needs Keras with TensorFlow
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from decode import HERE, MOST_DIGITS, START, STOP, Decoder, Tokens, encode


class KerasDecoder:
    """Keras's own loop, as its seq2seq examples have it: the decoder's LSTM layer is called with its last states.

    ``compiled`` makes a `tf.function` of the encoder and of one step, so that TensorFlow plans them once.
    """

    def __init__(self, compiled: bool = False) -> None:
        self.encoder = keras.models.load_model(HERE / "encoder.keras")
        decoder = keras.models.load_model(HERE / "decoder.keras")
        token = keras.Input((1,), dtype="int32")
        states = [keras.Input((decoder.get_layer("decoder").units,)) for _ in range(2)]
        cell = decoder.get_layer("decoder").cell
        h, after = cell(decoder.get_layer("answer_embedding")(token)[:, 0], states)
        self.step = keras.Model([token, *states], [decoder.get_layer("head")(h), *after])
        if compiled:
            import tensorflow as tf

            self.encoder, self.step = tf.function(self.encoder), tf.function(self.step)

    def decode(self, questions: Tokens, most: int = MOST_DIGITS + 1) -> Tokens:
        states: list[Any] = list(self.encoder(questions))
        token = np.full(len(questions), START, "int32")
        answers = np.full((len(questions), most), STOP, "int32")
        going = np.ones(len(questions), bool)
        for step in range(most):
            logits, *states = self.step([keras.ops.convert_to_tensor(token[:, None]), *states])
            token = np.asarray(logits).argmax(-1).astype("int32")
            answers[going, step] = token[going]
            going &= token != STOP
            if not going.any():
                break
        return answers


def questions_of(count: int, seed: int = 1) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(map(str, random.integers(0, 10, random.integers(1, MOST_DIGITS + 1)))) for _ in range(count)]


def milliseconds(decode: Callable[[Tokens], Tokens], tokens: Tokens) -> float:
    """The median of nine runs."""
    decode(tokens)
    taken = []
    for _ in range(9):
        begin = time.perf_counter()
        decode(tokens)
        taken.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(taken))


def main() -> None:
    mine, keras_loop, compiled = Decoder(), KerasDecoder(), KerasDecoder(compiled=True)
    print("| rows | lstmfast ms | Keras in tf.function ms | Keras ms | same tokens |\n|---|---|---|---|---|")
    for rows in (1, 16, 256):
        tokens = encode(questions_of(rows))
        same = np.array_equal(mine.decode(tokens), keras_loop.decode(tokens))
        taken = [milliseconds(decoder.decode, tokens) for decoder in (mine, compiled, keras_loop)]
        print(f"| {rows} | {taken[0]:.2f} | {taken[1]:.1f} | {taken[2]:.1f} | {'yes' if same else 'no'} |")


if __name__ == "__main__":
    main()
