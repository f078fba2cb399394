"""Answers drawn into their pictures."""
