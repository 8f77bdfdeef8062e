"""The system around the functions: in AWS (templates) and on one machine (local/)."""
