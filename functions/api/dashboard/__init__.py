"""The operators' dashboard at `/admin`: pages rendered here, by Jinja, for a browser with or
without JavaScript. docs/dashboard.md says what is on them and how they are guarded.
"""
