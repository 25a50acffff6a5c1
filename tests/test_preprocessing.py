"""Tokenizer and pad_sequences beside those of Keras."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from bits import assert_same_bits

from lstmfast.preprocessing import Tokenizer, load_tokenizer, pad_sequences, tokenizer_from_json

TEXTS = [
    "The film was good, the cast was GOOD!",
    "a bad film;\tthe worst\nof all -- don't",
    "",
    "Ünïcode ﬁlm: good? good.",
    ["Already", "split", "film"],
]
NEW = ["good film unknown-word", "", "WORST cast ever", ["film", "Good", "zzz"], "the the the a"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"oov_token": "<OOV>"},
        {"num_words": 4},
        {"num_words": 4, "oov_token": "film"},
        {"lower": False, "split": "i"},
        {"char_level": True, "num_words": 9},
        {"filters": "", "oov_token": "?"},
        {"analyzer": lambda text: text.split("o")},
    ],
    ids=" ".join,
)
def test_tokenizer_is_that_of_keras(tf_keras, options, tmp_path):
    theirs, fitted = tf_keras.preprocessing.text.Tokenizer(**options), Tokenizer(**options)
    theirs.fit_on_texts(TEXTS)
    fitted.fit_on_texts(TEXTS)
    mine = [fitted]
    if "analyzer" not in options:
        (tmp_path / "t.json").write_text(theirs.to_json())
        (tmp_path / "twice.json").write_text(json.dumps(theirs.to_json()))
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            (tmp_path / f"t{protocol}.pickle").write_bytes(pickle.dumps(theirs, protocol))
        mine += [load_tokenizer(path) for path in tmp_path.iterdir()]
        mine += [tokenizer_from_json(fitted.to_json())]
        again = tf_keras.preprocessing.text.tokenizer_from_json(mine[1].to_json(indent=1))
        assert again.texts_to_sequences(NEW) == theirs.texts_to_sequences(NEW)
    for one in mine:
        assert one.word_index == theirs.word_index
        sequences = one.texts_to_sequences(NEW)
        assert sequences == theirs.texts_to_sequences(NEW)
        assert one.sequences_to_texts(sequences) == theirs.sequences_to_texts(sequences)
        assert one.sequences_to_texts([[1, 999]]) == theirs.sequences_to_texts([[1, 999]])
        for mode in ("binary", "count", "freq", "tfidf"):
            expected = theirs.texts_to_matrix(NEW, mode)
            np.testing.assert_allclose(one.texts_to_matrix(NEW, mode), expected, 1e-15)


@pytest.mark.parametrize("maxlen", [None, 0, 2, 7])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
def test_padding_is_that_of_keras(keras, maxlen, padding, truncating):
    random = np.random.default_rng(0)
    options: dict[str, Any] = {"maxlen": maxlen, "padding": padding, "truncating": truncating}
    lists = [[1], [], [2, 3, 4, 5], list(range(9)), (7, 8)]
    arrays = [random.uniform(-1, 1, (steps, 3)) for steps in (1, 4, 9)]
    for sequences, more in (
        (lists, {}),
        (lists, {"value": -1.5, "dtype": "float32"}),
        (arrays, {"dtype": "float64"}),
        ([["a"], ["b", "c"]], {"dtype": object, "value": "pad"}),
    ):
        mine = pad_sequences(sequences, **options, **more)
        if maxlen != 0:  # where Keras keeps what is longer, and fails
            theirs = keras.utils.pad_sequences(sequences, **options, **more)
            assert mine.dtype == theirs.dtype
            if more.get("dtype") is object:
                assert mine.tolist() == theirs.tolist()
            else:
                assert_same_bits(mine, theirs)
        else:
            assert mine.shape[:2] == (len(sequences), 0)
    assert pad_sequences([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3],), "non-iterable: 3"),
        ((5,), "must be iterable"),
        (([[1]], 2, "int32", "before"), "padding.*before"),
        (([[1]], 2, "int32", "pre", "before"), "truncating.*before"),
        (([[1]], -1), "maxlen.*-1"),
        (([[1]], 2.0), "maxlen.*2.0"),
        (([[1]], 2, "int32", "pre", "pre", "x"), "dtype=object"),
        (([np.ones((2, 3)), np.ones((2, 4))],), r"\(4,\).*position 1.*\(3,\)"),
    ],
)
def test_what_padding_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pad_sequences(*arguments)


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Ran out of input"),
        (b"{", "not the JSON"),
        (b'{"config": 3}', "not the JSON"),
        (b'{"config": {"num_words": "many"}}', "num_words='many'"),
        (b'{"config": {"word_index": "{\\"a\\": \\"b\\"}"}}', "numbers the word 'a' 'b'"),
        (b'{"config": {"word_index": "[1]"}}', "not the JSON"),
        (b"[" * 100_000, "not the JSON or the pickle"),
        (b'"' * 5, "not the JSON"),
        (pickle.dumps({"a": 1}), "holds a dict"),
        (pickle.dumps(Harmful()), "print"),
        (pickle.dumps(np.ones(3)), "no part of one"),
        (pickle.dumps({"a": 1})[:-4], "not the JSON or the pickle"),
    ],
    ids=range(12),
)
def test_hostile_tokenizers(content, message, tmp_path, capsys):
    path = tmp_path / "tokenizer"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_tokenizer(path)
    assert "tokenizer" in str(raised.value)
    assert not capsys.readouterr().out


def test_what_a_tokenizer_refuses(tmp_path):
    tokenizer = Tokenizer()
    with pytest.raises(ValueError, match="fit on some text data first"):
        tokenizer.sequences_to_matrix([[1]])
    with pytest.raises(ValueError, match="before using tfidf"):
        Tokenizer(num_words=5).sequences_to_matrix([[1]], "tfidf")
    with pytest.raises(ValueError, match="mode: some"):
        tokenizer.sequences_to_matrix([[1]], "some")
    with pytest.raises(TypeError, match=r"texts, or lists of words.*3"):
        tokenizer.texts_to_sequences([3])
    with pytest.raises(OSError, match="missing"):
        load_tokenizer(tmp_path / "missing")
