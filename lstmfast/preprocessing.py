"""What data goes through in front of a model: texts a Tokenizer and `pad_sequences`, series a cut into windows.

Formulas: keras/src/utils/{sequence,timeseries_dataset}_utils.py of Keras 3, tf_keras/src/preprocessing/*.py.
"""

from __future__ import annotations

import codecs
import collections
import io
import json
import math
import os
import pickle
import pickletools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

__all__ = [
    "TimeseriesGenerator",
    "Tokenizer",
    "load_tokenizer",
    "pad_sequences",
    "timeseries_dataset_from_array",
    "tokenizer_from_json",
]

Array = np.ndarray[Any, Any]

_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_MODES = ("binary", "count", "freq", "tfidf")
_TABLES = ("word_index", "index_word", "word_counts", "word_docs", "index_docs")
# Of pickles of protocols 0 to 5.
_OPCODES = frozenset(
    "APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPUT BINSTRING BINUNICODE BINUNICODE8 BUILD DICT "
    "EMPTY_DICT EMPTY_LIST EMPTY_TUPLE FLOAT FRAME GET GLOBAL INT LIST LONG LONG1 LONG_BINGET LONG_BINPUT MARK MEMOIZE "
    "NEWFALSE NEWOBJ NEWTRUE NONE PROTO PUT REDUCE SETITEM SETITEMS SHORT_BINSTRING SHORT_BINUNICODE STACK_GLOBAL STOP "
    "STRING TUPLE TUPLE1 TUPLE2 TUPLE3 UNICODE".split()
)
_OPTIONS = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Sequences of different lengths as one array, as Keras's function of this name.

    Parameters
    ----------
    sequences : list of sequences
        Of numbers, or of arrays of one shape.
    maxlen : int, optional
        The number of steps; that of the longest sequence where it is not given.
    dtype : str or numpy.dtype
        Of the result.
    padding, truncating : {"pre", "post"}
        Where short sequences are padded, and long ones cut.
    value : float or str
        What stands in the padding.

    Returns
    -------
    numpy.ndarray
        (sequences, maxlen, ...).

    Raises
    ------
    ValueError
        If a sequence is none, their samples have different shapes, or an argument is unknown.

    Examples
    --------
    >>> from lstmfast.preprocessing import pad_sequences
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for name, where in (("padding", padding), ("truncating", truncating)):
        if where not in ("pre", "post"):
            raise ValueError(f'`{name}` must be "pre" or "post". Received: {where!r}')
    for one in sequences:
        if not hasattr(one, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {one}")
    if maxlen is None:
        maxlen = max(map(len, sequences), default=0)
    if isinstance(maxlen, bool) or not isinstance(maxlen, (int, np.integer)) or maxlen < 0:
        raise ValueError(f"`maxlen` must be a non-negative integer. Received: {maxlen!r}")
    if isinstance(value, str) and dtype is not object and not np.issubdtype(dtype, np.character):
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\nYou should set `dtype=object` for "
            "variable length strings."
        )
    shape = next((np.asarray(one).shape[1:] for one in sequences if len(one)), ())
    padded = np.full((len(sequences), maxlen, *shape), value, dtype)
    for place, one in enumerate(sequences):
        kept = np.asarray(one[max(0, len(one) - maxlen) :] if truncating == "pre" else one[:maxlen], dtype)
        if len(kept) and kept.shape[1:] != shape:
            raise ValueError(
                f"Shape of sample {kept.shape[1:]} of sequence at position {place} is different from expected shape "
                f"{shape}"
            )
        if len(kept):
            start = maxlen - len(kept) if padding == "pre" else 0
            padded[place, start : start + len(kept)] = kept
    return padded


