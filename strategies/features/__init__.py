"""Features: from raw columns to what a network sees."""
