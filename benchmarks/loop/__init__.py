"""The whole loop with nobody's hands on it: users, feedback, training, gate, rollout, champion."""
