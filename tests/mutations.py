"""Hostile files out of good ones: a string of bytes says which file to take and what to do to it.

The same bytes give the same file, but for the times that HDF5 keeps in it, and are all there is to keep of one. Whoever
changes them at random, as a fuzzer does, changes files at every level: the JSON of the config, the HDF5 of the weights,
the zip around them, and last the bytes. HDF5 is changed while it is whole, for libhdf5 may crash on what is broken.
Next: fuzz.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from lstmfast.layers.base import REGISTRY
from lstmfast.layers.operations import OPERATIONS

T = TypeVar("T")

CLASSES = (
    *sorted(REGISTRY),
    *sorted(OPERATIONS)[::4],
    "Lambda",
    "TorchModuleWrapper",
    "StringLookup",
    "CuDNNLSTM",
    "CuDNNGRU",
    "TimeDistributedDense",
    "Merge",
    "TFOpLambda",
    "Sequential",
    "Functional",
    "Model",
    "NotEqual",
    "__main__",
)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    1 << 31,
    1 << 63,
    10**30,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "a" * 5000,
    "\ud800",
    "../../x",
    "float16",
    "bfloat16",
    "mixed_float16",
    "int32",
    "object",
    "linear",
    "softmax",
    "hard_sigmoid",
    "channels_first",
    "valid",
    "causal",
    [],
    {},
    [None],
    [[]],
    [0, 0],
    [-1, 3],
    [None, 3],
    [None, 10**9, 10**9],
    ["x", 0, 0],
    {"class_name": "LSTM"},
    {"class_name": "LSTM", "config": {"units": 3}},
    {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}},
    {"class_name": "__numpy__", "config": {"value": [1, 2], "dtype": "object"}},
    {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "U500000000"}},
    {"class_name": "__slice__", "config": {"start": None, "stop": 1 << 40, "step": 0}},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}},
    {"class_name": "DTypePolicy", "config": {"name": "float64"}},
)
ACTIONS = ("load", "load", "load", "load", "load", "load_weights", "explain", "from_json")
NUMBERS = (0, 1, 2, 3, 127, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VERSIONS = ("1.2.2", "2.0.2", "2.2.4-tf", "2.13.1", "3.0.5", "3.15.1", "99.0", "", "x")


class Choices:
    """Draws from a string of bytes; where it ends, the first of the options comes, over and over."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._content) - self._place

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        width = 1 if count <= 1 << 8 else 2 if count <= 1 << 16 else 4
        drawn = self._content[self._place : self._place + width]
        self._place += len(drawn)
        return int.from_bytes(drawn, "little") % max(count, 1)

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def once_in(self, count: int) -> bool:
        return self.below(count) == count - 1


@dataclasses.dataclass
class Parts:
    """A model file taken apart: the config as JSON, the version, and the HDF5 file that holds the weights."""

    is_archive: bool
    config: Any
    version: str
    weights: bytes

    @classmethod
    def of(cls, path: Path) -> Parts:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
                return cls(True, json.loads(archive.read("config.json")), version, archive.read("model.weights.h5"))
        content = path.read_bytes()
        with h5py.File(io.BytesIO(content), "r") as file:
            version = file.attrs.get("keras_version", b"")
            config = json.loads(file.attrs["model_config"])
        return cls(False, config, version.decode() if isinstance(version, bytes) else str(version), content)


@dataclasses.dataclass(frozen=True)
class Case:
    """What to do with a file that was made of the good file `base`."""

    action: str
    base: str
    content: bytes


