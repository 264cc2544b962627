"""How much each weight mattered: gradients row by row, exact for any model."""
