"""Layers that look words or integers up in a vocabulary: ids out, or these encoded; or words again, from ids.

Strings are bytes here, in UTF-8, as in TensorFlow, whose operations Keras uses.
Next: text.py, for whole texts; categories.py, which encodes ids; hashing.py, for words that no vocabulary holds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np

from lstmfast._arrays import STRING, as_array, as_strings, as_utf8, numpy_dtype, real_of
from lstmfast._graph import KerasTensor
from lstmfast.layers.arguments import at_least, keys_of
from lstmfast.layers.base import Array, Layer, Run, changes, lock, register
from lstmfast.layers.categories import MODES, Encodes, encoded, encoded_shape
from lstmfast.layers.hashing import bins_of, hash_of

Token = Any  # bytes, or int
Words = tuple[Any, ...]  # of str, or of int

_OLDER_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}
_DROPPED = np.iinfo(np.int64).max  # the id of what no encoding counts
_MOST_UNKNOWN = 1 << 20


def _lines(path: Any) -> list[bytes]:
    """The lines of a file, as TensorFlow reads them."""
    if not os.path.exists(path):
        raise ValueError(f"Vocabulary file {os.fspath(path)} does not exist.")
    with open(path, "rb") as file:
        lines = file.read().replace(b"\r", b"").split(b"\n")
    return lines if lines[-1] else lines[:-1]


class Vocabulary(Encodes):
    """Base of the layers with a vocabulary: special words first, then those that it lists."""

    reads_strings = True
    keyword_arguments = ("vocabulary_size",)
    inert_arguments: tuple[str, ...] = ("vocabulary_dtype", "has_input_vocabulary", "oov_method")

    _was_given = False  # the vocabulary, by the caller

    mask_token: Any
    oov_token: Any
    num_oov_indices: int
    invert = sparse = False

    def __init__(self, **kwargs: Any) -> None:
        dtype = kwargs.get("dtype")
        if isinstance(dtype, dict):
            dtype = (dtype.get("config") or {}).get("name")
        if getattr(dtype, "name", dtype) == "string":  # as older files say of the input
            kwargs["dtype"] = None
        size = kwargs.pop("vocabulary_size", None)
        super().__init__(**kwargs)
        # of the words to come, which a file says before it gives them
        self._size = None if size is None else at_least(0, "vocabulary_size", size)
        self.words: Words = ()
        self._idf: Array | None = None
        self.built = True

    def _begin(
        self,
        max_tokens: Any,
        output_mode: str,
        pad_to_max_tokens: Any,
        sparse: Any,
        vocabulary: Any,
        idf_weights: Any,
    ) -> None:
        mode = _OLDER_MODES.get(output_mode, output_mode)
        if mode not in ("int", "tf_idf", *MODES):
            raise ValueError(f"Unknown arg for output_mode: {output_mode}")
        if max_tokens is not None and max_tokens <= 1:
            raise ValueError(f"If set, `max_tokens` must be greater than 1. Received: max_tokens={max_tokens}")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError("If pad_to_max_tokens is True, must set `max_tokens`. Received: max_tokens=None")
        if self.invert and mode != "int":
            raise ValueError(f"`output_mode` must be `'int'` when `invert` is true. Received: output_mode={mode}")
        self.refuse_sparse(sparse)
        if self.num_oov_indices > _MOST_UNKNOWN:
            raise NotImplementedError(
                f"Layer '{self.name}' with num_oov_indices={self.num_oov_indices} is not supported: it takes at most "
                f"{_MOST_UNKNOWN}."
            )
        self.max_tokens, self.output_mode, self.pad_to_max_tokens = max_tokens, mode, bool(pad_to_max_tokens)
        if idf_weights is not None and (mode != "tf_idf" or vocabulary is None):
            raise ValueError(
                "`idf_weights` should only be set if output_mode is `'tf_idf'`, and with a vocabulary. Received: "
                f"output_mode={mode}"
            )
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # -- words --------------------------------------------------------------------------------------------------

    @property
    def vocabulary(self) -> list[Any] | None:
        """The words, as a config lists them."""
        if self.output_mode == "tf_idf" and self.words:  # each with its weight
            return self.get_vocabulary()
        return list(self.words) or None

    @property
    def idf_weights(self) -> list[float] | None:
        """What the count of each word, the special ones included, is multiplied with; None unless "tf_idf"."""
        return None if self._idf is None else self._idf.tolist()

    @property
    def _has_mask(self) -> bool:
        return self.mask_token is not None and self.output_mode == "int"

    @property
    def _start(self) -> int:
        """The id of the first word that is not special."""
        return self._has_mask + self.num_oov_indices

    @property
    def _specials(self) -> list[Any]:
        return [*([self.mask_token] if self._has_mask else []), *[self.oov_token] * self.num_oov_indices]

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Replace the words. A call that is under way in another thread finishes with the old ones.

        Parameters
        ----------
        vocabulary : sequence of str, bytes or int, or str or path-like
            Each word once, in the order of their ids; what `get_vocabulary` gives, too, which begins with the special
            words. A path is that of a file with a word on each line.
        idf_weights : sequence of float, optional
            For ``output_mode="tf_idf"``, and needed there: that of each word. Where the special words are not among
            them, the mean is theirs.

        Raises
        ------
        ValueError
            If it is empty, holds a word twice or ``mask_token``, or more words than ``max_tokens`` allows, or another
            number of them than the shape of the output has; nothing has changed then.
        """
        if isinstance(vocabulary, (str, os.PathLike)):
            if self.output_mode == "tf_idf":
                raise ValueError("output_mode `'tf_idf'` does not support loading a vocabulary from file.")
            vocabulary = self.tokens_of_lines(_lines(vocabulary))
        words, listed, with_specials = self._checked_words(vocabulary)
        self.take_words(words, self._checked_idf(idf_weights, listed, with_specials))
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
        """Take the vocabulary from data: its words, the most frequent first, and of equally frequent ones the last.

        Parameters
        ----------
        data : array-like of str or int, or iterable of batches
            As the inputs. With ``output_mode="tf_idf"`` a row is a document.
        batch_size : optional
            Without effect.
        steps : int, optional
            How many batches to take at most.

        Raises
        ------
        ValueError
            If the vocabulary was given, or the shape is wrong; nothing has changed then.
        TypeError
            If it holds anything but what the layer looks up.
        """
        if self._was_given:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` argument or "
                "`set_vocabulary()` method."
            )
        whole = isinstance(data, (list, tuple)) or hasattr(data, "__array__") or not hasattr(data, "__iter__")
        counts: Counter[Token] = Counter()
        holding: Counter[Token] = Counter()  # how many documents do
        documents = 0
        for batch in [data] if whole else islice(data, steps):
            for tokens in self.documents_of(self.as_tokens(batch), whole):
                counts.update(tokens)
                if self.output_mode == "tf_idf":
                    holding.update(set(tokens))
                    documents += 1
        for special in (self.mask_token, self.oov_token):
            if special is not None:
                counts.pop(self.token_of(special), None)
        found = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens is not None:
            found = found[: max(0, self.max_tokens - self._start)]
        idf = None
        if self.output_mode == "tf_idf" and found:
            weights = [np.log(1 + documents / (1 + holding[token])) for token in found]
            idf = self._in_front_of(np.array(weights, np.float32))
        self.take_words(self.words_of_tokens(found), idf)

    def take_words(self, words: Words, idf: Array | None = None) -> None:
        """`set_vocabulary` of what `checked_vocabulary` gave, and of weights for all ids."""
        with lock:
            self._refuse_other_size(words)  # which another thread may have set meanwhile
            self.words, self._idf = words, None if idf is None else idf[: self._start + len(words)].astype(np.float32)
            self._size = self._start + len(words)
            self._frozen = None
            changes[0] += 1

    def checked_vocabulary(self, vocabulary: Any) -> Words:
        """The words that `set_vocabulary` would take over, or its error."""
        return self._checked_words(vocabulary)[0]

    def _checked_words(self, vocabulary: Any) -> tuple[Words, int, bool]:
        """The words behind the special ones; how many came, and whether the special ones were among them."""
        if hasattr(vocabulary, "__array__"):  # a tensor, too
            vocabulary = np.asarray(vocabulary).tolist()
        if isinstance(vocabulary, (str, bytes)) or not isinstance(vocabulary, Iterable):
            raise ValueError(f"The vocabulary has to be a sequence of words, got {vocabulary!r}.")
        words = self.words_of_tokens([self.token_of(word, "the vocabulary") for word in vocabulary])
        listed = len(words)
        with_specials = listed >= self._start and list(words[: self._start]) == self._specials
        if with_specials:
            words = words[self._start :]
        if not words:
            raise ValueError(f"Cannot set an empty vocabulary. Received: vocabulary={words}")
        if len(set(words)) != len(words):
            twice = [word for word, count in Counter(words).items() if count > 1][:8]
            raise ValueError(
                "The passed vocabulary has at least one repeated term. Please uniquify your dataset. The repeated "
                f"terms are: {twice}"
            )
        for kind, token in (("mask", self.mask_token), ("OOV", self.oov_token if self.invert else None)):
            if token is not None and token in words:
                raise ValueError(
                    f"Found reserved {kind} token at unexpected location in `vocabulary`. Note that passed "
                    f"`vocabulary` does not need to include the OOV and mask tokens. {kind} token: {token!r}"
                )
        if self.max_tokens is not None and self._start + len(words) > self.max_tokens:
            raise ValueError(
                "Attempted to set a vocabulary larger than the maximum vocab size. Passed vocab size is "
                f"{self._start + len(words)}, max vocab size is {self.max_tokens}."
            )
        self._refuse_other_size(words)
        return words, listed, with_specials

    def _refuse_other_size(self, words: Words) -> None:
        size = self._start + len(words)
        if self.output_mode != "int" and not self.pad_to_max_tokens and (self._size or size) not in (self._start, size):
            raise ValueError(
                f"When using output_mode='{self.output_mode}' and `pad_to_max_tokens=False`, the size of the "
                f"vocabulary of layer '{self.name}' cannot change: it is {self._size}, got {size}."
            )

    def _checked_idf(self, idf_weights: Any, listed: int, with_specials: bool) -> Array | None:
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            needed = "must be set if" if idf_weights is None else "should only be set if"
            raise ValueError(f"`idf_weights` {needed} output_mode is `'tf_idf'` (layer '{self.name}').")
        if idf_weights is None:
            return None
        weights = as_array(idf_weights, "idf_weights")
        if weights.shape != (listed,):
            raise ValueError(
                f"`idf_weights` must be the same length as vocabulary, {listed}. Received shape: {weights.shape}"
            )
        return weights.astype(np.float32) if with_specials else self._in_front_of(weights).astype(np.float32)

    def _in_front_of(self, weights: Array) -> Array:
        """Weights of words with their mean, for the special ones, in front."""
        return np.concatenate([np.full(self._start, weights.mean(), weights.dtype), weights])

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The words in the order of their ids."""
        return [*(self._specials if include_special_tokens else []), *self.words]

    def vocabulary_size(self) -> int:
        """How many ids there are, those of special words included."""
        return self._start + len(self.words)

    # -- what subclasses say, for words ---------------------------------------------------------------------------

    def token_of(self, word: Any, what: str = "the input") -> Token:
        """A word as it is looked up."""
        return as_utf8(word, what)

    def words_of_tokens(self, tokens: list[Token]) -> Words:
        """Tokens as the words of a vocabulary."""
        try:
            return tuple(token.decode() for token in tokens)
        except UnicodeDecodeError as error:
            raise ValueError(f"The vocabulary holds a word that is no UTF-8: {error}") from None

    def tokens_of_lines(self, lines: list[Any]) -> list[Any]:
        """The lines of a file of a vocabulary, str or bytes, as words."""
        return lines

    def as_tokens(self, inputs: Any) -> Array:
        """A caller's inputs as an array of what is looked up."""
        return as_strings(inputs)

    def flat(self, values: Array) -> Any:
        """The tokens of an array, one after the other."""
        return [as_utf8(text) for text in values.flat]

    def documents_of(self, values: Array, whole: bool) -> Iterable[list[Token]]:
        """The tokens of data that `adapt` gets, by documents; ``whole`` where it is all, and no batch."""
        if values.ndim < 2:
            values = values.reshape((-1, 1) if whole else (1, -1))
        return (self.flat(row) for row in values)

    # -- running ------------------------------------------------------------------------------------------------

    def finder(self) -> Callable[[Any], Array]:
        """What gives the ids of tokens, int64; where no id stands for unknown words, it raises ValueError for them."""
        unknown = self.num_oov_indices
        first = self._start - unknown
        if unknown == 1:
            return self._table(first)
        find = self._table(-1)

        def run(tokens: Any) -> Array:
            ids = find(tokens)
            missing = np.flatnonzero(ids < 0)
            if not len(missing):
                return ids
            ids[missing] = first + self._buckets([tokens[place] for place in missing.tolist()])
            return ids

        return run

    @property
    def filling_id(self) -> int:
        """The id of the mask token."""
        return 0 if self.output_mode == "int" else _DROPPED

    def _table(self, unknown: int) -> Callable[[Any], Array]:
        """What gives the ids of tokens, and ``unknown`` for those that the vocabulary does not hold."""
        get = self.ids().get
        return lambda tokens: np.array([get(token, unknown) for token in tokens], np.int64)

    def ids(self) -> dict[Token, int]:
        """The id of each token that the vocabulary holds, and of the mask token."""
        ids = {self.token_of(word): number for number, word in enumerate(self.words, self._start)}
        if self.mask_token is not None:
            ids[self.token_of(self.mask_token)] = self.filling_id
        return ids

    def _buckets(self, tokens: list[Token]) -> Array:
        """Which of several ids for unknown words each of these has; ValueError where there is none."""
        count = self.num_oov_indices
        if not count:
            found = list(map(self.token_of, tokens[:8]))
            raise ValueError(
                "When `num_oov_indices=0` all inputs should be in vocabulary, found OOV values "
                f"{found}, consider setting `num_oov_indices=1`."
            )
        return self.spread(tokens, count)

    def spread(self, tokens: list[Token], count: int) -> Array:
        """Tokens that are in no vocabulary, over so many ids."""
        raise NotImplementedError

    def without_words(self, x: Any, training: Any = None) -> Any:
        """What runs a layer that has none."""
        raise ValueError(f"Layer '{self.name}' has no vocabulary yet: `set_vocabulary` gives it one.")

    def encoder(self) -> Callable[[Array], Array]:
        """What makes the output of ids."""
        mode, depth = self.output_mode, self._depth()
        if mode == "int":
            return lambda ids: ids
        dtype = real_of(self.output_dtype(None))
        if mode != "tf_idf":
            return lambda ids: encoded(ids, mode, depth, dtype)
        weights = self._padded_idf().astype(dtype)
        return lambda ids: encoded(ids, "count", depth, dtype) * weights

    def _depth(self) -> int:
        """How many ids an encoding has; 0 where that is not known yet."""
        return self.max_tokens if self.pad_to_max_tokens else self._size or 0

    def depth_for(self, words: Words) -> int:
        """The same with these words."""
        return self.max_tokens if self.pad_to_max_tokens else self._start + len(words)

    def checked_encoding(self, encoding: str) -> str:
        """The argument ``encoding``, which has to be UTF-8's name."""
        if encoding.lower().replace("-", "") != "utf8":
            raise NotImplementedError(
                f"Layer '{self.name}' with encoding={encoding!r} is not supported: only UTF-8 is."
            )
        return encoding

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.output_mode == "int":
            return input_shape
        if not self._depth():
            self.without_words(None)
        return encoded_shape(input_shape, self.output_mode, self._depth())

    def output_dtype(self, inputs: Any) -> str:
        if self.output_mode == "int":
            return "int64"
        if self.of_keras_2:
            return self.policy.compute_dtype if self.policy.is_float else "float32"
        return "float32" if self.output_mode == "tf_idf" else "int64"

    def convert_inputs(self, inputs: Any) -> Any:
        return self.as_tokens(inputs)

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        if isinstance(inputs, KerasTensor) and self.reads_strings and inputs.dtype != "string":
            raise ValueError(f"Layer '{self.name}' takes strings, got a tensor of {inputs.dtype}.")
        return super()._record(inputs, kwargs)

    # -- files --------------------------------------------------------------------------------------------------

    def saved_values(self) -> dict[str, Array]:
        return {} if self._idf is None else {"vars/idf_weights": self._padded_idf()}

    def _padded_idf(self) -> Array:
        weights = np.zeros(self._depth(), np.float32)
        weights[: len(self._idf)] = self._idf  # type: ignore[arg-type]
        return weights


class _Lookup(Vocabulary):
    """Base of the layers that look their input up as it is."""

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        if not self.words:
            return self.without_words
        if self.invert:
            return self._inverse()
        find, encode, flat = self.finder(), self.encoder(), self.flat

        def run(x: Array, training: Any = None) -> Array:
            return encode(find(flat(x)).reshape(x.shape))

        return run

    def _inverse(self) -> Run:
        """What gives the words of ids."""
        start, end = self._start, self._start + len(self.words)
        dtype = real_of(self.output_dtype(None))
        words = np.array([self.token_of(word) for word in self.words], dtype)
        unknown = self.token_of(self.oov_token)
        mask = None if self.mask_token is None else self.token_of(self.mask_token)

        def run(x: Array, training: Any = None) -> Array:
            found = np.full(x.shape, unknown, dtype)
            known = (x >= start) & (x < end)
            found[known] = words[x[known] - start]
            if mask is not None:
                found[x == 0] = mask
            return found

        return run


@register()
class StringLookup(_Lookup):
    """Keras's StringLookup layer: strings (batch, ...) -> ids (batch, ...), int64, or these encoded.

    Parameters
    ----------
    max_tokens : int, optional
        How many ids there may be.
    num_oov_indices : int
        How many ids stand for words that are not in the vocabulary, by their hash; with none they are refused.
    mask_token : str, optional
        A word whose id is 0, and which no encoding counts.
    oov_token : str
        What `get_vocabulary` calls the words that are not in it.
    vocabulary : sequence of str, or path, optional
        The words, in the order of their ids, or a file with one on each line.
    idf_weights : sequence of float, optional
        That of each word, for ``"tf_idf"``.
    invert : bool
        Whether ids come in and words, as bytes, go out.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        Ids, or what `CategoryEncoding` makes of them; the last is the counts, times ``idf_weights``.
    pad_to_max_tokens : bool
        Whether encoded ids have the width ``max_tokens``, and not that of the vocabulary.
    salt : int or two ints, optional
        As of `Hashing`, for words that are not in the vocabulary.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layers.StringLookup(vocabulary=["up", "down"])(["down", "left"]).tolist()
    [2, 0]
    >>> layers.StringLookup(vocabulary=["up", "down"], invert=True)([2, 0]).tolist()
    [b'down', b'[UNK]']
    """

    config_keys = (
        "max_tokens",
        "num_oov_indices",
        "mask_token",
        "oov_token",
        "vocabulary",
        "idf_weights",
        "invert",
        "output_mode",
        "pad_to_max_tokens",
        "sparse",
        "encoding",
        "salt",
    )

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
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.num_oov_indices = at_least(0, "num_oov_indices", num_oov_indices)
        self.mask_token, self.oov_token, self.invert = mask_token, oov_token, bool(invert)
        self.reads_strings = not self.invert
        self.encoding = self.checked_encoding(encoding)
        self.salt, self._function = hash_of(salt)
        self._begin(max_tokens, output_mode, pad_to_max_tokens, sparse, vocabulary, idf_weights)

    def as_tokens(self, inputs: Any) -> Array:
        return _as_integers(inputs, np.int64) if self.invert else as_strings(inputs)

    def spread(self, tokens: list[Token], count: int) -> Array:
        return bins_of(np.array(tokens, STRING), count, self._function)

    def output_dtype(self, inputs: Any) -> str:
        return "string" if self.invert else super().output_dtype(inputs)

    def get_config(self) -> dict[str, Any]:
        return _without_defaults(super().get_config())


@register()
class IntegerLookup(_Lookup):
    """Keras's IntegerLookup layer: integers (batch, ...) -> ids (batch, ...), int64, or these encoded.

    Parameters
    ----------
    max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights
        As of `StringLookup`, with integers for words.
    vocabulary_dtype : {"int64", "int32"}
        In which they are compared, and given back with ``invert``.
    invert, output_mode, sparse, pad_to_max_tokens
        As of `StringLookup`.
    oov_method : {"floormod", "farmhash"}
        Which of several ids an integer has that is not in the vocabulary: the rest of a division, or its hash.
    salt : int or two ints, optional
        As of `Hashing`, for ``oov_method="farmhash"``.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layers.IntegerLookup(vocabulary=[12, 36, 42])([[42, 7], [12, 36]]).tolist()
    [[3, 0], [1, 2]]
    >>> layers.IntegerLookup(vocabulary=[12, 36], output_mode="count")([[36, 7, 36]]).tolist()
    [[1, 0, 2]]
    """

    reads_strings = False
    inert_arguments = ("has_input_vocabulary",)

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if vocabulary_dtype not in ("int64", "int32"):
            raise ValueError(f"`vocabulary_dtype` must be 'int64' or 'int32'. Received: {vocabulary_dtype}")
        if oov_method not in ("floormod", "farmhash"):
            raise ValueError(f"Unknown arg for oov_method: {oov_method}. Expected 'floormod' or 'farmhash'.")
        if salt is not None and oov_method != "farmhash":
            raise ValueError(f"`salt` can only be used when `oov_method='farmhash'`. Received: oov_method={oov_method}")
        self.vocabulary_dtype, self.oov_method, self.invert = vocabulary_dtype, oov_method, bool(invert)
        self.num_oov_indices = at_least(0, "num_oov_indices", num_oov_indices)
        self.oov_token = self.token_of(oov_token, "oov_token")
        self.mask_token = None if mask_token is None else self.token_of(mask_token, "mask_token")
        self.salt, self._function = hash_of(salt)
        self._begin(max_tokens, output_mode, pad_to_max_tokens, sparse, vocabulary, idf_weights)

    config_keys = keys_of(__init__, "name")

    def token_of(self, word: Any, what: str = "the input") -> int:
        bits = 32 if self.vocabulary_dtype == "int32" else 64
        beyond = 1 << (bits - 1)
        if isinstance(word, bool) or not isinstance(word, (int, np.integer)) or not -beyond <= word < beyond:
            raise ValueError(f"Expected {what} to hold integers of {bits} bits, got {word!r:.80}.")
        return int(word)

    def words_of_tokens(self, tokens: list[Token]) -> Words:
        return tuple(tokens)

    def tokens_of_lines(self, lines: list[Any]) -> list[Any]:
        try:
            return [int(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"The vocabulary holds a line that is no integer: {error!s:.120}") from None

    def as_tokens(self, inputs: Any) -> Array:
        return _as_integers(inputs, np.int64 if self.invert else numpy_dtype(self.vocabulary_dtype))

    def flat(self, values: Array) -> Any:
        return values.ravel()

    def documents_of(self, values: Array, whole: bool) -> Iterable[list[Token]]:
        return (np.asarray(row).tolist() for row in super().documents_of(values, whole))

    def _table(self, unknown: int) -> Callable[[Any], Array]:
        words = np.array(self.words, np.int64)
        order = np.argsort(words)
        words, ids = words[order], order + self._start
        mask, mask_id = self.mask_token, self.filling_id

        def find(tokens: Array) -> Array:
            places = np.minimum(np.searchsorted(words, tokens), len(words) - 1)
            found = np.where(words[places] == tokens, ids[places], unknown)
            return found if mask is None else np.where(tokens == mask, mask_id, found)

        return find

    def spread(self, tokens: list[Token], count: int) -> Array:
        values = np.array(tokens, np.int64)
        return values % count if self.oov_method == "floormod" else bins_of(values, count, self._function)

    def output_dtype(self, inputs: Any) -> str:
        return self.vocabulary_dtype if self.invert else super().output_dtype(inputs)

    def get_config(self) -> dict[str, Any]:
        return _without_defaults(super().get_config())


def _as_integers(inputs: Any, dtype: Any) -> Array:
    with np.errstate(invalid="ignore"):
        return as_array(inputs).astype(dtype, copy=False)


def _without_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what Keras before 3.15 does not know, where it says nothing."""
    without = {"salt": None, "oov_method": "floormod"}
    return {key: value for key, value in config.items() if key not in without or value != without[key]}


__all__ = ["IntegerLookup", "StringLookup"]
