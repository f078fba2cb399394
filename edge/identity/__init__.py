"""Who the device is: its key, its certificate, and the next one in time. Page: docs/operations.md."""
