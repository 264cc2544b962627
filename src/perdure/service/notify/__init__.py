"""Notices to people, and events to Prefect, of what became of a model."""
