"""The TensorFlow Lite runtime image: an adapter of its interpreter for the shared protocol server."""

__version__ = "1.0.0"
