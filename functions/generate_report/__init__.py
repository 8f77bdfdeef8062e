"""The `generate-report` job: figures over a period, as PDF, HTML or JSON, and a link by email."""
