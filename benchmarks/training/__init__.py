"""What adapters are worth: against prompts, against all weights, against plain TRL."""
