"""What runs the one pass that probabilities and embeddings come from.

`engine` is the interface, `pytorch`, `openvino` and `onnx` keep it, `choice` takes one.
"""
