"""The `create-notification` job: in-app notifications, for one user or for thousands."""
