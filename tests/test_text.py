"""Models that take text: vocabularies, strings of any kind, and what Keras gives for the same file."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import cli, layers

WORDS = ["the", "movie", "was", "great", "bad", "film", "\u00e9t\u00e9", "a b", "na\u00efve"]
TEXTS = [
    "The movie was GREAT!",
    "the   film, was bad...",
    "",
    "  \u00c9T\u00c9 \u00e9t\u00e9 na\u00efve\tthe\nmovie  ",
    "it's [not] {a} ~`film`",
    "one two three four five six seven eight nine ten",
]


OPTIONS = {
    "default": {},
    "length": {"output_sequence_length": 4},
    "lower": {"standardize": "lower", "output_sequence_length": 6},
    "strip": {"standardize": "strip_punctuation", "output_sequence_length": 5},
    "as it is": {"standardize": None},
    "characters": {"split": "character", "output_sequence_length": 12},
    "pairs": {"ngrams": 2, "output_sequence_length": 9},
    "only pairs": {"ngrams": (2,)},
    "limit": {"max_tokens": 50},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_ids_are_those_of_keras(keras, options):
    vocabulary = [*WORDS, *"abcdefgh"] if options.get("split") == "character" else WORDS
    vocabulary = list(dict.fromkeys(vocabulary))
    expected = keras.layers.TextVectorization(vocabulary=vocabulary, **options)(np.array(TEXTS, object))
    layer = layers.TextVectorization(vocabulary=vocabulary, **options)
    for given in (TEXTS, np.array(TEXTS), np.array(TEXTS, object)[:, None], [text.encode() for text in TEXTS]):
        found = layer(given)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("rows", [0, 2])
def test_words_without_a_split(keras, rows):
    words = np.array([["the", "Movie!"], ["", "bad"]], object)[:rows]
    options = {"split": None, "vocabulary": WORDS}
    np.testing.assert_array_equal(
        layers.TextVectorization(**options)(words), np.asarray(keras.layers.TextVectorization(**options)(words))
    )


LOOKUPS = {
    "default": {},
    "mask": {"mask_token": "<pad>"},
    "no unknown": {"num_oov_indices": 0},
    "other unknown": {"oov_token": "?", "mask_token": ""},
}


@pytest.mark.parametrize("options", LOOKUPS.values(), ids=LOOKUPS)
def test_lookups_are_those_of_keras(keras, options):
    vocabulary = ["up", "down", "left"]
    words = np.array([["up", "down"], ["left", "left"]], object)
    if options.get("num_oov_indices", 1):
        words = np.append(words, [["<pad>", ""], ["nowhere", "Up"]], axis=0)
    theirs = keras.layers.StringLookup(vocabulary=vocabulary, **options)
    ours = layers.StringLookup(vocabulary=vocabulary, **options)
    np.testing.assert_array_equal(ours(words), np.asarray(theirs(words)))
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    assert ours.vocabulary_size() == theirs.vocabulary_size()


def test_unknown_words_are_refused_where_nothing_stands_for_them():
    layer = layers.StringLookup(vocabulary=["up"], num_oov_indices=0)
    with pytest.raises(ValueError, match=r"found OOV values \[b'down'\]"):
        layer(["up", "down"])


ADAPTED = {
    "default": {},
    "few": {"max_tokens": 6},
    "pairs": {"ngrams": 2},
    "characters": {"split": "character"},
    "as it is": {"standardize": None},
}


@pytest.mark.parametrize("options", ADAPTED.values(), ids=ADAPTED)
def test_a_vocabulary_of_texts_is_that_of_keras(keras, options):
    texts = [*TEXTS, "b b a a c", "zz b", "[UNK] the \u00e9t\u00e9"]
    mine, theirs = (module.TextVectorization(**options) for module in (layers, keras.layers))
    for given in (texts, np.array(texts, object), np.array(texts, object)[:, None]):
        mine.adapt(given)
        theirs.adapt(given)
        assert mine.get_vocabulary() == theirs.get_vocabulary()
    if mine.vocabulary:
        np.testing.assert_array_equal(mine(texts), np.asarray(theirs(np.array(texts, object))))
    whole = mine.get_vocabulary()
    for layer in (mine, theirs):
        layer.adapt(np.array(texts[start : start + 4], object) for start in range(0, len(texts), 4))
    assert mine.get_vocabulary() == theirs.get_vocabulary() == whole
    for layer in (mine, theirs):
        layer.adapt((np.array(texts[start : start + 4], object) for start in range(0, len(texts), 4)), steps=1)
    assert mine.get_vocabulary() == theirs.get_vocabulary()


@pytest.mark.parametrize("options", [{}, {"mask_token": "", "oov_token": "up"}, {"num_oov_indices": 0}])
def test_a_vocabulary_of_words_is_that_of_keras(keras, options):
    words = np.array([["up", "down", ""], ["left", "up", "up"]], object)
    mine, theirs = (module.StringLookup(**options) for module in (layers, keras.layers))
    for layer in (mine, theirs):
        layer.adapt(words)
    assert mine.get_vocabulary() == theirs.get_vocabulary()
    np.testing.assert_array_equal(mine(words), np.asarray(theirs(words)))


def test_words_without_a_split_make_a_vocabulary(keras):
    words = np.array([["the", "Movie!"], ["", "bad"]], object)
    mine, theirs = (module.TextVectorization(split=None, ngrams=(1, 2)) for module in (layers, keras.layers))
    for layer in (mine, theirs):
        layer.adapt(words)
    assert mine.get_vocabulary() == theirs.get_vocabulary()


def test_what_makes_no_vocabulary_changes_nothing():
    layer = layers.TextVectorization()
    layer.adapt(["a b", "b"])
    for bad, error in (
        ([1, 2], TypeError),
        (3, TypeError),
        (np.array([["a", "b"]]), ValueError),
        ([b"\xff"], ValueError),
    ):
        with pytest.raises(error):
            layer.adapt(bad)
        assert layer.get_vocabulary() == ["", "[UNK]", "b", "a"]
    layer.set_vocabulary(["x"])
    with pytest.raises(ValueError, match="after setting a static vocabulary"):
        layer.adapt(["a"])
    assert layer.get_vocabulary() == ["", "[UNK]", "x"]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_vocabulary_in_a_file(keras, tmp_path, ending):
    path = tmp_path / "words.txt"
    path.write_bytes("\r\n".join([*WORDS, "a\u2028b"]).encode() + ending.encode())
    for name in ("TextVectorization", "StringLookup"):
        mine, theirs = (getattr(module, name)(vocabulary=str(path)) for module in (layers, keras.layers))
        assert mine.get_vocabulary() == theirs.get_vocabulary()
        given = getattr(layers, name)()
        given.set_vocabulary(path)
        assert given.get_vocabulary() == mine.get_vocabulary()
        assert mine.get_config()["vocabulary"][: len(WORDS)] == WORDS


def test_no_config_reads_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n")
    entry = {"class_name": "StringLookup", "config": {"name": "s", "vocabulary": str(path)}}
    for call in (
        lambda: layers.deserialize(entry),
        lambda: layers.StringLookup.from_config(entry["config"]),
        lambda: layers.TimeDistributed(entry),
    ):
        with pytest.raises(ValueError, match="names a file of a vocabulary"):
            call()


def test_arguments_in_the_order_of_keras():
    layer = layers.TextVectorization(50, "lower", "whitespace", None, "int", 4, False, ["a"])
    assert layer.get_vocabulary() == ["", "[UNK]", "a"]
    assert layers.StringLookup(None, 1, None, "?", ["a"], None, False, "int", False, False).get_vocabulary() == [
        "?",
        "a",
    ]


def classifier(keras, vectorization, functional=False):
    """The model of TensorFlow's tutorial on text and recurrent networks."""
    stack = [
        vectorization,
        keras.layers.Embedding(len(vectorization.get_vocabulary()), 8, mask_zero=True),
        keras.layers.Bidirectional(keras.layers.LSTM(6)),
        keras.layers.Dense(5, activation="relu"),
        keras.layers.Dense(1),
    ]
    entrance = keras.Input((1,), dtype="string")
    if not functional:
        return keras.Sequential([entrance, *stack])
    value = entrance
    for layer in stack:
        value = layer(value)
    return keras.Model(entrance, value)


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_a_file_whose_model_takes_text(keras, tmp_path, functional, learned):
    options = {"output_sequence_length": 6}
    vectorization = keras.layers.TextVectorization(**options, **({} if learned else {"vocabulary": WORDS}))
    if learned:
        vectorization.adapt(TEXTS)
    theirs = classifier(keras, vectorization, functional)
    expected = np.asarray(theirs(np.array(TEXTS, object)[:, None]))
    path = tmp_path / "text.keras"
    theirs.save(path)
    loaded, live = lstmfast.load_model(path), lstmfast.from_keras(theirs)
    for model in (loaded, live, pickle.loads(pickle.dumps(loaded))):
        text = next(layer for layer in model.layers if isinstance(layer, layers.TextVectorization))
        assert text.get_vocabulary() == vectorization.get_vocabulary()
        np.testing.assert_allclose(model(TEXTS), expected, atol=1e-6)
        for given in (TEXTS, np.array(TEXTS), np.array(TEXTS, object), np.array(TEXTS, object)[:, None]):
            assert_same_bits(model.predict(given), model(TEXTS))
    again = tmp_path / "again.keras"
    loaded.save(again)
    assert_same_bits(lstmfast.load_model(again)(TEXTS), loaded(TEXTS))
    np.testing.assert_allclose(
        np.asarray(keras.models.load_model(again)(np.array(TEXTS, object)[:, None])), expected, atol=1e-6
    )


