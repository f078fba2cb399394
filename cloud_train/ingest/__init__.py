"""The server that devices talk to."""
