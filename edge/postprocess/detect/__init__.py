"""Detector outputs to boxes: one file for each kind of head, and what they share."""
