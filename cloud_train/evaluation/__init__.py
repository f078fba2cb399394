"""How good a bundle is, and whether it may replace the one before."""
