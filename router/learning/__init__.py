"""What the log teaches: how good another router would have been, and examples for the next one."""
