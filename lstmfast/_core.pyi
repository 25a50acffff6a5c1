"""The boundary to the C core: buffers in, arrays out. No defaults, no Keras rules; `lstmfast.layers` has those."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Activation = tuple[str, float, float, float]
Array = np.ndarray[Any, np.dtype[Any]]

class KnownInputs:
    """Which arrays a caller may hand on as they are: of one dtype, in C order and aligned, with samples of some shapes.

    Immutable. It holds no reference to any of them.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None: ...
    def adding(self, sample: tuple[int, ...], rows: int) -> KnownInputs:
        """The same, and samples of one shape more, of which ``rows`` are run at once; itself if it has that or 64."""
    def __len__(self) -> int:
        """How many shapes."""
    def takes(self, x: object, bounded: bool) -> bool:
        """Whether x is such an array, with ``bounded`` of no more rows than are run at once."""
    def converts(self, x: object, bounded: bool) -> bool:
        """The same but for its dtype, which is real or bool, and how it lies in memory."""
    def ready(self, x: object, bounded: bool) -> Array | None:
        """x if it is such an array; a converted copy if it can be, and has up to 4096 values; else None."""

def few_ids(x: Array, count: int) -> Array | None:
    """A copy of x, int32, int64, float32 or float64 in C order, as int32; None where it is another, large, or one,
    without its fraction, is not in [0, count).

    In one pass: NumPy takes longer to look at a few numbers twice than a small layer to run.
    """

def are_states(
    arrays: list[Any] | tuple[Any, ...], dtype: np.dtype[Any], batch: int, shapes: list[tuple[int | None, ...]]
) -> bool:
    """Whether the arrays have these shapes behind the batch, that dtype, and lie in C order and aligned."""

class PackedLayer:
    """Weights of one layer, packed for this CPU; immutable, so that any number of threads may run it at once.

    kind is "lstm", "gru", "gru_reset_before", "simple_rnn" or "dense". The weights are C-contiguous, native, aligned
    arrays of one dtype, float32 or float64, with the shapes of `csrc/include/lstmfast.h`; bias may be None.
    """

    kind: str
    features: int
    units: int
    dtype: np.dtype[Any]
    isa: str

    def __init__(
        self,
        kind: str,
        kernel: Array,
        recurrent_kernel: Array | None,
        bias: Array | None,
        activation: Activation,
        recurrent_activation: Activation | None,
    ) -> None: ...
    def run(
        self,
        x: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Array | tuple[Array, ...] | None,
        threads: int,
    ) -> Any:
        """A recurrent layer over x (batch, steps, features).

        Long calls are made in slices of rows and steps, and between these a Ctrl-C that is pending raises
        KeyboardInterrupt; so it is for `apply`, `project` and `activate` too.

        x has the layer's dtype, any strides with a contiguous last axis (0 along steps is a repeated step). mask is
        bool or uint8 (batch, steps). initial_state holds C-contiguous (batch, units) arrays: (h, c) or (h,).
        Returns y, or (y, h, c) / (y, h) with return_state. y is (batch, steps, units) or (batch, units). out is y's
        place or, in a tuple, that of all three or two; the states' are C-contiguous.
        threads 0 means the default.
        """
    def project(self, x: Array) -> Array:
        """A table (rows, width) for run_indexed: what the layer sums up of each x (rows, features), bias included.

        ValueError for a layer whose steps can not start from that ("gru_reset_before", "dense").
        """
    def convolve(
        self,
        x: Array,
        places: tuple[int, ...],
        of_x: tuple[Sequence[int], ...],
        of_h: tuple[Sequence[int], ...] | None,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        threads: int,
    ) -> Any:
        """Steps over grids, as `run` otherwise: x (batch, steps, 1 to 3 axes, channels), of any strides.

        Each of the places, as many axes, is a row of the layer, "dense" (with one step) or an "lstm" without a
        recurrent kernel; its features are the window of x there and behind it that of h. of_x and of_h say what a
        window is: (sizes, strides, dilation, how much is before the grid), each for all axes. y is
        (batch, steps, places ..., units) or (batch, places ..., units), as are the states.
        """
    def run_indexed(
        self,
        indices: Array,
        table: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Array | tuple[Array, ...] | None,
        threads: int,
    ) -> Any:
        """As run over table rows named by indices, int32 (batch, steps); the bits are those of run over the rows' x."""
    def pieces(self, y: Array, first_step: int, steps: int) -> list[int]:
        """How many rows go between two looks at signals, one piece after the other, in a slice of a long call.

        y is the whole call's (batch, steps, units); the slice is of so many steps of all its rows. For tests.
        """
    def apply(self, x: Array, out: Array | None, threads: int) -> Array:
        """A dense layer over x (rows, features), contiguous last axis; returns (rows, units)."""

