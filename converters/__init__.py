"""From a trained network to a quantized, proven bundle."""
