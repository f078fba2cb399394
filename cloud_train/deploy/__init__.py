"""Files that make a service of the cloud side: containers, or systemd units. They are written, never put in place."""
