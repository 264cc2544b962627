"""What runs unattended: `perdure up`, deployments, the watcher, workers, notices."""
