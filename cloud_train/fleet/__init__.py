"""Thousands of devices: who belongs, what each shall run, how they fare."""
