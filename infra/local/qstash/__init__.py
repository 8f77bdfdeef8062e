"""A local QStash server that speaks the real one's HTTP API and signs as it does.

    async with QStashServer(QStashOptions(port=8080)) as qstash:
        client = AsyncQStash(qstash.token, base_url=qstash.url)

`python -m infra.local.qstash` runs it alone.
"""

from .model import Limits
from .server import QStashOptions, QStashServer
from .transport import DeliveryError, DeliveryRequest, DeliveryResponse, Faults, Send

__all__ = [
    "DeliveryError",
    "DeliveryRequest",
    "DeliveryResponse",
    "Faults",
    "Limits",
    "QStashOptions",
    "QStashServer",
    "Send",
]
