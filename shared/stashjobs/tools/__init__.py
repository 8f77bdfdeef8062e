"""The command line and what it needs; never in the layer."""
