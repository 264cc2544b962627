"""Learning one experience: the loop, and everything that goes into a step."""
