"""People in the loop: what they are shown, what they say, and what is learned from it."""
