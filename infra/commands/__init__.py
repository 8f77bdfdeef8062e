"""Commands that need the checkout."""
