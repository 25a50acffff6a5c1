"""What it takes to run one LSTM: installed size, time to import, memory; each runtime in an interpreter of its own.

    python -m bench.footprint                               # what this interpreter has
    python -m bench.footprint --python litert=PATH ...      # a runtime that another interpreter has

Every runtime gets the same LSTM (256 units, 32 features, 40 steps, one row) and has to give the same numbers. Sizes
are those of a package and all that it requires, NumPy and what NumPy requires left out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench import machine

UNITS, FEATURES, STEPS = 256, 32, 40
REPEATS = 5
TOLERANCE = 1e-4
RESULTS = Path(__file__).with_name("results") / "footprint"


class Runtime(NamedTuple):
    """A distribution, the statement that brings it in, and code that sets `y` from the files in `folder`."""

    title: str
    distribution: str
    load: str
    predict: str


RUNTIMES = {
    "lstmfast": Runtime(
        "lstmfast",
        "lstmfast",
        "import lstmfast\nfrom lstmfast import *",  # the first leaves nearly all of it for the second
        "y = lstmfast.load_model(folder / 'model.keras').predict(x, verbose=0)",
    ),
    "litert": Runtime(
        "LiteRT",
        "ai-edge-litert",
        "from ai_edge_litert import interpreter",
        """
run = interpreter.Interpreter(str(folder / "model.tflite"))
run.allocate_tensors()
run.set_tensor(run.get_input_details()[0]["index"], x)
run.invoke()
y = run.get_tensor(run.get_output_details()[0]["index"])
""",
    ),
    "onnxruntime": Runtime(
        "ONNX Runtime",
        "onnxruntime",
        "import onnxruntime",
        """
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
y = session.run(None, {"x": np.ascontiguousarray(x.swapaxes(0, 1))})[0][-1, 0]
""",
    ),
    "torch": Runtime(
        "PyTorch (CPU build)",
        "torch",
        "import torch",
        """
lstm = torch.nn.LSTM(x.shape[2], units, batch_first=True)
parts = [*(torch.from_numpy(np.ascontiguousarray(part.T)) for part in weights[:2]), torch.from_numpy(weights[2])]
lstm.load_state_dict(dict(zip(lstm.state_dict(), [*parts, torch.zeros_like(parts[2])])))
with torch.no_grad():
    y = lstm(torch.from_numpy(x))[0][:, -1].numpy()
""",
    ),
    "tensorflow": Runtime(
        "TensorFlow (CPU build) and Keras",
        "tensorflow-cpu",
        "import keras",
        "y = keras.models.load_model(folder / 'model.keras').predict(x, verbose=0)",
    ),
}

# Runs in the interpreter of the runtime, which need not have anything of this repository.
_PROBE = """
import json, pathlib, sys, time
import numpy as np

folder, units = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def resident():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024

with np.load(folder / "model.npz") as file:
    x, weights = file["x"], [file[name] for name in ("kernel", "recurrent", "bias")]
before, start = resident(), time.perf_counter()
{load}
imported, seconds = resident(), time.perf_counter() - start
start = time.perf_counter()
{predict}
print(json.dumps(dict(before=before, import_seconds=seconds, imported=imported, predicted=resident(),
    first_seconds=time.perf_counter() - start, y=np.asarray(y).ravel().tolist())))
"""

# Prints {distribution: bytes} of a package and all that it requires here, those of NumPy left out.
_SIZES = """
import importlib.metadata as metadata, json, re, sys

def closure(name, found):
    key = re.sub(r"[-_.]+", "-", name).lower()
    try:
        distribution = metadata.distribution(key)
    except metadata.PackageNotFoundError:
        return found
    if key not in found:
        files = {str(path.locate()): path for path in distribution.files or [] if path.suffix != ".pyc"}
        found[key] = [sum(p.locate().stat().st_size for p in files.values() if p.locate().is_file()),
                      distribution.version]
        for line in distribution.requires or []:
            if "extra ==" not in line.replace("extra==", "extra =="):
                closure(re.match(r"[\\w.-]+", line)[0], found)
    return found

