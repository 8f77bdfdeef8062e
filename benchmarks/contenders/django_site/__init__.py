"""A Django app whose one task django-qstash may run."""
