"""Layers that make one tensor of several: Concatenate, Add and their kin.

Next: base.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lstmfast import _pieces
from lstmfast._arrays import ordered_sum
from lstmfast._graph import Shape
from lstmfast._pieces import cast, copied, in_pieces, joined, reduced, reshaped, spread, update
from lstmfast.layers.arguments import is_over_rows
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.core import matmul


def _folded(function: Callable[[Array, Array], Array], arrays: list[Array]) -> Array:
    """``function`` of the first two, of what that gives and the third, and so on."""
    result = arrays[0]
    for array in arrays[1:]:
        quick = array.size <= _pieces.PIECE and array.shape == result.shape
        if array.ndim != result.ndim:
            ndim = max(array.ndim, result.ndim)
            result, array = (reshaped(one, _of_rank(one.shape, ndim)) for one in (result, array))
        result = function(result, array) if quick else spread(function, result, array)
    return result


def _of_rank(shape: Shape, ndim: int) -> Shape:
    """A shape with as many axes, the new ones behind the rows', as in Keras."""
    return (*shape[:1], *[1] * (ndim - len(shape)), *shape[1:])


class Merge(Layer):
    """Base of the layers whose input is a list of tensors."""

    per_step = True
    elementwise = True

    def takes_list(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        if not isinstance(shape, list) or not shape:
            raise ValueError(f"Layer '{self.name}' should be called on a list of inputs. Received: {shape}")

    def compute_output_shape(self, input_shape: Any) -> Any:
        ndim = max(len(shape) for shape in input_shape)
        shapes = [_of_rank(shape, ndim) for shape in input_shape]
        output: list[Any] = []
        for axis, sizes in enumerate(zip(*shapes, strict=True)):
            known = {size for size in sizes if size is not None}
            if len(known - {1}) > 1:
                raise ValueError(f"Inputs have incompatible shapes. Received shapes {input_shape}")
            is_open = not known if axis == 0 else None in sizes
            output.append(None if is_open else max(known))
        return tuple(output)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        masks = previous_mask or [None]
        return None if any(mask is None for mask in masks) else _folded(np.logical_or, masks)

    def _mask_of_keras_2(self, inputs: Any, previous_mask: Any) -> Any:
        masks = [mask for mask in previous_mask or () if mask is not None]
        return _folded(np.logical_and, masks) if masks else None

    def mask_function(self, merges: str) -> Callable[[Any, Any], Any]:
        if merges == "none":
            return lambda inputs, previous_mask: None
        return self.compute_mask if merges == "or" else self._mask_of_keras_2

    keeps_integers = "iu"

    def on_integers(self, run: Run) -> Run:
        def of_one_type(arrays: list[Array], **arguments: Any) -> Any:
            joint = np.result_type(*arrays)
            return run([cast(array, joint) for array in arrays], **arguments)

        return of_one_type

    # of two arrays; the layer folds it over all of them
    function: Callable[[Array, Array], Array]

    def combine(self, arrays: list[Array]) -> Array:
        """The output of the layer's list of inputs."""
        return _folded(type(self).function, arrays) if len(arrays) > 1 else copied(arrays[0])

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return self.combine


@register()
class Add(Merge):
    """Keras's Add layer."""

    function = np.add


@register()
class Subtract(Merge):
    """Keras's Subtract layer: the first of two inputs minus the second."""

    function = np.subtract

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        if len(shape) != 2:
            raise ValueError(f"A `Subtract` layer should be called on exactly 2 inputs. Received: {shape}")


def _chosen(x: Array, mask: Array, other: Any) -> Array:
    """``x`` where the mask holds, else the other."""
    return np.where(mask, x, other)


def _spread(mask: Array | None, x: Array) -> Array | None:
    """A mask of steps for each value of ``x``."""
    return None if mask is None else np.broadcast_to(mask[..., None], x.shape)


class _MaskedMerge(Merge):
    """Base of the layers that leave masked values out, since Keras 3.4 and where the masks propagate by themselves."""

    uses_mask_since_34 = True

    def combine_masked(self, arrays: list[Array], masks: list[Array | None]) -> Array:
        """The output for inputs of which some are masked."""
        raise NotImplementedError

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        def run(arrays: list[Array], mask: Any = None) -> Array:
            if mask is None or all(one is None for one in mask):
                return self.combine(arrays)
            return self.combine_masked(arrays, [_spread(*pair) for pair in zip(mask, arrays, strict=True)])

        return run


@register()
class Multiply(_MaskedMerge):
    """Keras's Multiply layer; a masked step of one input counts as 1, of all inputs as 0."""

    function = np.multiply

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "biu" if self.of_keras_2 else "iu"

    def combine_masked(self, arrays: list[Array], masks: list[Array | None]) -> Array:
        one = arrays[0].dtype.type(1)
        y = self.combine(
            [x if mask is None else in_pieces(_chosen, x, mask, one) for x, mask in zip(arrays, masks, strict=True)]
        )
        known = [mask for mask in masks if mask is not None]
        return spread(np.multiply, y, _folded(np.logical_or, known)) if len(known) == len(masks) else y


class _Extreme(_MaskedMerge):
    """Base of the layers that choose among their inputs; a masked step of one is the other's."""

    def combine_masked(self, arrays: list[Array], masks: list[Array | None]) -> Array:
        y, seen = arrays[0], masks[0]
        for x, mask in zip(arrays[1:], masks[1:], strict=True):
            x = x if mask is None else spread(_chosen, x, mask, y)
            y = y if seen is None else spread(_chosen, y, seen, x)
            seen = None if mask is None or seen is None else spread(np.logical_or, seen, mask)
            y = spread(type(self).function, y, x)
        return copied(y)


@register()
class Average(Merge):
    """Keras's Average layer."""

    function = np.add

    def combine(self, arrays: list[Array]) -> Array:
        result = super().combine(arrays)
        if result.dtype.kind == "f":
            update(np.true_divide, result, len(arrays))
            return result
        return in_pieces(partial(np.true_divide, dtype=self.made_of_integers(result.dtype)), result, len(arrays))

    def made_of_integers(self, dtype: Any) -> str:
        """As TensorFlow divides them."""
        return "float32" if dtype.itemsize < 4 else "float64"


@register()
class Maximum(_Extreme):
    """Keras's Maximum layer."""

    function = np.maximum


@register()
class Minimum(_Extreme):
    """Keras's Minimum layer."""

    function = np.minimum


@register()
class Concatenate(Merge):
    """Keras's Concatenate layer.

    Parameters
    ----------
    axis : int
        Along which to join; the other sizes must agree.
    """

    config_keys = ("axis",)

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)

    elementwise = False
    keeps_integers = "biu"

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.axis in (-1, 2)

    @property
    def last_axis_only(self) -> bool:  # type: ignore[override]
        return self.axis == -1

    def mixes_batch(self, training: bool | None) -> bool:
        """Along the first axis, it puts whole batches behind each other."""
        return is_over_rows(self.axis, self.build_shape and self.build_shape[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = input_shape[0]
        axis = self.axis % len(first)
        for shape in input_shape:
            if len(shape) != len(first) or any(
                a is not None and b is not None and a != b
                for position, (a, b) in enumerate(zip(first, shape, strict=False))
                if position != axis
            ):
                raise ValueError(
                    "A `Concatenate` layer requires inputs with matching shapes except for the concatenation axis. "
                    f"Received: input_shape={input_shape}"
                )
        sizes = [shape[axis] for shape in input_shape]
        output = list(first)
        output[axis] = None if None in sizes else sum(sizes)
        return tuple(output)

    def _joined_masks(self, inputs: Any, previous_mask: Any) -> Array | None:
        if not previous_mask or all(mask is None for mask in previous_mask):
            return None
        masks = []
        for array, mask in zip(inputs, previous_mask, strict=True):
            if mask is None:
                masks.append(np.broadcast_to(np.True_, array.shape))
            elif mask.ndim < array.ndim:
                mask = mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
                masks.append(np.broadcast_to(mask, array.shape))
            else:
                masks.append(mask)
        return joined(masks, self.axis)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        mask = self._joined_masks(inputs, previous_mask)
        return None if mask is None else reduced(np.logical_or, mask, (mask.ndim - 1,))

    def _mask_of_keras_2(self, inputs: Any, previous_mask: Any) -> Any:
        mask = self._joined_masks(inputs, previous_mask)
        return None if mask is None else reduced(np.logical_and, mask, (mask.ndim - 1,))

    def combine(self, arrays: list[Array]) -> Array:
        return joined(arrays, self.axis)


def _divided(x: Array, squares: Array, least: float) -> Array:
    y: Array = x / np.sqrt(np.maximum(squares, x.dtype.type(least)))
    return y


@register()
class Dot(Merge):
    """Keras's Dot layer: the products of two tensors, sample by sample, summed over one axis of each.

    Parameters
    ----------
    axes : int or pair of int
        Over which to sum.
    normalize : bool
        Whether to divide by the Euclidean norms first, at least 1e-7 (1e-6 in a model of Keras 2): cosine proximity.
    """

    per_step = False
    elementwise = False
    config_keys = ("axes", "normalize")

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int) and (len(axes) != 2 or not all(isinstance(axis, int) for axis in axes)):
            raise ValueError(f"Invalid value for argument `axes`: expected an int or two. Received: axes={axes}")
        self.axes = axes
        self.normalize = bool(normalize)

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "" if self.normalize else "iu" if self.of_keras_2 else "biu"

    def made_of_integers(self, dtype: Any) -> str:
        return "int32" if dtype == np.int8 and not self.of_keras_2 else str(dtype.name)

    def _both(self, first: int, second: int) -> tuple[int, int]:
        left, right = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        return left % first, right % second

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        if len(shape) != 2:
            raise ValueError(f"A `Dot` layer should be called on a list of exactly 2 inputs. Received: {shape}")
        left, right = self._both(len(shape[0]), len(shape[1]))
        sizes = shape[0][left], shape[1][right]
        if None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(f"Incompatible input shapes: axis values {sizes[0]} and {sizes[1]} of {shape}.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        left, right = self._both(len(input_shape[0]), len(input_shape[1]))
        first = [size for axis, size in enumerate(input_shape[0]) if axis != left]
        second = [size for axis, size in enumerate(input_shape[1]) if axis not in (0, right)]
        output = first + second
        return tuple(output if len(output) > 1 else [*output, 1])

    def mask_function(self, merges: str) -> Callable[[Any, Any], Any]:
        return lambda inputs, previous_mask: None

    def combine(self, arrays: list[Array]) -> Array:
        a, b = arrays
        left, right = self._both(a.ndim, b.ndim)
        if self.normalize:
            least = 1e-12 if self.of_keras_2 else 1e-14  # of a sum of squares
            a, b = (
                in_pieces(_divided, array, ordered_sum(in_pieces(np.square, array), (axis,)), least)
                for array, axis in ((a, left), (b, right))
            )
        a, b = np.moveaxis(a, left, -1), np.moveaxis(b, right, 1)
        shape = (*a.shape[:-1], *b.shape[2:])
        batch, size = a.shape[0], a.shape[-1]
        multiply = matmul
        if a.dtype.kind != "f":
            multiply = partial(np.matmul, dtype=self.made_of_integers(a.dtype))
        y: Array = multiply(reshaped(a, (batch, -1, size)), reshaped(b, (batch, size, -1)))
        return y.reshape(shape if len(shape) > 1 else (*shape, 1))


def _as_function(cls: type[Merge]) -> Callable[..., Any]:
    def merged(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return cls(*args, **kwargs)(inputs)

    merged.__name__ = merged.__qualname__ = cls.__name__.lower()
    merged.__doc__ = f"`{cls.__name__}` with the further arguments, called on a list of inputs."
    return merged


add, average, concatenate, maximum, minimum, multiply, subtract = map(
    _as_function, (Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract)
)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot` with the further arguments, called on a list of inputs."""
    return Dot(axes, **kwargs)(inputs)


class MergeCosine(Dot):
    """Keras 1's Merge layer with the mode "cos", which no later Keras has: products over the root of their squares'.

    As there, the squares are products like any other, of each step of an input with each, and an axis of size 1 comes
    in behind the batch.
    """

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        axes = self._both(len(shape[0]), len(shape[1]))
        fits = len(shape[0]) == len(shape[1]) in (2, 3) and axes[0] == axes[1] > 0
        sizes = zip(*shape, strict=True) if fits else [(0, 1)]
        if any(None not in pair and pair[0] != pair[1] for pair in sizes):
            raise ValueError(
                "Only inputs of the same shape, of rank 2 or 3 and over the same axis but the batch's, can be merged "
                f"using cos mode. Received: dot_axes={self.axes}, input_shape={shape}"
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, *rest = super().compute_output_shape(input_shape)
        return (batch, 1, *rest)

    def combine(self, arrays: list[Array]) -> Array:
        a, b = arrays
        multiply = super().combine
        squares = np.maximum(multiply([a, a]) * multiply([b, b]), a.dtype.type(0))
        y: Array = multiply([a, b]) / np.maximum(np.sqrt(squares), a.dtype.type(1e-7))
        return y[:, None]
