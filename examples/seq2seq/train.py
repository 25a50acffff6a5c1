"""Trains the encoder and decoder that decode.py runs: a digit string comes in, its digits come out in reverse order.

    python train.py        writes encoder.keras and decoder.keras; needs Keras with TensorFlow
Next: decode.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from decode import MOST_DIGITS, START, STOP, encode
from keras import layers

HERE = Path(__file__).resolve().parent
TOKENS = STOP + 1
UNITS = 64
EMBEDDING = 16


def make_models() -> tuple[Any, Any, Any]:
    """The model that is trained, and its two halves: the encoder gives the states that the decoder starts from."""
    question = keras.Input((MOST_DIGITS,), dtype="int32", name="question")
    embedding = layers.Embedding(TOKENS, EMBEDDING, mask_zero=True, name="question_embedding")
    _, h, c = layers.LSTM(UNITS, return_state=True, name="encoder")(embedding(question))
    answer = keras.Input((None,), dtype="int32", name="answer")
    answer_embedding = layers.Embedding(TOKENS, EMBEDDING, name="answer_embedding")
    decoder = layers.LSTM(UNITS, return_sequences=True, name="decoder")
    head = layers.Dense(TOKENS, name="head")
    logits = head(decoder(answer_embedding(answer), initial_state=[h, c]))
    whole = keras.Model([question, answer], logits, name="seq2seq")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    steps = keras.Model(tokens, head(decoder(answer_embedding(tokens))), name="decoder_steps")
    return whole, keras.Model(question, [h, c], name="encoder_states"), steps


def batch(random: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Questions and answers: the decoder reads START and the answer, and is to say the answer and STOP."""
    questions = ["".join(map(str, random.integers(0, 10, random.integers(1, MOST_DIGITS + 1)))) for _ in range(count)]
    answers = np.full((count, MOST_DIGITS + 2), STOP, "int32")
    answers[:, 0] = START
    for row, text in enumerate(questions):
        answers[row, 1 : len(text) + 1] = encode([text[::-1]])[0, : len(text)]
    return (encode(questions), answers[:, :-1]), answers[:, 1:]


def main() -> None:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    whole, encoder, decoder = make_models()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole.compile(keras.optimizers.Adam(0.005), loss)
    inputs, targets = batch(random, 60_000)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.005 * 0.8**epoch)
    whole.fit(list(inputs), targets, batch_size=128, epochs=12, callbacks=[schedule], verbose=2)
    inputs, targets = batch(random, 2000)
    right = (whole.predict(list(inputs), verbose=0).argmax(-1) == targets).all(-1).mean()
    print(f"{right:.1%} of unseen strings reversed without a mistake")
    encoder.save(HERE / "encoder.keras")
    decoder.save(HERE / "decoder.keras")


if __name__ == "__main__":
    main()
