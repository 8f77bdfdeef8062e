"""`process-webhook`: events of GitHub, Resend and sources of your own, by registered handlers."""
