"""What the checks look at: settings of a stage, a QStash, a mailbox, and moto for AWS."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from infra.local.mailbox import Mailbox
from stashjobs.producer import qstash_client
from stashjobs.tools.doctor import stack
from tests.loops import running_in_a_thread
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.local.qstash import QStashServer

REGION = "eu-central-1"


@pytest.fixture
def production(settings: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings that are all as they should be in production."""
    for name, value in {
        "STAGE": "production",
        "BASE_URL": "https://jobs.acme-inc.com",
        "QSTASH_TOKEN": "token-of-the-console-0123456789",
        "RESEND_API_KEY": "re_0123456789abcdef",
        "RESEND_FROM_EMAIL": "Acme <jobs@acme-inc.com>",
        "STRIPE_SECRET_KEY": "rk_live_0123456789",
        "STRIPE_WEBHOOK_SECRET": "whsec_0123456789",
    }.items():
        settings.setenv(name, value)
    for name in ("ADMIN_TOKEN", "PAYLOAD_KEYS", "QSTASH_URL", "STRIPE_API_BASE", "SETTINGS_SECRET"):
        settings.delenv(name, raising=False)
    return settings


@pytest.fixture
def qstash(settings: pytest.MonkeyPatch) -> Iterator[QStashServer]:
    """The stand-in; the settings lead to it."""
    with qstash_running() as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        yield server
        qstash_client.close()


@pytest.fixture
def mailbox(settings: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """Resend's stand-in, in a thread of its own; it has verified the domain acme-inc.com."""
    settings.setenv("RESEND_FROM_EMAIL", "Acme <jobs@acme-inc.com>")
    settings.setenv("RESEND_API_KEY", "re_0123456789")
    found = Mailbox(port=0)
    with running_in_a_thread(found):
        settings.setenv("RESEND_API_URL", found.url)
        yield found


@dataclass
class Site:
    """A deployed API: the status of each path, 401 for every other, its bodies and headers."""

    url: str = ""
    statuses: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)
    date: str | None = None


@contextmanager
def site_running() -> Iterator[Site]:
    site = Site(statuses={"/livez": 200, "/readyz": 200})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(site.statuses.get(self.path, 401))
            body = site.bodies.get(self.path, "").encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return site.date or super().date_time_string(timestamp)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        site.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield site
        http.shutdown()
        thread.join()


@pytest.fixture
def site(settings: pytest.MonkeyPatch) -> Iterator[Site]:
    with site_running() as found:
        settings.setenv("BASE_URL", found.url)
        yield found


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """AWS as moto plays it, over HTTP."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Aws:
    """An AWS account with nothing in it, and what a test puts there."""

    def __init__(self) -> None:
        self._clients: list[Any] = []

    def client(self, service: str) -> Any:
        made = boto3.client(service)
        self._clients.append(made)
        return made

    def deploy(
        self,
        resources: str,
        outputs: str = "",
        *,
        name: str = "stashjobs-production",
        protected: bool = True,
    ) -> None:
        """Deploy a stack with these resources and outputs, as YAML."""
        template = (
            "Parameters: {MaxConnections: {Type: String, Default: '40'}}\n"
            f"Resources:\n{resources or '  Nothing: {Type: AWS::SNS::Topic}'}\n"
            f"{outputs and 'Outputs:'}\n{outputs}"
        )
        self.client("cloudformation").create_stack(
            StackName=name, TemplateBody=template, EnableTerminationProtection=protected
        )

    def close(self) -> None:
        for each in self._clients:
            each.close()


@pytest.fixture
def aws(moto: str, production: pytest.MonkeyPatch) -> Iterator[Aws]:
    httpx.post(f"{moto}/moto-api/reset")
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        production.setenv(name, value)
    found = Aws()
    yield found
    found.close()
    stack.close()
