"""The command line: arguments in, results out; what is done stands in flows."""