class Maker:
    """Makes cases of the good files in a folder.

    Parameters
    ----------
    folder : Path
        Of good files.
    decoy : Path
        An HDF5 file that links may lead to; nothing may ever open it.
    """

    def __init__(self, folder: Path, decoy: Path) -> None:
        self.paths = sorted(folder.iterdir())
        self._decoy = decoy
        self._parts: dict[Path, Parts] = {}

    def _of(self, path: Path) -> Parts:
        if path not in self._parts:
            self._parts[path] = Parts.of(path)
        return self._parts[path]

    def make(self, genome: bytes) -> Case:
        """The case that the bytes mean."""
        choices = Choices(genome)
        action = choices.one(ACTIONS)
        path = choices.one(self.paths)
        parts = self._of(path)
        levels = choices.one(("c", "h", "z", "b", "c", "h", "c", "ch", "ch", "cz", "hb", "zb", "cb", "chzb"))
        config: bytes | None = None
        weights = parts.weights
        version = choices.one(VERSIONS) if choices.once_in(8) else parts.version
        if "c" in levels:
            config = self._config(choices, parts)
        with Hdf5(weights) as hdf5:
            if not parts.is_archive:
                if config is not None:
                    hdf5.set_attribute("model_config", config)
                if version != parts.version:
                    hdf5.set_attribute("keras_version", version.encode())
            if "h" in levels:
                change_hdf5(choices, hdf5, self._decoy)
        content = hdf5.content
        if parts.is_archive:
            encoded = config if config is not None else json.dumps(parts.config).encode()
            metadata = json.dumps({"keras_version": version}).encode()
            content = zipped(choices, encoded, metadata, content, "z" in levels, self._decoy)
        if "b" in levels:
            content = changed_bytes(choices, content)
        return Case(action, path.name, content)

    def _config(self, choices: Choices, parts: Parts) -> bytes:
        tree = _copy(parts.config)
        donor = self._of(choices.one(self.paths)).config if choices.once_in(8) else tree
        try:
            for _ in range(1 + choices.below(4)):
                tree = changed_json(choices, tree, donor)
            text = json.dumps(tree).encode()
        except RecursionError:  # what was nested, nested again
            text = b'{"config": ' * 10_000
        return changed_text(choices, text) if choices.once_in(10) else text


# ---- the config ----------------------------------------------------------------------------------------------------

Place = tuple[Any, ...]
DEEPEST = 100  # nothing is changed further down


def places(tree: Any) -> list[Place]:
    """The paths of everything in a JSON tree, its root aside."""
    found: list[Place] = [()]
    trees = [tree]
    for path, here in zip(found, trees):
        if isinstance(here, (dict, list)) and len(path) < DEEPEST:
            keys = list(here) if isinstance(here, dict) else range(len(here))
            found += [(*path, key) for key in keys]
            trees += [here[key] for key in keys]
    return found[1:]


def at(tree: Any, path: Place) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def changed_json(choices: Choices, tree: Any, donor: Any) -> Any:
    """One thing in the tree replaced, removed, doubled, moved, nested, renamed or made cyclic."""
    found = places(tree)
    if not found:
        return choices.one(STRANGE)
    path = choices.one(found)
    parent, key = at(tree, path[:-1]), path[-1]
    kind = choices.below(12)
    if kind <= 2:
        parent[key] = choices.one(STRANGE)
    elif kind == 3:
        del parent[key]
    elif kind == 4:
        _double(parent, key, choices)
    elif kind == 5:
        parent[key] = _copy(at(donor, choices.one(places(donor) or [()])))
    elif kind == 6:
        other = choices.one(found)
        there = at(tree, other[:-1])
        if path[: len(other)] != other and other[: len(path)] != path:
            parent[key], there[other[-1]] = there[other[-1]], parent[key]
    elif kind == 7:
        _nest(parent, key, choices)
    elif kind == 8:
        classes = [place for place in found if place[-1] == "class_name"] or [path]
        place = choices.one(classes)
        at(tree, place[:-1])[place[-1]] = choices.one(CLASSES)
    elif kind == 9:
        _rewire(tree, found, choices)
    elif kind == 10:
        numbers = [place for place in found if type(at(tree, place)) in (int, float)] or [path]
        place = choices.one(numbers)
        at(tree, place[:-1])[place[-1]] = choices.one((0, 1, 2, 3, 4, 5, 7, 64, 1000, -1, -3, 1 << 20, 1 << 40, 0.5))
    else:
        settings = [place for place in found if isinstance(at(tree, place), dict)] or [()]
        target = at(tree, choices.one(settings))
        if isinstance(target, dict):
            names = ("units", "go_backwards", "stateful", "time_major", "return_state", "axis", "strides", "surprise")
            target[choices.one(names)] = choices.one(STRANGE)
    return tree


