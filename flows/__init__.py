"""Prefect flows; each reads as the paragraph that describes it."""
