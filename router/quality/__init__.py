"""How good a router is, thresholds for a goal, and whether the traffic is still the same."""
