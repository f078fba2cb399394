"""Network parts that applications share."""