class TimeseriesGenerator:
    """Batches of windows over a series, as Keras 2's class of this name; `Model.predict` takes it.

    Parameters
    ----------
    data : array-like
        (steps, ...).
    targets : array-like
        As long: that of the step behind a window is the window's.
    length : int
        How many steps back a window begins.
    sampling_rate : int
        From one step of a window to the next.
    stride : int
        From one window to the next.
    start_index, end_index : int, optional
        The first and the last step of the series that are used.
    shuffle : bool
        Whether each batch is drawn at random.
    reverse : bool
        Whether the last step of a window comes first.
    batch_size : int
        How many windows a batch has.

    Raises
    ------
    ValueError
        If the lengths differ, no window is left, or a number is not positive.

    Examples
    --------
    >>> from lstmfast.preprocessing import TimeseriesGenerator
    >>> x, y = TimeseriesGenerator([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], length=3, batch_size=2)[0]
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [8, 9])
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
    ) -> None:
        if len(data) != len(targets):
            raise ValueError(
                f"Data and targets have to be of same length. Data length is {len(data)} while target length is "
                f"{len(targets)}"
            )
        _positive(length=length, sampling_rate=sampling_rate, stride=stride, batch_size=batch_size)
        self.data, self.targets = np.asarray(data), np.asarray(targets)
        self.length, self.sampling_rate, self.stride = length, sampling_rate, stride
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle, self.reverse, self.batch_size = shuffle, reverse, batch_size
        if start_index < 0 or not self.start_index <= self.end_index < len(data):
            raise ValueError(
                f"`start_index+length={self.start_index}` to `end_index={self.end_index}` is disallowed, as no part of "
                f"the sequence, of {len(data)} steps, would be left to be used as current step."
            )

    def __len__(self) -> int:
        step = self.batch_size * self.stride
        return (self.end_index - self.start_index + step) // step

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        """Batch ``index``: windows (rows, steps, ...) and targets (rows, ...)."""
        index = range(len(self))[index]
        if self.shuffle:
            ends = np.random.default_rng().integers(self.start_index, self.end_index + 1, self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            ends = np.arange(first, min(first + self.batch_size * self.stride, self.end_index + 1), self.stride)
        windows = _cut(self.data, ends - self.length, self.length, self.sampling_rate)
        return windows[:, ::-1] if self.reverse else windows, self.targets[ends]


class _Windows:
    """The batches of `timeseries_dataset_from_array`."""

    def __init__(self, cut: Callable[[Array], Any], starts: Array, batch_size: int | None) -> None:
        self._cut, self._starts, self._batch = cut, starts, batch_size

    def __len__(self) -> int:
        size = self._batch or 1
        return (len(self._starts) + size - 1) // size

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, len(self._starts), self._batch or 1):
            batch = self._cut(self._starts[first : first + (self._batch or 1)])
            if self._batch is not None:
                yield batch
            else:
                yield tuple(one[0] for one in batch) if isinstance(batch, tuple) else batch[0]


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> Any:
    """Batches of windows over a series, as Keras's function of this name; `Model.predict` takes them.

    Parameters
    ----------
    data : array-like
        (steps, ...).
    targets : array-like or None
        What stands at the place where a window begins is the window's.
    sequence_length : int
        How many steps a window has.
    sequence_stride : int
        From one window to the next.
    sampling_rate : int
        From one step of a window to the next.
    batch_size : int, optional
        How many windows a batch has; None gives windows alone.
    shuffle : bool
        Whether the windows come in another order, which ``seed`` decides; not that of Keras.
    start_index, end_index : int, optional
        The first step of the series that is used, and the one behind the last.

    Returns
    -------
    iterable
        Of windows (rows, sequence_length, ...), or of pairs of these and targets (rows, ...); it has a length.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from lstmfast.preprocessing import timeseries_dataset_from_array
    >>> [x.tolist() for x in timeseries_dataset_from_array([0, 1, 2, 3, 4], None, 3, batch_size=2)]
    [[[0, 1, 2], [1, 2, 3]], [[2, 3, 4]]]
    """
    steps = len(data)
    begin, end = start_index or 0, steps if end_index is None else end_index
    _positive(sequence_length=sequence_length, sequence_stride=sequence_stride, sampling_rate=sampling_rate)
    if batch_size is not None:
        _positive(batch_size=batch_size)
    for name, index, limit in (("start_index", begin, max(steps, 1)), ("end_index", end, steps + 1)):
        if not 0 <= index < limit:
            raise ValueError(f"`{name}` must be between 0 and the length of the data, {steps}. Received: {index}")
    if end_index is not None and end <= begin:
        raise ValueError(
            f"`end_index` must be higher than `start_index`. Received: start_index={begin}, and end_index={end}"
        )
    series = np.asarray(data)[begin:end]
    aligned = None if targets is None else np.asarray(targets)[begin:end]
    count = len(series) - (sequence_length - 1) * sampling_rate
    if targets is not None:
        count = min(count, len(targets))
    starts = np.arange(0, max(0, count), sequence_stride)
    if shuffle:
        np.random.default_rng(seed).shuffle(starts)

    def cut(some: Array) -> Any:
        windows = _cut(series, some, sequence_length * sampling_rate, sampling_rate)
        return windows if aligned is None else (windows, aligned[some])

    return _Windows(cut, starts, batch_size)


def _cut(series: Array, starts: Array, length: int, rate: int) -> Array:
    """The steps of a series from each of ``starts`` on."""
    return series[starts[:, None] + np.arange(0, length, rate)]


def _positive(**numbers: Any) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {value!r}")


class Tokenizer:
    """Keras's Tokenizer: texts to lists of the numbers of their words.

    It is made by `tokenizer_from_json` or `load_tokenizer` of one that was fitted in Keras, or fitted here.

    Parameters
    ----------
    num_words : int, optional
        Only words of a smaller number are taken into account.
    filters : str
        Characters that are left out.
    lower : bool
        Whether texts are set to lower case.
    split : str
        Between words.
    char_level : bool
        Whether each character is a word.
    oov_token : str, optional
        What stands for words that are not known; they are left out where it is not given.
    analyzer : callable, optional
        Gives a text's words, in place of all that.

    Examples
    --------
    >>> from lstmfast.preprocessing import Tokenizer
    >>> tokenizer = Tokenizer(oov_token="?")
    >>> tokenizer.fit_on_texts(["A good film!", "A bad film."])
    >>> tokenizer.texts_to_sequences(["a great film"])
    [[2, 1, 3]]
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = _FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Callable[[str], list[str]] | None = None,
        document_count: int = 0,
    ) -> None:
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.document_count = document_count
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.word_counts: dict[str, int] = {}
        self.word_docs: dict[str, int] = {}
        self.index_docs: dict[int, int] = {}

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Number the words of texts by how often they occur."""
        counts, documents = collections.Counter(self.word_counts), collections.Counter(self.word_docs)
        for text in texts:
            words = self._words(text)
            self.document_count += 1
            counts.update(words)
            documents.update(set(words))
        self.word_counts, self.word_docs = dict(counts), dict(documents)
        known = sorted(counts, key=lambda word: -counts[word])
        known = known if self.oov_token is None else [self.oov_token, *known]
        self.word_index = {word: number for number, word in enumerate(known, 1)}
        self.index_word = {number: word for word, number in self.word_index.items()}
        self.index_docs = {self.word_index[word]: count for word, count in documents.items()}

    def fit_on_sequences(self, sequences: Sequence[Iterable[int]]) -> None:
        """Count in how many lists of numbers each occurs, for `sequences_to_matrix`."""
        counts = collections.Counter(self.index_docs)
        for numbers in sequences:
            counts.update(set(numbers))
        self.document_count += len(sequences)
        self.index_docs = dict(counts)

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """The numbers of each text's words; a text may be a list of words."""
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        numbered: list[list[int]] = []
        for text in texts:
            numbers = (self.word_index.get(word) for word in self._words(text))
            limited = (unknown if number is None or self._is_rare(number) else number for number in numbers)
            numbered.append([number for number in limited if number is not None])
        return numbered

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The words of each list of numbers, with blanks between them."""
        texts: list[str] = []
        for numbers in sequences:
            words: list[str | None] = []
            for number in numbers:
                word = self.index_word.get(int(number))
                words.append(self.oov_token if word is None or self._is_rare(int(number)) else word)
            texts.append(" ".join(word for word in words if word is not None))
        return texts

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> Array:
        """`sequences_to_matrix` of `texts_to_sequences`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Sequence[int]], mode: str = "binary") -> Array:
        """For each list of numbers a row with what ``mode`` says of each word.

        Parameters
        ----------
        sequences : list of lists of int
            As `texts_to_sequences` gives them.
        mode : {"binary", "count", "freq", "tfidf"}
            Whether the word is there, how often, in which share of the list, or how much that says.

        Returns
        -------
        numpy.ndarray
            (sequences, words) of float64.

        Raises
        ------
        ValueError
            If ``mode`` is unknown, or the Tokenizer has not been fitted.
        """
        if mode not in _MODES:
            raise ValueError(f"Unknown vectorization mode: {mode}")
        if not self.num_words and not self.word_index:
            raise ValueError("Specify a dimension (`num_words` argument), or fit on some text data first.")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Fit the Tokenizer on some data before using tfidf mode.")
        width = self.num_words or len(self.word_index) + 1
        matrix = np.zeros((len(sequences), width))
        for row, numbers in zip(matrix, sequences, strict=True):
            for number, count in collections.Counter(number for number in numbers if number < width).items():
                if mode == "tfidf":
                    inverse = math.log(1 + self.document_count / (1 + self.index_docs.get(number, 0)))
                    row[number] = (1 + math.log(count)) * inverse
                else:
                    row[number] = {"binary": 1, "count": count, "freq": count / len(numbers)}[mode]
        return matrix

    def get_config(self) -> dict[str, Any]:
        """The options and tables, the latter as JSON, as in Keras."""
        config = {name: getattr(self, name) for name in _OPTIONS}
        return {**config, **{name: json.dumps(getattr(self, name)) for name in _TABLES}}

    def to_json(self, **kwargs: Any) -> str:
        """What `tokenizer_from_json` reads, here and in Keras; ``kwargs`` are those of `json.dumps`."""
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)

    def _is_rare(self, number: int) -> bool:
        return bool(self.num_words) and number >= self.num_words  # type: ignore[operator]

    def _words(self, text: Any) -> Any:
        if isinstance(text, list):
            return [word.lower() for word in text] if self.lower else text
        if self.analyzer is not None and not self.char_level:
            return self.analyzer(text)
        if not isinstance(text, str):
            raise TypeError(f"Expected texts, or lists of words. Received: {str(text)[:80]!r} ({type(text).__name__})")
        text = text.lower() if self.lower else text
        if self.char_level:
            return text
        spread = text.translate(str.maketrans(dict.fromkeys(self.filters, self.split)))
        return [word for word in spread.split(self.split) if word]


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """The Tokenizer that ``to_json`` of Keras's, or of one here, gave.

    Raises
    ------
    ValueError
        If the text is no such thing.
    """
    try:
        found = json.loads(json_string)
        while isinstance(found, str):  # written by `json.dump`
            found = json.loads(found)
        config = dict(found["config"])
        tables = {name: json.loads(config.pop(name)) for name in _TABLES if name in config}
        return _made(config, tables, "the text")
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"This is not the JSON of a Keras Tokenizer: {error}") from error


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The Tokenizer in a file: its JSON, or a pickle of Keras's object.

    A pickle is read for the Tokenizer's attributes alone, and no code in it is run.

    Parameters
    ----------
    path : str or path-like
        Of the file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it holds no Tokenizer.
    """
    with open(path, "rb") as file:
        content = file.read().removeprefix(codecs.BOM_UTF8)
    if content.lstrip()[:1] in (b"{", b'"'):
        try:
            return tokenizer_from_json(content.decode("utf-8"))
        except ValueError as error:
            raise ValueError(f"'{os.fspath(path)}': {error}") from error
    try:
        _refuse_other_opcodes(content)
        found = _Reader(io.BytesIO(content)).load()
        if not isinstance(found, _Pickled):
            raise ValueError(f"it holds a {type(found).__name__}")
        state = vars(found)
        tables = {name: dict(state[name]) for name in _TABLES if name in state}
        return _made({name: state[name] for name in _OPTIONS if name in state}, tables, "the pickle")
    except Exception as error:  # a pickle can fail in any way
        raise ValueError(f"'{os.fspath(path)}' is not the JSON or the pickle of a Keras Tokenizer: {error}") from error


def _made(options: dict[str, Any], tables: dict[str, Any], what: str) -> Tokenizer:
    known = {name: value for name, value in options.items() if name in _OPTIONS}
    types: dict[str, Any] = {
        "num_words": (int, type(None)),
        "filters": str,
        "lower": (bool, int),
        "split": str,
        "char_level": (bool, int),
        "oov_token": (str, int, type(None)),
        "document_count": int,
    }
    for name, value in known.items():
        if not isinstance(value, types[name]):
            raise ValueError(f"{what} has {name}={str(value)[:40]!r}.")
    tokenizer = Tokenizer(**known)
    for name, table in tables.items():
        by_number = name.startswith("index")
        setattr(tokenizer, name, {int(key) if by_number else key: value for key, value in table.items()})
    for word, number in tokenizer.word_index.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"{what} numbers the word {str(word)[:40]!r} {str(number)[:40]!r}.")
    return tokenizer


def _refuse_other_opcodes(content: bytes) -> None:
    """Raise where a pickle has more than a Tokenizer needs, or numbers what it keeps beyond what it can hold."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it holds the opcode {opcode.name}")
        if opcode.name.endswith("PUT") and int(argument or 0) > count:  # for which the memory would be taken
            raise ValueError(f"it keeps a value as number {argument}, of {count}")


class _Pickled:
    """Takes the attributes of a Tokenizer in a pickle."""


def _reconstructed(kind: Any, base: Any, state: Any) -> _Pickled:
    """What pickles of Python 2 make an object by."""
    if kind is not _Pickled or base is not object:
        raise pickle.UnpicklingError("it makes something else than a Tokenizer")
    return _Pickled()


class _Reader(pickle.Unpickler):
    """Makes nothing but a Tokenizer and the tables in it."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Tokenizer" and module.split(".")[-1] in ("text", "preprocessing", "keras_preprocessing"):
            return _Pickled
        if (module, name) in (("collections", "OrderedDict"), ("collections", "defaultdict")):
            return getattr(collections, name)
        if module in ("builtins", "__builtin__") and name in ("int", "long", "object"):
            return object if name == "object" else int
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _reconstructed
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no part of one")
