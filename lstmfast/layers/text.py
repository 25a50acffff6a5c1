"""TextVectorization: texts in, the ids of their words out, as an Embedding takes them, or how often each is there.

Strings are bytes here, in UTF-8: TensorFlow, whose operations Keras uses, changes the case of ASCII letters alone.
Next: lookup.py, for the vocabulary; masking.py, for the Embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lstmfast._arrays import as_utf8
from lstmfast.layers.base import Array, Run, register
from lstmfast.layers.lookup import Vocabulary

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


def _characters(text: bytes) -> list[bytes]:
    return [character.encode() for character in text.decode(errors="replace")]


_MOST_STEPS = 1 << 31
_SPLIT: dict[Any, Callable[[bytes], list[bytes]]] = {"whitespace": bytes.split, "character": _characters}


@register()
class TextVectorization(Vocabulary):
    """Keras's TextVectorization layer: texts (batch,) or (batch, 1) -> the ids of their words (batch, steps), int64.

    Id 0 fills shorter texts up, 1 stands for words that are not in the vocabulary. Or their words (batch, ids) encoded,
    where the first id is that of unknown words.

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
    output_mode : {"int", "multi_hot", "count", "tf_idf", "one_hot"}
        Ids, or which of them, or how often each, are in a text, as of `StringLookup`; the last without ``split`` alone.
    output_sequence_length : int, optional
        The number of steps: longer texts are cut, shorter filled up. Without it, as many as the longest text of a batch
        has words.
    vocabulary : sequence of str, or path, optional
        The words, in the order of their ids, or a file with one on each line.
    pad_to_max_tokens, idf_weights
        As of `StringLookup`.

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
        "pad_to_max_tokens",
        "sparse",
        "ragged",
        "vocabulary",
        "idf_weights",
        "encoding",
    )
    mask_token, oov_token, num_oov_indices = "", "[UNK]", 1
    ragged = False

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
        if ragged:
            raise NotImplementedError(f"Layer '{self.name}' with ragged=True is not supported: arrays are not ragged.")
        if output_mode != "int" and length is not None:
            raise ValueError(
                "`output_sequence_length` must not be set if `output_mode` is not 'int'. Received: "
                f"output_sequence_length={length}"
            )
        if output_mode == "one_hot" and split is not None:
            raise NotImplementedError(
                f"Layer '{self.name}' with output_mode='one_hot' is not supported where it splits texts, which have "
                "different numbers of words."
            )
        self.encoding = self.checked_encoding(encoding)
        self._begin(max_tokens, output_mode, pad_to_max_tokens, sparse, vocabulary, idf_weights)

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
        if self.output_mode == "int":
            return (input_shape[0], self.output_sequence_length)
        steps = input_shape[1] if self._is_fixed() else None
        return super().compute_output_shape((input_shape[0], steps))

    def _is_fixed(self) -> bool:
        """Whether there are as many ids as the input has texts in a row."""
        return self.split is None and self._widths is None

    def mixes_batch(self, training: bool | None) -> bool:
        """Without a length of its own, a text is filled up to that of the others."""
        return self.output_sequence_length is None and self.output_mode == "int"

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        if not self.words:
            return self.without_words
        get, unknown, encode = self.ids().get, self._start - 1, self.encoder()
        length, words_of = self.output_sequence_length, self.words_of
        fixed, filling = self._is_fixed(), self.filling_id

        def run(x: Any, training: Any = None) -> Array:
            found: list[int] = []
            ends = [0]
            for words in words_of(x):
                found += [get(word, unknown) for word in words[:length]]
                ends.append(len(found))
            lengths = np.diff(ends)
            steps = int(lengths.max(initial=x.shape[1] if fixed else 0)) if length is None else length
            ids = np.full((len(lengths), steps), filling, np.int64)
            ids[np.arange(steps) < lengths[:, None]] = found
            return encode(ids)

        return run

    def saved_values(self) -> dict[str, Array]:
        own = super().saved_values()
        return {**own, **{f"_lookup_layer/{place}": value for place, value in own.items()}}  # the same in one inside

    def documents_of(self, values: Array, whole: bool) -> Iterable[list[bytes]]:
        values = np.atleast_1d(values)
        self.check_shape(values.shape)
        return self.words_of(values)

    def words_of(self, texts: Array) -> Iterable[list[bytes]]:
        """The words of an array of texts, row by row."""
        widths, split = self._widths, _SPLIT.get(self.split)
        table, dropped = _STANDARDIZE[self.standardize]
        for row in texts if split is None else texts.ravel():
            if split is not None:
                found = split(as_utf8(row).translate(table, dropped))
            else:
                found = [as_utf8(text).translate(table, dropped) for text in row]
            if widths is not None:
                some = widths[: len(found)] if isinstance(widths, range) else widths  # it may be longer than any text
                found = [
                    b" ".join(found[first : first + width]) for width in some for first in range(len(found) - width + 1)
                ]
            yield found


__all__ = ["TextVectorization"]
