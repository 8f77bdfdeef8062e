"""The `process-stripe-webhook` job: Stripe's events become subscription state in Postgres."""
