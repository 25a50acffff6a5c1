"""Layers that are nothing but an activation.

Next: ../activations.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import _core, _pieces, activations, initializers
from lstmfast._pieces import contiguous, in_pieces, spread
from lstmfast.layers.arguments import is_over_rows
from lstmfast.layers.base import Array, Layer, Run, passing, register
from lstmfast.layers.core import identity


class _ActivationLayer(Layer):
    """Base of the layers that apply an activation and have no weights."""

    def mixes_batch(self, training: bool | None) -> bool:
        """Along the first axis, it sees all rows."""
        return is_over_rows(self._axis(), self.build_shape)

    def _axis(self) -> Any:
        """Along which it works, or several."""
        return self._function().parameters.get("axis", -1)

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return bool(self._function().parameters.get("axis", -1) == -1)

    @property
    def elementwise(self) -> bool:  # type: ignore[override]
        return "axis" not in self._function().parameters

    def _function(self) -> activations.Activation:
        raise NotImplementedError

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        function = self._function()
        if function.is_linear:
            return identity
        core, apply = function.core, function.run
        if core is not None and function.parameters.get("axis", -1) == -1:
            return passing(lambda x, out: _core.activate(core, x, out))
        return lambda x: apply(contiguous(x))

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        function = self._function()
        if function.is_linear:
            return "biu"
        rectifies = function.name == "relu6" or (function.name == "relu" and not function.parameters["negative_slope"])
        return "iu" if rectifies and function.function is None else ""

    def on_integers(self, run: Run) -> Run:
        function = self._function()
        if function.is_linear:
            return run
        most = 6 if function.name == "relu6" else function.parameters["max_value"]
        threshold = function.parameters.get("threshold")

        def rectified(x: Array) -> Array:
            whole = x.dtype.type
            y = np.where(x > whole(threshold), x, whole(0)) if threshold else np.maximum(x, whole(0))
            return y if most is None else np.clip(y, whole(0), whole(most))

        return lambda x: in_pieces(rectified, x)

    @property
    def allocates(self) -> bool:  # type: ignore[override]
        function = self._function()  # one of Python may give its input back
        return not function.is_linear and function.function is None


@register()
class Activation(_ActivationLayer):
    """Keras's Activation layer: one activation, element by element.

    Parameters
    ----------
    activation : str, callable, dict or None
        What to apply.
    """

    config_keys = ("activation",)

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def _function(self) -> activations.Activation:
        return self.activation


@register()
class ReLU(_ActivationLayer):
    """Keras's ReLU layer."""

    config_keys = ("max_value", "negative_slope", "threshold")

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope or 0.0, threshold or 0.0

    def _function(self) -> activations.Activation:
        return activations.Activation("relu", {key: getattr(self, key) for key in self.config_keys})


@register()
class LeakyReLU(_ActivationLayer):
    """Keras's LeakyReLU layer."""

    keyword_arguments = ("alpha",)
    config_keys = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        self.negative_slope = float(kwargs.pop("alpha", negative_slope))
        super().__init__(**kwargs)

    def _function(self) -> activations.Activation:
        return activations.Activation("leaky_relu", {"negative_slope": self.negative_slope})


@register()
class ELU(_ActivationLayer):
    """Keras's ELU layer."""

    config_keys = ("alpha",)

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def _function(self) -> activations.Activation:
        return activations.Activation("elu", {"alpha": self.alpha})


