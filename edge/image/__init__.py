"""One picture: its header, its pixels, its crops, and the numbers a model makes of them."""
