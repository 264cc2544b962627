"""Tables at the door: read them, check them against the schema, name them by content."""
