"""What each filter of a dataset looks for; `training.curation.curate` says in which order."""
