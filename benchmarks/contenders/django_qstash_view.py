"""django-qstash's webhook view, with its results in Postgres.

In its favour: the view is called directly, with requests made beforehand, so neither an adapter for
Lambda nor a middleware counts; the connection is kept. It looks whether the message has succeeded
before, runs the task, and stores the result; it takes no lease.
"""

from __future__ import annotations

import json
import os

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from benchmarks.contenders import deliveries, rounds

TASK = "benchmarks.contenders.django_site.tasks"


def configure() -> None:
    url = conninfo_to_dict(os.environ["POSTGRES_URL"])
    settings.configure(
        ALLOWED_HOSTS=[deliveries.DOMAIN],
        INSTALLED_APPS=[
            "django_qstash",
            "django_qstash.results",
            "benchmarks.contenders.django_site",
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url["dbname"],
                "USER": url["user"],
                "PASSWORD": url["password"],
                "HOST": url["host"],
                "PORT": url["port"],
                "CONN_MAX_AGE": None,
            }
        },
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        QSTASH_TOKEN=os.environ["QSTASH_TOKEN"],
        QSTASH_CURRENT_SIGNING_KEY=os.environ["QSTASH_CURRENT_SIGNING_KEY"],
        QSTASH_NEXT_SIGNING_KEY=os.environ["QSTASH_NEXT_SIGNING_KEY"],
        DJANGO_QSTASH_DOMAIN=f"https://{deliveries.DOMAIN}",
        LOGGING={
            "version": 1,
            "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
            "root": {"handlers": ["out"], "level": "INFO"},
        },
    )
    django.setup()


def main() -> None:
    configure()
    from django.core.management import call_command
    from django.test import RequestFactory
    from django_qstash.views import qstash_webhook_view

    call_command("migrate", verbosity=0)
    key = os.environ["QSTASH_CURRENT_SIGNING_KEY"]
    factory = RequestFactory()
    message = {
        "function": "measured",
        "module": TASK,
        "args": [],
        "kwargs": deliveries.PAYLOAD,
        "task_name": "measured",
        "options": {},
    }
    body = json.dumps(message).encode()

    def prepare(count: int) -> list[object]:
        requests = []
        for _ in range(count):
            headers = deliveries.signed(body, key)
            requests.append(
                factory.post(
                    deliveries.PATH,
                    data=body,
                    content_type="application/json",
                    secure=True,
                    headers={
                        name: value for name, value in headers.items() if "content" not in name
                    },
                )
            )
        return requests

    rounds.serve(
        prepare,
        qstash_webhook_view,
        ok=lambda answer: answer.status_code == 200 and b'"success"' in answer.content,
    )


if __name__ == "__main__":
    main()
