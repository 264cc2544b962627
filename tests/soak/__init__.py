"""A workspace that runs unattended while its processes are killed: `make soak`."""
