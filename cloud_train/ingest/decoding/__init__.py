"""Decodes every sample after its receipt, in a process that may do nothing else and may die of it."""
