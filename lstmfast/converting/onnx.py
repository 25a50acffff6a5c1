"""Reads ONNX with the package `onnx` into plain data; nothing in a file is run, and no path in it leaves its folder.

Next: onnx_graph.py, which runs what is read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lstmfast.converting.onnx_graph import Graph, Node, OnnxModel, Port
from lstmfast.converting.onnx_operators import OPERATORS
from lstmfast.layers.base import Array

_MOST_NODES = 100_000
_OLDEST_OPSET = 7  # broadcasting is NumPy's from there on
_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def read_model(source: Any) -> OnnxModel:
    """See `lstmfast.from_onnx`."""
    onnx = _package()
    source = getattr(source, "model_proto", source)  # of a torch.onnx.ONNXProgram
    folder: Path | None = None
    if isinstance(source, onnx.ModelProto):
        name, proto = "the ModelProto", source
    else:
        if isinstance(source, (bytes, bytearray, memoryview)):
            name, data = "the bytes", bytes(source)
        else:
            path = Path(os.fspath(source))
            name, data, folder = f"'{path}'", path.read_bytes(), path.parent
        try:
            proto = onnx.ModelProto.FromString(data)
        except Exception as error:  # protobuf has no common base of its errors
            raise OSError(f"Cannot read {name} as ONNX: {error}") from error
    if not proto.HasField("graph") or not proto.graph.output or not proto.opset_import:
        raise OSError(f"{name} holds no ONNX graph.")
    return OnnxModel(_Reader(onnx, name, folder).graph(proto))


def _package() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError("`from_onnx` needs the package onnx: pip install onnx") from error
    return onnx


def _text(value: str | bytes) -> str:
    """A string of a message; protobuf gives bytes where it is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