class Stepper:
    """A recurrent layer with a state of its own, one step a call; not to be called by two threads at once."""

    def __init__(self, packed: PackedLayer, batch: int, threads: int) -> None: ...
    def __call__(self, x: Array) -> Array:
        """y (batch, units) of one step x (batch, features), C-contiguous in the layer's dtype; updates the state."""
    def get_state(self) -> tuple[Array, ...]:
        """Copies of the state: (h, c) or (h,), each (batch, units)."""
    def set_state(self, state: tuple[Array, ...]) -> None:
        """Take over arrays as get_state gives them; raises before any of them is copied."""

class Calls:
    """Calls of packed layers, noted first and run by `finish`; at most LF_LEVELS_MOST of lstmfast.h."""

    def run(
        self,
        layer: PackedLayer,
        x: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Array | tuple[Array, ...] | None,
    ) -> Any:
        """Notes a call of layer.run; returns the arrays that `finish` fills."""

    def run_indexed(
        self,
        layer: PackedLayer,
        indices: Array,
        table: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Array | tuple[Array, ...] | None,
    ) -> Any:
        """The same for layer.run_indexed."""

class Pair(Calls):
    """Two calls that know nothing of each other, run at the same time where that is sooner: the same bits.

    A sequence that the second one gives has its steps from the last to the first. width 0: each has outputs of its own.
    Else the units of both, whose outputs are then the halves of one array, (batch, [steps,] width), that both return.
    """

    def __init__(self, width: int, out: Array | None = None) -> None:
        """``out`` is a place for that one array."""
    def finish(self) -> None:
        """Runs both."""

class Stack(Calls):
    """Calls of which each takes the sequence that the one before it returned, run one step behind each other where that
    is sooner: the same bits."""

    def finish(self) -> None:
        """Runs them."""

class Stage:
    """A layer of a chain: takes one array, and gives one.

    ``general`` does the same for what C does not take: lookups, arrays with other axes, none.
    """

    def __init__(self, general: Callable[..., Array]) -> None: ...
    def run(self, x: Any) -> Array: ...

class DenseStage(Stage):
    """Runs ``packed.apply`` along the last axis."""

    def __init__(self, general: Callable[..., Array], packed: PackedLayer) -> None: ...

class RecurrentStage(Stage):
    """Runs ``packed.run`` on (batch, steps, features), from no state."""

    def __init__(
        self,
        general: Callable[..., Array],
        packed: PackedLayer,
        return_sequences: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
    ) -> None: ...

class StackStage(Stage):
    """Recurrent layers on top of each other, as `Stack` runs them; ``general`` takes more rows than ``most_rows``."""

    def __init__(self, general: Callable[..., Array], levels: Sequence[RecurrentStage], most_rows: int) -> None: ...

class PairStage(Stage):
    """Two recurrent layers over one input, as `Pair` runs them, their outputs side by side.

    For what is no array ``find`` gives ids and both layers' projected tables, or None.
    """

    def __init__(
        self,
        general: Callable[..., Array],
        forward: RecurrentStage,
        backward: RecurrentStage,
        find: Callable[[Any], tuple[Array, Array, Array] | None],
    ) -> None: ...

class RepeatStage(Stage):
    """(batch, features) -> (batch, count, features), a view of one step."""

    def __init__(self, general: Callable[..., Array], count: int) -> None: ...

