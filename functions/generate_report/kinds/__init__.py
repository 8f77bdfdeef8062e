"""The kinds of report: each reads its figures from Postgres, and puts them into words."""
