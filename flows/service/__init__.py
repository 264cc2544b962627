"""The Prefect side of a workspace that runs unattended: deployments, triggers, workers, notices."""
