"""LeNet with the network API of TensorRT 5 to 9: weights by the names of a PyTorch state_dict, an implicit batch."""

import tensorrt as trt


class Model:
    """Names and shapes."""

    input_name = "data"
    input_shape = (1, 28, 28)
    output_name = "prob"
    dtype = trt.float32


def populate(network, weights):
    """The layers, from the tensors of a state_dict."""
    data = network.add_input(name=Model.input_name, dtype=Model.dtype, shape=Model.input_shape)

    conv1 = network.add_convolution(
        input=data,
        num_output_maps=20,
        kernel_shape=(5, 5),
        kernel=weights["conv1.weight"].numpy(),
        bias=weights["conv1.bias"].numpy(),
    )
    conv1.stride = (1, 1)
    pool1 = network.add_pooling(input=conv1.get_output(0), type=trt.PoolingType.MAX, window_size=(2, 2))
    pool1.stride = (2, 2)

    conv2_w, conv2_b = weights["conv2.weight"].numpy(), weights["conv2.bias"].numpy()
    conv2 = network.add_convolution(pool1.get_output(0), 50, (5, 5), conv2_w, conv2_b)
    conv2.stride = (1, 1)
    pool2 = network.add_pooling(conv2.get_output(0), trt.PoolingType.MAX, (2, 2))
    pool2.stride = (2, 2)

    fc1_w, fc1_b = weights["fc1.weight"].numpy(), weights["fc1.bias"].numpy()
    fc1 = network.add_fully_connected(input=pool2.get_output(0), num_outputs=500, kernel=fc1_w, bias=fc1_b)
    relu1 = network.add_activation(input=fc1.get_output(0), type=trt.ActivationType.RELU)

    fc2_w, fc2_b = weights["fc2.weight"].numpy(), weights["fc2.bias"].numpy()
    fc2 = network.add_fully_connected(relu1.get_output(0), 10, fc2_w, fc2_b)
    prob = network.add_softmax(fc2.get_output(0))
    prob.get_output(0).name = Model.output_name
    network.mark_output(tensor=prob.get_output(0))


def main():
    """What the sample did after its training."""
    import training

    with trt.Builder(trt.Logger(trt.Logger.WARNING)) as builder, builder.create_network() as network:
        builder.max_workspace_size = 1 << 30
        populate(network, training.train().state_dict())
        return builder.build_cuda_engine(network)


if __name__ == "__main__":
    main()
