"""Models that edgeloop did not make: what their files tell, what flags tell, and what has to be asked."""
