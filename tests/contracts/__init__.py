"""What every strategy must keep."""
