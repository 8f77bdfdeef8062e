"""Money and dates as a person reads them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from functions.send_email.formatting import date, date_time, interval, money

NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (4900, "USD", "$49.00"),
        (5, "usd", "$0.05"),
        (0, "EUR", "€0.00"),
        (124900, "EUR", "€1,249.00"),
        (123456789, "GBP", "£1,234,567.89"),
        (1500, "JPY", "¥1,500"),
        (9900, "KRW", "₩9,900"),
        (5124, "KWD", f"KWD{NBSP}5.124"),
        (1250, "CHF", f"CHF{NBSP}12.50"),
        (50000, "ISK", f"ISK{NBSP}500"),
        (50000, "UGX", f"UGX{NBSP}500"),
        (500, "XAF", f"XAF{NBSP}500"),
    ],
)
def test_money_has_the_decimals_and_symbol_of_its_currency(
    amount: int, currency: str, shown: str
) -> None:
    assert money(amount, currency) == shown


def test_a_date_is_written_out_and_does_not_break_between_day_and_month() -> None:
    assert date(datetime(2026, 6, 9, tzinfo=UTC)) == f"9{NBSP}June 2026"


@pytest.mark.parametrize(
    ("offset", "shown"),
    [
        (timedelta(), "UTC"),
        (timedelta(hours=2), "UTC+2"),
        (timedelta(hours=-7), "UTC−7"),
        (timedelta(hours=5, minutes=30), "UTC+5:30"),
        (timedelta(hours=-3, minutes=-30), "UTC−3:30"),
    ],
)
def test_a_time_says_which_offset_it_is_in(offset: timedelta, shown: str) -> None:
    moment = datetime(2026, 6, 9, 14, 30, tzinfo=timezone(offset))
    assert date_time(moment) == f"9{NBSP}June 2026 at 14:30 ({shown})"


def test_an_interval_is_a_phrase() -> None:
    assert (interval("month", 1), interval("month", 3)) == ("per month", "every 3 months")
