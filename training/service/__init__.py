"""Training as a service: the queue of jobs, its worker, what triggers a run."""
