"""Attacks, each with its control: the same without the cure does harm."""
