"""Money and dates, as a person writes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

# Stripe's amounts are in the smallest unit, and how small that is depends on the currency:
# https://docs.stripe.com/currencies#minor-units
_NO_DECIMALS = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"}
    | {"PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THREE_DECIMALS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
# Two decimals in Stripe's API, none in life.
_DECIMALS_NOT_SHOWN = frozenset({"ISK", "UGX"})
_SYMBOLS = {
    "AUD": "A$",
    "BRL": "R$",
    "CAD": "CA$",
    "CNY": "CN¥",
    "EUR": "€",
    "GBP": "£",
    "HKD": "HK$",
    "ILS": "₪",
    "INR": "₹",
    "JPY": "¥",
    "KRW": "₩",
    "MXN": "MX$",
    "NZD": "NZ$",
    "SGD": "S$",
    "TWD": "NT$",
    "USD": "$",
    "VND": "₫",
}
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def money(amount: int, currency: str) -> str:
    """`money(124900, "EUR")` is `€1,249.00`; `money(1500, "JPY")` is `¥1,500`."""
    currency = currency.upper()
    decimals = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    shown = 0 if currency in _DECIMALS_NOT_SHOWN else decimals
    number = f"{Decimal(amount).scaleb(-decimals):,.{shown}f}"
    symbol = _SYMBOLS.get(currency)
    return f"{symbol}{number}" if symbol else f"{currency}\N{NO-BREAK SPACE}{number}"


def date(moment: datetime) -> str:
    """`9 June 2026`; the day stays with its month at the end of a line."""
    return f"{moment.day}\N{NO-BREAK SPACE}{_MONTHS[moment.month - 1]} {moment.year}"


def date_time(moment: datetime) -> str:
    """`9 June 2026 at 16:30 (UTC+2)`: in the offset that the sender of the job chose."""
    return f"{date(moment)} at {moment:%H:%M} ({_offset(moment)})"


def interval(unit: str, count: int) -> str:
    """`per month`, or `every 3 months`."""
    return f"per {unit}" if count == 1 else f"every {count} {unit}s"


def _offset(moment: datetime) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '−'}{hours}" + (f":{rest:02}" if rest else "")
