"""What to look at next, and what people say about it."""
