"""The whole loop on one machine, with real processes and a report."""
