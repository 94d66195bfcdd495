"""What the shop knows: records, sources, catalogue, collaborative scorer, ranking."""
