"""Signed releases, slots and self-tests."""
