"""Layers that read text: strings in, the ids of their words out, as an Embedding takes them.

Strings are bytes here, in UTF-8: TensorFlow, whose operations Keras uses, changes the case of ASCII letters alone.
Next: masking.py, for the Embedding.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np

from lstmfast._arrays import as_strings
from lstmfast._graph import KerasTensor
from lstmfast.layers.base import Array, Layer, Run, changes, lock, register

_PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
_LOWER = bytes(range(256)).lower()
_SAME = bytes(range(256))
# by its name: where each byte goes, and which go away
_STANDARDIZE = {
    "lower_and_strip_punctuation": (_LOWER, _PUNCTUATION),
    "lower": (_LOWER, b""),
    "strip_punctuation": (_SAME, _PUNCTUATION),
    None: (_SAME, b""),
}


def _encoded(text: Any, what: str = "the input") -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what} holds half a surrogate pair, which UTF-8 has no bytes for: {error}") from None
    raise TypeError(f"Expected {what} to hold strings, got {type(text).__name__}.")


def _characters(text: bytes) -> list[bytes]:
    return [character.encode() for character in text.decode(errors="replace")]


def _decoded(words: list[bytes]) -> tuple[str, ...]:
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError as error:
        raise ValueError(f"The vocabulary holds a word that is no UTF-8: {error}") from None


def _lines(path: Any) -> list[bytes]:
    """The lines of a file, as TensorFlow reads them."""
    if not os.path.exists(path):
        raise ValueError(f"Vocabulary file {os.fspath(path)} does not exist.")
    with open(path, "rb") as file:
        lines = file.read().replace(b"\r", b"").split(b"\n")
    return lines if lines[-1] else lines[:-1]


_MOST_STEPS = 1 << 31
_SPLIT: dict[Any, Callable[[bytes], list[bytes]]] = {"whitespace": bytes.split, "character": _characters}


class _Vocabulary(Layer):
    """Base of the layers that look words up: special ones first, then those of the vocabulary."""

    casts_input = False
    reads_strings = True
    supports_masking = False
    inert_arguments = ("vocabulary_dtype", "vocabulary_size", "has_input_vocabulary", "oov_method")

    _was_given = False  # the vocabulary, by the caller

    mask_token: str | None
    oov_token: str
    num_oov_indices: int

    def __init__(self, **kwargs: Any) -> None:
        dtype = kwargs.get("dtype")
        if isinstance(dtype, dict):
            dtype = (dtype.get("config") or {}).get("name")
        if getattr(dtype, "name", dtype) == "string":  # as older files say of the input
            kwargs["dtype"] = None
        super().__init__(**kwargs)

    def _begin(
        self, max_tokens: Any, vocabulary: Any, output_mode: str, encoding: str, unsupported: dict[str, Any]
    ) -> None:
        if max_tokens is not None and max_tokens <= 1:
            raise ValueError(f"If set, `max_tokens` must be greater than 1. Received: max_tokens={max_tokens}")
        unsupported = {
            **unsupported,
            **({} if output_mode == "int" else {"output_mode": output_mode}),
            **({} if encoding.lower().replace("-", "") == "utf8" else {"encoding": encoding}),
        }
        for name, value in unsupported.items():
            if value:
                raise NotImplementedError(
                    f"Layer '{self.name}' of class {type(self).__name__} with {name}={value!r} is not supported: it "
                    "gives ids of UTF-8 strings, one for each word."
                )
        self.max_tokens, self.output_mode, self.encoding = max_tokens, output_mode, encoding
        self._words: tuple[str, ...] = ()
        self.built = True
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    @property
    def vocabulary(self) -> list[str] | None:
        """The words, as a config lists them."""
        return list(self._words) or None

    @property
    def _specials(self) -> list[str]:
        return [*([] if self.mask_token is None else [self.mask_token]), *[self.oov_token] * self.num_oov_indices]

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Replace the words. A call that is under way in another thread finishes with the old ones.

        Parameters
        ----------
        vocabulary : sequence of str or bytes, or str or path-like
            Each word once, in the order of their ids; what `get_vocabulary` gives, too, which begins with the special
            words. A path is that of a file with a word on each line.

        Raises
        ------
        ValueError
            If it is empty, holds a word twice or ``mask_token``, or more words than ``max_tokens`` allows; nothing has
            changed then.
        """
        if idf_weights is not None:
            raise ValueError("`idf_weights` should only be set if output_mode is `'tf_idf'`.")
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = _lines(vocabulary)
        self.take_words(self.checked_vocabulary(vocabulary))
        self._was_given = True

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """As of all layers; a config names no file of a vocabulary."""
        if isinstance(config.get("vocabulary"), (str, bytes, os.PathLike)):
            raise ValueError(
                f"The config names a file of a vocabulary, {config['vocabulary']!r}, which is not read: give the layer "
                "its words."
            )
        return super().from_config(config)

    def adapt(self, data: Any, batch_size: Any = None, steps: int | None = None) -> None:
        """Take the vocabulary from texts: their words, the most frequent first, and of equally frequent ones the last.

        Parameters
        ----------
        data : array-like of str, or iterable of batches
            As the inputs.
        batch_size : optional
            Without effect.
        steps : int, optional
            How many batches to take at most.

        Raises
        ------
        ValueError
            If the vocabulary was given, or the shape is wrong; nothing has changed then.
        TypeError
            If it holds anything but strings.
        """
        if self._was_given:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` argument or "
                "`set_vocabulary()` method."
            )
        whole = isinstance(data, (list, tuple)) or hasattr(data, "__array__") or not hasattr(data, "__iter__")
        counts: Counter[bytes] = Counter()
        for batch in [data] if whole else islice(data, steps):
            texts = np.atleast_1d(as_strings(batch))
            self.check_shape(texts.shape)
            for words in self.words_of(texts):
                counts.update(words)
        for special in (self.mask_token, self.oov_token):
            if special is not None:
                counts.pop(special.encode(), None)
        found = sorted(counts, key=lambda word: (counts[word], word), reverse=True)
        if self.max_tokens is not None:
            found = found[: max(0, self.max_tokens - len(self._specials))]
        self.take_words(_decoded(found))

    def words_of(self, texts: Array) -> Iterable[list[bytes]]:
        """The words of an array of texts, row by row."""
        raise NotImplementedError

    def take_words(self, words: tuple[str, ...]) -> None:
        """`set_vocabulary` of what `checked_vocabulary` gave."""
        with lock:
            self._words = words
            self._frozen = None
            changes[0] += 1

    def checked_vocabulary(self, vocabulary: Any) -> tuple[str, ...]:
        """The words that `set_vocabulary` would take over, or its error."""
        if hasattr(vocabulary, "__array__"):  # a tensor, too
            vocabulary = np.asarray(vocabulary).tolist()
        if isinstance(vocabulary, (str, bytes)) or not isinstance(vocabulary, Iterable):
            raise ValueError(f"The vocabulary has to be a sequence of words, got {vocabulary!r}.")
        vocabulary = [_encoded(word, "the vocabulary") for word in vocabulary]
        words = list(_decoded(vocabulary))
        specials = self._specials
        if words[: len(specials)] == specials:
            words = words[len(specials) :]
        if not words:
            raise ValueError(f"Cannot set an empty vocabulary. Received: vocabulary={vocabulary[:8]}")
        if len(set(words)) != len(words):
            twice = [word for word, count in Counter(words).items() if count > 1][:8]
            raise ValueError(
                "The passed vocabulary has at least one repeated term. Please uniquify your dataset. The repeated "
                f"terms are: {twice}"
            )
        if self.mask_token in words:
            raise ValueError(
                "Found reserved mask token at unexpected location in `vocabulary`. Note that passed `vocabulary` does "
                f"not need to include the OOV and mask tokens. Mask token: {self.mask_token!r}"
            )
        if self.max_tokens is not None and len(specials) + len(words) > self.max_tokens:
            raise ValueError(
                "Attempted to set a vocabulary larger than the maximum vocab size. Passed vocab size is "
                f"{len(specials) + len(words)}, max vocab size is {self.max_tokens}."
            )
        return tuple(words)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words in the order of their ids."""
        return [*(self._specials if include_special_tokens else []), *self._words]

    def vocabulary_size(self) -> int:
        """How many ids there are, those of special words included."""
        return len(self._specials) + len(self._words)

    def finder(self) -> Callable[[list[bytes]], list[int]]:
        """What gives the ids of words.

        Where no id stands for unknown words, it raises ValueError for them; and for all where there is no vocabulary.
        """
        if not self._words:

            def none(words: list[bytes]) -> list[int]:
                raise ValueError(f"Layer '{self.name}' has no vocabulary yet: `set_vocabulary` gives it one.")

            return none
        start = len(self._specials)
        ids = {word.encode(): number for number, word in enumerate(self._words, start)}
        if self.mask_token is not None:
            ids[self.mask_token.encode()] = 0
        get, unknown = ids.get, start - 1
        if self.num_oov_indices:
            return lambda words: [get(word, unknown) for word in words]

        def known(words: list[bytes]) -> list[int]:
            try:
                return [ids[word] for word in words]
            except KeyError as error:
                raise ValueError(
                    "When `num_oov_indices=0` all inputs should be in vocabulary, found OOV values "
                    f"[{error.args[0]!r}], consider setting `num_oov_indices=1`."
                ) from None

        return known

    def convert_inputs(self, inputs: Any) -> Any:
        return as_strings(inputs)

    def output_dtype(self, inputs: Any) -> str:
        return "int64"

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        if isinstance(inputs, KerasTensor) and inputs.dtype != "string":
            raise ValueError(f"Layer '{self.name}' takes strings, got a tensor of {inputs.dtype}.")
        return super()._record(inputs, kwargs)


@register()
class StringLookup(_Vocabulary):
    """Keras's StringLookup layer: strings (batch, ...) -> ids (batch, ...), int64.

    Parameters
    ----------
    max_tokens : int, optional
        How many ids there may be.
    num_oov_indices : {0, 1}
        How many ids stand for words that are not in the vocabulary; with none they are refused.
    mask_token : str, optional
        A word whose id is 0.
    oov_token : str
        What `get_vocabulary` calls the words that are not in it.
    vocabulary : sequence of str, or path, optional
        The words, in the order of their ids, or a file with one on each line.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layers.StringLookup(vocabulary=["up", "down"])(["down", "left"]).tolist()
    [2, 0]
    """

    config_keys = (
        "max_tokens",
        "num_oov_indices",
        "mask_token",
        "oov_token",
        "vocabulary",
        "invert",
        "output_mode",
        "sparse",
        "encoding",
    )
    invert = sparse = False

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_oov_indices < 0:
            raise ValueError(
                f"`num_oov_indices` must be greater than or equal to 0. Received: num_oov_indices={num_oov_indices}"
            )
        self.num_oov_indices, self.mask_token, self.oov_token = int(num_oov_indices), mask_token, oov_token
        unsupported = {
            "num_oov_indices": num_oov_indices if num_oov_indices > 1 else None,
            "idf_weights": idf_weights,
            "invert": invert,
            "sparse": sparse,
        }
        self._begin(max_tokens, vocabulary, output_mode, encoding, unsupported)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        find = self.finder()

        def run(x: Array, training: Any = None) -> Array:
            ids = np.zeros(x.shape, np.int64)
            ids.flat[:] = find([_encoded(text) for text in x.flat])
            return ids

        return run

    def words_of(self, texts: Array) -> Iterable[list[bytes]]:
        return [[_encoded(text) for text in texts.flat]]


@register()
class TextVectorization(_Vocabulary):
    """Keras's TextVectorization layer: texts (batch,) or (batch, 1) -> the ids of their words (batch, steps), int64.

    Id 0 fills shorter texts up, 1 stands for words that are not in the vocabulary.

    Parameters
    ----------
    max_tokens : int, optional
        How many ids there may be.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation"}, optional
        What is done to a text first, to its ASCII characters.
    split : {"whitespace", "character"}, optional
        Where words begin; None: texts are words already, (batch, steps).
    ngrams : int or tuple of int, optional
        Look up all neighbours, up to so many or each of so many, instead of single words.
    output_sequence_length : int, optional
        The number of steps: longer texts are cut, shorter filled up. Without it, as many as the longest text of a batch
        has words.
    vocabulary : sequence of str, or path, optional
        The words, in the order of their ids, or a file with one on each line.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layer = layers.TextVectorization(vocabulary=["the", "tide", "is", "high"])
    >>> layer(["The tide is high!", "How high?"]).tolist()
    [[2, 3, 4, 5], [1, 5, 0, 0]]
    """

    config_keys = (
        "max_tokens",
        "standardize",
        "split",
        "ngrams",
        "output_mode",
        "output_sequence_length",
        "sparse",
        "ragged",
        "vocabulary",
        "encoding",
    )
    mask_token, oov_token, num_oov_indices = "", "[UNK]", 1
    sparse = ragged = False

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, known in (("standardize", standardize, _STANDARDIZE), ("split", split, (*_SPLIT, None))):
            if not (value is None or isinstance(value, str)):
                raise NotImplementedError(
                    f"Layer '{self.name}' has a function of its own for {name}, which no file can hold: standardize "
                    "and split the texts before the call."
                )
            if value not in known:
                raise ValueError(f"Unknown value for `{name}` argument of layer TextVectorization: {value!r}.")
        widths = range(1, ngrams + 1) if isinstance(ngrams, int) else ngrams
        listed = widths if isinstance(widths, (list, tuple)) else ()
        if not (widths is None or isinstance(widths, (range, list, tuple))) or not all(
            isinstance(width, int) and width > 0 for width in listed
        ):
            raise ValueError(f"`ngrams` must be None, an integer, or a tuple of integers. Received: ngrams={ngrams}")
        length = output_sequence_length
        if not (length is None or (type(length) is int and 0 < length < _MOST_STEPS)):
            raise ValueError(
                "`output_sequence_length` must be either None or an integer when `output_mode` is 'int'. Received: "
                f"output_sequence_length={length}"
            )
        self.standardize, self.split, self.ngrams, self.output_sequence_length = standardize, split, ngrams, length
        self._widths = widths if widths is None or isinstance(widths, range) else tuple(widths)
        self.row_by_row = length is not None
        unsupported = {"idf_weights": idf_weights, "sparse": sparse, "ragged": ragged}
        self._begin(max_tokens, vocabulary, output_mode, encoding, unsupported)

    def check_shape(self, shape: Any) -> None:
        if self.split is None:
            if len(shape) != 2:
                raise ValueError(f"Layer '{self.name}', which does not split, takes (batch, steps), got {shape}.")
        elif len(shape) > 2 or (len(shape) == 2 and shape[-1] not in (1, None)):
            raise ValueError(
                "When using `TextVectorization` to tokenize strings, the input rank must be 1 or the last shape "
                f"dimension must be 1. Received: inputs.shape={shape} with rank={len(shape)}"
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_sequence_length)

    def mixes_batch(self, training: bool | None) -> bool:
        """Without a length of its own, a text is filled up to that of the others."""
        return self.output_sequence_length is None

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        find, length, words_of = self.finder(), self.output_sequence_length, self.words_of
        fixed = self.split is None and self._widths is None

        def run(x: Any, training: Any = None) -> Array:
            rows = [find(words[:length]) for words in words_of(x)]
            none = x.shape[1] if fixed else 0
            steps = max(map(len, rows), default=none) if length is None else length
            ids = np.zeros((len(rows), steps), np.int64)
            for row, found in zip(ids, rows, strict=True):
                row[: len(found)] = found
            return ids

        return run

    def words_of(self, texts: Array) -> Iterable[list[bytes]]:
        widths, split = self._widths, _SPLIT.get(self.split)
        table, dropped = _STANDARDIZE[self.standardize]
        for row in texts if split is None else texts.ravel():
            if split is not None:
                found = split(_encoded(row).translate(table, dropped))
            else:
                found = [_encoded(text).translate(table, dropped) for text in row]
            if widths is not None:
                some = widths[: len(found)] if isinstance(widths, range) else widths  # it may be longer than any text
                found = [
                    b" ".join(found[first : first + width]) for width in some for first in range(len(found) - width + 1)
                ]
            yield found


__all__ = ["StringLookup", "TextVectorization"]
