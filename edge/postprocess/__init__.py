"""Raw outputs to predictions, one file for each kind of output."""
