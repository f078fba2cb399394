"""The durable queue of samples that wait for the road home."""
