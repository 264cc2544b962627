"""The nine promises of the design: one file each."""
