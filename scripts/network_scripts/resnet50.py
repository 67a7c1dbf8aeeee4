"""ResNet-50 with the network API of TensorRT 7: an implicit batch, batch normalization as scale layers, a config."""

import os

import numpy as np
import tensorrt as trt

EPS = 1e-5
WEIGHTS = "/workspace/models/resnet50.npz"
ENGINE = "resnet50.engine"


def load_weights(file):
    """Arrays by the names of a state_dict."""
    with np.load(file) as stored:
        return {name: stored[name] for name in stored.files}


def add_batch_norm(network, weights, tensor, name):
    """(x - mean) / sqrt(var + eps) * gamma + beta as one scale layer."""
    gamma, beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scale = gamma / np.sqrt(var + EPS)
    shift = beta - mean * scale
    power = np.ones(len(gamma), dtype=np.float32)
    return network.add_scale(tensor, trt.ScaleMode.CHANNEL, shift=shift, scale=scale, power=power)


def conv_bn(network, weights, tensor, conv, bn, size, stride=1, padding=0):
    """A convolution without bias, and its normalization."""
    kernel = weights[f"{conv}.weight"]
    layer = network.add_convolution(tensor, kernel.shape[0], (size, size), kernel, trt.Weights())
    assert layer
    layer.stride = (stride, stride)
    layer.padding = (padding, padding)
    return add_batch_norm(network, weights, layer.get_output(0), bn)


def relu(network, layer):
    """The activation after a layer."""
    return network.add_activation(layer.get_output(0), type=trt.ActivationType.RELU)


def bottleneck(network, weights, tensor, stride, name):
    """Three convolutions, and what goes past them."""
    out = relu(network, conv_bn(network, weights, tensor, f"{name}.conv1", f"{name}.bn1", 1))
    out = conv_bn(network, weights, out.get_output(0), f"{name}.conv2", f"{name}.bn2", 3, stride, 1)
    out = relu(network, out)
    out = conv_bn(network, weights, out.get_output(0), f"{name}.conv3", f"{name}.bn3", 1)
    past = tensor
    if f"{name}.downsample.0.weight" in weights:
        down = conv_bn(network, weights, tensor, f"{name}.downsample.0", f"{name}.downsample.1", 1, stride)
        past = down.get_output(0)
    total = network.add_elementwise(past, out.get_output(0), trt.ElementWiseOperation.SUM)
    return relu(network, total)


def create_engine(max_batch_size, builder, config, dtype):
    """The whole network."""
    weights = load_weights(WEIGHTS)
    network = builder.create_network()
    data = network.add_input("data", dtype, (3, 224, 224))
    assert data

    layer = relu(network, conv_bn(network, weights, data, "conv1", "bn1", 7, 2, 3))
    layer = network.add_pooling(layer.get_output(0), window_size=trt.DimsHW(3, 3), type=trt.PoolingType.MAX)
    layer.stride = trt.DimsHW(2, 2)
    layer.padding = trt.DimsHW(1, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            layer = bottleneck(network, weights, layer.get_output(0), stride, f"layer{stage}.{block}")

    size = layer.get_output(0).shape[1]
    layer = network.add_pooling(layer.get_output(0), type=trt.PoolingType.AVERAGE, window_size=(size, size))
    layer.stride = (1, 1)
    layer = network.add_fully_connected(layer.get_output(0), 1000, weights["fc.weight"], weights["fc.bias"])
    layer.get_output(0).name = "prob"
    network.mark_output(layer.get_output(0))

    builder.max_batch_size = max_batch_size
    config.max_workspace_size = 1 << 28
    config.set_flag(trt.BuilderFlag.FP16)
    return builder.build_engine(network, config)


def main():
    """Builds once."""
    if os.path.exists(ENGINE):  # noqa: PTH110
        return
    builder = trt.Builder(trt.Logger(trt.Logger.INFO))
    config = builder.create_builder_config()
    engine = create_engine(16, builder, config, trt.float32)
    with open(ENGINE, "wb") as file:  # noqa: PTH123
        file.write(engine.serialize())


if __name__ == "__main__":
    main()
