"""Which samples are worth a second look; pure functions."""
