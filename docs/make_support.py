"""Writes docs/support.md from the code: layers, activations, types, files, limits and refusals. lstmfast is installed.

python docs/make_support.py            write it
python docs/make_support.py --check    exit status 1 where the committed file is another
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from lstmfast import _core, _keras, activations
from lstmfast._arrays import _FLOATS, DTypePolicy
from lstmfast.layers.base import REGISTRY, Layer
from lstmfast.layers.operations import _MOST_VALUES, OPERATIONS
from lstmfast.layers.rnn import FLAGS
from lstmfast.saving import archive, config, edges, files, hdf5

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "support.md"

# By module of lstmfast.layers, in the page's order; a module that is missing here comes last, under its own name.
FAMILIES = {
    "lstm": "Recurrent layers",
    "gru": "Recurrent layers",
    "simple_rnn": "Recurrent layers",
    "conv_lstm": "Recurrent layers",
    "rnn": "Recurrent layers",
    "wrappers": "Wrappers",
    "core": "Inputs and Dense",
    "einsum_dense": "Inputs and Dense",
    "masking": "Embedding and Masking",
    "text": "Text",
    "lookup": "Text",
    "categories": "Classes",
    "hashing": "Classes",
    "convolution": "Convolutions",
    "conv_transpose": "Convolutions",
    "pooling": "Pooling",
    "spectrogram": "Spectrograms",
    "images": "Images",
    "normalization": "Normalization",
    "attention": "Attention",
    "merging": "Merging",
    "reshaping": "Reshaping",
    "activation": "Activation layers",
    "regularization": "Dropout, noise and identity",
    "models": "Models",
}
INERT_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Refusals that no file can meet: a subclass in Python that is not finished.
NOT_OF_FILES = "method implemented"
POLICIES = (*_FLOATS, "mixed_float16", "mixed_bfloat16")


def code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def table(head: str, rows: list[tuple[str, ...]]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|---" * columns + "|", *(f"| {' | '.join(row)} |" for row in rows)])


# ---- layers ------------------------------------------------------------------------------------------------------


def arguments(cls: type[Layer]) -> list[str]:
    """What a constructor takes beside the arguments of every layer."""
    common = {*inspect.signature(Layer.__init__).parameters, "kwargs"}
    names = [name for name in inspect.signature(cls.__init__).parameters if name not in common]
    for base in cls.__mro__:
        names += [name for name in getattr(base, "keyword_arguments", ()) if name not in names]
    names = [name for name in names if name not in cls.inert_arguments]
    if cls.__name__.endswith("Cell"):
        names = [name for name in names if name not in (*FLAGS, "zero_output_for_mask", "time_major", "use_cudnn")]
    shown = []
    for name in names:
        ending = next((f"*{ending}" for ending in INERT_ENDINGS if name.endswith(ending)), name)
        if ending not in shown:
            shown.append(ending)
    return shown


def layer_tables() -> Iterator[str]:
    aliases: dict[type[Layer], list[str]] = {}
    for name, cls in REGISTRY.items():
        if cls.__module__.startswith("lstmfast.") and cls.__name__ != "Operation":
            aliases.setdefault(cls, []).extend([name] if name != cls.__name__ else [])
    for old, new in config._RENAMED_CLASSES.items():
        known = aliases[REGISTRY[new]]
        known.extend([old] if old not in known else [])
    families: dict[str, list[type[Layer]]] = {title: [] for title in FAMILIES.values()}
    for cls in sorted(
        aliases, key=lambda cls: list(FAMILIES).index(module) if (module := room(cls)) in FAMILIES else 99
    ):
        families.setdefault(FAMILIES.get(room(cls), room(cls)), []).append(cls)
    for title, members in families.items():
        if members:
            rows = []
            for cls in members:
                inert = f"; without effect {code(list(cls.inert_arguments))}" if cls.inert_arguments else ""
                rows.append((f"`{cls.__name__}`", code(arguments(cls)) + inert, code(aliases[cls])))
            yield f"### {title}\n\n{table('| layer | arguments | other names in files |', rows)}"


def room(cls: type[Layer]) -> str:
    return cls.__module__.rsplit(".", 1)[1]


# ---- the rest ----------------------------------------------------------------------------------------------------


def activation_table() -> str:
    other = {name: alias for alias, name in activations._ALIASES.items()}
    rows = []
    for name in _core.activation_names():
        if name in ("gelu_tanh", "hard_sigmoid_keras2"):  # forms of gelu and hard_sigmoid
            continue
        parameters = [f"{key}={value}" for key, value in activations._PARAMETERS.get(name, {}).items()]
        rows.append((f"`{name}`", code(parameters), code([other[name]] if name in other else [])))
    return table("| activation | parameters | other name |", rows)


def policy_table() -> str:
    rows = []
    for policy in map(DTypePolicy, POLICIES):
        rows.append((f"`{policy.name}`", policy.real.name, policy.variable_dtype, policy.compute_dtype))
    return table("| policy | computes in | keeps weights in | returns |", rows)


def memory(count: int) -> str:
    return f"{count >> 30} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"


def limit_table() -> str:
    rows = [
        ("JSON of a config", memory(files.MAX_CONFIG_BYTES)),
        ("weights inside an archive", memory(archive._MAX_WEIGHTS_BYTES)),
        ("values of one weight", f"{hdf5._MAX_VALUES:,}"),
        ("growth of a compressed archive member", f"{archive._MAX_RATIO} times"),
        ("growth of a compressed weight", f"{hdf5._MAX_RATIO} times"),
        ("depth of nested layers", f"{config.MAX_DEPTH:,}"),
        ("depth of HDF5 groups", f"{hdf5.MAX_DEPTH:,}"),
        ("objects of an HDF5 file", f"{hdf5._MAX_OBJECTS:,}"),
        ("layers, and calls of layers, in a functional model", f"{edges.MAX_NODES:,}"),
        ("values that an operation may make of one sample", f"{_MOST_VALUES:,}"),
    ]
    return table("| what | at most |", rows)


def spoken(node: ast.expr | None) -> str:
    """The text of a string or f-string, with ... for what is only known at run time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(spoken(part) for part in node.values)
    return "…" if isinstance(node, ast.FormattedValue) else ""


