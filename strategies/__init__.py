"""Continual learning: features, models, the learner, and the strategies that train it."""
