"""What makes "not lost" true when something went wrong."""