class _Reader:
    """Protobuf messages of one file to plain data."""

    def __init__(self, onnx: Any, name: str, folder: Path | None) -> None:
        self.onnx = onnx
        self.name = name
        self.folder = folder

    def graph(self, proto: Any) -> Graph:
        opsets = {entry.domain: entry.version for entry in proto.opset_import}
        opset = opsets.get("", opsets.get("ai.onnx", 0))
        if opset < _OLDEST_OPSET:
            raise NotImplementedError(f"{self.name} is of opset {opset}: the oldest supported is {_OLDEST_OPSET}.")
        graph = proto.graph
        if graph.sparse_initializer:
            raise NotImplementedError(f"{self.name} holds sparse weights.")
        if len(graph.node) > _MOST_NODES:
            raise ValueError(f"{self.name} has {len(graph.node)} nodes.")
        self.refuse_unknown(graph.node)
        constants: dict[str, Array] = {}
        for tensor in graph.initializer:
            name = _text(tensor.name)
            if not name or name in constants:
                raise ValueError(f"{self.name} has no name, or two weights, for '{name}'.")
            constants[name] = self.array(tensor, f"weight '{name}'")
        inputs = [self.port(value) for value in graph.input if _text(value.name) not in constants]
        nodes = [self.node(node, position) for position, node in enumerate(graph.node)]
        return Graph(self.name, opset, inputs, [_text(value.name) for value in graph.output], constants, nodes)

    def refuse_unknown(self, nodes: Any) -> None:
        unknown = [node for node in nodes if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx")]
        if unknown:
            names = sorted({".".join(filter(None, map(_text, (node.domain, node.op_type)))) for node in unknown})
            told = f"{self.name} holds operators that lstmfast does not have: {', '.join(names[:12])}."
            if not {"Loop", "Scan"}.isdisjoint(names):
                told += (
                    " Exporters write loops for recurrent layers that they do not recognise: of PyTorch try "
                    "torch.onnx.export(..., dynamo=False); Keras's own models are for load_model and from_keras."
                )
            raise NotImplementedError(told)

    def port(self, value: Any) -> Port:
        if not value.type.HasField("tensor_type"):
            raise NotImplementedError(f"{self.name}: input '{value.name}' is no tensor.")
        kind = value.type.tensor_type
        shape: tuple[int | None, ...] | None = None
        if kind.HasField("shape"):
            # what is negative is open, as for ONNX Runtime
            sizes = (size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
            shape = tuple(None if size < 0 else size for size in sizes)
        return Port(_text(value.name), shape, self.dtype(kind.elem_type, f"input '{value.name}'"))

    def node(self, node: Any, position: int) -> Node:
        name = _text(node.name) or f"{node.op_type}_{position}"
        attributes = {_text(attribute.name): self.attribute(attribute, name) for attribute in node.attribute}
        return Node(node.op_type, name, attributes, [*map(_text, node.input)], [*map(_text, node.output)])

    def attribute(self, attribute: Any, node: str) -> Any:
        kinds = self.onnx.AttributeProto
        what = f"attribute '{attribute.name}' of node '{node}'"
        if attribute.ref_attr_name or attribute.type not in (
            *(kinds.FLOAT, kinds.INT, kinds.STRING, kinds.TENSOR),
            *(kinds.FLOATS, kinds.INTS, kinds.STRINGS),
        ):
            raise NotImplementedError(f"{self.name}: {what} is of a kind that is not supported.")
        value = self.onnx.helper.get_attribute_value(attribute)
        if attribute.type == kinds.TENSOR:
            return self.array(value, what)
        if attribute.type == kinds.STRING:
            return _text(value)
        if attribute.type == kinds.STRINGS:
            return [_text(text) for text in value]
        return value if attribute.type in (kinds.FLOAT, kinds.INT) else list(value)

    def dtype(self, code: int, what: str) -> str:
        try:
            name: str = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(code)).name
        except (KeyError, TypeError, ValueError):
            name = f"the unknown type {code}"
        if name not in _DTYPES or code == self.onnx.TensorProto.STRING:
            raise NotImplementedError(f"{self.name}: {what} is of {name}; supported are {', '.join(_DTYPES)}.")
        return name

    def array(self, tensor: Any, what: str) -> Array:
        """A tensor's values, where there are as many as its shape says."""
        dtype = np.dtype(self.dtype(tensor.data_type, what))
        shape = tuple(tensor.dims)
        count = 1
        for size in shape:
            if size < 0:
                raise ValueError(f"{self.name}: {what} has the shape {shape}.")
            count *= size
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            values = np.frombuffer(self.external(tensor, count * dtype.itemsize, what), dtype.newbyteorder("<"))
        elif tensor.HasField("raw_data"):
            if len(tensor.raw_data) != count * dtype.itemsize:
                raise ValueError(
                    f"{self.name}: {what} has {len(tensor.raw_data)} bytes, but shape {shape} of {dtype} needs "
                    f"{count * dtype.itemsize}."
                )
            values = np.frombuffer(tensor.raw_data, dtype.newbyteorder("<"))
        else:
            values = np.asarray(getattr(tensor, self.onnx.helper.tensor_dtype_to_field(tensor.data_type)))
            if values.size != count:
                raise ValueError(f"{self.name}: {what} has {values.size} values, but the shape {shape}.")
        return values.astype(dtype).reshape(shape)

    def external(self, tensor: Any, size: int, what: str) -> bytes:
        """The bytes of a tensor that lie in a file beside the model."""
        if self.folder is None:
            raise ValueError(f"{self.name}: {what} is in a file beside the model: pass the model's path.")
        entries = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self.folder / location
        inside = self.folder.resolve() in path.resolve().parents
        if not location or os.path.isabs(location) or not inside or path.is_symlink():
            raise ValueError(f"{self.name}: {what} names the file '{location}', which is not one beside the model.")
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError as error:
            raise ValueError(f"{self.name}: {what} has a place in '{location}' that is no number.") from error
        with open(path, "rb") as file:
            available = os.fstat(file.fileno()).st_size
            if offset < 0 or length != size or offset + length > available:
                raise ValueError(
                    f"{self.name}: {what} is {size} bytes, but bytes {offset} to {offset + length} of the {available} "
                    f"of '{location}' are named."
                )
            file.seek(offset)
            return file.read(length)
