"""What each filter of a dataset looks for; `training.curate` says in which order."""
