"""The `lstmfast` program: what it takes, what it exits with, and how it says that something is wrong.

Each command is a module of its own. Next: commands/__init__.py.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import textwrap
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from lstmfast._version import __version__
from lstmfast.commands import BROKEN_PIPE, BUG, FILE, INTERRUPTED, USAGE, Failure

STATUSES = """\
exit status:
  0    done; info: the file loads; verify: PASS
  1    the model holds what is not supported; verify: FAIL; bench: wrong numbers
  2    the command line or the input is wrong
  3    a file cannot be read or written, or holds no whole model
  70   a mistake in lstmfast itself
  130  interrupted (Ctrl-C)
  141  the reader of the output went away
"""

EXAMPLES = {
    "": """\
examples:
  lstmfast info model.keras
  lstmfast predict model.keras x.npy -o y.npy
  lstmfast verify model.keras
  lstmfast bench model.keras --batch 1 32 1000
""",
    "info": """\
examples:
  lstmfast info model.keras
  lstmfast info model.h5 --json

exit status: 0 where the file loads, 1 where it holds what is not supported.
""",
    "predict": """\
A .npy file holds one input, (rows, ...) as the model takes it; it is
memory-mapped. A .npz file holds one array for each input, under its name. A
.csv or .tsv file is a table of numbers: a line is one sample, its values in C
order, or with --window one time step.

The outputs go to OUTPUT.part/ chunk by chunk, and OUTPUT appears whole at the
end. Whatever stops a run, a power cut included, costs no more than its last
chunks: run it again with --resume, and OUTPUT has the bytes of a run that was
never stopped. They are the same for any --chunk-rows, --batch-size and
--threads. A stateful model, or one that draws random numbers, begins again.

examples:
  lstmfast predict model.keras x.npy -o y.npy
  lstmfast predict model.keras x.npz -o y.npz --map tokens=text --map numbers=features
  lstmfast predict model.keras weather.csv -o forecast.csv --window 48 --columns temperature,pressure
  lstmfast predict model.keras huge.npy -o y.npy --resume
""",
    "verify": """\
The outputs are held against those of live Keras (keras or tf_keras, by the
version in the file) where it is installed, else against test vectors:
FILE.vectors.npz, or lstmfast_vectors.npz inside a .keras file. Then come the
promises that need no other library: the same bits for a row alone, for any
number of threads, and step by step.

Live Keras loads FILE by its own rules: trust the file before you verify it.

examples:
  lstmfast verify model.keras
  lstmfast verify model.keras --input x.npy --plot verify.png
  lstmfast verify model.keras --write-vectors        # where Keras is installed
  lstmfast verify model.keras --against vectors      # where it is not
""",
    "bench": """\
Without FILE a model with one LSTM is measured. Every library runs in a process
of its own and is told the number of threads; its outputs are compared with
lstmfast's before it is timed. Before each measurement all are left alone for
50 ms and the library is warmed for 30 ms; a figure is the median of
interleaved repeats.

examples:
  lstmfast bench
  lstmfast bench model.keras --batch 1 32 1000 --threads 1 4
  lstmfast bench model.keras --onnx model.onnx --plot bench.png
""",
    "config": "",
}


class _Parser(argparse.ArgumentParser):
    """Says on one line what is wrong."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def refuse_leftovers(self, arguments: Sequence[str]) -> NoReturn:
        """Ends the program over arguments that no option takes."""
        from difflib import get_close_matches

        near = get_close_matches(arguments[0].split("=")[0], self._option_string_actions, n=1, cutoff=0.75)
        self.error(f"unrecognized arguments: {' '.join(arguments)}" + (f"; did you mean {near[0]}?" if near else ""))

    def error(self, message: str) -> NoReturn:
        print(f"lstmfast: error: {message} (see '{self.prog} --help')", file=sys.stderr)
        sys.exit(USAGE)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return number


