"""A network as a graph that can be served, and what may stand in one."""
