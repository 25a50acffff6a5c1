"""Random models: graphs of every layer with random arguments, each made again from its seed alone.

`build(framework, seed, dialect)` makes the same model in any namespace with Keras's names, for all choices come from
the seed and from the shapes of symbolic tensors. The dialect is the Keras whose layers and arguments may appear.
Next: test_random_models.py compares.
"""

from __future__ import annotations

from typing import Any

import layer_cases
import numpy as np

Array = np.ndarray[Any, Any]

SIZES = (1, 2, 3, 4, 5, 7, 8)
ELEMENTWISE = ("relu", "tanh", "sigmoid", "softmax", "elu", "selu", "softplus", "softsign", "linear", "swish", "gelu")
IN_CELLS = ("relu", "sigmoid", "softsign", "hard_sigmoid", "elu", "linear", "tanh")
# What tf_keras hands masks through; every other layer there refuses a masked input.
TAKES_MASK = {
    "Activation",
    "ActivityRegularization",
    "Add",
    "Average",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Dense",
    "Dropout",
    "ELU",
    "GRU",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "LSTM",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "Maximum",
    "Minimum",
    "Multiply",
    "RNN",
    "ReLU",
    "SimpleRNN",
    "Softmax",
    "SpatialDropout1D",
    "Subtract",
    "TimeDistributed",
}


