"""What is told of a delivery: log lines, metrics, traces, reports of errors."""
