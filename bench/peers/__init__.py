"""Every runner, in the order of tables and charts."""

from bench.peers.base import Peer
from bench.peers.jax_scan import JaxScan
from bench.peers.keras_predict import KerasPredict
from bench.peers.lstmfast_layers import Lstmfast, LstmfastPredict
from bench.peers.numpy_blas import NumpyBlas
from bench.peers.onnx_runtime import OnnxRuntime
from bench.peers.open_vino import OpenVino
from bench.peers.pytorch import PyTorch
from bench.peers.tensorflow_xla import TensorflowXla

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Lstmfast(),
        LstmfastPredict(),
        OnnxRuntime(),
        OpenVino(),
        PyTorch(),
        TensorflowXla(),
        JaxScan(),
        KerasPredict(),
        NumpyBlas(),
    )
}
