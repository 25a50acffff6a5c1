"""The same Keras model in lstmfast and in two peers, each as a function of an array on one thread.

Only lstmfast is needed to serve; ONNX Runtime and Keras are here to be compared with.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(__file__).resolve().parent.parent / "co2" / "co2.keras"  # (104 weeks, 6 numbers) -> 52 weeks

Predict = Callable[[Any], Any]


def load(engine: str) -> Predict:
    return {"lstmfast": with_lstmfast, "onnxruntime": with_onnxruntime, "keras": with_keras}[engine]()


def with_lstmfast() -> Predict:
    import lstmfast

    lstmfast.set_num_threads(1)  # the workers are the parallelism
    return lstmfast.load_model(MODEL)


def with_onnxruntime() -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def with_keras() -> Predict:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras.models.load_model(MODEL)
    # a compiled function: predict() would take some 20 ms longer for each call
    compiled = tf.function(lambda x: model(x, training=False), [tf.TensorSpec((None, *model.input_shape[1:]))])
    return lambda x: compiled(x).numpy()


def onnx_bytes() -> bytes:
    """The model, two LSTM layers and a Dense one, as an ONNX graph."""
    from onnx import TensorProto, helper, numpy_helper

    import lstmfast

    model = lstmfast.load_model(MODEL)
    nodes, constants, flow = (
        [helper.make_node("Transpose", ["x"], ["x0"], perm=[1, 0, 2])],
        {"axis": np.array([1])},
        "x0",
    )
    *recurrent, dense = [layer for layer in model.layers if layer.weights]
    for number, layer in enumerate(recurrent):
        kernels = [_onnx_gates(weight) for weight in layer.get_weights()]
        names = [f"{part}{number}" for part in "WRB"]
        bias = np.concatenate([kernels[2], np.zeros_like(kernels[2])], axis=1)
        constants.update(zip(names, [*kernels[:2], bias], strict=True))
        y, last = f"y{number}", f"h{number}"
        nodes.append(helper.make_node("LSTM", [flow, *names], [y, last], hidden_size=layer.units))
        nodes.append(helper.make_node("Squeeze", [y, "axis"], [f"s{number}"]))
        flow = f"s{number}"
    kernel, bias = dense.get_weights()
    constants.update(kernel=kernel, bias=bias, first=np.array([0]))
    nodes.append(helper.make_node("Squeeze", [last, "first"], ["last"]))
    nodes.append(helper.make_node("Gemm", ["last", "kernel", "bias"], ["y"]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", model.input_shape), ("y", model.output_shape))
    ]
    weights = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "co2", ports[:1], ports[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    proto: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return proto


def _onnx_gates(weight: Any) -> Any:
    """Keras's (..., i f c o) as ONNX's (1, i o f c, ...)."""
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1).T[None]
