"""Caffe networks: a prototxt and its caffemodel, read without Caffe and without its schema."""
