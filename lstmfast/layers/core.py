"""Input and Dense.

Next: recurrent.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core, activations, initializers
from lstmfast._arrays import policy
from lstmfast._graph import KerasTensor, Node, Shape, unique_name
from lstmfast._pieces import contiguous, put, reshaped
from lstmfast._stack import give_stage
from lstmfast.layers.arguments import keys_of, positive, standardize_shape
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.quantized import Quantizable, quantized_product


@register()
class InputLayer(Layer):
    """The place where a model's input enters; `Input` makes one, and says what the arguments are."""

    allocates = False
    config_keys = ("batch_shape", "sparse", "ragged", "optional")

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: Any = None,
        ragged: Any = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        shape = kwargs.pop("input_shape", shape)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to InputLayer: {kwargs}")
        if shape is not None and batch_shape is not None:
            raise ValueError("You cannot pass both `shape` and `batch_shape` at the same time.")
        if batch_shape is None:
            if shape is None:
                raise ValueError("You must pass a `shape` argument.")
            batch_shape = (batch_size, *standardize_shape([shape] if isinstance(shape, int) else shape))
        if sparse or ragged:
            raise NotImplementedError("Sparse and ragged inputs are not supported: pass padded arrays and a mask.")
        super().__init__(name=name or unique_name("input_layer"))
        self.batch_shape: Shape = standardize_shape(batch_shape)
        self.input_dtype: str = "float32" if dtype is None else _dtype_name(dtype)
        self.sparse, self.ragged, self.optional = bool(sparse), bool(ragged), bool(optional)
        self.built = True
        Node(self, (), {}, [KerasTensor(self.batch_shape, self.input_dtype, self.name)])

    @property
    def dtype(self) -> str:
        return self.input_dtype

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": list(self.batch_shape),
            "dtype": self.input_dtype,
            "sparse": self.sparse,
            "ragged": self.ragged,
            "optional": self.optional,
            "name": self.name,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        Node(self, (), {}, [KerasTensor(self.batch_shape, self.input_dtype, self.name)])


def _dtype_name(dtype: Any) -> str:
    name = dtype if isinstance(dtype, str) else None
    if isinstance(dtype, dict):
        name = policy(dtype).compute_dtype
    name = name or np.dtype(dtype).name
    if name not in ("bfloat16", "string"):
        name = np.dtype(name).name
    return name


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: Any = None,
    ragged: Any = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> KerasTensor:
    """A symbolic input, to begin a model with.

    Parameters
    ----------
    shape : tuple
        Of one sample, such as ``(steps, features)``; None where a size may vary.
    batch_size : int, optional
        A fixed batch size, which stateful layers need.
    dtype : str, optional
        The type that inputs are converted to; float32.
    batch_shape : tuple, optional
        In place of both: the shape with the batch first.
    name : str, optional
        Of the input, for inputs passed as a dict.

    Returns
    -------
    KerasTensor

    Examples
    --------
    >>> from lstmfast import Input
    >>> Input((40, 1)).shape
    (None, 40, 1)
    """
    layer = InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional, name)
    (made,) = layer.nodes[0].outputs
    assert isinstance(made, KerasTensor)
    return made


@register()
class Dense(Quantizable):
    """Keras's Dense layer, activation(x W + b) over the last axis.

    Parameters
    ----------
    units : int
        Size of the output's last axis.
    activation : str, callable, dict or None
        None is linear. A Python function of arrays works too.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer
        Of a fresh layer's weights.
    **kwargs
        Regularizers and constraints, without effect, and the arguments of `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import layers
    >>> layers.Dense(3, activation="relu")(np.ones((2, 5, 4))).shape
    (2, 5, 3)
    """

    min_ndim = 2
    per_step = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: Any = None,
        **kwargs: Any,
    ) -> None:
        units = positive("units", units)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint

    config_keys = keys_of(__init__, without="lora_rank")

    def build_weights(self, input_shape: Any) -> None:
        features = self.fix_axis(input_shape)
        self.add_quantizable("kernel", (features, self.units), self.kernel_initializer, 1)
        if self.use_bias:
            self.add_weight("bias", (self.units,), self.bias_initializer)

    @property
    def kernel(self) -> Array | None:
        """(features, units), read-only."""
        return self._weight("kernel")

    @property
    def bias(self) -> Array | None:
        """(units,), read-only; None without ``use_bias``."""
        return self._weight("bias")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        if self.policy.quantized:
            *before, integers, scale = self.packed(weights)
            return quantized_product(
                integers, scale, before[0] if before else None, self.activation, self._rounds_inputs
            )
        kernel, *bias = self.packed(weights)
        activation = self.activation
        core = activation.core or activations.LINEAR
        packed = _core.PackedLayer("dense", kernel, None, bias[0] if bias else None, core, None)
        apply = packed.apply
        features, units = kernel.shape

        def run(x: Array, out: Array | None = None) -> Array:
            if x.ndim == 2:
                return apply(x, out, 0)
            rows = reshaped(x, (-1, features))
            if out is not None and out.flags.c_contiguous:
                apply(rows, out.reshape(-1, units), 0)
                return out
            y = apply(rows, None, 0).reshape(*x.shape[:-1], units)
            if out is None:
                return y
            put(out, y)
            return out

        if activation.core is None:
            return lambda x: activation.run(run(x))
        run.takes_out = True  # type: ignore[attr-defined]
        give_stage(run, partial(_core.DenseStage, packed=packed))
        return run


def matmul(a: Array, b: Array) -> Array:
    """(batch, m, k) times (batch, k, n) on the core's dense step, so that a row's bits depend on nothing beside it."""
    if a.strides[-1] != a.itemsize and a.shape[-1] > 1:
        a = contiguous(a)
    return _core.multiply(a, b)


def identity(x: Any, **_: Any) -> Any:
    """What inert layers run; plans leave it out."""
    return x
