"""Models of other libraries: PyTorch's recurrent modules, and ONNX graphs. Neither library is needed to run them.

Next: torch.py; onnx.py.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmfast.converting.onnx_graph import OnnxModel
    from lstmfast.converting.torch import TorchRecurrent


def from_torch(
    module: Any, *, prefix: str = "", batch_first: bool | None = None, nonlinearity: str | None = None
) -> TorchRecurrent:
    """A copy of a recurrent PyTorch module, weights included.

    Parameters
    ----------
    module : torch.nn.LSTM, GRU, RNN, LSTMCell, GRUCell or RNNCell, or the state_dict of one
        In float32 or float64, of any number of layers and directions. A state_dict may hold NumPy arrays, so that
        PyTorch need not be installed.
    prefix : str, optional
        Of the module's names in the state_dict of a larger one, such as ``"encoder.lstm."``.
    batch_first : bool, optional
        For a state_dict, which does not hold it: whether sequences are (batch, steps, features). PyTorch's default,
        False, is (steps, batch, features).
    nonlinearity : {"tanh", "relu"}, optional
        For the state_dict of an RNN, which does not hold it; None is tanh.

    Returns
    -------
    TorchRecurrent
        To be called as the module is; its ``model`` is a `Sequential`.

    Raises
    ------
    TypeError
        If it is no recurrent module and no state_dict.
    ValueError
        If weights are missing or do not fit together, or an argument contradicts the module.
    NotImplementedError
        If the module has projections (``proj_size``), another type than float32 and float64, or a forward or a hook of
        its own.

    Notes
    -----
    Dropout between layers does nothing at inference, as in PyTorch's ``eval()``.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmfast
    >>> zeros = np.zeros
    >>> state_dict = {"weight_ih_l0": zeros((16, 3)), "weight_hh_l0": zeros((16, 4))}
    >>> rnn = lstmfast.from_torch(state_dict, batch_first=True)
    >>> output, (h_n, c_n) = rnn(zeros((2, 5, 3)), return_state=True)
    >>> output.shape, h_n.shape
    ((2, 5, 4), (1, 2, 4))
    """
    from lstmfast.converting.torch import convert_module

    return convert_module(module, prefix, batch_first, nonlinearity)


def from_onnx(source: str | PathLike[str] | bytes | Any) -> OnnxModel:
    """The model in an ONNX file, with its LSTM, GRU and RNN nodes on lstmfast's kernels.

    Parameters
    ----------
    source : str, path-like, bytes, onnx.ModelProto or torch.onnx.ONNXProgram
        As `torch.onnx.export`, tf2onnx and others write it. Weights in a file beside it are read where ``source`` is a
        path.

    Returns
    -------
    OnnxModel
        To be called on arrays in the layouts that the graph says.

    Raises
    ------
    ImportError
        If the package ``onnx``, which reads the file, is not installed: ``pip install onnx``.
    OSError
        If the file cannot be read.
    ValueError
        If it is no ONNX file, or contradicts itself.
    NotImplementedError
        If it holds an operator or an attribute that lstmfast does not have.
    """
    from lstmfast.converting.onnx import read_model

    return read_model(source)
