"""Does with one hostile file what a user would, and says what went wrong.

Every case ends in a model or in an error that `load_model` documents; the model computes, or says why not. Nothing runs
or is opened beside the file, and memory and time stay bounded.
Next: fuzz.py, which chooses the cases.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import os
import resource
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.random  # NumPy imports it late
from mutations import Case, Maker
from watching import Watch

import lstmfast
from lstmfast.saving import archive, build, config, explaining, files, hdf5, legacy, translate, writing  # noqa: F401

CLEAR = (OSError, ValueError, NotImplementedError)
# What a call may raise beside a ValueError, on inputs that do not suit what the file says.
CLEAR_OF_CALLS = (ValueError, TypeError, NotImplementedError)
MOST_BYTES = 160 << 20
MOST_SECONDS = 10.0
ADDRESS_SPACE = 2 << 30
MOST_VALUES = 1 << 19  # of a layer's output, for the model to be run


@dataclasses.dataclass(frozen=True)
class Finding:
    """What went wrong, where, and the bytes that make the case again."""

    kind: str
    where: str
    says: str
    case: str
    genome: str


class Harness:
    """Runs cases in this process, whose working folder and limits it changes.

    Parameters
    ----------
    bases : Path
        Folder of good files.
    scratch : Path
        An empty folder: for the file of the case, and for what must not be touched.
    """

    def __init__(self, bases: Path, scratch: Path) -> None:
        (scratch / "case").mkdir()
        (scratch / "elsewhere").mkdir()
        self.path = scratch / "case" / "case.keras"
        decoy = scratch / "elsewhere" / "decoy.h5"
        with h5py.File(decoy, "w") as file:
            file["x"] = np.full((64, 64), 7e7, "float32")
            file.create_group("group")["0"] = np.full((3, 40), 7e7, "float32")
        self.maker = Maker(bases, decoy)
        self.models: dict[str, Any] = {}
        self._load_all()
        os.chdir(decoy.parent)
        self.watch = Watch([self.path.parent, decoy.parent])
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def _load_all(self) -> None:
        """Every good file once, so that all is imported that loading needs; they have to be good."""
        warnings.simplefilter("ignore")
        for encoding in ("utf-8-sig", *(f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-be", "-le"))):
            codecs.lookup(encoding)  # json looks for these
        for path in self.maker.paths:
            model = lstmfast.load_model(path)
            lstmfast.explain(path)
            run(model)
            if len(self.models) < 40:
                self.models[path.name] = model
        lstmfast.model_from_json(model.to_json())
        for name in ("missing", self.maker.paths[0].parent):
            with contextlib.suppress(OSError):
                lstmfast.load_model(name)

    def check(self, genome: bytes) -> Finding | None:
        """What went wrong with the case that the bytes mean, if anything did."""
        case = self.maker.make(genome)
        self.path.write_bytes(case.content)
        model, error = None, None
        with self.watch.over(self.path):
            try:
                model = self._load(case)
            except CLEAR as expected:
                error = expected
            except BaseException as unexpected:
                return self._finding(f"{type(unexpected).__name__}", unexpected, case, genome)
        if self.watch.tried:
            return self._finding("reached out", error, case, genome, "; ".join(self.watch.tried[:8]))
        if self.watch.held > MOST_BYTES:
            return self._finding("memory", error, case, genome, f"{self.watch.held >> 20} MiB")
        if self.watch.seconds > MOST_SECONDS:
            return self._finding("time", error, case, genome, f"{self.watch.seconds:.1f} s")
        if error is not None and self.path.name not in str(error) and case.action != "from_json":
            return self._finding("names no file", error, case, genome)
        if model is not None:
            try:
                with np.errstate(all="ignore"):
                    run(model)
            except CLEAR_OF_CALLS:
                pass
            except BaseException as unexpected:
                return self._finding(f"{type(unexpected).__name__} of a call", unexpected, case, genome)
        return None

    def _load(self, case: Case) -> Any:
        if case.action == "explain":
            str(lstmfast.explain(self.path))
            return None
        if case.action == "from_json":
            with files.open_model(self.path) as saved:
                text = json.dumps(saved.config)
            return lstmfast.model_from_json(text)
        if case.action == "load_weights" and case.base in self.models:
            model = self.models[case.base]
            before = model.get_weights()
            try:
                model.load_weights(self.path)
            except CLEAR:
                after = model.get_weights()
                if any(old.tobytes() != new.tobytes() for old, new in zip(before, after, strict=True)):
                    raise AssertionError("load_weights failed and changed weights") from None
                raise
            finally:
                model.set_weights(before)
            return None
        return lstmfast.load_model(self.path)

    def _finding(
        self, kind: str, error: BaseException | None, case: Case, genome: bytes, says: str | None = None
    ) -> Finding:
        frames = traceback.extract_tb(error.__traceback__) if error is not None else []
        own = [frame for frame in frames if f"{os.sep}lstmfast{os.sep}" in frame.filename]
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else case.action
        text = says or "" if error is None else f"{says or ''} {type(error).__name__}: {error}".strip()
        return Finding(kind, where, text[:600], f"{case.action} {case.base}", genome.hex())


def run(model: Any) -> None:
    """Call the model on a small input, if its layers give nothing large."""
    if not model.built:
        model(np.full((2, 3, 4), 0.5, "float32"))
        return
    for shape in _shapes(model):
        if np.prod([3 if extent is None else float(extent) for extent in shape]) > MOST_VALUES:
            return
    inputs = [
        np.ones([2 if extent is None else extent for extent in tensor.shape], tensor.dtype) for tensor in model.inputs
    ]
    model(inputs if len(inputs) > 1 else inputs[0])


def _shapes(layer: Any) -> Iterator[tuple[int | None, ...]]:
    for node in layer.nodes:
        yield from (tensor.shape for tensor in node.outputs)
    for inner in layer.sublayers():
        yield from _shapes(inner)


# ---- bugs to find: each breaks one check of the loader -------------------------------------------------------------


def _follow_links() -> None:
    known = hdf5.child

    def child(group: Any, key: str, name: str) -> Any:
        is_link = not isinstance(group.get(key, getlink=True), h5py.HardLink)
        there = group.get(key) if is_link else None
        return known(group, key, name) if there is None else there

    hdf5.child = child


def _trust_sizes() -> None:
    hdf5._MAX_VALUES = hdf5._MAX_RATIO = 1 << 60  # type: ignore[misc]


def _let_errors_through() -> None:
    def parse(text: bytes | str, name: str, what: str) -> Any:
        return json.loads(text)

    for module in (files, archive, legacy):
        module.parse_json = parse  # type: ignore[attr-defined]


def _import_classes() -> None:
    import importlib

    known = config.layer_class

    def layer_class(class_name: Any, layer_name: Any, context: Any) -> Any:
        if class_name == "Lambda":
            importlib.import_module("this_module_is_named_by_the_file")
        return known(class_name, layer_name, context)

    config.layer_class = layer_class  # type: ignore[assignment]


def _assign_early() -> None:
    def add(self: Any, layer: Any, arrays: Any) -> None:
        layer.set_weights([array.read() for array in arrays])

    build._Collector.add = add  # type: ignore[method-assign]


def _crash() -> None:
    known = hdf5.child

    def child(group: Any, key: str, name: str) -> Any:
        if key == "lstm_1":
            os.abort()
        return known(group, key, name)

    hdf5.child = child


PLANTS: dict[str, Callable[[], None]] = {
    "links are followed": _follow_links,
    "sizes are trusted": _trust_sizes,
    "JSON errors pass": _let_errors_through,
    "a class is imported": _import_classes,
    "weights are set one by one": _assign_early,
    "a crash": _crash,
}
