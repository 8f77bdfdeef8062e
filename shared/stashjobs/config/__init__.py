"""Settings: from the environment, and from the stage's secret."""
