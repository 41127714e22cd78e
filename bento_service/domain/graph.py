"""What every graph has that Lightbox serves.

It takes `images`, uint8 of shape (n, height, width, 3) in RGB or (n, height, width, 1) in grey with any n >= 1, brings
them to the model's order of channels, normalises them, and returns `probabilities`, float32 of shape (n, classes):
`ScoreKind` says of what kind. Pixels reach the engine as bytes, a quarter of f32.

Where the head is pooling and a linear layer, a second output `features`, float32 of shape (n, channels, rows, columns),
has the last feature map before the pooling: `models.class_head` says what it explains.
"""

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
FEATURES_NAME = "features"
OPSET_VERSION = 20
IR_VERSION = 10
"""The versions of ONNX's operators and file that PyTorch's exporter writes too; both CPU engines read them."""