def test_two_vocabularies_find_their_layers(keras, tmp_path):
    first, second = (
        keras.layers.TextVectorization(output_sequence_length=3),
        keras.layers.TextVectorization(output_sequence_length=3),
    )
    first.adapt(["red green", "red"])
    second.adapt(["north south", "south"])
    inputs = [keras.Input((1,), dtype="string") for _ in range(2)]
    inner = keras.Sequential([keras.Input((1,), dtype="string"), second])
    embedded = [keras.layers.Embedding(9, 4)(ids) for ids in (first(inputs[0]), inner(inputs[1]))]
    theirs = keras.Model(inputs, keras.layers.LSTM(3)(keras.layers.Concatenate()(embedded)))
    path = tmp_path / "two.keras"
    theirs.save(path)
    texts = [np.array([["red green blue"], ["green"]], object), np.array([["south"], ["north north south"]], object)]
    np.testing.assert_allclose(lstmfast.load_model(path)(texts), np.asarray(theirs(texts)), atol=1e-6)


def test_a_file_whose_model_is_built_by_its_first_texts(keras, tmp_path):
    vectorization = keras.layers.TextVectorization(output_sequence_length=5)
    vectorization.adapt(TEXTS)
    theirs = keras.Sequential([vectorization, keras.layers.Embedding(50, 4), keras.layers.GRU(3)])
    expected = np.asarray(theirs(np.array(TEXTS, object)))
    theirs.save(tmp_path / "first.keras")
    np.testing.assert_allclose(lstmfast.load_model(tmp_path / "first.keras")(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(lstmfast.from_keras(theirs)(TEXTS), expected, atol=1e-6)


def test_a_file_whose_model_looks_words_up(keras, tmp_path):
    lookup = keras.layers.StringLookup(mask_token="")
    words = np.array([["up", "down", ""], ["left", "up", "up"]], object)
    lookup.adapt(words)
    entrance = keras.Input((3,), dtype="string")
    embedded = keras.layers.Embedding(9, 4, mask_zero=True)(lookup(entrance))
    theirs = keras.Model(entrance, keras.layers.LSTM(3)(embedded))
    theirs.save(tmp_path / "words.keras")
    model = lstmfast.load_model(tmp_path / "words.keras")
    words[1, 2] = "nowhere"
    np.testing.assert_allclose(model(words), np.asarray(theirs(words)), atol=1e-6)
    assert_same_bits(model(words.tolist()), model(words))
    model.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(np.asarray(again(words)), model(words), atol=1e-6)


def test_rows_of_any_length_are_batches(keras, tmp_path):
    """Without a length of its own, each batch is filled up to its longest text: so it is in Keras."""
    vectorization = keras.layers.TextVectorization(vocabulary=WORDS)
    theirs = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            vectorization,
            keras.layers.Embedding(11, 4),
            keras.layers.LSTM(3),
        ]
    )
    path = tmp_path / "any.keras"
    theirs.save(path)
    texts = np.array(TEXTS[:2] + TEXTS[3:] + TEXTS[:1] * 5, object)
    model = lstmfast.load_model(path)
    for size in (1, 3, 32):
        batches = [texts[first : first + size, None] for first in range(0, len(texts), size)]
        expected = np.concatenate([np.asarray(theirs(batch)) for batch in batches])
        np.testing.assert_allclose(model.predict(texts, batch_size=size), expected, atol=1e-6)


