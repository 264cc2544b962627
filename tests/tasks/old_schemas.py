"""Files as the version before rendered them: with limits that it inferred from the first file."""

CLASSES = """\
# What every file must look like before the model learns from it.
# Perdure inferred this from the first file; it is yours to change, and git keeps it.
# `perdure ingest FILE` reads it afresh each time. What it refuses goes to quarantine, with
# the reason for each row.

# What a row that breaks a rule does: "rows" sets that row aside and keeps the rest of the
# file; "file" refuses the whole file for it.
on_bad_row = "rows"

# Beyond this share of refused rows the whole file is refused (0.0: at the first; 1.0: never).
max_bad_share = 0.5

# What becomes of a file with columns that are not listed below: "refuse" the file, or
# "ignore" those columns (they are not kept).
extra_columns = "refuse"

# What the model predicts. A row without it is always refused, and so is one whose class is
# not listed, unless new_classes = "allow": then the model gets an output more for it, and
# keeps what it knows. A class that is added at the end of the list is let in likewise.
[target]
name = "kind"
task = "classification"
classes = ["no", "yes"]
new_classes = "refuse"

# The columns. `kind` is one of
#   "number"    min and max are the least and greatest values let through: about six times the
#               spread of the first file. To loosen, move them, or remove the line.
#   "category"  unseen = "allow" lets words through that are not listed (the model treats them
#               all alike, as unseen); "refuse" refuses their rows.
#   "ignore"    kept in the data, but neither checked nor seen by the model.
# nullable = true lets missing values through.
# To learn from one column of text, or of numbers in order such as "1.5 2 3", make that one
# kind = "text", or kind = "sequence" with a length, and "ignore" all others.
# Which columns are "number" and "category", their order, and the list of categories make up
# the model's inputs: to change those, give the model another name in perdure.toml.

[columns.a]
kind = "number"
nullable = true
min = -47.5
max = 47.1

[columns.b]
kind = "number"
nullable = false
min = -27.6
max = 27.7

[columns.colour]
kind = "category"
nullable = false
unseen = "allow"
categories = ["green", "red"]
"""

NUMBERS = """\
# What every file must look like before the model learns from it.
# Perdure inferred this from the first file; it is yours to change, and git keeps it.
# `perdure ingest FILE` reads it afresh each time. What it refuses goes to quarantine, with
# the reason for each row.

# What a row that breaks a rule does: "rows" sets that row aside and keeps the rest of the
# file; "file" refuses the whole file for it.
on_bad_row = "rows"

# Beyond this share of refused rows the whole file is refused (0.0: at the first; 1.0: never).
max_bad_share = 0.5

# What becomes of a file with columns that are not listed below: "refuse" the file, or
# "ignore" those columns (they are not kept).
extra_columns = "refuse"

# What the model predicts. A row without it is always refused. To loosen the range, move min
# and max, or remove the line.
[target]
name = "y"
task = "regression"
min = -25.4
max = 24.4

# The numbers in order that the model learns from, and they alone: a list in Parquet, or text
# such as "1.5 2 3", "1.5;2;3" or "[1.5, 2, 3]". "ignore" keeps a column in the data.
# length     the model sees the last so many numbers; to change it, give the model another name
#            in perdure.toml.
# min, max   the least and greatest number let through. To loosen, move them, or remove the line.
# nullable = true lets empty sequences through.

[columns.s]
kind = "sequence"
nullable = false
min = -23.8
max = 23.8
length = 4
"""
