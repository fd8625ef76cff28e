"""The scikit-learn runtime image: an adapter of pickled estimators for the shared protocol server."""

__version__ = "1.0.0"
