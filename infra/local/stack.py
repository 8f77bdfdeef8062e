"""The whole system on one machine: Postgres, QStash, Stripe, S3, mailbox, gateway, functions.

Everything listens on 127.0.0.1 and keeps its data in one folder, `.stashjobs` unless told
otherwise, so a second start continues where the first one ended.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import shlex
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
from dotenv import dotenv_values

from infra.local.eventbridge import Scheduler
from infra.local.gateway import Delivery, Gateway
from infra.local.lambda_runtime import LambdaRuntime
from infra.local.mailbox import Mailbox
from infra.local.qstash import QStashOptions, QStashServer
from infra.local.running import Running
from infra.local.s3 import S3
from infra.local.stripe import WEBHOOK_ROUTE, Stripe
from infra.local.template import Template, read_template
from stashjobs.observability import redaction
from stashjobs.tools.servers import surroundings
from stashjobs.tools.servers.ports import PortTakenError, ensure_port_is_free, free_port
from stashjobs.tools.servers.postgres import Postgres

log = logging.getLogger("stashjobs")

Result = TypeVar("Result")

# These are the stack's own, whatever a .env made for a deployment says.
OWNED = {"POSTGRES_URL", "POSTGRES_READ_URL", "BASE_URL", "STAGE"}
QSTASH = ("QSTASH_URL", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")
WEBHOOK_SECRETS = ("STRIPE_WEBHOOK_SECRET", "GITHUB_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET")

# The functions' own, as in a deployment; a person at a prompt is the owner of the tables.
WORKER_ROLE = "stashjobs_worker"

GIVE_LEASES_BACK = """
SELECT count(*)
  FROM job_executions AS job,
       stashjobs.fail(job_id => job.job_id, attempt => job.attempt, status => 'retrying',
                      details => '{"type": "Stopped", "message": "the local stack was stopped"}',
                      counted => false)
 WHERE job.status = 'processing'
