"""How this very device runs a bundle best: a short measured trial, and the memory of what it found."""
