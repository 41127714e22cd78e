"""What every graph has that Lightbox serves.

It takes `images`, uint8 RGB of shape (n, height, width, 3) with any n >= 1, normalises them, and returns
`probabilities`, float32 of shape (n, classes). Pixels reach the engine as bytes, a quarter of f32.
"""

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
OPSET_VERSION = 20
IR_VERSION = 10
"""The versions of ONNX's operators and file that PyTorch's exporter writes too; both CPU engines read them."""