print(json.dumps({name: value for name, value in closure(sys.argv[1], {}).items() if name not in closure("numpy", {})}))
"""


def _weights() -> tuple[np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(0)
    shapes = (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)
    weights = [random.uniform(-0.1, 0.1, shape).astype(np.float32) for shape in shapes]
    return random.uniform(-1, 1, (1, STEPS, FEATURES)).astype(np.float32), weights


def _write_models(folder: Path, tensorflow: str | None) -> np.ndarray:
    """The model in each runtime's format, and what it gives."""
    import lstmfast
    from bench.cases import Case, Layer
    from bench.peers.onnx_graph import layer_model

    x, weights = _weights()
    np.savez(folder / "model.npz", x=x, kernel=weights[0], recurrent=weights[1], bias=weights[2])
    model = lstmfast.Sequential([lstmfast.Input((STEPS, FEATURES)), lstmfast.layers.LSTM(UNITS)])
    model.set_weights(weights)
    model.save(folder / "model.keras")
    layer = Layer("LSTM", {"units": UNITS, "return_sequences": True})
    case = Case("footprint", "layer", 1, STEPS, FEATURES, (layer,), short=False, group="footprint")
    (folder / "model.onnx").write_bytes(layer_model(case, [weights]))
    if tensorflow:
        convert = (
            "import sys, keras, tensorflow as tf\n"
            "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
            "one_row = tf.TensorSpec((1, *model.input_shape[1:]), 'float32')\n"
            "function = tf.function(lambda x: model(x, training=False)).get_concrete_function(one_row)\n"
            "from tensorflow.python.framework import convert_to_constants\n"
            "frozen = convert_to_constants.convert_variables_to_constants_v2(function)\n"
            "made = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()\n"
            "open(sys.argv[1] + '/model.tflite', 'wb').write(made)\n"
        )
        run = subprocess.run(
            [tensorflow, "-I", "-c", convert, str(folder)], capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            print(f"no file for LiteRT: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
    return np.asarray(model.predict(x, verbose=0))


def _run(python: str, code: str, *arguments: str) -> Any:
    command = [python, "-I", "-c", code, *arguments]  # -I: what is installed, not what lies in this folder
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError((run.stderr.strip().splitlines() or ["it failed"])[-1])
    return json.loads(run.stdout.strip().splitlines()[-1])


def _measure(runtime: Runtime, python: str, folder: Path, expected: np.ndarray) -> dict[str, Any]:
    sizes = _run(python, _SIZES, runtime.distribution)
    if runtime.distribution not in sizes:
        raise RuntimeError(f"{runtime.distribution} is not installed")
    probe = _PROBE.format(load=runtime.load, predict=runtime.predict.strip())
    runs = [_run(python, probe, str(folder), str(UNITS)) for _ in range(REPEATS + 1)][1:]  # the first fills the cache
    difference = float(np.abs(np.array(runs[0]["y"]) - expected.ravel()).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"its numbers differ by {difference:.2g}, expected at most {TOLERANCE:g}")

    def median(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    return {
        "title": runtime.title,
        "version": sizes[runtime.distribution][1],
        "packages": len(sizes),
        "installed_bytes": sum(size for size, _ in sizes.values()),
        "own_bytes": sizes[runtime.distribution][0],
        "import_milliseconds": 1e3 * median("import_seconds"),
        "first_milliseconds": 1e3 * median("first_seconds"),
        "base_bytes": median("before"),
        "imported_bytes": median("imported") - median("before"),
        "predicted_bytes": median("predicted") - median("before"),
        "difference": difference,
    }


def table(result: dict[str, Any]) -> str:
    """The Markdown page of a result."""
    host = result["machine"]
    base = statistics.median(one["base_bytes"] for one in result["runtimes"].values())
    lines = [
        "# Footprint",
        "",
        f"One LSTM of {UNITS} units on {STEPS} steps of {FEATURES} features, one row, by `python -m bench.footprint`,",
        f"{result['date']}. Everything is beyond Python with NumPy, which alone has {base / 1e6:.0f} MB resident.",
        f"Medians of {REPEATS} fresh processes, files in the system's cache. {host['cpu']}, {host['cores']} cores.",
        "",
        "| runtime | installed, MB | packages | import, ms | load and first prediction, ms |"
        " resident after import, MB | after the first prediction, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in sorted(result["runtimes"].values(), key=lambda one: one["installed_bytes"]):
        lines.append(
            f"| {one['title']} {one['version']} | {one['installed_bytes'] / 1e6:.1f} | {one['packages']} "
            f"| {one['import_milliseconds']:.0f} | {one['first_milliseconds']:.0f} "
            f"| {one['imported_bytes'] / 1e6:.0f} | {one['predicted_bytes'] / 1e6:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=[], metavar="RUNTIME=PATH", help="interpreters of runtimes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result path without suffix")
    options = parser.parse_args()
    pythons = dict.fromkeys(RUNTIMES, sys.executable) | dict(one.split("=", 1) for one in options.python)
    if unknown := set(pythons) - set(RUNTIMES):
        parser.error(f"unknown runtimes {', '.join(sorted(unknown))}; expected some of {', '.join(RUNTIMES)}")
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        expected = _write_models(folder, pythons["tensorflow"])
        for name, runtime in RUNTIMES.items():
            try:
                found[name] = _measure(runtime, pythons[name], folder, expected)
            except RuntimeError as reason:
                print(f"{runtime.title}: left out: {reason}", file=sys.stderr)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    result = {"date": today, "machine": machine.describe(), "runtimes": found}
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
