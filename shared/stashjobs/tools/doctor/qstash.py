"""QStash: it knows the token, signs with the configured keys, has the schedules, and is not
a dead-letter queue."""

from __future__ import annotations

from stashjobs.config import settings
from stashjobs.producer import qstash_client, schedules
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow
from stashjobs.wording import plural

DEAD_LETTERS_SHOWN = 100


def signing_keys() -> Verdict:
    """The token is good, and what QStash signs will verify here, also after a rotation."""
    ours = settings.signing_keys()
    theirs = qstash_client.qstash().signing_key.get()
    if ours == (theirs.current, theirs.next):
        return green("the token is good; both signing keys are QStash's")
    then = "copy both keys from the Upstash console into the secret"
    if theirs.current not in ours:
        return red("QStash signs with a key that is not configured: every job gets 401", then)
    return yellow("the configured keys are not both QStash's: the next rotation gets 401", then)


def schedules_in_step() -> Verdict:
    """QStash has the schedules that are declared in code, and no other of ours."""
    wanted = schedules.declared()
    changes = schedules.sync(wanted, dry_run=True)
    then = f"stashjobs schedules sync --stage {settings.stage()}"
    if changes.created:
        return red(f"missing at QStash: {', '.join(changes.created)}", then)
    if outdated := [*changes.changed, *changes.deleted]:
        return yellow(f"not as declared: {', '.join(outdated)}", then)
    paused = [found.schedule_id for found in schedules.remote() if found.paused]
    if paused:
        return yellow(f"paused: {', '.join(paused)}", "resume them in the Upstash console")
    return green(
        f"{plural(len(wanted), 'schedule is', 'schedules are')} in step"
        if wanted
        else "none is declared"
    )


def dead_letters() -> Verdict:
    """The dead-letter queue has no unseen messages."""
    page = qstash_client.qstash().dlq.list(count=DEAD_LETTERS_SHOWN)
    count = len(page.messages)
    if not count:
        return green("empty")
    told = f"{count} or more messages" if page.cursor else plural(count, "message")
    then = f"stashjobs list --status failed --stage {settings.stage()}; then retry or delete them"
    return yellow(f"{told} in the dead-letter queue", then)


def address() -> Verdict:
    """Jobs go to Upstash, not to a stand-in."""
    url = settings.optional("QSTASH_URL", "https://qstash.upstash.io")
    if settings.stage() == "local":
        return not_checked("this is the local stage")
    host = url.partition("://")[2].partition("/")[0]
    if url.startswith("https://") and (host == "upstash.io" or host.endswith(".upstash.io")):
        return green(host)
    return red(f"QSTASH_URL leads to {host}", "set it to https://qstash.upstash.io")


CHECKS = (
    Check("QStash address", address),
    Check("QStash signing keys", signing_keys),
    Check("schedules", schedules_in_step),
    Check("dead-letter queue", dead_letters),
)
