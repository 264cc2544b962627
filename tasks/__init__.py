"""The steps; one module per outside system, and nothing else imports that system's client."""
