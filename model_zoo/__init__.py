"""Networks, recipes and synthetic data of the applications."""
