"""What is well and what is not on a device, and what to do about it: `edgeloop device doctor`."""
