"""The strategies as Avalanche plugins; importing these imports Avalanche."""
