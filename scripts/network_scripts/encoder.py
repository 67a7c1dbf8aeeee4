"""A transformer encoder with the network API of TensorRT 10: explicit batch, dynamic shapes, a profile, FP16."""

import numpy as np
import tensorrt as trt

WIDTH, HEADS, LAYERS = 64, 4, 2


class Encoder:
    """The network while it is being built."""

    def __init__(self, network, weights):
        self.network, self.weights = network, weights

    def constant(self, array):
        """A tensor of a constant."""
        array = np.ascontiguousarray(array, np.int32 if np.asarray(array).dtype.kind == "i" else np.float32)
        return self.network.add_constant(array.shape, array).get_output(0)

    def linear(self, x, name):
        """X W^T + b on the last axis."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        w = self.constant(weight[None])
        none, transpose = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
        product = self.network.add_matrix_multiply(x, none, w, transpose).get_output(0)
        return self.plus(product, self.constant(bias[None, None]))

    def plus(self, a, b):
        """Their sum."""
        return self.network.add_elementwise(a, b, trt.ElementWiseOperation.SUM).get_output(0)

    def norm(self, x, name):
        """Layer normalization."""
        scale, bias = (self.constant(self.weights[f"{name}.{key}"][None, None]) for key in ("weight", "bias"))
        layer = self.network.add_normalization(x, scale, bias, 1 << 2)
        layer.epsilon = 1e-5
        return layer.get_output(0)

    def heads(self, x, order):
        """N, S, E to N, H, S, E / H, in the order asked for."""
        layer = self.network.add_shuffle(x)
        layer.reshape_dims = (0, 0, HEADS, WIDTH // HEADS)
        layer.second_transpose = trt.Permutation(order)
        return layer.get_output(0)

    def attention(self, x, name):
        """Multi-head self-attention."""
        packed = self.linear(x, f"{name}.in_proj")
        shape = self.network.add_shape(x).get_output(0)
        parts = []
        for index in range(3):
            cut = self.network.add_slice(packed, (0, 0, index * WIDTH), (0, 0, 0), (1, 1, 1))
            cut.set_input(2, shape)
            parts.append(cut.get_output(0))
        orders = ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
        q, k, v = (self.heads(part, order) for part, order in zip(parts, orders, strict=True))
        none = trt.MatrixOperation.NONE
        scores = self.network.add_matrix_multiply(q, none, k, none).get_output(0)
        scale = self.constant(np.full((1, 1, 1, 1), (WIDTH // HEADS) ** -0.5, np.float32))
        scores = self.network.add_elementwise(scores, scale, trt.ElementWiseOperation.PROD).get_output(0)
        softmax = self.network.add_softmax(scores)
        softmax.axes = 1 << 3
        mixed = self.network.add_matrix_multiply(softmax.get_output(0), none, v, none).get_output(0)
        joined = self.network.add_shuffle(mixed)
        joined.first_transpose = (0, 2, 1, 3)
        joined.reshape_dims = (0, 0, WIDTH)
        return self.linear(joined.get_output(0), f"{name}.out_proj")

    def block(self, x, name):
        """Attention and two linear layers, each normalized after its sum."""
        x = self.norm(self.plus(x, self.attention(x, f"{name}.self_attn")), f"{name}.norm1")
        hidden = self.linear(x, f"{name}.linear1")
        hidden = self.network.add_activation(hidden, trt.ActivationType.GELU_ERF).get_output(0)
        return self.norm(self.plus(x, self.linear(hidden, f"{name}.linear2")), f"{name}.norm2")


def populate(network, weights, config, builder):
    """Token numbers to the mean of what the encoder makes of them."""
    tokens = network.add_input("tokens", trt.int32, (-1, -1))
    encoder = Encoder(network, weights)
    x = network.add_gather(encoder.constant(weights["embedding.weight"]), tokens, 0).get_output(0)
    for index in range(LAYERS):
        x = encoder.block(x, f"encoder.layers.{index}")
    pooled = network.add_reduce(x, trt.ReduceOperation.AVG, 1 << 1, True).get_output(0)
    scores = encoder.linear(pooled, "head")
    flat = network.add_shuffle(scores)
    flat.reshape_dims = (0, -1)
    flat.get_output(0).name = "scores"
    network.mark_output(flat.get_output(0))

    profile = builder.create_optimization_profile()
    profile.set_shape("tokens", (1, 8), (8, 32), (16, 64))
    config.add_optimization_profile(profile)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 28)
    config.set_flag(trt.BuilderFlag.FP16)


def main():
    """A .npz of the state_dict beside the script."""
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    config = builder.create_builder_config()
    with np.load("encoder.npz") as stored:
        populate(network, dict(stored), config, builder)
    return builder.build_serialized_network(network, config)


if __name__ == "__main__":
    main()