class Chain:
    """Stages one behind the other, with nothing of Python between those that C knows.

    Immutable. ``known`` are the inputs that need no check, ``bounded`` says that of all of them no more rows than are
    run at once are taken.
    """

    def __init__(self, stages: Sequence[Stage], known: KnownInputs, most_rows: int, bounded: bool) -> None: ...
    def run(self, x: Any) -> Array:
        """What the last stage gives."""
    def run_known(self, x: object, bounded: bool) -> Array | None:
        """The same for an input that `known` takes and that has at most ``most_rows`` rows; None for another."""

class StepChain:
    """Steppers and functions of one array, each on what the one before it gave."""

    def __init__(self, runs: Sequence[Callable[..., Array]]) -> None: ...
    def step(self, x: Array, out: Array | None = None) -> Array:
        """What the last one gives, written to out where it can do that; no Stepper has moved where one raises."""

class Blocks:
    """A context in which all arrays of this thread, also NumPy's, get memory that earlier ones may have had."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

def check_out(out: Any, dtype: np.dtype[Any], shape: tuple[int, ...], inputs: Sequence[Any]) -> None:
    """Raise unless out is a writable array of this dtype and shape, in C order but for gaps, apart from the inputs."""

def set_slice_seconds(seconds: float) -> float:
    """How long a call may keep signals waiting, for tests of what slicing changes; returns the number from before."""

def activate(activation: Activation, x: Array, out: Array | None = None) -> Array:
    """activation(x) for a C-contiguous float32 or float64 array of any rank; row-wise ones work on the last axis.

    Like all passes below it puts its results into ``out``, a C-contiguous array apart from x, where that is given.
    """

def scale(x: Array, shift: Array | None, scale: Array | None, offset: Array | None, out: Array | None = None) -> Array:
    """(x - shift) * scale + offset along the last axis of a C-contiguous array; each has its size, or is None."""

def prelu(x: Array, scale: Array, out: Array | None = None) -> Array:
    """max(x, 0) + scale * min(x, 0) of a C-contiguous array, for each stretch of it as long as ``scale``."""

def mask(x: Array, value: float) -> tuple[Array, Array]:
    """x with 0 for the rows of the last axis that hold nothing but ``value``, and where it is not so, bool.

    For a C-contiguous array; the zeros are ``value`` times 0.
    """

def normalize(
    kind: str,
    x: Array,
    columns: int,
    epsilon: float,
    scale: Array | None,
    offset: Array | None,
    out: Array | None = None,
) -> Array:
    """Rows of so many columns of a C-contiguous array, normalized, times scale, plus offset, (columns,) each or None.

    kind "layer": (row - mean) / sqrt(variance + epsilon); "unit": row / sqrt(max(sum of squares, epsilon)).
    """

def dot(x: Array, scale: Array | None) -> Array:
    """The sums of x * scale along the last axis of a C-contiguous array; scale has its size, or is None."""

def pool(
    kind: str,
    x: Array,
    windows: int,
    extent: int,
    stride: int,
    before: int,
    step_mask: Array | None,
    out: Array | None = None,
) -> Array:
    """(batch, windows, columns): "mean", "sum" or "max" of windows of the steps of x (batch, steps, columns).

    Window w spans ``extent`` steps from w * stride - before on, without what lies outside; each has to hold a step.
    With a step_mask (batch, steps) only those steps count where it is True; nan where there are none.
    """

def multiply(a: Array, b: Array) -> Array:
    """(batch, m, k) times (batch, k, n): a row's bits are those that a dense layer with the kernel b[i] gives it.

    The last axis of ``a`` has to be contiguous; ``b`` may have any strides.
    """

def activation_names() -> tuple[str, ...]: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> int:
    """0 returns to the default; returns the number that it was given last, 0 while the default held."""

def assume_processors(count: int) -> None:
    """As if there were so many processors, for tests of teams that the machine has no room for; 0 counts them again."""

def isa() -> str: ...
def available_isas() -> tuple[str, ...]: ...
def select_isa(name: str | None) -> None:
    """For layers packed from now on; None returns to the best. ValueError where this CPU lacks it."""