def _window(text: str) -> int:
    return 0 if text == "all" else _count(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


def parser() -> _Parser:
    """Of the whole command line."""
    everywhere = _Parser(add_help=False)
    everywhere.add_argument(
        "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    top = _Parser(
        prog="lstmfast",
        description="Runs saved Keras recurrent models on this CPU, without TensorFlow.",
        epilog=EXAMPLES[""] + "\n" + STATUSES,
        parents=[everywhere],
    )
    top.add_argument("--version", action="version", version=f"lstmfast {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, summary: str, description: str) -> argparse.ArgumentParser:
        filled = textwrap.fill(description, 80)
        made = commands.add_parser(name, help=summary, description=filled, epilog=EXAMPLES[name], parents=[everywhere])
        made.set_defaults(parser=made)
        return made

    info = command(
        "info",
        "what a file holds, and everything that would keep it from running",
        "Lists the layers, shapes and parameters of a saved model, the Keras that wrote it, and everything in it that "
        "is not supported, with what to do. Runs nothing.",
    )
    info.add_argument("file", metavar="FILE", help="a .keras or .h5 file")
    info.add_argument("--json", action="store_true", help="print JSON")
    _add_predict(
        command(
            "predict",
            "outputs of a model for a file of inputs",
            "Computes a model's outputs for every row of a file, however large, in bounded memory.",
        )
    )
    _add_verify(
        command(
            "verify",
            "compare with Keras, or with stored outputs of Keras",
            "Checks that this machine computes with a model what Keras computes with it.",
        )
    )
    _add_bench(
        command(
            "bench",
            "time a model on this machine, beside other libraries",
            "Times a model on this machine, beside Keras where it is installed and ONNX Runtime where a file is given.",
        )
    )
    config = command(
        "config",
        "version, instruction sets, threads, libraries",
        "Prints what lstmfast found on this machine.",
    )
    config.add_argument("--json", action="store_true", help="print JSON")
    return top


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("file", metavar="FILE", help="a .keras or .h5 file")
    predict.add_argument("input", metavar="INPUT", help="a .npy, .npz, .csv or .tsv file")
    predict.add_argument("-o", "--output", metavar="OUTPUT", required=True, help="a .npy, .npz, .csv or .tsv file")
    predict.add_argument(
        "--resume", action="store_true", help="go on where an earlier run was stopped, if there is one"
    )
    predict.add_argument("--force", action="store_true", help="replace OUTPUT, and what an earlier run left behind")
    tables = predict.add_argument_group("tables")
    tables.add_argument(
        "--window",
        type=_window,
        metavar="STEPS",
        help="rows are time steps: one sample is STEPS rows in a row ('all': the whole table); also for .npy",
    )
    tables.add_argument("--stride", type=_count, default=1, metavar="ROWS", help="rows from one window to the next")
    tables.add_argument("--columns", metavar="LIST", help="columns by name or number from 1, as in a,b or 2,4-7")
    names = tables.add_mutually_exclusive_group()
    names.add_argument(
        "--header", action="store_true", default=None, help="the first line of INPUT is names, even if they are numbers"
    )
    names.add_argument(
        "--no-header",
        action="store_false",
        dest="header",
        default=None,
        help="INPUT has no line of names, and OUTPUT gets none",
    )
    tables.add_argument("--delimiter", metavar="CHAR", help="between cells; default: a comma, in .tsv files a tab")
    arrays = predict.add_argument_group("arrays")
    arrays.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="[INPUT=]ARRAY",
        help="take this array of a .npz file for an input of the model; INPUT may be left out where there is one",
    )
    arrays.add_argument(
        "--lengths", metavar="FILE", help="a .npy or .csv file: how many steps of each row count; the rest is padding"
    )
    arrays.add_argument("--dtype", choices=["float16", "float32", "float64"], help="type of the outputs in the file")
    work = predict.add_argument_group("work")
    work.add_argument("--batch-size", type=_count, metavar="ROWS", help="as of model.predict; changes no number")
    work.add_argument("--chunk-rows", type=_count, metavar="ROWS", help="rows in memory at once; default: about 32 MB")
    work.add_argument("--threads", type=_count, metavar="N", help="threads to use at most")
    work.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no last line")


def _add_verify(verify: argparse.ArgumentParser) -> None:
    verify.add_argument("file", metavar="FILE", help="a .keras or .h5 file")
    verify.add_argument(
        "--against", choices=["auto", "keras", "vectors"], default="auto", help="what to compare with (default: auto)"
    )
    verify.add_argument("--input", metavar="INPUT", help="a .npy or .npz file of inputs, in place of random ones")
    verify.add_argument("--rows", type=_count, default=8, metavar="N", help="rows to compare (default: %(default)s)")
    verify.add_argument("--steps", type=_count, default=20, metavar="N", help="steps where the model leaves them open")
    verify.add_argument("--seed", type=int, default=0, metavar="N", help="of the random inputs (default: %(default)s)")
    verify.add_argument(
        "--tolerance",
        type=_positive,
        metavar="X",
        help="largest difference allowed, relative to 1 + |y|; default: 2e-5, of models in float16 4e-3, in bfloat16 "
        "3e-2",
    )
    verify.add_argument("--write-vectors", action="store_true", help="store Keras's inputs and outputs beside FILE")
    verify.add_argument("--inside", action="store_true", help="store them inside the .keras file")
    verify.add_argument("--plot", metavar="OUT.png", help="draw the differences and times (needs matplotlib)")


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("file", metavar="FILE", nargs="?", help="a .keras or .h5 file; default: a built-in LSTM")
    bench.add_argument("--batch", type=_count, nargs="+", default=[1, 32, 256], metavar="ROWS", help="batch sizes")
    bench.add_argument("--threads", type=_count, nargs="+", metavar="N", help="thread counts; default: 1 and all")
    bench.add_argument("--steps", type=_count, default=50, metavar="N", help="steps where the model leaves them open")
    bench.add_argument("--onnx", metavar="FILE.onnx", help="the same model for ONNX Runtime")
    bench.add_argument("--no-keras", action="store_true", help="leave Keras out")
    bench.add_argument(
        "--repeats", type=_count, default=5, metavar="N", help="interleaved repeats (default: %(default)s)"
    )
    bench.add_argument(
        "--seconds", type=_positive, default=0.06, metavar="S", help="of each repeat (default: %(default)s)"
    )
    bench.add_argument("--plot", metavar="OUT.png", help="draw the times (needs matplotlib)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line behind the program's name; that of the process by default.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``, and where the command line is wrong.
    """
    top = parser()
    options, leftovers = top.parse_known_args(arguments)
    if leftovers:
        getattr(options, "parser", top).refuse_leftovers(leftovers)
    if options.command is None:
        names = [name for name in EXAMPLES if name]
        top.error(f"a COMMAND is missing: {', '.join(names[:-1])} or {names[-1]}")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status: int = importlib.import_module(f"lstmfast.commands.{options.command}").run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is left in the buffer must not raise again when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        return _fail(options, interrupt, " ".join(map(str, interrupt.args)) or "interrupted", INTERRUPTED)
    except Failure as failure:
        return _fail(options, failure, str(failure), failure.status)
    except OSError as error:
        named = error.filename is not None and error.strerror
        return _fail(options, error, f"'{error.filename}': {error.strerror}" if named else str(error), FILE)
    except MemoryError as error:
        return _fail(options, error, f"out of memory: {error}" if str(error) else "out of memory", FILE)
    except (ValueError, TypeError) as error:
        return _fail(options, error, str(error), USAGE)
    except NotImplementedError as error:
        return _fail(options, error, str(error), 1)
    except Exception as error:
        text = f"{type(error).__name__}: {error}; this is a mistake in lstmfast (--verbose shows where)"
        return _fail(options, error, text, BUG)
    return status


def _fail(options: argparse.Namespace, error: BaseException, text: str, status: int) -> int:
    if getattr(options, "verbose", False):
        traceback.print_exception(type(error), error, error.__traceback__)
    kind = "" if status == INTERRUPTED else "error: "
    print(f"lstmfast: {kind}{' '.join(text.split())}", file=sys.stderr)
    return status


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"lstmfast: warning: {' '.join(str(message).split())}", file=sys.stderr)
