"""Alembic's scripts for the meta store, run by `cloud_train.store.sql` whenever a store is opened."""
