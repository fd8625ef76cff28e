"""The ONNX runtime image: an adapter of onnxruntime for the shared protocol server."""

__version__ = "1.0.0"
