"""The `send-email` job: eight transactional emails, sent through Resend."""
