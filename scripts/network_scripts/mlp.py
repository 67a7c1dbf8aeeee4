"""A perceptron with the network API of TensorRT 3: set_ methods, weights from a text file in the current folder."""

import struct

import numpy as np
import pycuda.autoinit  # noqa: F401
import pycuda.driver as cuda
import tensorrt as trt

WIDTHS = (64, 128, 32, 10)


def load_weights(file):
    """Name, count and big-endian numbers in hexadecimal, a tensor per line."""
    weight_map = {}
    with open(file) as lines:  # noqa: PTH123
        for _ in range(int(lines.readline())):
            name, count, *values = lines.readline().split()
            assert int(count) == len(values)
            weight_map[name] = np.array([struct.unpack(">f", bytes.fromhex(v))[0] for v in values], dtype=np.float32)
    return weight_map


weights = load_weights("./mlp.wts")
logger = trt.infer.ConsoleLogger(trt.infer.LogSeverity.ERROR)
builder = trt.infer.create_infer_builder(logger)
network = builder.create_network()

tensor = network.add_input("data", trt.infer.DataType.FLOAT, (WIDTHS[0], 1, 1))
assert tensor
for number, outputs in enumerate(WIDTHS[1:], 1):
    layer = network.add_fully_connected(tensor, outputs, weights[f"fc{number}.weight"], weights[f"fc{number}.bias"])
    assert layer
    layer.set_name(f"fc{number}")
    if number < len(WIDTHS) - 1:
        layer = network.add_activation(layer.get_output(0), trt.infer.ActivationType.TANH)
    tensor = layer.get_output(0)
tensor.set_name("out")
network.mark_output(tensor)

builder.set_max_batch_size(32)
builder.set_max_workspace_size(1 << 20)
builder.set_half2_mode(True)
engine = builder.build_cuda_engine(network)
context = engine.create_execution_context()
output = cuda.pagelocked_empty(WIDTHS[-1], dtype=np.float32)
