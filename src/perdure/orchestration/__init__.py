"""What touches Prefect: how flows run, its servers and client, the lock between machines."""
