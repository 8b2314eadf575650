"""Where the learning of a run happens: in the caller's process, or on the workers of a cluster."""
