"""A stand-in for Resend that keeps every email, and a page to read them on."""

from infra.local.mailbox.server import Mailbox
from infra.local.mailbox.store import Mail

__all__ = ["Mail", "Mailbox"]
