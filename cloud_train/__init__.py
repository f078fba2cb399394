"""The cloud: data sets, training, ingest, publishing, retraining, and the `edgeloop` command."""
