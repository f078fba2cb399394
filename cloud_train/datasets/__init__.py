"""Folders of pictures to frozen, content-addressed snapshots."""
