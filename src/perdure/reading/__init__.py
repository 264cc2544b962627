"""How a value of a table is read, and what is refused: the same at ingest and when served.

One home for both, so that a value means the same whether it stood in a CSV file as text, in a
Parquet file with a type, or in a request to a served model.
"""