def small(**options):
    return lstmfast.Sequential(
        [
            layers.TextVectorization(vocabulary=WORDS, output_sequence_length=5, **options),
            layers.Embedding(11, 4, mask_zero=True),
            layers.LSTM(3),
        ]
    )


def test_a_model_without_an_input_takes_text():
    assert small()(TEXTS[:1]).shape == (1, 3)
    model = small()
    first = model(TEXTS)
    assert model.input_shape == (None,)
    assert_same_bits(model(np.array(TEXTS)), first)
    assert_same_bits(np.concatenate([model([text]) for text in TEXTS]), first)
    model.summary(print_fn=lambda text: None)


def test_new_words_count_from_the_next_call():
    model = small()
    before = model(TEXTS)
    model.layers[0].set_vocabulary(["one", "two", "three"])
    after = model(TEXTS)
    assert not np.array_equal(before, after)
    model.layers[0].set_vocabulary(WORDS)
    assert_same_bits(model(TEXTS), before)


@pytest.mark.parametrize(
    "given", [np.zeros(3), np.zeros(0), [1, 2], np.array(["a", 1], object), np.array([None, "a"], object)]
)
@pytest.mark.parametrize("warm", [False, True])
def test_what_is_no_text_is_refused(given, warm):
    model = small()
    if warm:
        model(np.array(TEXTS, object))
        model(np.array(TEXTS[:3], object))
    with pytest.raises(TypeError, match="to hold strings"):
        model(given)


