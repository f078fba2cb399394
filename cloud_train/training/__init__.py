"""From a snapshot to calibrated weights: Lightning modules, data in memory, runs on disk."""
