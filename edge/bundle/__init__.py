"""The bundle: manifest, reader, archive, golden vectors."""
