"""Products on a shelf: a small network trained from scratch, and drawn pictures to train it on."""
