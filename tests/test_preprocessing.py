"""Tokenizer and pad_sequences beside those of Keras."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from bits import assert_same_bits

from lstmfast import Input, Sequential, layers
from lstmfast.preprocessing import (
    TimeseriesGenerator,
    Tokenizer,
    load_tokenizer,
    pad_sequences,
    timeseries_dataset_from_array,
    tokenizer_from_json,
)

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
        (tmp_path / "marked.json").write_text(theirs.to_json(), "utf-8-sig")
        for protocol in (0, 1, 2, pickle.HIGHEST_PROTOCOL):
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


def test_counts_of_sequences_are_those_of_keras(tf_keras):
    tokenizers = tf_keras.preprocessing.text.Tokenizer(num_words=6), Tokenizer(num_words=6)
    for tokenizer in tokenizers:
        tokenizer.fit_on_sequences([[1, 2, 2], [2, 5], []])
        tokenizer.fit_on_sequences([[1]])
    theirs, mine = (tokenizer.sequences_to_matrix([[1, 1, 2], [3, 5]], "tfidf") for tokenizer in tokenizers)
    np.testing.assert_allclose(mine, theirs, 1e-15)


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


class Plain:
    pass


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "exhausted"),
        (b"{", "not the JSON"),
        (b'{"config": 3}', "not the JSON"),
        (b'{"config": {"num_words": "many"}}', "num_words='many'"),
        (b'{"config": {"word_index": "{\\"a\\": \\"b\\"}"}}', "numbers the word 'a' 'b'"),
        (b'{"config": {"word_index": "[1]"}}', "not the JSON"),
        (b"[" * 100_000, "not the JSON or the pickle"),
        (b'"' * 5, "not the JSON"),
        (pickle.dumps({"a": 1}), "holds a dict"),
        (pickle.dumps(bytearray(9), 5), "opcode BYTEARRAY8"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "as number 2147483647, of 2"),
        (pickle.dumps(Harmful()), "print"),
        (pickle.dumps(np.ones(3)), "opcode SHORT_BINBYTES"),
        (pickle.dumps(np.float32), "no part of one"),
        (pickle.dumps({"a": 1})[:-4], "not the JSON or the pickle"),
        (pickle.dumps(object.__new__(Plain), 0), "no part of one"),
        (b"ccopy_reg\n_reconstructor\n(c__builtin__\nint\nc__builtin__\nint\nI3\ntR.", "something else"),
    ],
    ids=range(17),
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


@pytest.mark.parametrize(
    "options",
    [
        {"length": 3, "batch_size": 4},
        {"length": 3, "batch_size": 4, "stride": 2, "reverse": True},
        {"length": 6, "sampling_rate": 2, "batch_size": 3, "start_index": 2, "end_index": 15},
        {"length": 19, "batch_size": 128},
    ],
)
def test_windows_are_those_of_keras_2(tf_keras, options):
    data = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    targets = np.arange(20)
    mine = TimeseriesGenerator(data, targets, **options)
    theirs = tf_keras.preprocessing.sequence.TimeseriesGenerator(data, targets, **options)
    assert len(mine) == len(theirs)
    for index in range(len(mine)):
        for found, expected in zip(mine[index], theirs[index], strict=True):
            assert_same_bits(found, expected)
    with pytest.raises(IndexError):
        mine[len(mine)]
    net = Sequential([Input((None, 2)), layers.LSTM(3)])
    joined = np.concatenate([x for x, _ in (theirs[index] for index in range(len(theirs)))])
    assert_same_bits(net.predict(mine), net.predict(joined))
    shuffled = TimeseriesGenerator(data, targets, **options, shuffle=True)
    assert all(len(x) == len(y) == shuffled.batch_size for x, y in (shuffled[0],))


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_length": 3, "batch_size": 4},
        {"sequence_length": 3, "batch_size": 4, "sequence_stride": 2},
        {"sequence_length": 3, "sampling_rate": 4, "batch_size": 3, "start_index": 2, "end_index": 15},
        {"sequence_length": 20},
        {"sequence_length": 3, "batch_size": None},
    ],
)
@pytest.mark.parametrize("with_targets", [True, False])
def test_windows_are_those_of_keras_3(keras, options, with_targets):
    data = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    targets = np.arange(20) if with_targets else None
    mine = timeseries_dataset_from_array(data, targets, **options)
    theirs = keras.utils.timeseries_dataset_from_array(data, targets, **options)
    batches = [[np.asarray(one) for one in (batch if with_targets else (batch,))] for batch in theirs]
    found = [list(batch if with_targets else (batch,)) for batch in mine]
    assert len(mine) == len(found) == len(batches)
    for some, others in zip(found, batches, strict=True):
        for one, other in zip(some, others, strict=True):
            assert_same_bits(np.asarray(one), other)
    if options.get("batch_size", 128):
        net = Sequential([Input((None, 2)), layers.LSTM(3)])
        assert_same_bits(net.predict(mine), net.predict(np.concatenate([some[0] for some in batches])))


def test_what_windows_refuse():
    data = np.arange(10)
    for arguments, message in (
        ((data, data[1:], 3), "same length"),
        ((data, data, 0), "length.*positive"),
        ((data, data, 3, 1, 0), "stride.*positive"),
        ((data, data, 10), "no part of the sequence"),
        ((data, data, 3, 1, 1, 8), "no part of the sequence"),
        ((data, data, 3, 1, 1, -1), "no part of the sequence"),
        ((data, data, 3, 1, 1, 0, 10), "no part of the sequence"),
    ):
        with pytest.raises(ValueError, match=message):
            TimeseriesGenerator(*arguments)
    for options, message in (
        ({"sequence_length": 0}, "sequence_length.*positive"),
        ({"sequence_length": 3, "sampling_rate": 0}, "sampling_rate.*positive"),
        ({"sequence_length": 3, "batch_size": 0}, "batch_size.*positive"),
        ({"sequence_length": 3, "start_index": -1}, "start_index.*-1"),
        ({"sequence_length": 3, "start_index": 10}, "start_index.*10"),
        ({"sequence_length": 3, "end_index": 11}, "end_index.*11"),
        ({"sequence_length": 3, "start_index": 5, "end_index": 5}, "higher than"),
    ):
        with pytest.raises(ValueError, match=message):
            timeseries_dataset_from_array(data, None, **options)
    assert len(timeseries_dataset_from_array(data, None, 11)) == 0
    first, again = (list(timeseries_dataset_from_array(data, data, 3, shuffle=True, seed=3)) for _ in range(2))
    assert_same_bits(first[0][0], again[0][0])
    assert_same_bits(first[0][0][:, 0], first[0][1])
    assert sorted(first[0][1]) == list(range(8))
