"""Several processes of one machine learn an experience together, each a part of every batch."""
