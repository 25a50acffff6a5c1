"""The seq2seq example: greedy decoding on streams gives the tokens of Keras's own loop."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from programs import TESTS

EXAMPLE = TESTS.parent / "examples" / "seq2seq"
if not EXAMPLE.is_dir():
    pytest.skip("no examples beside these tests (an installed wheel)", allow_module_level=True)


@pytest.fixture
def example(monkeypatch):
    """Imports a module of the example."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    before = set(sys.modules)
    yield importlib.import_module
    for name in {"decode", "compare", "train"} - before:
        sys.modules.pop(name, None)


def test_the_answers_are_right(example):
    decode = example("decode")
    random = np.random.default_rng(2)
    texts = ["".join(map(str, random.integers(0, 10, random.integers(1, 11)))) for _ in range(300)]
    answers = decode.Decoder().decode(decode.encode(texts))
    right = sum(decode.text_of(answer) == text[::-1] for text, answer in zip(texts, answers, strict=True))
    assert right >= 0.97 * len(texts)


def test_keras_says_the_same_tokens(example, keras):
    compare = example("compare")
    tokens = compare.encode(compare.questions_of(64))
    mine = compare.Decoder().decode(tokens)
    assert np.array_equal(mine, compare.KerasDecoder().decode(tokens))
    assert np.array_equal(mine, compare.KerasDecoder(compiled=True).decode(tokens))


def test_a_row_alone_has_the_tokens_of_the_batch(example):
    decode = example("decode")
    decoder, tokens = decode.Decoder(), decode.encode(["31415", "2", "2718281828", "90"])
    answers = decoder.decode(tokens)
    for row, answer in zip(tokens, answers, strict=True):
        assert np.array_equal(decoder.decode(row[None])[0], answer)


def test_the_decoder_stops_where_it_is_told_to(example):
    decode = example("decode")
    decoder, tokens = decode.Decoder(), decode.encode(["31415"])
    assert np.array_equal(decoder.decode(tokens, most=3)[0], decoder.decode(tokens)[0, :3])


@pytest.mark.parametrize("text", ["", "12345678901", "12a", "١٢"])
def test_other_texts_are_refused(example, text):
    with pytest.raises(ValueError, match="digits"):
        example("decode").encode([text])


def test_the_script_prints_the_answers(example, capsys):
    example("decode").main(["31415"])
    assert capsys.readouterr().out == "31415 -> 51413\n"


def test_training_makes_these_models(example, keras):
    """The committed halves are what train.py builds: the same layers, shapes and number of weights."""
    train, decode = example("train"), example("decode")
    _, encoder, steps = train.make_models()
    decoder = decode.Decoder()
    for made, committed in ((encoder, decoder.encoder), (steps, decoder.decoder)):
        assert [weight.shape for weight in made.get_weights()] == [w.shape for w in committed.get_weights()]
    (questions, read), said = train.batch(np.random.default_rng(0), 5)
    for question, before, after in zip(questions, read, said, strict=True):
        assert decode.text_of(after)[::-1] == "".join(str(token - 1) for token in question if token)
        assert before[0] == decode.START
        assert np.array_equal(before[1:], after[:-1])