@register()
class Softmax(_ActivationLayer):
    """Keras's Softmax layer."""

    keyword_arguments = ("robust_masking",)
    config_keys = ("axis",)
    call_arguments = ("inputs", "mask")

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        self.robust_masking = bool(kwargs.pop("robust_masking", False))  # of Keras 2
        super().__init__(**kwargs)
        self.axis = axis

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.axis == -1

    def _function(self) -> activations.Activation:
        return activations.Activation("softmax", {"axis": self.axis if isinstance(self.axis, int) else -1})

    def _axis(self) -> Any:
        return self.axis

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        axes, older = self.axis, self.of_keras_2
        adds = older and not self.robust_masking
        run = super().freeze(weights)
        least = np.finfo(self.policy.real).min

        def lowered(x: Array, mask: Array) -> Array:
            """Keras 2's way to leave values out: all of them alike where none is left."""
            y: Array = x + (1 - mask.astype(x.dtype)) * least
            return y

        def kept(mask: Array, x: Array, other: Any) -> Array:
            return np.where(mask, x, x.dtype.type(other))

        def softmax(inputs: Array, mask: Any = None) -> Array:
            if mask is None:
                return plain(inputs)
            if adds:
                return plain(spread(lowered, inputs, mask))
            mask = mask if mask.dtype == bool else mask > 0.5
            y = plain(spread(kept, mask, inputs, -1e9))
            return y if older else spread(kept, mask, y, 0)

        def plain(x: Array) -> Array:
            if isinstance(axes, int):
                y: Array = run(x)
                return y
            chosen = sorted(axis % x.ndim for axis in axes)
            order = [axis for axis in range(x.ndim) if axis not in chosen] + chosen
            turned = x.transpose(order)
            flat = contiguous(turned).reshape(*turned.shape[: x.ndim - len(chosen)], -1)
            return contiguous(run(flat).reshape(turned.shape).transpose(np.argsort(order)))

        return softmax


@register()
class PReLU(Layer):
    """Keras's PReLU layer: max(x, 0) + alpha * min(x, 0), with a weight ``alpha`` for each place.

    Parameters
    ----------
    shared_axes : sequence of int, optional
        Axes along which ``alpha`` is the same.
    **kwargs
        Initializer, regularizer and constraint of ``alpha``, and the arguments of `Layer`.
    """

    config_keys = ("alpha_initializer", "alpha_regularizer", "alpha_constraint", "shared_axes")

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer, self.alpha_constraint = alpha_regularizer, alpha_constraint
        shared = [shared_axes] if isinstance(shared_axes, int) else shared_axes
        self.shared_axes = None if shared is None else list(shared)

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.build_shape is not None and 1 in self._shared(len(self.build_shape))

    last_axis_only = False

    def _shared(self, ndim: int) -> set[int]:
        """`shared_axes` of inputs with so many axes; as in Keras, 0 is the last of them, -1 the one before."""
        shared = {axis if axis > 0 else ndim - 1 + axis for axis in self.shared_axes or ()}
        if not shared <= set(range(1, ndim)):
            raise ValueError(f"Layer '{self.name}' has shared_axes={self.shared_axes}, its inputs {ndim} axes.")
        return shared

    def build_weights(self, input_shape: Any) -> None:
        shared = self._shared(len(input_shape))
        shape = tuple(1 if axis in shared else self.fix_axis(input_shape, axis) for axis in range(1, len(input_shape)))
        self.add_weight("alpha", shape, self.alpha_initializer)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        (alpha,) = self.packed(weights)
        sizes = self.build_shape[1:]
        shared = next((axis for axis, size in enumerate(alpha.shape) if size != 1), alpha.ndim)
        if alpha.size > 1 and alpha.shape[shared:] == tuple(sizes[shared:]):  # the same for each of the first axes
            flat = alpha.reshape(-1)
            return passing(lambda x, out: _core.prelu(x, flat, out))

        def bent(x: Array, alpha: Array = alpha) -> Array:
            if x.size > _pieces.PIECE:
                return in_pieces(bent, x, alpha)
            y: Array = np.maximum(x, 0) + alpha * np.minimum(x, 0)
            return y

        return bent


@register()
class ThresholdedReLU(_ActivationLayer):
    """Keras 2's ThresholdedReLU layer: x where it is greater than ``theta``, else 0."""

    config_keys = ("theta",)

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theta = float(theta)

    def _function(self) -> activations.Activation:
        return activations.Activation("threshold", {"threshold": self.theta, "default_value": 0.0})


__all__ = ["ELU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"]
