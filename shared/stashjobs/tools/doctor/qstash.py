"""QStash: it knows the token, signs with the configured keys, has the schedules, and is not
a dead-letter queue."""

from __future__ import annotations

import httpx  # what QStash's SDK is made of
import qstash.errors

from stashjobs.config import qstash_region, settings
from stashjobs.observability import redaction
from stashjobs.producer import message, qstash_client, schedules
from stashjobs.producer.qstash_http import TimedQStash
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow
from stashjobs.wording import plural

DEAD_LETTERS_SHOWN = 100


def signing_keys() -> Verdict:
    """The token is good, and what QStash signs will verify here, also after a rotation."""
    ours = qstash_region.signing_keys()
    try:
        theirs = qstash_client.qstash().signing_key.get()
    except qstash.errors.QStashError as error:
        return _refused(error)
    if {theirs.current, theirs.next} <= set(ours):
        return green("the token is good; both signing keys are QStash's")
    then = "copy both keys from the Upstash console into the secret"
    if theirs.current not in ours:
        return red("QStash signs with a key that is not configured: every job gets 401", then)
    return yellow("the configured keys are not both QStash's: the next rotation gets 401", then)


def _refused(error: Exception) -> Verdict:
    """QStash does not know the token. The other region may: each has tokens of its own."""
    here = qstash_region.account()
    for region, url in qstash_region.REGIONS.items():
        if url == here.url or settings.stage() == "local":
            continue
        elsewhere = TimedQStash(
            here.token, url, timeout_seconds=qstash_client.QSTASH_TIMEOUT_SECONDS
        )
        try:
            elsewhere.signing_key.get()
        except (qstash.errors.QStashError, httpx.HTTPError):
            continue
        finally:
            elsewhere.close()
        return red(
            f"the token belongs to the region {region} of QStash, and QSTASH_URL leads to another",
            f"set QSTASH_URL to {url}, or copy token and keys of the region you want",
        )
    return red(
        f"QStash does not know the token: {redaction.one_line(error)}",
        "copy it from the Upstash console into the secret",
    )


def schedules_in_step() -> Verdict:
    """QStash has the schedules that are declared in code, and no other of ours."""
    wanted = schedules.declared()
    changes = schedules.sync(wanted, dry_run=True)
    then = f"stashjobs schedules sync --stage {settings.stage()}"
    if changes.created:
        return red(f"missing at QStash: {', '.join(changes.created)}", then)
    if outdated := [*changes.changed, *changes.deleted]:
        return yellow(f"not as declared: {', '.join(outdated)}", then)
    paused = [schedules.name_of(found) for found in schedules.remote() if found.paused]
    if paused:
        return yellow(f"paused: {', '.join(paused)}", "resume them in the Upstash console")
    return green(
        f"{plural(len(wanted), 'schedule is', 'schedules are')} in step"
        if wanted
        else "none is declared"
    )


def dead_letters() -> Verdict:
    """The dead-letter queue has no message of this stage among its newest."""
    page = qstash_client.qstash().dlq.list(count=DEAD_LETTERS_SHOWN)
    count = sum(map(message.is_of_this_stage, page.messages))
    if not count:
        return green("empty")
    told = f"{count} or more messages" if page.cursor else plural(count, "message")
    then = f"stashjobs list --status failed --stage {settings.stage()}; then retry or delete them"
    return yellow(f"{told} in the dead-letter queue", then)


def address() -> Verdict:
    """Jobs go to Upstash, not to a stand-in."""
    url = qstash_region.account().url
    if settings.stage() == "local":
        return not_checked("this is the local stage")
    host = url.partition("://")[2].partition("/")[0]
    if url.startswith("https://") and (host == "upstash.io" or host.endswith(".upstash.io")):
        return green(host)
    return red(f"QSTASH_URL leads to {host}", f"set it to {qstash_region.DEFAULT_URL}")


CHECKS = (
    Check("QStash address", address),
    Check("QStash signing keys", signing_keys),
    Check("schedules", schedules_in_step),
    Check("dead-letter queue", dead_letters),
)
