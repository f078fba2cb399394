"""The durable workflow from labelled samples to a published bundle."""
