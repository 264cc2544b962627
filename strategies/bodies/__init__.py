"""The built-in network bodies, one kind of input a module."""
