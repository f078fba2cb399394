"""Files that make a device of a machine: unit, settings, container. They are written, never put in place."""
