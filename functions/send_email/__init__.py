"""The `send-email` job: seven transactional emails, sent through Resend."""
