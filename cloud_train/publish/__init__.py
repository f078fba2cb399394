"""Signing bundles and offering them on channels."""