def refusals(paths: list[Path], kinds: tuple[str, ...]) -> str:
    rows = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds and call.args:
                text = re.sub(r"^'…':? ?", "", spoken(call.args[0]))
                if text.strip("… ") and NOT_OF_FILES not in text:
                    row = (f"`{path.relative_to(ROOT / 'lstmfast')}`", call.func.id, text.replace("|", "\\|"))
                    rows.append(row) if row not in rows else None
    return table("| in | error | says |", rows)


def page() -> str:
    package, saving = ROOT / "lstmfast", ROOT / "lstmfast" / "saving"
    layer_files = [
        package / "_arrays.py",
        *sorted((package / "layers").glob("*.py")),
        package / "_model.py",
        package / "models.py",
    ]
    reading = [saving / f"{name}.py" for name in ("files", "archive", "legacy", "hdf5")]
    building = [
        package / "_keras.py",
        saving / "config.py",
        *(saving / f"{name}.py" for name in ("build", "live", "edges", "assigning", "writing")),
    ]
    strangers = [files._what_is(head) for head in (b"", b"version https://git-lfs", b"<html", b"PK", b"{", b"?")]
    newest = _keras.NEWEST_NAME
    camel = [name for name in OPERATIONS if name[0].isupper()]
    other = [name for name in OPERATIONS if not name[0].isupper()]
    common = [name for name in inspect.signature(Layer).parameters if name != "kwargs"]
    sections = [
        "# What is supported",
        "`python docs/make_support.py` writes this page from the code; the tests fail where it is stale.\n"
        "`lstmfast.explain(path)` says the same of one file.",
        "## Layers",
        f"Every layer also takes {code(common)}, "
        "and the first one of a model\n`input_shape`, `batch_input_shape`, `input_dim`, `input_length` and "
        "`batch_size`. "
        "`*_initializer`, `*_regularizer` and\n`*_constraint` stand for those of each weight; regularizers and "
        "constraints are kept in the config and have no effect.\nA file's argument that is not listed here is refused "
        "unless its value is empty, zero, false or `auto`.",
        *layer_tables(),
        "Files of Keras 1 may also hold `TimeDistributedDense`, and `Merge` with the modes "
        f"{code(sorted(config._MERGE_MODES))}.\nThese hold Python code, which is never run "
        f"from a file: {code(list(config._CODE_LAYERS))}.\n"
        "`custom_objects` replaces them, and any other layer, by a subclass of `lstmfast.layers.Layer`, a `Lambda` by "
        "a function\ntoo, and a model of a class of its own by a subclass of `lstmfast.Model`.",
        "## Operations in functional models",
        f"Of `keras.ops` (Keras 3): {code(sorted(camel))}.",
        f"Of TensorFlow (`TFOpLambda` and `SlicingOpLambda` of tf.keras): {code(sorted(other))}.",
        "## Activations",
        activation_table(),
        "`hard_sigmoid` follows the Keras that wrote the file: before Keras 3 it is 0.2 x + 0.5 between 0 and 1. A "
        "Python\nfunction can be the activation of an element-wise layer or of Dense, not one inside a recurrence.",
        "## Types",
        policy_table(),
        "Results in bfloat16 need the package ml_dtypes; without it they are float32. Inputs of bools, integers and "
        "other\nfloats are converted to the type of the model's input; complex numbers, strings, dates and objects are "
        "refused. An\ninput that has integers gives the layers behind it integers, until one computes in floats: which "
        "do is as in Keras,\nwhere since 3.11 LayerNormalization cuts the fractions of such results off, and "
        "GroupNormalization and\nRMSNormalization always do.",
        "## Files",
        table(
            "| file | written by | read by | written here |",
            [
                (
                    "`.keras`, also with backslashes in its paths",
                    f"Keras 3 to {newest}; tf.keras 2.13 to 2.15",
                    "`load_model`, `load_weights`",
                    f"as Keras {_keras.WRITTEN}",
                ),
                ("`.h5`, whole model", "Keras 1, 2 and 3; tf.keras", "`load_model`, `load_weights`", "no"),
                ("`.h5` and `.weights.h5`, weights only", "Keras 1, 2 and 3; tf.keras", "`load_weights`", "no"),
                ("architecture as JSON", "Keras 1, 2 and 3; tf.keras", "`model_from_json`", "`to_json`"),
                ("live model", "Keras 3, tf_keras", "`from_keras`", "no"),
            ],
        ),
        f"The kind of a file is told by its content, not by its name. A file of a Keras newer than {newest} is read "
        "with a\nwarning. `keras_version=` reads a file as another version would have written it.",
        "Any other file is refused with `OSError`, which says one of:",
        "\n".join(f"- {text}" for text in strangers),
        "### Limits",
        limit_table(),
        "## What is refused",
        "Each message also names the file and the layer; `…` stands for what depends on them.",
        "### Layers, arguments and operations",
        refusals([*building, *layer_files], ("NotImplementedError",)),
        "### Files and their contents",
        refusals(reading, ("OSError", "ValueError", "NotImplementedError")),
        "### Contents that contradict themselves",
        refusals(building, ("ValueError",)),
    ]
    return "\n\n".join(sections) + "\n"


def main(options: list[str]) -> int:
    text = page()
    if options == ["--check"]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print("docs/support.md is stale: run `python docs/make_support.py`", file=sys.stderr)
        return 1
    if options:
        print(__doc__, file=sys.stderr)
        return 2
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
