"""One delivery, from the signed request to the answer."""