class Builder:
    """One model in the making.

    Parameters
    ----------
    framework : module
        keras, tf_keras or lstmfast.
    seed : int
        Of every choice.
    dialect : {"keras", "tf_keras"}
        The version of Keras whose layers and arguments may appear.
    """

    def __init__(self, framework: Any, seed: int, dialect: str) -> None:
        self.framework, self.layers, self.dialect = framework, framework.layers, dialect
        self.random = np.random.default_rng([seed, 13])
        self.feeds: list[tuple[str, tuple[int | None, ...]]] = []  # kind and shape of each input
        self.sources: list[Any] = []
        self.masked: set[int] = set()  # ids of tensors that may carry a mask
        self.kept: list[Any] = []  # keeps those ids alive
        self.used: list[tuple[Any, Any]] = []  # layers that can be called again, and the shapes they take
        self.free_steps = False
        self.count = 0
        self.names: set[str] = set()  # classes of all layers made

    # -- choices ----------------------------------------------------------------------------------------------------

    def pick(self, options: Any) -> Any:
        return options[int(self.random.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def size(self) -> int:
        return int(self.pick(SIZES))

    def maybe(self, probability: float, **options: Any) -> dict[str, Any]:
        """The options, or none of them."""
        return options if self.chance(probability) else {}

    def make(self, name: str, *args: Any, **options: Any) -> Any:
        """A layer, with a name of its own half of the time."""
        self.names.add(name)
        self.count += 1
        if self.chance(0.5):
            options["name"] = f"{name.lower()}_no_{self.count}"
        return getattr(self.layers, name)(*args, **options)

    # -- recurrent layers -------------------------------------------------------------------------------------------

    def cell_options(self, kind: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.chance(0.3):
            options["activation"] = self.pick(IN_CELLS)
        if kind != "SimpleRNN" and self.chance(0.3):
            options["recurrent_activation"] = self.pick(("hard_sigmoid", "tanh", "softsign"))
        options.update(self.maybe(0.2, use_bias=False), **self.maybe(0.15, dropout=0.3, recurrent_dropout=0.2))
        if kind == "GRU" and self.chance(0.4):
            options["reset_after"] = False
        return options

    def recurrent(self, sequences: bool) -> Any:
        """LSTM, GRU, SimpleRNN, an RNN around cells, or a Bidirectional around one of them."""
        kind = self.pick(("LSTM", "LSTM", "GRU", "GRU", "SimpleRNN"))
        units = self.size()
        options = {"return_sequences": sequences}
        options.update(self.maybe(0.2, go_backwards=True), **self.maybe(0.1, unroll=not self.free_steps))
        if self.dialect == "keras":
            options.update(self.maybe(0.15, zero_output_for_mask=True))
        else:
            options.update(self.maybe(0.1, implementation=1))
        if self.chance(0.25):
            cell = self.make(f"{kind}Cell", units, **self.cell_options(kind))
            if self.chance(0.4):
                other = self.pick(("LSTM", "GRU", "SimpleRNN"))
                cell = [self.make(f"{other}Cell", self.size(), **self.cell_options(other)), cell]
            options.pop("unroll", None)
            options.pop("implementation", None)
            layer = self.make("RNN", cell, **options)
        else:
            layer = self.make(kind, units, **options, **self.cell_options(kind))
        if not self.chance(0.25) or options.get("go_backwards") or options.get("unroll"):
            return layer
        return self.make("Bidirectional", layer, merge_mode=self.pick(("concat", "sum", "mul", "ave")))

    # -- layers of one tensor, by the rank of what they take --------------------------------------------------------

    def elementwise(self, shape: tuple[Any, ...]) -> Any:
        """A layer that keeps the shape."""
        new = self.dialect == "keras"
        choice = self.pick(
            (
                "Activation",
                "BatchNormalization",
                "LayerNormalization",
                "Dropout",
                "LeakyReLU",
                "PReLU",
                "ELU",
                "ReLU",
                "Softmax",
                "GaussianNoise",
                "GaussianDropout",
                "UnitNormalization",
                "GroupNormalization",
                "Rescaling",
                "Normalization",
                "ActivityRegularization",
                "AlphaDropout",
                "Identity",
                "RMSNormalization",
            )
        )
        rank, channels = len(shape), shape[-1]
        if choice == "Activation":
            return self.make(choice, self.pick(ELEMENTWISE))
        if choice == "BatchNormalization":
            axis = self.pick(range(1, rank)) if None not in shape[1:] else -1
            return self.make(
                choice, axis=axis, epsilon=0.01, **self.maybe(0.2, center=False), **self.maybe(0.2, scale=False)
            )
        if choice == "LayerNormalization":
            axis: Any = -1
            if rank > 2 and None not in shape[1:] and self.chance(0.4):
                axis = [1, rank - 1] if self.chance(0.5) else self.pick(range(1, rank))
            return self.make(choice, axis=axis, epsilon=0.01, **self.maybe(0.2, center=False))
        if choice in ("Dropout", "GaussianDropout", "AlphaDropout"):
            return self.make(choice, 0.4)
        if choice == "LeakyReLU":
            return self.make(choice, **({"negative_slope": 0.2} if new else {"alpha": 0.2}))
        if choice == "PReLU":
            shared = list(range(1, rank - 1)) if rank > 2 and (self.chance(0.5) or None in shape[1:]) else None
            return self.make(choice, shared_axes=shared)
        if choice == "ELU":
            return self.make(choice, alpha=0.7)
        if choice == "ReLU":
            return self.make(choice, max_value=0.8, negative_slope=0.1, threshold=0.05)
        if choice == "Softmax":
            return self.make(choice, axis=self.pick((-1, rank - 1, 1)))
        if choice == "GaussianNoise":
            return self.make(choice, 0.3)
        if choice == "UnitNormalization":
            return self.make(choice, axis=-1)
        if choice == "GroupNormalization":
            groups = self.pick([number for number in range(1, channels + 1) if channels % number == 0])
            return self.make(choice, groups=groups, epsilon=0.01)
        if choice == "Rescaling":
            return self.make(choice, scale=0.5, offset=self.pick((0.0, 0.25)))
        if choice == "Normalization":
            if self.chance(0.5):
                return self.make(choice, axis=-1)
            return self.make(choice, axis=None, mean=0.25, variance=1.5)
        if choice == "ActivityRegularization":
            return self.make(choice, l2=0.1)
        if choice == "RMSNormalization" and new:
            axis = [1, rank - 1] if rank == 3 and None not in shape[1:] and self.chance(0.3) else -1
            return self.make(choice, axis=axis, epsilon=0.01)
        return self.make("Identity" if new else "Dropout", *([] if new else [0.1]))

    def window(self, steps: Any, dilated: bool = True) -> dict[str, Any]:
        """Arguments of a convolution over steps that fits."""
        options: dict[str, Any] = {"kernel_size": int(self.pick((1, 2, 3)))}
        options["padding"] = "same" if steps is None or steps < 5 else self.pick(("valid", "same"))
        stretch = self.pick(("none", "strides", "dilation_rate"))
        if stretch == "strides" or (stretch == "dilation_rate" and dilated):
            options[stretch] = 2
        return options

    def transposed(self, rank: int) -> dict[str, Any]:
        """Arguments of a transposed convolution."""
        options: dict[str, Any] = {"kernel_size": [int(self.pick((1, 2, 3))) for _ in range(rank)], "strides": 2}
        options["padding"] = self.pick(("valid", "same"))
        return options | self.maybe(0.3, output_padding=1) | self.maybe(0.2, use_bias=False)

    def over_steps(self, shape: tuple[Any, ...]) -> Any:
        """(batch, steps, features) -> a sequence of another shape, or a vector."""
        _, steps, features = shape
        choice = self.pick(
            (
                "Dense",
                "TimeDistributed",
                "Conv1D",
                "Conv1DTranspose",
                "SeparableConv1D",
                "DepthwiseConv1D",
                "Pooling1D",
                "GlobalPooling1D",
                "SpatialDropout1D",
                "ZeroPadding1D",
                "Cropping1D",
                "UpSampling1D",
                "Permute",
                "Reshape",
                "Flatten",
                "Masking",
            )
        )
        known = steps is not None
        if choice == "TimeDistributed":
            inner = self.make("Dense", self.size(), activation=self.pick(ELEMENTWISE))
            if self.chance(0.4):
                inner = self.framework.Sequential([inner, self.elementwise((None, 3))])
                if self.names & {"GroupNormalization"}:
                    inner = self.make("Dense", 3)
            return self.make(choice, inner)
        if choice == "Conv1D":
            options = self.window(steps)
            if self.chance(0.3):
                options["padding"] = "causal"
            if self.chance(0.2):
                return self.make(choice, 2 * features, groups=features, activation=self.pick(ELEMENTWISE), **options)
            return self.make(choice, self.size(), activation=self.pick(ELEMENTWISE), **options)
        if choice == "Conv1DTranspose" and known and steps < 6:
            return self.make(choice, self.size(), **self.transposed(1), activation=self.pick(ELEMENTWISE))
        if choice == "SeparableConv1D":
            options = self.window(steps, dilated=False)
            return self.make(choice, self.size(), depth_multiplier=self.pick((1, 2)), **options)
        if choice == "DepthwiseConv1D":
            return self.make(choice, depth_multiplier=self.pick((1, 2)), **self.window(steps, dilated=False))
        if choice == "Pooling1D":
            name = self.pick(("MaxPooling1D", "AveragePooling1D"))
            padding = "same" if not known or steps < 3 else self.pick(("valid", "same"))
            return self.make(name, self.pick((2, 3)), strides=self.pick((None, 1, 2)), padding=padding)
        if choice == "GlobalPooling1D":
            return self.make(
                self.pick(("GlobalMaxPooling1D", "GlobalAveragePooling1D")), **self.maybe(0.2, keepdims=True)
            )
        if choice == "SpatialDropout1D":
            return self.make(choice, 0.3)
        if choice == "ZeroPadding1D":
            return self.make(choice, self.pick((1, (2, 1))))
        if choice == "Cropping1D" and known and steps > 3:
            return self.make(choice, self.pick((1, (2, 0))))
        if choice == "UpSampling1D" and known and steps < 6:
            return self.make(choice, 2)
        if choice == "Permute" and known:
            return self.make(choice, (2, 1))
        if choice == "Reshape" and known:
            return self.make(choice, self.pick(((features, steps), (-1, features), (steps * features,))))
        if choice == "Flatten" and known:
            return self.make(choice)
        if choice == "Masking":
            return self.make(choice, mask_value=0.0)
        return self.make("Dense", self.size(), activation=self.pick(ELEMENTWISE))

    def over_planes(self, shape: tuple[Any, ...]) -> Any:
        """(batch, a, b, channels) -> another shape."""
        a, b, channels = shape[1:]
        choice = self.pick(
            (
                "Conv2D",
                "Conv2DTranspose",
                "DepthwiseConv2D",
                "SeparableConv2D",
                "Pooling2D",
                "GlobalPooling2D",
                "ConvLSTM1D",
                "ConvLSTM1D",
                "TimeDistributed",
                "SpatialDropout2D",
                "ZeroPadding2D",
                "Cropping2D",
                "UpSampling2D",
                "Reshape",
                "Permute",
            )
        )
        same = "same" if min(a, b) < 3 else self.pick(("valid", "same"))
        if choice == "Conv2D":
            stretch = self.pick(({}, {"strides": 2}, {"dilation_rate": 2, "padding": "same"}, {"strides": (1, 2)}))
            return self.make(choice, self.size(), (2, 3), **{"padding": same, **stretch})
        if choice == "Conv2DTranspose" and a * b < 20:
            return self.make(choice, self.size(), **self.transposed(2))
        if choice == "DepthwiseConv2D":
            return self.make(choice, 2, depth_multiplier=self.pick((1, 2)), padding=same)
        if choice == "SeparableConv2D":
            return self.make(choice, self.size(), 2, padding=same, activation="relu")
        if choice == "Pooling2D":
            return self.make(self.pick(("MaxPooling2D", "AveragePooling2D")), 2, padding=same)
        if choice == "GlobalPooling2D":
            return self.make(self.pick(("GlobalMaxPooling2D", "GlobalAveragePooling2D")))
        if choice == "ConvLSTM1D":
            return self.conv_lstm(choice, b)
        if choice == "TimeDistributed":
            inner = self.pick(("Conv1D", "GlobalMaxPooling1D", "Flatten", "LSTM", "Bidirectional"))
            if inner == "Conv1D":
                return self.make(choice, self.make(inner, self.size(), 2, padding="same"))
            if inner in ("LSTM", "Bidirectional"):
                return self.make(choice, self.recurrent(self.chance(0.5)))
            return self.make(choice, self.make(inner))
        if choice == "ZeroPadding2D":
            return self.make(choice, self.pick((1, (0, 1), ((1, 0), (0, 2)))))
        if choice == "Cropping2D" and min(a, b) > 2:
            return self.make(choice, self.pick((1, (0, 1), ((1, 0), (0, 2)))))
        if choice == "UpSampling2D" and a * b < 20:
            return self.make(choice, self.pick((2, (1, 3))), **self.maybe(0.5, interpolation="bilinear"))
        if choice == "Reshape":
            return self.make(choice, (a, b * channels))
        if choice == "Permute":
            return self.make(choice, self.pick(((2, 1, 3), (3, 1, 2), (1, 3, 2))))
        return self.make("SpatialDropout2D", 0.3)

    def conv_lstm(self, choice: str, least: int) -> Any:
        options: dict[str, Any] = {"return_sequences": self.chance(0.5), "kernel_size": int(self.pick((1, 2, 3)))}
        options["padding"] = "same" if least < 4 else self.pick(("valid", "same"))
        options.update(self.maybe(0.2, go_backwards=True), **self.maybe(0.2, use_bias=False))
        options.update(self.maybe(0.2, strides=2), **self.maybe(0.3, activation=self.pick(IN_CELLS)))
        if "strides" not in options:
            options.update(self.maybe(0.2, dilation_rate=2, padding="same"))
        layer = self.make(choice, self.pick((1, 2, 3)), **options)
        if self.chance(0.2) and "go_backwards" not in options:
            return self.make("Bidirectional", layer)
        return layer

    def over_volumes(self, shape: tuple[Any, ...]) -> Any:
        """(batch, a, b, c, channels) -> another shape."""
        choice = self.pick(
            (
                "ConvLSTM2D",
                "ConvLSTM2D",
                "TimeDistributed",
                "Conv3D",
                "Pooling3D",
                "GlobalPooling3D",
                "ZeroPadding3D",
                "Cropping3D",
                "UpSampling3D",
            )
        )
        if choice == "ConvLSTM2D":
            return self.conv_lstm(choice, min(shape[2:4]))
        if choice == "TimeDistributed":
            inner = self.pick(
                (("Conv2D", 2, 2), ("MaxPooling2D", 2), ("GlobalAveragePooling2D",), ("Flatten",), ("ConvLSTM1D", 2, 2))
            )
            return self.make(
                choice,
                self.make(*inner, **({} if inner[0] in ("Flatten", "GlobalAveragePooling2D") else {"padding": "same"})),
            )
        if choice == "Conv3D":
            return self.make(choice, self.pick((1, 2, 3)), 2, padding="same", activation="tanh")
        if choice == "Pooling3D":
            return self.make(self.pick(("MaxPooling3D", "AveragePooling3D")), 2, padding="same")
        if choice == "ZeroPadding3D":
            return self.make(choice, self.pick((1, (0, 1, 0), ((1, 0), (0, 2), 0))))
        if choice == "Cropping3D" and min(shape[1:4]) > 1:
            return self.make(choice, self.pick(((0, 0, (0, 1)), ((1, 0), (0, 1), 0))))
        if choice == "UpSampling3D" and np.prod(shape[1:4]) < 20:
            return self.make(choice, self.pick((2, (1, 2, 1))))
        return self.make(self.pick(("GlobalMaxPooling3D", "GlobalAveragePooling3D")))

    def over_vectors(self, shape: tuple[Any, ...]) -> Any:
        features = shape[-1]
        choice = self.pick(("Dense", "Dense", "RepeatVector", "Reshape", "elementwise"))
        if choice == "RepeatVector":
            return self.make(choice, int(self.random.integers(1, 6)))
        if choice == "Reshape":
            return self.make(choice, self.pick(((features, 1), (1, features), (-1, features))))
        if choice == "elementwise":
            return self.elementwise(shape)
        return self.make("Dense", self.size(), activation=self.pick(ELEMENTWISE), **self.maybe(0.2, use_bias=False))

    def unary(self, shape: tuple[Any, ...]) -> Any:
        """Any layer of one tensor of this shape."""
        if len(shape) == 2:
            return self.over_vectors(shape)
        if self.chance(0.25):
            return self.elementwise(shape)
        if len(shape) == 3:
            return self.recurrent(self.chance(0.7)) if self.chance(0.5) else self.over_steps(shape)
        return self.over_planes(shape) if len(shape) == 4 else self.over_volumes(shape)

    # -- calls ------------------------------------------------------------------------------------------------------

    def is_masked(self, *tensors: Any) -> bool:
        return any(id(tensor) in self.masked for tensor in tensors)

    def keep(self, tensor: Any, masked: bool) -> Any:
        self.kept.append(tensor)
        if masked:
            self.masked.add(id(tensor))
        return tensor

    def apply(self, layer: Any, tensor: Any) -> Any:
        """The layer's output; a layer that tf_keras calls on no mask gives way to one that it does."""
        name = type(layer).__name__
        refuses = holds_softmax(layer) or (self.dialect == "tf_keras" and name not in TAKES_MASK)
        if self.is_masked(tensor) and refuses:
            layer = self.make("Dense", self.size(), activation="tanh")
            name = "Dense"
        shape = tuple(tensor.shape)
        result = layer(tensor)
        if name not in ("Masking",):
            self.used.append((layer, shape))
        masked = name == "Masking" or (self.is_masked(tensor) and len(result.shape) > 2)
        return self.keep(result, masked)

    def input(self, kind: str) -> Any:
        """A model input and, where it marks padding, the tensor behind what does so."""
        steps = None if self.free_steps else int(self.random.integers(2, 8))
        if kind == "tokens":
            count = int(self.random.integers(5, 20))
            source = self.framework.Input((steps,), dtype="int32", name=f"tokens_{len(self.sources)}")
            self.feeds.append((f"tokens {count}", (steps,)))
            self.sources.append(source)
            padded = self.chance(0.6)
            layer = self.make("Embedding", count, self.size(), mask_zero=padded)
            return self.keep(layer(source), padded)
        shape: tuple[int | None, ...] = (steps, self.size())
        if kind == "vector":
            shape = (self.size(),)
        elif kind == "planes":
            shape = (*(int(n) for n in self.random.integers(2, 5, 2)), int(self.pick((1, 2, 3))))
        elif kind == "volumes":
            shape = (*(int(n) for n in self.random.integers(2, 5, 3)), int(self.pick((1, 2))))
        source = self.framework.Input(shape, name=f"{kind}_{len(self.sources)}")
        padded = kind == "padded"
        self.feeds.append((kind, shape))
        self.sources.append(source)
        if padded:
            return self.keep(self.make("Masking", 0.0)(source), True)
        return self.keep(source, False)

    def merge(self, tensors: list[Any]) -> Any:
        """Two tensors as one; any two become vectors first where nothing else fits."""
        a, b = tensors
        name = None
        # unknown numbers of steps need not agree
        if len(a.shape) == len(b.shape) and not (self.free_steps and len(a.shape) > 2):
            if tuple(a.shape) == tuple(b.shape):
                name = self.pick(
                    ("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate", "Dot", "attention")
                )
            elif tuple(a.shape)[:-1] == tuple(b.shape)[:-1]:
                name = self.pick(("Concatenate", "Dot"))
            elif len(a.shape) == 3 and a.shape[-1] == b.shape[-1] and None not in (a.shape[1], b.shape[1]):
                name = self.pick(("attention", "Concatenate 1", "Dot 2"))
        masked = self.is_masked(a, b)
        if name in ("Dot", "Dot 2", "attention") and (len(a.shape) > 3 or self.free_steps):
            name = "Concatenate" if name == "Dot" else None
        if self.dialect == "tf_keras" and masked and name in ("Dot", "Dot 2", "attention", "Concatenate 1"):
            name = None
        if name is None:
            return self.make("Concatenate")([self.as_vector(a), self.as_vector(b)])
        if name == "attention":
            return self.keep(self.attention(a, b), self.is_masked(a))
        if name.startswith("Dot"):
            if len(a.shape) == 2:
                return (
                    self.make("Dot", 1, normalize=self.chance(0.4))([a, b])
                    if a.shape[1] == b.shape[1]
                    else self.make("Concatenate")([a, b])
                )
            axes = 1 if name == "Dot" else 2
            return self.keep(self.make("Dot", axes, normalize=self.chance(0.3))([a, b]), False)
        if name == "Concatenate 1":
            return self.keep(self.make("Concatenate", axis=1)([a, b]), masked)
        return self.keep(self.make(name)([a, b]), masked)

    def attention(self, query: Any, value: Any) -> Any:
        """One of the attention layers; they take a batch of vectors as one more sequence."""
        if len(query.shape) != 3:
            return self.make("Add")([query, value])
        choice = self.pick(("Attention", "AdditiveAttention", "MultiHeadAttention"))
        if choice == "MultiHeadAttention":
            heads, key_dim = self.pick((1, 2, 3)), self.pick((1, 2, 5))
            # Keras 3.15 on TensorFlow adds a bias of shape (heads, 1) along the steps where there are as many of them
            # (keras/src/backend/tensorflow/numpy.py, `add`)
            if {heads, None} & {query.shape[1], value.shape[1]}:
                key_dim = max(2, key_dim)
            layer = self.make(
                choice,
                num_heads=heads,
                key_dim=key_dim,
                **self.maybe(0.3, value_dim=4),
                **self.maybe(0.2, use_bias=False),
                **self.maybe(0.2, output_shape=3),
            )
            return layer(query, value, **self.maybe(0.3, use_causal_mask=True))
        options = self.maybe(0.4, use_scale=True) if choice == "Attention" else self.maybe(0.4, use_scale=False)
        if choice == "Attention" and self.chance(0.3):
            options["score_mode"] = "concat"
        inputs = [query, value, value] if self.chance(0.3) else [query, value]
        return self.make(choice, **options)(inputs, **self.maybe(0.3, use_causal_mask=True))

    def as_vector(self, tensor: Any) -> Any:
        """(batch, features) of anything."""
        rank = len(tensor.shape)
        if rank == 2:
            return tensor
        if rank == 3:
            return self.recurrent(False)(tensor)
        name = f"Global{self.pick(('Max', 'Average'))}Pooling{rank - 2}D"
        return self.make(name)(tensor)

    def encode_and_decode(self, source: Any, target: Any) -> Any:
        """A decoder over ``target`` that begins with the state in which an encoder left ``source``."""
        kind, units = self.pick(("LSTM", "GRU", "SimpleRNN")), self.size()
        both = self.chance(0.3)
        encoder = self.make(
            kind, units, return_state=True, return_sequences=self.chance(0.3), **self.cell_options(kind)
        )
        decoder = self.make(kind, units, return_sequences=self.chance(0.7), **self.cell_options(kind))
        if both:
            encoder, decoder = self.make("Bidirectional", encoder), self.make("Bidirectional", decoder)
        _, *states = encoder(source)
        if len(states) == 1 and self.chance(0.5):
            return self.keep(decoder(target, initial_state=states[0]), False)
        # Keras 3 takes no mask beside a wired state, Keras 2 does
        return self.keep(decoder(target, initial_state=states), self.is_masked(target))

    def nested(self, tensor: Any) -> Any:
        """A model inside the model."""
        shape = tuple(tensor.shape)[1:]
        if self.chance(0.5):
            first = self.recurrent(self.chance(0.5)) if len(shape) == 2 else self.make("Dense", self.size())
            second = self.make("Dense", self.size(), activation=self.pick(ELEMENTWISE))
            inner = self.framework.Sequential([self.framework.Input(shape), first, second])
        else:
            source = self.framework.Input(shape)
            inside = self.recurrent(True)(source) if len(shape) == 2 else self.make("Dense", self.size())(source)
            last = self.make("Dense", self.size())(inside)
            inner = self.framework.Model(source, self.make("Concatenate")([inside, last]))
        self.names.add("nested")
        self.used.append((inner, tuple(tensor.shape)))
        return self.keep(inner(tensor), self.is_masked(tensor) and len(inner.output_shape) > 2)

    def several_states(self, tensor: Any) -> Any:
        """A layer with several outputs, all of which count."""
        if self.chance(0.5):
            inner = self.make(self.pick(("LSTM", "GRU", "SimpleRNN")), self.size(), return_sequences=self.chance(0.6))
            first, second = self.make("Bidirectional", inner, merge_mode=None)(tensor)
            return self.merge([self.keep(first, False), self.keep(second, False)])
        kind = self.pick(("LSTM", "GRU", "SimpleRNN"))
        y, *states = self.make(kind, self.size(), return_state=True, return_sequences=self.chance(0.5))(tensor)
        joined = self.make("Concatenate")([self.as_vector(self.keep(y, self.is_masked(tensor))), *states])
        return self.keep(joined, False)

    # -- models -----------------------------------------------------------------------------------------------------

    def sequential(self) -> Any:
        """A stack."""
        kind = self.pick(("sequence", "sequence", "padded", "tokens", "planes", "volumes"))
        self.free_steps = self.chance(0.2) and kind not in ("planes", "volumes")
        start = self.input(kind)
        model = self.framework.Sequential([self.sources[0]])
        layer = None
        if start is not self.sources[0]:
            model.add(maker_of(start))
        tensor = start
        for _ in range(int(self.random.integers(2, 6))):
            layer = self.unary(tuple(tensor.shape))
            before = len(self.used)
            tensor = self.apply(layer, tensor)
            model.add(self.used[before][0] if len(self.used) > before else layer)
        if not self.has_recurrent() and len(tensor.shape) == 3:
            layer = self.recurrent(False)
            tensor = self.apply(layer, tensor)
            model.add(layer)
        return model

    def has_recurrent(self) -> bool:
        return bool(self.names & {"LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})

    def functional(self) -> Any:
        """A graph of one to three inputs and outputs."""
        kinds = [self.pick(("sequence", "sequence", "padded", "tokens"))]
        for _ in range(int(self.pick((0, 0, 1, 1, 2)))):
            kinds.append(self.pick(("sequence", "padded", "padded", "tokens", "vector", "planes", "volumes")))
        self.free_steps = self.chance(0.15)
        pool = [self.input(kind) for kind in kinds]
        for _ in range(int(self.random.integers(2, 7))):
            tensor = self.pick(pool)
            rank = len(tensor.shape)
            sequences = [other for other in pool if len(other.shape) == 3]
            action = self.random.random()
            if action < 0.12 and rank == 3:
                result = self.encode_and_decode(tensor, self.pick(sequences))
            elif action < 0.3 and len(pool) > 1:
                result = self.merge([tensor, self.pick([other for other in pool if other is not tensor])])
            elif action < 0.38 and rank in (2, 3):
                result = self.nested(tensor)
            elif action < 0.46 and rank == 3:
                result = self.several_states(tensor)
            elif action < 0.52 and rank == 3:
                result = self.keep(self.attention(tensor, tensor), self.is_masked(tensor))
            elif action < 0.6:
                known = [layer for layer, shape in self.used if shape == tuple(tensor.shape)]
                result = self.apply(self.pick(known) if known else self.unary(tuple(tensor.shape)), tensor)
            else:
                result = self.apply(self.unary(tuple(tensor.shape)), tensor)
            if self.chance(0.6) and len(pool) > 1:
                pool = [other for other in pool if other is not tensor]
            pool.append(result)
        return self.framework.Model(self.struct(self.sources), self.struct(self.ends(pool)))

    def ends(self, pool: list[Any]) -> list[Any]:
        """One to three outputs that need every input."""
        joined = [self.as_vector(tensor) for tensor in pool]
        everything = joined[0] if len(joined) == 1 else self.make("Concatenate")(joined)
        activation = self.pick(("linear", "sigmoid", "softmax"))
        outputs = [self.make("Dense", self.size(), activation=activation)(everything)]
        for tensor in pool:
            if len(outputs) < 3 and self.chance(0.3) and all(tensor is not source for source in self.sources):
                outputs.append(tensor)
        return outputs

    def struct(self, tensors: list[Any]) -> Any:
        """Tensors as a model's inputs or outputs: alone, a list or a dict."""
        if len(tensors) == 1 and self.chance(0.8):
            return tensors[0]
        if self.chance(0.3):
            is_input = any(tensor is self.sources[0] for tensor in tensors)
            names = [source_name(kind, i) for i, (kind, _) in enumerate(self.feeds)] if is_input else None
            return dict(zip(names or [f"out_{i}" for i in range(len(tensors))], tensors, strict=True))
        return list(tensors)


def holds_softmax(layer: Any) -> bool:
    """Whether a layer, or one inside it, is a Softmax, which takes no mask that is not of its input's shape."""
    inner = [*getattr(layer, "layers", []), *([layer.layer] if hasattr(layer, "layer") else [])]
    return type(layer).__name__ == "Softmax" or any(map(holds_softmax, inner))


def maker_of(tensor: Any) -> Any:
    """The layer that a symbolic tensor comes from."""
    history = tensor.history if hasattr(tensor, "history") else tensor._keras_history
    return history[0]


def source_name(kind: str, index: int) -> str:
    return f"{kind.split()[0]}_{index}"


def build(framework: Any, seed: int, dialect: str) -> tuple[Any, Builder]:
    """The model of a seed, with Keras's own weights."""
    builder = Builder(framework, seed, dialect)
    model = builder.sequential() if builder.chance(0.3) else builder.functional()
    return model, builder


def weights(variables: list[tuple[str, tuple[int, ...]]], seed: int) -> list[Array]:
    """Random values for weights by name and shape: no zero bias, no fresh statistics."""
    random = np.random.default_rng([seed, 17])
    values = []
    for name, shape in variables:
        fan = int(np.prod(shape[:-1])) or 1
        drawn = random.standard_normal(shape) * (0.3 if len(shape) < 2 or fan == 2 else 0.8 / np.sqrt(fan))
        if "variance" in name:
            drawn = random.uniform(0.5, 2, shape)
        elif "gamma" in name or "scale" in name:
            drawn = random.uniform(0.5, 1.5, shape)
        elif "count" in name:
            drawn = np.zeros(shape)
        values.append(np.asarray(drawn, "float32"))
    return values


def inputs(builder: Builder, seed: int) -> list[Array]:
    """An array for each input; padding in every pattern where a layer marks it."""
    random = np.random.default_rng([seed, 19])
    rows, free = int(random.integers(1, 5)), int(random.integers(2, 7))
    arrays = []
    for kind, shape in builder.feeds:
        full = (rows, *(free if size is None else size for size in shape))
        if kind.startswith("tokens"):
            x = random.integers(1, int(kind.split()[1]), full).astype("int32")
            x[~layer_cases.draw_mask(random, "mixed", *full)] = 0
        else:
            x = random.uniform(-1, 1, full).astype("float32")
            if kind == "padded":
                x[~layer_cases.draw_mask(random, "mixed", *full[:2])] = 0
        arrays.append(x)
    return arrays
