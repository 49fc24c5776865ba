"""The ONNX versions that every translator is exported in; ONNX Runtime 1.14 and newer read them."""

OPSET = 18
IR_VERSION = 8