"""

# The routes that this stack serves, for commands in other shells.
ROUTES = "routes"

# Where a stack listens unless told otherwise, and where the next one beside it does.
FIRST_PORT = 8700
HIGHEST_FIRST_PORT = 65_500
SERVERS = 6
FUNCTION_URLS_AFTER = 10
BLOCK = 20
# The first port of the last run, so that addresses stay the same from one to the next.
PORT_FILE = "port"

LOCAL_BILLING_URL = "https://app.example.com/billing"


class StackError(RuntimeError):
    """The stack could not be started; the message says why and what to do."""


@dataclass
class Ports:
    """0 chooses a free one. Function URLs take `function_urls`, and the ports after it."""

    gateway: int = 0
    qstash: int = 0
    mailbox: int = 0
    postgres: int = 0
    s3: int = 0
    stripe: int = 0
    function_urls: int = 0

    @classmethod
    def block(cls, first: int) -> "Ports":
        """Those from `first` on, in the order of the fields; the function URLs begin ten after it.

        Args:
            first: 0 makes all of them free ones.
        """
        if first == 0:
            return cls()
        gateway, qstash, mailbox, postgres, s3, stripe = range(first, first + SERVERS)
        functions = first + FUNCTION_URLS_AFTER
        return cls(gateway, qstash, mailbox, postgres, s3, stripe, function_urls=functions)


class Stack(Running):
    """`async with Stack(root) as stack:` starts everything; leaving it stops everything.

    Args:
        root: the repository, with template.yaml.
        home: where the data is.
        first_port: of those to listen on (see `Ports.block`); 0 takes any free ones, None those of
            the last run, or the first block that is free.
        settings: the user's own, such as RESEND_API_KEY; see `read_settings`.
        durable: False in tests: see Postgres.
        on_line: receives each line that a function writes, with the function's name.
        on_delivery: is told of every request the gateway answered.

    Attributes:
        urls: `app`, `postgres`, `qstash`, `mailbox`, `s3`, `stripe`, and one for each function
            with a URL.
        environment: the settings, for the functions and for a producer in this process.
    """

    def __init__(
        self,
        root: Path,
        home: Path | None = None,
        *,
        first_port: int | None = 0,
        settings: dict[str, str] | None = None,
        durable: bool = True,
        on_line: Callable[[str, str], None] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        super().__init__()
        self.root = root.absolute()
        self.home = (home or root / ".stashjobs").absolute()
        self.first_port = first_port
        self.ports = Ports()
        self.settings = settings or {}
        self.durable = durable
        self.urls: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.function_urls: dict[str, str] = {}
        self._on_line = on_line or (lambda name, line: None)
        self._on_delivery = on_delivery
        self.mailbox: Mailbox
        self.postgres: Postgres
        self.worker_url: str
        self.s3: S3
        self.stripe: Stripe
        self.runtime: LambdaRuntime
        self.template: Template

    @property
    def environment_file(self) -> Path:
        return self.home / "dev.env"

    # --- the parts, in the order in which they need each other

    async def _start(self) -> None:
        self._exits.callback(os.close, lock(self.home))
        self._exits.enter_context(surroundings.kept_away())
        self.environment.update(surroundings.proxy_exceptions(os.environ))
        self.choose_ports()
        for name in ("logs", "mail"):  # private to this user
            (self.home / name).mkdir(mode=0o700, exist_ok=True)
        kept = load_secrets(self.home)
        own = own_qstash(self.settings)
        self.environment.update(own or {name: kept[name] for name in QSTASH[1:]})
        self.environment.setdefault("QSTASH_URL", f"http://127.0.0.1:{self.ports.qstash}")
        self.environment.update(BASE_URL=f"http://127.0.0.1:{self.ports.gateway}", STAGE="local")
        self.environment.update(
            {name: self.settings.get(name, kept[name]) for name in WEBHOOK_SECRETS}
        )
        await self._start_postgres()
        self.environment["ADMIN_TOKEN"] = kept["ADMIN_TOKEN"]
        self.environment["PAYLOAD_KEYS"] = self.settings.get("PAYLOAD_KEYS", kept["PAYLOAD_KEYS"])
        await self._start_mailbox(kept)
        self._start_s3()
        self._start_stripe()
        await self._start_functions()
        # Last, and the first to stop: what waits for delivery finds the functions.
        self.urls["qstash"] = self.environment["QSTASH_URL"]
        if not own:
            await self._start_qstash()
        self._write_environment_file()

    def choose_ports(self) -> Ports:
        """All ports are looked at before anything is started: then nothing is left behind.

        Raises:
            PortTakenError: Another program listens on one that was asked for.
            StackError: No ports in a row are free.
        """
        self.template = self._read_template()
        with_url = [each.name for each in self.template.functions.values() if each.has_url]
        if self.first_port is None:
            self.first_port = self._first_port(len(with_url))
        self.ports = Ports.block(self.first_port)
        for name in ("gateway", "qstash", "mailbox", "postgres", "s3", "stripe"):
            if port := getattr(self.ports, name):
                ensure_port_is_free(port)
            else:
                setattr(self.ports, name, free_port())
        for index, name in enumerate(with_url):
            port = self.ports.function_urls and self.ports.function_urls + index
            if port:
                ensure_port_is_free(port)
            self.function_urls[name] = f"http://127.0.0.1:{port or free_port()}/"
        return self.ports

    def _first_port(self, urls: int) -> int:
        """Of the last run here, else of the first block beside other stacks'."""
        kept = self.home / PORT_FILE
        blocks = list(range(FIRST_PORT, HIGHEST_FIRST_PORT, BLOCK))
        if kept.exists():
            blocks.insert(0, int(kept.read_text()))
        for first in blocks:
            after = first + FUNCTION_URLS_AFTER
            with contextlib.suppress(PortTakenError):
                for port in (*range(first, first + SERVERS), *range(after, after + urls)):
                    ensure_port_is_free(port)
                return first
        raise StackError(f"no {BLOCK} ports in a row are free: take any free ones with --port 0")

    def _read_template(self) -> Template:
        return read_template(
            self.root / "template.yaml",
            parameters={"Stage": "local"},
            function_urls=self.function_urls,
        )

    async def _start_postgres(self) -> None:
        from stashjobs.store.migrations import migrate

        self.postgres = Postgres(self.home / "postgres", self.ports.postgres, durable=self.durable)
        self._exits.push_async_callback(in_thread, self.postgres.stop)
        await in_thread(self.postgres.start)
        self.worker_url = await in_thread(lambda: make_worker_role(self.postgres.url, WORKER_ROLE))
        await in_thread(lambda: migrate(self.postgres.url, role=WORKER_ROLE))
        self.urls["postgres"] = self.environment["POSTGRES_URL"] = self.postgres.url

    async def _start_qstash(self) -> None:
        server = qstash_server(self.home, self.ports.qstash, self.environment)
        self._exits.push_async_callback(server.stop)
        await server.start()

    async def _start_mailbox(self, kept: dict[str, str]) -> None:
        self.mailbox = Mailbox(
            port=self.ports.mailbox,
            state=self.home / "mail",
            jobs_url=self.environment["BASE_URL"] + "/admin/jobs",
        )
        self._exits.push_async_callback(self.mailbox.stop)
        await self.mailbox.start()
        self.urls["mailbox"] = self.mailbox.url
        # A real key alone does not send real email from a developer's machine; the URL does.
        self.environment.update(
            RESEND_API_KEY=self.settings.get("RESEND_API_KEY", kept["RESEND_API_KEY"]),
            RESEND_API_URL=self.settings.get("RESEND_API_URL", self.mailbox.url),
            RESEND_FROM_EMAIL=self.settings.get(
                "RESEND_FROM_EMAIL", "stashjobs <jobs@example.com>"
            ),
        )

    def _start_s3(self) -> None:
        folder = self.home / "logs"
        folder.mkdir(exist_ok=True)
        self.s3 = S3(self.root, self.ports.s3, folder / "s3.log")
        self._exits.callback(self.s3.stop)
        self.s3.start()
        self.urls["s3"] = self.s3.url
        self.environment.update(self.s3.environment)

    def _start_stripe(self) -> None:
        self.environment["BILLING_URL"] = self.settings.get("BILLING_URL", LOCAL_BILLING_URL)
        # As with Resend: the URL says that the real one is meant, a key alone does not.
        if "STRIPE_API_BASE" in self.settings:
            return
        self.stripe = Stripe(
            self.root,
            self.ports.stripe,
            self.home / "logs" / "stripe.log",
            state=self.home / "stripe.pickle",
            webhook_url=self.environment["BASE_URL"] + WEBHOOK_ROUTE,
            webhook_secret=self.environment["STRIPE_WEBHOOK_SECRET"],
        )
        self._exits.callback(self.stripe.stop)
        self.stripe.start()
        self.urls["stripe"] = self.stripe.url
        self.environment.update(self.stripe.environment)

    async def _start_functions(self) -> None:
        self.template = self._read_template()  # again: now the function URLs are known
        urls = set(self.function_urls.values())
        # Where the producer finds a function with a URL is a setting like any other.
        found = {name: value for name, value in self.template.settings.items() if value in urls}
        self.environment.update(found)
        extra = {
            name: value
            for name, value in self.settings.items()
            if name not in OWNED and name not in self.environment
        }
        self.runtime = LambdaRuntime(
            self.template,
            {**extra, **self.environment, "POSTGRES_URL": self.worker_url},
            self.root,
            log=self._line_logger(),
        )
        gateway = Gateway(
            self.runtime,
            self.ports.gateway,
            function_url_ports={
                name: urlsplit(url).port or 0 for name, url in self.function_urls.items()
            },
            on_delivery=self._on_delivery,
        )
        scheduler = Scheduler(self.template, self.runtime.invoke)
        self._exits.push_async_callback(in_thread, lambda: give_leases_back(self.postgres.url))
        self._exits.push_async_callback(self.runtime.stop)
        self._exits.push_async_callback(gateway.stop)
        self._exits.push_async_callback(scheduler.stop)
        await gateway.start()
        scheduler.start()
        self.urls["app"] = gateway.url
        self.urls.update(self.function_urls)

    def _line_logger(self) -> Callable[[str, str], None]:
        """Every line goes to logs/<function>.log and to `on_line`."""
        folder = self.home / "logs"
        folder.mkdir(exist_ok=True)

        def log(name: str, line: str) -> None:
            with (folder / f"{name}.log").open("a") as file:
                file.write(line + "\n")
            self._on_line(name, line)

        return log

    def _write_environment_file(self) -> None:
        """How `stashjobs status` in another shell finds this stack."""
        lines = [
            f"{name}={shlex.quote(value)}\n" for name, value in sorted(self.environment.items())
        ]
        write_private(self.environment_file, "".join(lines))
        functions = self.template.functions.values()
        paths = sorted({route.path for each in functions for route in each.routes})
        write_private(self.home / ROUTES, "".join(f"{path}\n" for path in paths))
        if self.first_port:
            write_private(self.home / PORT_FILE, f"{self.first_port}\n")
        self._exits.callback(self.environment_file.unlink, missing_ok=True)


