"""MobileNetV2 with the network API of TensorRT 8: an implicit batch, depthwise convolutions, ReLU6 as a difference."""

import argparse

import numpy as np
import tensorrt as trt
from safetensors.numpy import load_file

EPS = 1e-5
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_bn(network, weights, tensor, conv, bn, size=1, stride=1, groups=1):
    """A convolution, and its normalization as a scale layer."""
    kernel = weights[f"{conv}.weight"]
    layer = network.add_convolution_nd(tensor, kernel.shape[0], (size, size), kernel)
    layer.stride_nd = (stride, stride)
    layer.padding_nd = ((size - 1) // 2, (size - 1) // 2)
    layer.num_groups = groups
    scale = weights[f"{bn}.weight"] / np.sqrt(weights[f"{bn}.running_var"] + EPS)
    shift = weights[f"{bn}.bias"] - weights[f"{bn}.running_mean"] * scale
    return network.add_scale(layer.get_output(0), trt.ScaleMode.CHANNEL, shift, scale, np.ones_like(scale))


def relu6(network, layer):
    """max(x, 0) - max(x - 6, 0)."""
    tensor = layer.get_output(0)
    low = network.add_activation(tensor, trt.ActivationType.RELU)
    ones = np.ones(1, np.float32)
    above = network.add_scale(tensor, trt.ScaleMode.UNIFORM, -6 * ones, ones, ones)
    high = network.add_activation(above.get_output(0), trt.ActivationType.RELU)
    return network.add_elementwise(low.get_output(0), high.get_output(0), trt.ElementWiseOperation.SUB)


def inverted_residual(network, weights, tensor, name, channels, outputs, stride, expand):
    """Wide, depthwise, narrow; and past them where the size stays."""
    hidden, number, x = channels * expand, 0, tensor
    if expand != 1:
        x = relu6(network, conv_bn(network, weights, x, f"{name}.conv.0.0", f"{name}.conv.0.1")).get_output(0)
        number = 1
    deep = f"{name}.conv.{number}"
    x = relu6(network, conv_bn(network, weights, x, f"{deep}.0", f"{deep}.1", 3, stride, hidden)).get_output(0)
    out = conv_bn(network, weights, x, f"{name}.conv.{number + 1}", f"{name}.conv.{number + 2}")
    if stride == 1 and channels == outputs:
        return network.add_elementwise(tensor, out.get_output(0), trt.ElementWiseOperation.SUM)
    return out


def build(weights):
    """The whole network."""
    logger = trt.Logger(trt.Logger.INFO)
    trt.init_libnvinfer_plugins(logger, "")
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    x = network.add_input("data", trt.float32, (3, 224, 224))
    x = relu6(network, conv_bn(network, weights, x, "features.0.0", "features.0.1", 3, 2)).get_output(0)
    channels, number = 32, 1
    for expand, outputs, count, stride in BLOCKS:
        for index in range(count):
            layer = inverted_residual(
                network, weights, x, f"features.{number}", channels, outputs, stride if index == 0 else 1, expand
            )
            x, channels, number = layer.get_output(0), outputs, number + 1
    x = relu6(network, conv_bn(network, weights, x, "features.18.0", "features.18.1")).get_output(0)
    x = network.add_pooling_nd(x, trt.PoolingType.AVERAGE, (7, 7)).get_output(0)
    fc = network.add_fully_connected(x, 1000, weights["classifier.1.weight"], weights["classifier.1.bias"])
    fc.get_output(0).name = "prob"
    network.mark_output(fc.get_output(0))
    builder.max_batch_size = 8
    config = builder.create_builder_config()
    config.max_workspace_size = 1 << 20
    return builder.build_serialized_network(network, config)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true", help="serialize")
    if not parser.parse_args().s:
        parser.exit(2, "nothing to do without -s\n")
    build(load_file("./mobilenetv2.safetensors"))