def _copy(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def _double(parent: Any, key: Any, choices: Choices) -> None:
    if isinstance(parent, list):
        parent[key:key] = [_copy(parent[key]) for _ in range(choices.one((1, 2, 40)))]
    else:
        parent[choices.one(tuple(parent))] = _copy(parent[key])


def _nest(parent: Any, key: Any, choices: Choices) -> None:
    depth = choices.one((1, 2, 3, 65, 200))
    kind = choices.below(4)
    for _ in range(depth):
        inner = parent[key]
        if kind == 0:
            parent[key] = [inner]
        elif kind == 1:
            parent[key] = {"class_name": "Sequential", "config": {"name": f"n{depth}", "layers": [inner]}}
        elif kind == 2:
            parent[key] = {"class_name": "TimeDistributed", "config": {"name": f"n{depth}", "layer": inner}}
        else:
            parent[key] = {"class_name": "__tuple__", "items": [inner]}


def _rewire(tree: Any, found: list[Place], choices: Choices) -> None:
    """An edge of the graph to another layer, perhaps a later one; or a layer with the name of another."""
    names = [at(tree, place) for place in found if place[-1] == "name" and isinstance(at(tree, place), str)]
    uses = [place for place in found if isinstance(at(tree, place), str) and at(tree, place) in names]
    if uses:
        place = choices.one(uses)
        at(tree, place[:-1])[place[-1]] = choices.one(names)


def changed_text(choices: Choices, text: bytes) -> bytes:
    """JSON that no writer of JSON would write."""
    place = choices.below(len(text) or 1)
    return choices.one(
        (
            text[:place],
            text + text,
            b"\xef\xbb\xbf" + text,
            text.decode().encode("utf-16"),
            text[:place] + b"\xff" + text[place:],
            b'{"config": 1,' + text[1:],
            b"[" * 100_000,
            b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
            text.replace(b"null", b"-Infinity"),
            text.replace(b"null", b"1" * 5_000),
            text.replace(b"true", b"1e999"),
            b" " * 100_000 + text,
            b"",
        )
    )


# ---- HDF5 ----------------------------------------------------------------------------------------------------------


class Hdf5:
    """A whole HDF5 file, open for changes inside ``with``; `content` is what it became."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._buffer = io.BytesIO(content)
        self._file: Any = None

    def __enter__(self) -> Hdf5:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            with contextlib.suppress(Exception):
                self._file.close()
            self.content = self._buffer.getvalue()

    @property
    def file(self) -> Any:
        if self._file is None:
            self._file = h5py.File(self._buffer, "r+")
        return self._file

    def set_attribute(self, key: str, value: bytes) -> None:
        """Text of any length: what is too long for an attribute is kept as a variable-length string."""
        with contextlib.suppress(OSError, ValueError, KeyError, RuntimeError):
            if key in self.file.attrs:
                del self.file.attrs[key]
            if len(value) < 60_000 and b"\0" not in value:
                self.file.attrs[key] = np.bytes_(value or b" ")
            else:
                self.file.attrs.create(key, value, dtype=h5py.string_dtype())


def change_hdf5(choices: Choices, hdf5: Hdf5, decoy: Path) -> None:
    """A few objects or attributes changed; what libhdf5 refuses to write is left out."""
    for _ in range(1 + choices.below(3)):
        found: list[str] = []
        with contextlib.suppress(Exception):  # of what was changed just before
            hdf5.file.visit(found.append)
        found = found or ["/"]
        with contextlib.suppress(Exception):
            if choices.below(3) == 0:
                _change_attribute(choices, hdf5.file[choices.one(found)] if choices.below(3) else hdf5.file)
            else:
                _change_object(choices, hdf5.file, found, decoy)


def _change_attribute(choices: Choices, target: Any) -> None:
    """Any attribute but the config, which has its own level, for most of the choices."""
    keys = [key for key in target.attrs if key != "model_config" or choices.once_in(16)]
    key = choices.one([*keys, "layer_names", "weight_names", "dtype", "layer_names0", "name"])
    old = target.attrs.get(key)
    items = list(old) if isinstance(old, np.ndarray) and old.ndim else []
    value: Any = choices.one(
        (
            lambda: None,
            lambda: 7,
            lambda: np.nan,
            lambda: "x",
            lambda: b"bfloat16",
            lambda: np.bytes_(b"\xff\xfe"),
            lambda: np.void(b"\xff\xfe"),
            lambda: h5py.Empty("f"),
            lambda: np.arange(5.0),
            lambda: np.array([b"../a", b"/", b".", b"a/../b"], "S8"),
            lambda: np.array([[b"a", b"b"]], "S1"),
            lambda: target.ref,
            lambda: items[::-1],
            lambda: items[:-1],
            lambda: items + items[:1],
            lambda: [*items, b"missing"],
            lambda: np.array([b"a"] * 50_000, "S1")[: 60_000 // 2],
            lambda: np.array(["lstm"] * 3, h5py.string_dtype()),
        )
    )()
    if key in target.attrs:
        del target.attrs[key]
    if value is not None:
        target.attrs[key] = value


def _change_object(choices: Choices, file: Any, found: list[str], decoy: Path) -> None:
    for _ in range(choices.one((4, 4, 4, 1))):  # rather a data set than a group
        name = choices.one(found)
        old = file[name]
        if isinstance(old, h5py.Dataset):
            break
    small = isinstance(old, h5py.Dataset) and old.size is not None and old.size < 1 << 16
    array = np.ones(old.shape if small else (3, 4), "float32")
    shape = array.shape
    action = choices.one(_OBJECTS)
    if action is _moved:
        file.move(name, f"{name.rpartition('/')[0]}/{choices.one(('0', '1', '2', 'vars', 'lstm', 'lstm_1', 'x'))}")
        return
    if action is _doubled:
        file[f"{name}_1"] = old
        return
    del file[name]
    action(choices, file, name, array, shape, decoy)


def _moved(*_: Any) -> None: ...


def _doubled(*_: Any) -> None: ...


def _removed(*_: Any) -> None: ...


def _reshaped(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    more = (*shape[:-1], shape[-1] + 1) if shape else (1,)
    file[name] = np.resize(array, choices.one((shape[::-1], more, (), (0,), (*shape, 1), (1, *shape), shape[:-1])))


def _retyped(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    types = ("f2", "f8", ">f4", "i1", "i8", "u2", "?", "S3", "c8", "f16", "V4", "S100000")
    kind = choices.below(len(types) + 4)
    if kind < len(types):
        file.create_dataset(name, shape, types[kind])
    elif kind == len(types):
        file.create_dataset(name, shape, h5py.string_dtype(), fillvalue="x")
    elif kind == len(types) + 1:
        file.create_dataset(name, shape, h5py.ref_dtype)
    elif kind == len(types) + 2:
        file.create_dataset(name, shape, np.dtype([("a", "f4"), ("b", h5py.string_dtype())]))
    else:
        file.create_dataset(name, shape, h5py.vlen_dtype(np.dtype("f4")))


def _revalued(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    file[name] = np.full(shape, choices.one((np.nan, np.inf, -3e38, 1e-42, 0)), "float32")


def _soft(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    file["elsewhere"] = array
    file[name] = h5py.SoftLink(choices.one(("/elsewhere", "/nowhere", name, "/", "..")))


def _external(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    file[name] = h5py.ExternalLink(str(choices.one((decoy, decoy.name))), choices.one(("/", "/x", "/group")))


def _stored_elsewhere(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    place = str(choices.one((decoy, decoy.name)))
    file.create_dataset(name, shape, "float32", external=[(place, 0, h5py.h5f.UNLIMITED)])


def _virtual(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource(str(choices.one((decoy, decoy.name, "."))), "x", shape)
    file.create_virtual_dataset(name, layout)


def _bomb(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    big = choices.one(((1 << 27,), (1 << 20, 1 << 20), (1 << 13, 1 << 13), (1 << 40,)))
    chunks = tuple(min(extent, 1 << 9) for extent in big)
    filters = choices.one(({}, {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}))
    file.create_dataset(name, big, "float32", chunks=chunks, **filters)


def _large_chunk(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    """A small data set in one chunk that is large when it is inflated."""
    extent = choices.one((4096, 1 << 20, 1 << 26))
    chunks = (*((1,) * (len(shape) - 1)), extent) if shape else ()
    chunked = {"chunks": chunks, "maxshape": (None,) * len(shape), "compression": "gzip"} if shape else {}
    data = file.create_dataset(name, shape, "float32", **chunked)
    if extent <= 1 << 26 and shape:
        data.id.write_direct_chunk((0,) * len(shape), _zeros(4 * extent))


_ZEROS: dict[int, bytes] = {}


def _zeros(size: int) -> bytes:
    """That many zeros, deflated."""
    if size not in _ZEROS:
        step = bytes(min(size, 1 << 20))
        maker = zlib.compressobj(wbits=-15)
        block = maker.compress(step) + maker.flush(zlib.Z_FULL_FLUSH)  # can be repeated
        check = 1
        for _ in range(size // len(step)):
            check = zlib.adler32(step, check)
        _ZEROS[size] = b"\x78\x9c" + block * (size // len(step)) + b"\x03\x00" + check.to_bytes(4, "big")
    return _ZEROS[size]


def _filtered(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    options: dict[str, Any] = choices.one(
        ({"fletcher32": True}, {"shuffle": True, "compression": "gzip"}, {"compression": "lzf"}, {"scaleoffset": 2})
    )
    if shape:
        file.create_dataset(name, data=array, chunks=True, **options)


def _unknown_filter(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    """A filter for which libhdf5 would look for a library to load."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(shape or (1,))
    creation.set_filter(choices.one((307, 32001, 32015)), h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple(shape or (1,)), dcpl=creation)


def _group(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    group = file.create_group(name)
    for _ in range(choices.one((0, 1, 70, 300))):
        group = group.create_group("g")


def _cycle(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    file[name] = file


def _committed_type(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    file[name] = np.dtype("f4")


def _empty(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    file[name] = h5py.Empty("f")


def _many(choices: Choices, file: Any, name: str, array: Any, shape: Any, decoy: Path) -> None:
    group = file.create_group(name)
    for number in range(choices.one((3, 300))):
        group[str(number)] = np.float32(number)


_OBJECTS: tuple[Callable[..., None], ...] = (
    _removed,
    _reshaped,
    _retyped,
    _revalued,
    _soft,
    _external,
    _stored_elsewhere,
    _virtual,
    _bomb,
    _large_chunk,
    _filtered,
    _unknown_filter,
    _group,
    _cycle,
    _committed_type,
    _empty,
    _many,
    _moved,
    _doubled,
)


# ---- the zip around ------------------------------------------------------------------------------------------------


def zipped(choices: Choices, config: bytes, metadata: bytes, weights: bytes, hostile: bool, decoy: Path) -> bytes:
    """A .keras file of these members; a hostile one has other members, names, compression and headers."""
    members = [("metadata.json", metadata), ("config.json", config), ("model.weights.h5", weights)]
    if not hostile:
        return _written(members, [0] * len(members))
    for _ in range(1 + choices.below(3)):
        number = choices.below(len(members))
        name, content = members[number]
        kind = choices.below(10)
        if kind == 0:
            del members[number]
        elif kind == 1:
            members.append((name, choices.one(members)[1]))
        elif kind == 2:
            names = (
                f"../{name}",
                str(decoy),
                "C:\\x",
                f"x/{name}",
                name.upper(),
                "model.weights.npz",
                "a\0b",
                "data.pkl",
            )
            members.insert(number, (choices.one(names), content))
        elif kind == 3:
            members[number] = (choices.one(("model.weights.npz", "config.json", "model.weights.h5", name)), content)
        elif kind == 4:
            members[number] = (name, choices.one((b"", b"{}", b"null", b"[1]", bytes(4 << 20), b" " * 300_000)))
        elif kind == 5:
            members[number:] = [("model.weights.npz", _npz(choices))]
        else:
            break
        if not members:
            return _written([], [])
    methods = [choices.one((0, 0, 8, 12, 14)) for _ in members]
    content = _written(members, methods)
    return changed_headers(choices, content) if choices.below(3) else content


def _written(members: list[tuple[str, bytes]], methods: list[int]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for (name, content), method in zip(members, methods, strict=True):
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


def _npz(choices: Choices) -> bytes:
    """Weights as NumPy's own archive, pickled and not."""
    buffer = io.BytesIO()
    kind = choices.below(4)
    if kind == 0:
        np.savez(buffer, **{"layers/lstm": np.array({"0": np.ones((3, 40), "float32")}, dtype=object)})
    elif kind == 1:
        np.savez(buffer, **{"layers/lstm/cell/vars/0": np.ones((3, 40), "float32")})
    elif kind == 2:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("layers/lstm/cell/vars/0.npy", header.ljust(127) + b"\n")
    else:
        np.savez_compressed(buffer, **{"layers/lstm/cell/vars/0": np.zeros(1 << 20, "float32")})
    return buffer.getvalue()


def changed_headers(choices: Choices, content: bytes) -> bytes:
    """Fields of the zip's headers that say something else than is there."""
    changed = bytearray(content)
    for _ in range(1 + choices.below(3)):
        signature, size = choices.one(((b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22)))
        found = [match.start() for match in re.finditer(re.escape(signature), changed)]
        if not found:
            continue
        field = choices.one(found) + 4 + 2 * choices.below((size - 4) // 2)
        number = choices.one(NUMBERS)
        wide = choices.below(2) and field + 4 <= len(changed)
        code = struct.pack("<I", number) if wide else struct.pack("<H", number & 0xFFFF)
        changed[field : field + len(code)] = code
    return bytes(changed)


# ---- bytes ---------------------------------------------------------------------------------------------------------


def changed_bytes(choices: Choices, content: bytes) -> bytes:
    """A few bytes changed, cut out, doubled, or swapped for others of the file."""
    changed = bytearray(content)
    for _ in range(1 + choices.below(8)):
        if not changed:
            break
        # the heads of both kinds of file lie at their beginnings, those of a zip at its end too
        span = choices.one((len(changed), 1 << 8, 1 << 12))
        place = min(choices.below(max(span, 257)), len(changed) - 1)
        place = len(changed) - 1 - place if choices.once_in(4) else place
        kind = choices.below(6)
        if kind == 0:
            changed[place] ^= 1 << choices.below(8)
        elif kind == 1:
            changed[place] = choices.one((0, 1, 127, 128, 255))
        elif kind == 2:
            del changed[place : place + 1 + choices.below(64)]
        elif kind == 3:
            other, size = choices.below(len(changed)), 1 + choices.below(32)
            changed[place : place + size] = changed[other : other + size]
        elif kind == 4:
            changed[place:place] = changed[place : place + 1 + choices.below(64)]
        else:
            width = choices.one((2, 4, 8))
            number = choices.one(NUMBERS)
            changed[place : place + width] = (number & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return bytes(changed)
