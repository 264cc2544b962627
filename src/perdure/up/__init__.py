"""`perdure up`: the processes of a machine, started, watched and ended together.

It imports nothing but what it needs: the process that outlives a killed supervisor stays small.
"""
