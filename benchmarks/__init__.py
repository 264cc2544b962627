"""Measurements that print a table: each is a ratio to a peer, measured in turns in one run."""
