"""`python -m infra.local.mailbox --port 8025`: the mailbox alone."""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from infra.local.mailbox import Mailbox


async def _serve(host: str, port: int, state: Path | None) -> None:
    async with Mailbox(host, port, state) as mailbox:
        print(f"mailbox    {mailbox.url}")
        print(f"resend     RESEND_API_URL={mailbox.url}", flush=True)
        await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.local.mailbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8025, help="0 takes a free one")
    parser.add_argument("--state", type=Path, help="a directory that keeps the emails")
    arguments = parser.parse_args()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(arguments.host, arguments.port, arguments.state))
    except OSError as error:
        print(f"{error.strerror or error}; choose another port with --port", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
