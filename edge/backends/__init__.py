"""Inference runtimes, one a file, each imported when a model is opened."""
