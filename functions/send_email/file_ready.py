"""A file is ready: have the `fileReady` email sent, by the jobs that make files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs import Context
    from stashjobs.files import Link


def send(
    context: Context,
    to: Sequence[str],
    *,
    title: str,
    description: str,
    link: Link,
    size: int,
) -> None:
    """Enqueue the email if and only if the calling job completes: a job of its own, so that a
    refusal by Resend does not make the file anew.

    Args:
        context: The calling job's.
        to: Addresses.
        title: What the file is: the subject.
        description: A line about it.
        link: Where it is.
        size: In bytes.
    """
    from functions.send_email.handler import send_email
    from functions.send_email.models import Email, FileReady

    data = FileReady(
        title=title,
        download_url=link.url,
        expires_at=link.expires_at,
        description=description,
        size=readable_size(size),
    )
    context.enqueue(send_email, Email(to=list(to), template="fileReady", data=data))


def readable_size(size: int) -> str:
    """`readable_size(1_500_000)` is `1.5 MB`."""
    if size < 1_000:
        return f"{size} bytes" if size != 1 else "1 byte"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1_000
        if value < 999.95 or unit == "TB":
            break
    return f"{value:.1f} {unit}"
