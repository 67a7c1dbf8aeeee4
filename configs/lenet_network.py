"""LeNet built layer by layer with TensorRT's network API, as scripts for TensorRT 5 to 9 did: see network.yaml.

The weights are random, from a fixed seed. With ``source.weights`` in the job, trtconv calls ``populate`` with those.
"""

import numpy as np
import tensorrt as trt

BATCH = 8
SHAPES = {
    "conv1.weight": (20, 1, 5, 5),
    "conv1.bias": (20,),
    "conv2.weight": (50, 20, 5, 5),
    "conv2.bias": (50,),
    "fc1.weight": (500, 800),
    "fc1.bias": (500,),
    "fc2.weight": (10, 500),
    "fc2.bias": (10,),
}


def seeded() -> dict[str, np.ndarray]:
    """Weights by the names that a state_dict of PyTorch would have."""
    random = np.random.default_rng(0)
    scale = {name: np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1 for name, shape in SHAPES.items()}
    return {name: (random.standard_normal(shape) * scale[name]).astype(np.float32) for name, shape in SHAPES.items()}


def populate(network: trt.INetworkDefinition, weights: dict[str, np.ndarray]) -> None:
    """Two convolutions, two fully connected layers; shapes leave the batch out."""
    x = network.add_input("data", trt.float32, (1, 28, 28))
    for name in ("conv1", "conv2"):
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        convolution = network.add_convolution(x, len(bias), (5, 5), kernel, bias)
        pooling = network.add_pooling(convolution.get_output(0), trt.PoolingType.MAX, (2, 2))
        pooling.stride = (2, 2)
        x = pooling.get_output(0)
    hidden = network.add_fully_connected(x, 500, weights["fc1.weight"], weights["fc1.bias"])
    relu = network.add_activation(hidden.get_output(0), trt.ActivationType.RELU)
    scores = network.add_fully_connected(relu.get_output(0), 10, weights["fc2.weight"], weights["fc2.bias"])
    prob = network.add_softmax(scores.get_output(0))
    prob.get_output(0).name = "prob"
    network.mark_output(prob.get_output(0))


def main() -> None:
    """What ran on the machine with TensorRT 5 to 9, and left lenet.engine."""
    with trt.Builder(trt.Logger(trt.Logger.WARNING)) as builder, builder.create_network() as network:
        builder.max_batch_size = BATCH
        builder.max_workspace_size = 1 << 28
        builder.fp16_mode = True
        populate(network, seeded())
        with builder.build_cuda_engine(network) as engine, open("lenet.engine", "wb") as file:  # noqa: PTH123
            file.write(engine.serialize())


if __name__ == "__main__":
    main()
