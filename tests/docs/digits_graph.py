"""Writes the network that the examples of ``trtconv uff`` are about: MODEL, a checkpoint, or frozen.pb with dropout.

python digits_graph.py FOLDER MODEL|frozen.pb
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
folder, wanted = Path(sys.argv[1]), sys.argv[2]
with tf.Graph().as_default():
    random = np.random.default_rng(0)

    def variable(*shape: int) -> tf.Variable:
        return v1.Variable(random.normal(0, 0.1, shape).astype(np.float32), use_resource=False)

    image = v1.placeholder(tf.float32, [None, 28, 28, 1], name="Placeholder")
    if wanted == "MODEL":
        keep = v1.placeholder_with_default(1.0, [], name="keep_prob")
    else:
        keep = v1.placeholder(tf.float32, name="keep_prob")
    pooled = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(image, variable(3, 3, 1, 4), 1, "SAME")), 4, 4, "SAME")
    full = tf.nn.relu(tf.matmul(tf.reshape(pooled, [-1, 196]), variable(196, 16)), name="fc1/Relu")
    dropped = v1.nn.dropout(full, keep_prob=keep)
    tf.nn.relu(tf.matmul(dropped, variable(16, 10), name="fc2/MatMul"), name="fc2/Relu")
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        if wanted == "MODEL":
            v1.train.Saver().save(session, str(folder / "MODEL"))
        else:
            graph = v1.get_default_graph().as_graph_def()
            frozen = v1.graph_util.convert_variables_to_constants(session, graph, ["fc2/Relu"])
            (folder / wanted).write_bytes(frozen.SerializeToString())