def make_worker_role(url: str, role: str) -> str:
    """Make a role for the functions where there is none. Returns the database's URL with it."""
    import psycopg
    from psycopg import sql

    password = secrets.token_urlsafe(24)
    name = sql.Identifier(role)
    with psycopg.connect(url, autocommit=True) as connection:
        known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        change = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        connection.execute(change.format(name, sql.Literal(password)))
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}").geturl()


def give_leases_back(url: str) -> None:
    """End the attempts whose processes were just stopped, so that their jobs run as soon as
    deliveries come again, and no attempt is used up. Never raises: where Postgres is gone, the
    leases run out."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            connection.execute(GIVE_LEASES_BACK)
    except psycopg.Error as error:
        log.warning("leases were not given back: %s", redaction.one_line(error))


def lock(home: Path) -> int:
    """Take `home` for this process; closing the returned handle, or dying, gives it back."""
    # Postgres, as another user, passes through; whatever is secret in here has a mode of its own.
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        running = dotenv_values(home / "dev.env").get("BASE_URL")
        where = f" at {running}" if running else ""
        raise StackError(
            f"stashjobs already runs with {home}{where}; stop it first, or give dev another --home"
        ) from None
    return handle


def load_secrets(home: Path) -> dict[str, str]:
    """Made once and kept, so that messages from before a restart still verify."""
    path = home / "secrets.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    from stashjobs import encryption

    made = {
        "QSTASH_TOKEN": f"local_{secrets.token_urlsafe(24)}",
        "QSTASH_CURRENT_SIGNING_KEY": f"sig_{secrets.token_urlsafe(24)}",
        "QSTASH_NEXT_SIGNING_KEY": f"sig_{secrets.token_urlsafe(24)}",
        "RESEND_API_KEY": f"re_local_{secrets.token_urlsafe(12)}",
        "ADMIN_TOKEN": f"sj_local_{secrets.token_urlsafe(24)}",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
        "GITHUB_WEBHOOK_SECRET": secrets.token_urlsafe(24),
        "RESEND_WEBHOOK_SECRET": f"whsec_{b64encode(secrets.token_bytes(24)).decode()}",
        "PAYLOAD_KEYS": encryption.new_entry("local"),
    }
    if made.keys() - kept.keys():  # the first start, or the first since there is a new one
        kept = made | kept
        write_private(path, json.dumps(kept, indent=2) + "\n")
    return kept


def qstash_server(home: Path, port: int, settings: dict[str, str]) -> QStashServer:
    """The stand-in, with its messages in `home`."""
    return QStashServer(
        QStashOptions(
            port=port,
            token=settings["QSTASH_TOKEN"],
            current_signing_key=settings["QSTASH_CURRENT_SIGNING_KEY"],
            next_signing_key=settings["QSTASH_NEXT_SIGNING_KEY"],
            state=home / "qstash.sqlite",
        )
    )


def own_qstash(settings: dict[str, str]) -> dict[str, str]:
    """The user's own QStash, such as the official dev server; empty where there is none.

    A URL at upstash.io is one for a deployment: from there nothing reaches 127.0.0.1.
    """
    host = urlsplit(settings.get("QSTASH_URL", "")).hostname or ""
    if not host or host == "upstash.io" or host.endswith(".upstash.io"):
        return {}
    if missing := [name for name in QSTASH if not settings.get(name)]:
        raise StackError(f"QSTASH_URL is set, so {', '.join(missing)} must be set too")
    return {name: settings[name] for name in QSTASH}


def read_settings(root: Path, environment: dict[str, str], template: Template) -> dict[str, str]:
    """The user's own settings: those in .env, and variables of the shell that the system knows."""
    known = {name for each in template.functions.values() for name in each.environment}
    # In AWS these are in the stage's secret, so the template does not name them.
    known |= {
        *QSTASH,
        *WEBHOOK_SECRETS,
        "PAYLOAD_KEYS",
        "SENTRY_DSN",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "POWERTOOLS_LOGGER_SAMPLE_RATE",
        "RESEND_API_KEY",
        "RESEND_API_URL",
        "RESEND_FROM_EMAIL",
    }
    known |= {"STRIPE_SECRET_KEY", "STRIPE_API_BASE", "BILLING_URL"}
    settings = {name: value for name, value in dotenv_values(root / ".env").items() if value}
    settings.update({name: environment[name] for name in known if environment.get(name)})
    return settings


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads; a reader sees the old text or the new one."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    unfinished.replace(path)


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run blocking work in a thread; a cancelled caller still waits until it has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
