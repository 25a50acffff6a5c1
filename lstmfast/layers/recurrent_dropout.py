"""Dropout inside recurrent layers that are called with ``training=True``, as the Keras that they come from has it.

One mask of the inputs and one of the state hold for all steps of a call. In Keras 3 each gate has masks of its own with
``recurrent_dropout`` or with ``implementation=1``; before it, with ``implementation=1`` alone. `DroppingRules` has what
else differs in the versions before.
Next: recurrent.py, which runs this in place of the packed layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstmfast import _core, activations
from lstmfast.layers.base import Array, fill
from lstmfast.layers.noise import Noise

# Of each gate, or of all of them together: (batch, size), or (batch, steps, size) where they hold for one step each.
Masks = list[Array]


class DroppingRules(NamedTuple):
    """What recurrent layers of a Keras before 3 do otherwise when they drop out.

    Parameters
    ----------
    each_step : bool
        Whether the inputs have a mask for each step. So it is in the layers of tf.keras 2 that could run on cuDNN: they
        draw the masks for the whole input.
    old_state : bool
        Whether a GRU mixes what is left of the old state into the new one, and not all of it. So it is in Keras 2.1 to
        2.3 with ``implementation=2``, which drop out of the variable that they read again.
    """

    each_step: bool = False
    old_state: bool = False


def rules_before_keras_3(class_name: str, config: dict[str, Any], version: tuple[int, int]) -> DroppingRules:
    """The rules of a layer, given its class, its config and the (major, minor) version of Keras in a file."""
    whole = config.get("implementation", 2) == 2
    of_tf_keras_2 = version >= (2, 4) or ("time_major" in config and whole)  # tf.keras 1 had 1 for a default
    fit_for_cudnn = (
        class_name in ("LSTM", "GRU")
        and config.get("activation") == "tanh"
        and config.get("recurrent_activation") == "sigmoid"
        and config.get("use_bias", True)
        and config.get("reset_after", True)
        and not config.get("recurrent_dropout")
        and not config.get("unroll")
    )
    return DroppingRules(
        bool(of_tf_keras_2 and fit_for_cudnn),
        class_name.startswith("GRU") and whole and version > (2, 0),
    )


class DroppingCell:
    """A packed layer that drops out, with a call like `_core.PackedLayer.run`.

    Parameters
    ----------
    cell : CellLayer
        Whose arguments these are.
    core : _core.PackedLayer
        The layer as it is without dropout.
    weights : tuple of numpy.ndarray
        Of the layer, in C order and the type of the arithmetic.
    """

    def __init__(self, cell: Any, core: _core.PackedLayer, weights: tuple[Array, ...]) -> None:
        self.core = core
        self.noise: Noise = cell.noise
        self.kind: str = core.kind
        self.gates: int = cell.gates
        self.units: int = cell.units
        self.rate, self.recurrent_rate = (cell.own_rate(name) for name in ("dropout", "recurrent_dropout"))
        if cell.of_keras_2:
            apart = cell.implementation != 2
        else:
            apart = bool(cell.recurrent_dropout) or cell.implementation == 1
        self.rules: DroppingRules = cell.dropping_rules
        self.masks_count: int = cell.gates if apart and not self.rules.each_step else 1
        self.activation: activations.Activation = cell.activation
        self.recurrent_activation: activations.Activation = cell.recurrent_activation
        kernel, recurrent, *bias = weights
        # with reset_after a GRU has a bias of the state's products too
        both = bias[0].reshape(-1, cell.gates * cell.units) if bias else None
        self.of_x = self._products(kernel, None if both is None else both[0])
        self.of_h = self._products(recurrent, None if both is None or len(both) < 2 else both[1])

    def _products(self, kernel: Array, bias: Array | None) -> list[Callable[[Array], Array]]:
        """The product with each gate's part of a kernel, (rows, size) -> (rows, units)."""

        def part(array: Array | None, gate: int) -> Array | None:
            if array is None:
                return None
            return np.ascontiguousarray(array[..., gate * self.units : (gate + 1) * self.units])

        def product(gate: int) -> Callable[[Array], Array]:
            columns: Any = part(kernel, gate)
            dense = _core.PackedLayer("dense", columns, None, part(bias, gate), activations.LINEAR, None)
            return lambda rows: dense.apply(np.ascontiguousarray(rows), None, 0)

        return [product(gate) for gate in range(self.gates)]

    def draw(self, batch: int, steps: int, features: int, dtype: Any) -> tuple[Masks | None, Masks | None]:
        """The masks of the inputs and of the state for one call."""
        count = self.masks_count
        shape = (steps, features) if self.rules.each_step else (features,)
        wanted = [(self.rate, shape)] * count + [(self.recurrent_rate, (self.units,))] * count
        masks: Any = self.noise.masks(batch, wanted, dtype)
        return masks[:count] if self.rate else None, masks[count:] if self.recurrent_rate else None

    def run(
        self,
        x: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Any,
        threads: int,
    ) -> Any:
        """As `_core.PackedLayer.run`."""
        batch, steps, features = x.shape
        of_x, of_h = self.draw(batch, steps, features, x.dtype)
        if of_h is None and self.masks_count == 1:
            if of_x is not None:
                x = x * _over_steps(of_x[0])
            flags = (return_sequences, return_state, go_backwards, zero_output_for_mask)
            return self.core.run(x, mask, initial_state, *flags, out, threads)
        if not steps:
            raise ValueError("expected at least one step")
        sums = [self._sums(product, x, of_x, gate) for gate, product in enumerate(self.of_x)]
        zeros = np.zeros((batch, self.units), x.dtype)
        states = initial_state or (zeros,) * (2 if self.kind == "lstm" else 1)
        y = zeros
        outputs: list[Array] = []
        for step in range(steps - 1, -1, -1) if go_backwards else range(steps):
            new = self._step([one[:, step] for one in sums], states, of_h)
            if mask is None:
                y, states = new[0], new
            else:
                valid = mask[:, step, None] != 0
                y = np.where(valid, new[0], zeros if zero_output_for_mask else y)
                states = tuple(np.where(valid, *pair) for pair in zip(new, states, strict=True))
            outputs.append(y)
        whole = np.stack(outputs, axis=1) if return_sequences else y
        result: Any = (whole.copy() if whole is states[0] else whole, *states) if return_state else whole
        if out is None:
            return result
        return fill(list(out) if isinstance(out, tuple) else [out], result)

    def _sums(self, product: Callable[[Array], Array], x: Array, masks: Masks | None, gate: int) -> Array:
        """One gate's sums over the inputs of all steps, (batch, steps, units)."""
        dropped = x if masks is None else x * _over_steps(masks[gate % len(masks)])
        return product(dropped.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], self.units)

    def _step(self, sums: list[Array], states: tuple[Array, ...], masks: Masks | None) -> tuple[Array, ...]:
        """The states after a step, the output first."""
        h = states[0]
        seen = [h if masks is None else h * masks[gate % len(masks)] for gate in range(self.gates)]
        inner, outer = self.recurrent_activation.run, self.activation.run
        if self.kind == "simple_rnn":
            return (outer(sums[0] + self.of_h[0](seen[0])),)
        if self.kind == "lstm":
            gate_sums = [one + product(part) for one, product, part in zip(sums, self.of_h, seen, strict=True)]
            i, f, o = (inner(gate_sums[place]) for place in (0, 1, 3))
            c = f * states[1] + i * outer(gate_sums[2])
            return o * outer(c), c
        z, r = (inner(sums[gate] + self.of_h[gate](seen[gate])) for gate in (0, 1))
        if self.kind == "gru_reset_before":
            candidate = outer(sums[2] + self.of_h[2](r * seen[2]))
        else:
            candidate = outer(sums[2] + r * self.of_h[2](seen[2]))
        return (z * (seen[2] if self.rules.old_state else h) + (1 - z) * candidate,)


def _over_steps(mask: Array) -> Array:
    """A mask as what (batch, steps, size) is multiplied with."""
    return mask if mask.ndim == 3 else mask[:, None]


__all__ = ["DroppingCell", "DroppingRules", "rules_before_keras_3"]
