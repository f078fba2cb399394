"""The HTTP API for people and their programs, and the pages of the fleet. Page: docs/formats/api.md."""
