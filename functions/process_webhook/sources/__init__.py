"""What the events of each source do: a module for each source."""
