"""What an operator sees and does: search, statistics, health, retry, cancel, schedules."""
