"""The learner: everything that learns, in memory and on disk."""