def test_text_where_numbers_belong_is_refused():
    with pytest.raises(TypeError, match="real numbers"):
        lstmfast.Sequential([lstmfast.Input((2,)), layers.Dense(1)])(np.array([["a", "b"]]))
    with pytest.raises(ValueError, match="takes strings"):
        layers.StringLookup(vocabulary=["a"])(lstmfast.Input((2,)))


UNSUPPORTED = {
    "one hot": (layers.TextVectorization, {"output_mode": "one_hot"}),
    "ragged": (layers.TextVectorization, {"ragged": True}),
    "function": (layers.TextVectorization, {"standardize": str.lower}),
    "latin": (layers.TextVectorization, {"encoding": "latin-1"}),
    "sparse": (layers.StringLookup, {"output_mode": "count", "sparse": True}),
}


@pytest.mark.parametrize(("kind", "options"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_is_not_supported_says_so(kind, options):
    with pytest.raises(NotImplementedError, match=f"({'|'.join(options)})"):
        kind(**options)


BAD = {
    "none": ([], "empty vocabulary"),
    "twice": (["a", "b", "a"], "repeated term"),
    "mask": (["a", ""], "reserved mask token"),
    "no UTF-8": ([b"\xff"], "no UTF-8"),
    "half a pair": (["\ud800"], "surrogate"),
    "many": (list("abcdefgh"), "larger than the maximum"),
    "path": ("words.txt", "Vocabulary file words.txt does not exist"),
    "bytes": (b"words", "sequence of words"),
}


@pytest.mark.parametrize(("vocabulary", "message"), BAD.values(), ids=BAD)
def test_a_bad_vocabulary_changes_nothing(vocabulary, message):
    layer = layers.TextVectorization(vocabulary=["x", "y"], max_tokens=6)
    with pytest.raises(ValueError, match=message):
        layer.set_vocabulary(vocabulary)
    assert layer.get_vocabulary() == ["", "[UNK]", "x", "y"]


@pytest.mark.parametrize("bad", [{"ngrams": 2.0}, {"ngrams": (0,)}, {"output_sequence_length": True}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        layers.TextVectorization(vocabulary=["a"], **bad)


def test_a_layer_without_words_gives_no_ids():
    for layer in (layers.TextVectorization(), layers.StringLookup()):
        with pytest.raises(ValueError, match="no vocabulary yet"):
            layer(["a"])


def test_the_unknown_word_may_be_in_the_vocabulary(keras):
    options = {"vocabulary": ["a", "[UNK]", "b"]}
    words = np.array(["b", "[UNK]", "z"], object)
    np.testing.assert_array_equal(
        layers.StringLookup(**options)(words), np.asarray(keras.layers.StringLookup(**options)(words))
    )


def test_a_live_model_whose_words_were_replaced(keras):
    vectorization = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    vectorization.set_vocabulary(["q", "b", "a"])
    theirs = keras.Sequential([keras.Input((1,), dtype="string"), vectorization])
    texts = np.array([["a b q"], ["b"]], object)
    np.testing.assert_array_equal(lstmfast.from_keras(theirs)(texts), np.asarray(theirs(texts)))


def test_a_layer_whose_config_says_that_it_is_of_strings(keras, tmp_path):
    """So it is in files of tf.keras."""
    vectorization = keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=3, dtype="string")
    theirs = keras.Sequential([keras.Input((1,), dtype="string"), vectorization])
    theirs.save(tmp_path / "typed.keras")
    expected = np.asarray(theirs(np.array(TEXTS, object)[:, None]))
    for model in (lstmfast.load_model(tmp_path / "typed.keras"), lstmfast.from_keras(theirs)):
        np.testing.assert_array_equal(model(TEXTS), expected)


@pytest.mark.parametrize("name", ["text.h5", "text.weights.h5"])
def test_files_that_hold_no_vocabulary_say_so(keras, tmp_path, name):
    vectorization = keras.layers.TextVectorization(output_sequence_length=3)
    vectorization.adapt(TEXTS)
    theirs = classifier(keras, vectorization)
    theirs.build((None, 1))
    path = tmp_path / name
    if "weights" in name:
        theirs.save_weights(path)
        model = lstmfast.model_from_json(theirs.to_json())
    else:
        theirs.save(path)
    with pytest.raises(ValueError, match=r"vocabulary of layer .* is missing") as raised:
        model.load_weights(path) if "weights" in name else lstmfast.load_model(path)
    assert name in str(raised.value)


def test_layers_that_read_no_text_say_so():
    columns = lstmfast.Input((2,), dtype="string")
    for call in (
        lambda: layers.StringLookup(vocabulary=["a"])(layers.Identity()(columns)),
        lambda: layers.TimeDistributed(layers.StringLookup(vocabulary=["a"]))(lstmfast.Input((2, 3), dtype="string")),
        lambda: layers.Dense(1)(columns),
    ):
        with pytest.raises(NotImplementedError, match="called on text"):
            call()


@pytest.mark.parametrize("given", [[np.array(["a", "b"]), np.array(["a"])], [["a", "b"], ["a", "a"]]])
def test_words_of_rows_of_different_lengths_are_refused(given):
    entrance = lstmfast.Input((None,), dtype="string")
    model = lstmfast.Model(entrance, layers.Embedding(3, 2)(layers.StringLookup(vocabulary=["a", "b"])(entrance)))
    lengths = [2, 1] if isinstance(given[0], list) else None
    with pytest.raises(ValueError, match="takes text"):
        model.predict(given, lengths=lengths)


def edited(source, target, change):
    """A copy of a file with the config of its text layer changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "config.json":
                config = json.loads(content)
                for entry in config["config"]["layers"]:
                    if entry["class_name"] == "TextVectorization":
                        entry["config"].update(change)
                content = json.dumps(config).encode()
            new.writestr(info.filename, content)
    return target


@pytest.mark.parametrize("ngrams", [10**8, 1 << 70])
def test_wide_ngrams_cost_what_the_text_has(tmp_path, ngrams):
    model = small()
    model(TEXTS)
    model.save(tmp_path / "whole.keras")
    loaded = lstmfast.load_model(edited(tmp_path / "whole.keras", tmp_path / "wide.keras", {"ngrams": ngrams}))
    assert loaded.layers[0](["the movie was"]).shape == (1, 5)


@pytest.mark.parametrize("change", [{"vocabulary": ["\ud800"]}, {"output_sequence_length": 10**12}, {"ngrams": "2"}])
def test_hostile_configs_name_their_file(tmp_path, change):
    model = small()
    model(TEXTS)
    model.save(tmp_path / "whole.keras")
    with pytest.raises(ValueError, match=r"hostile\.keras"):
        lstmfast.load_model(edited(tmp_path / "whole.keras", tmp_path / "hostile.keras", change))


def test_shapes_that_hold_several_texts_a_row_are_refused():
    layer = layers.TextVectorization(vocabulary=WORDS)
    with pytest.raises(ValueError, match="last shape dimension must be 1"):
        layer(np.array([["a", "b"]], object))
    with pytest.raises(ValueError, match="does not split"):
        layers.TextVectorization(vocabulary=WORDS, split=None)(["a", "b"])


def damaged(source, target, change):
    """A copy of a file with its vocabulary changed; None takes it away."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("vocabulary.txt"):
                content = change(content)
                if content is None:
                    continue
            new.writestr(info.filename, content)
    return target


HOSTILE = {
    "missing": (lambda content: None, "vocabulary of layer .* is missing"),
    "no text": (lambda content: b"a\n\xff\xfe", "no UTF-8 text"),
    "twice": (lambda content: content + b"\nred\nred", "repeated term"),
    "empty": (lambda content: b"", "empty vocabulary"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_vocabulary_is_refused(keras, tmp_path, change, message):
    vectorization = keras.layers.TextVectorization(output_sequence_length=3)
    vectorization.adapt(["red green", "red"])
    model = keras.Sequential([keras.Input((1,), dtype="string"), vectorization, keras.layers.Embedding(9, 2)])
    model.save(tmp_path / "whole.keras")
    path = damaged(tmp_path / "whole.keras", tmp_path / "damaged.keras", change)
    with pytest.raises(ValueError, match=message) as raised:
        lstmfast.load_model(path)
    assert "damaged.keras" in str(raised.value)


@pytest.mark.parametrize("command", ["predict", "verify", "bench"])
def test_the_program_says_that_it_reads_no_text(tmp_path, capsys, command):
    model = small()
    model(TEXTS)
    path = tmp_path / "text.keras"
    model.save(path)
    np.save(tmp_path / "x.npy", np.zeros((2, 1)))
    files = [str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")] if command == "predict" else []
    assert cli.main([command, str(path), *files]) == 1
    assert "takes text" in capsys.readouterr().err
    assert cli.main(["info", str(path)]) == 0
    assert "TextVectorization" in capsys.readouterr().out


def test_the_config_lists_the_words():
    model = small()
    model(TEXTS)
    config = json.loads(model.to_json())
    assert WORDS in [layer["config"].get("vocabulary") for layer in config["config"]["layers"]]
    assert_same_bits(lstmfast.model_from_json(model.to_json()).layers[0](TEXTS), model.layers[0](TEXTS))


def test_a_stream_of_texts_is_refused():
    model = small()
    model(TEXTS)
    with pytest.raises(ValueError, match="cannot be streamed"):
        model.stream()
