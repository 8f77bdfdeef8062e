"""AWS: the stack, its secret, its alarms and whom they tell, and the database's backups."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stashjobs.config import settings, stage_secret
from stashjobs.job_type import declared
from stashjobs.tools.doctor import stack
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST_SECRET_DAYS = 365
OLDEST_SNAPSHOT_HOURS = 26
# RDS ships the log every five minutes; this much behind is a recovery that would lose work.
OLDEST_RESTORE_POINT_HOURS = 1


def where_aws_is(look: Callable[[], Verdict]) -> Callable[[], Verdict]:
    """Have a check say "not checked" where AWS cannot be asked from here."""

    @functools.wraps(look)
    def run() -> Verdict:
        try:
            return look()
        except stack.NotHere as reason:
            return not_checked(str(reason))

    return run


@where_aws_is
def deployed() -> Verdict:
    """The last deploy went through, and production is protected from deletion."""
    found = stack.describe()
    status = found["StackStatus"]
    told = f"{stack.name()} is {status}"
    if "FAILED" in status or status.startswith(("ROLLBACK", "DELETE")):
        return red(told, "see the stack's events in CloudFormation, then deploy again")
    if status == "UPDATE_ROLLBACK_COMPLETE":
        return yellow(f"{told}: the last deploy was undone", "see the stack's events")
    if status.endswith("IN_PROGRESS"):
        return yellow(told, "wait for the deploy to end, then run doctor again")
    if settings.stage() == "production" and found.get("EnableTerminationProtection") is False:
        return yellow(
            f"{told}, and not protected from being deleted",
            "aws cloudformation update-termination-protection --enable-termination-protection "
            f"--stack-name {stack.name()}",
        )
    return green(told)


@where_aws_is
def secret() -> Verdict:
    """The settings are in Secrets Manager, and were changed within a year."""
    name = (stage_secret.name_of_secret() or f"stashjobs/{settings.stage()}").partition(",")[0]
    secrets = stack.client("secretsmanager")
    try:
        found = secrets.describe_secret(SecretId=name.strip())
    except secrets.exceptions.ResourceNotFoundException:
        return red(f"there is no secret {name}", "create it (docs/deployment.md, Settings)")
    changed = found.get("LastChangedDate") or found["CreatedDate"]
    days = (datetime.now(UTC) - changed).days
    if days > OLDEST_SECRET_DAYS:
        return yellow(f"{name} was last changed {days} days ago", "rotate the credentials in it")
    return green(f"{name}, changed {days} days ago")


@where_aws_is
def alarms() -> Verdict:
    """There are alarms, none is in ALARM, and each has an action."""
    names = list(stack.resources("AWS::CloudWatch::Alarm").values())
    # It has no action by itself: the alarms it consists of do.
    composites = list(stack.resources("AWS::CloudWatch::CompositeAlarm").values())
    if not names:
        return red("the stack has no alarms", "deploy the template with its alarms")
    found = _alarms([*names, *composites])
    missing = {*names, *composites} - {each["AlarmName"] for each in found}
    if missing:
        return red(
            f"deleted outside the stack: {', '.join(sorted(missing))}", "deploy the stack again"
        )
    ringing = [each["AlarmName"] for each in found if each["StateValue"] == "ALARM"]
    if ringing:
        return red(
            f"in ALARM: {', '.join(ringing)}", "see docs/monitoring.md, What to do, by symptom"
        )
    mute = [
        each["AlarmName"]
        for each in found
        if each["AlarmName"] not in composites
        and not (each.get("ActionsEnabled", True) and each.get("AlarmActions"))
    ]
    if mute:
        return yellow(f"without an action: {', '.join(mute)}", "give them an action (SNS topic)")
    return green(f"{len(found)} alarms, none rings")


def _alarms(names: list[str]) -> list[dict[str, Any]]:
    pages = stack.client("cloudwatch").get_paginator("describe_alarms")
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), 100):  # AlarmNames takes 100 (CloudWatch API reference)
        # A page of the answer has fewer than that.
        for page in pages.paginate(
            AlarmNames=names[start : start + 100], AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        ):
            found += page.get("MetricAlarms", []) + page.get("CompositeAlarms", [])
    return found


@where_aws_is
def subscriptions() -> Verdict:
    """The SNS topic has a confirmed subscription."""
    topics = list(stack.resources("AWS::SNS::Topic").values())
    if not topics:
        return red("the stack has no SNS topic, so alarms notify no one", "deploy its alarms")
    sns = stack.client("sns")
    waiting = confirmed = 0
    for topic in topics:
        pages = sns.get_paginator("list_subscriptions_by_topic")
        for page in pages.paginate(TopicArn=topic):
            for each in page["Subscriptions"]:
                is_confirmed = each["SubscriptionArn"].startswith("arn:")
                confirmed += is_confirmed
                waiting += not is_confirmed
    if not confirmed:
        told = "no subscription is confirmed" if waiting else "there is no subscription"
        return red(f"{told}: alarms notify no one", "confirm by the link in the email from AWS")
    if waiting:
        return yellow(f"{waiting} wait for their confirmation", "confirm by the link in the email")
    return green(f"{confirmed} confirmed")


@where_aws_is
def processes() -> Verdict:
    """QStash delivers no more of a type at once than its function has processes for."""
    jobs = [each for each in declared() if str(each.function.__module__).startswith("functions.")]
    if not jobs:
        return not_checked("no job type is declared here; run this in a checkout")
    names = stack.resources("AWS::Lambda::Function")
    client = stack.client("lambda")
    too_many, too_few = [], []
    for job in jobs:
        folder = job.function.__module__.split(".")[1]
        name = names.get("".join(word.capitalize() for word in folder.split("_")) + "Function")
        if name is None:
            continue  # the checks of the routes say what is not deployed
        # None is reserved where the deployer has taken that out of the template.
        share = client.get_function_concurrency(FunctionName=name).get(
            "ReservedConcurrentExecutions"
        )
        if share is None:
            continue
        if job.parallelism is None or job.parallelism > share:
            at_once = "all of them" if job.parallelism is None else str(job.parallelism)
            too_many.append(f"{job.type} ({at_once} at once, {share} processes)")
        elif job.parallelism < share:
            too_few.append(f"{job.type} {job.parallelism} of {share}")
    if too_many:
        return yellow(
            f"QStash may deliver more than there are processes: {', '.join(too_many)}",
            "what is too much is turned away, and comes again much later: lower parallelism= in "
            "the handler, or raise MaxConnections (docs/connections.md)",
        )
    if too_few:
        return green(
            f"enough; these could take more by a higher parallelism=: {', '.join(too_few)}"
        )
    return green(f"as many of each of {len(jobs)} types as QStash delivers at once")


@where_aws_is
def backups() -> Verdict:
    """Where Postgres is RDS's: it is backed up every day, and can be wound back to a moment."""
    host = urlsplit(settings.postgres_url()).hostname or ""
    if not host.endswith(".rds.amazonaws.com"):
        return not_checked(
            f"{host} is not RDS",
            "see your provider's console; then prove a restore: stashjobs backup verify",
        )
    rds = stack.client("rds")
    behind = _behind_the_proxy(rds, host)
    for cluster in rds.describe_db_clusters()["DBClusters"]:
        names = {cluster.get("Endpoint"), cluster.get("ReaderEndpoint")}
        if host in names or cluster["DBClusterIdentifier"] in behind:
            snapshots = rds.describe_db_cluster_snapshots(
                DBClusterIdentifier=cluster["DBClusterIdentifier"]
            )["DBClusterSnapshots"]
            return judge_backups(cluster, snapshots)
    for instance in rds.describe_db_instances()["DBInstances"]:
        address = instance.get("Endpoint", {}).get("Address")
        if host == address or instance["DBInstanceIdentifier"] in behind:
            snapshots = rds.describe_db_snapshots(
                DBInstanceIdentifier=instance["DBInstanceIdentifier"]
            )["DBSnapshots"]
            return judge_backups(instance, snapshots)
    return not_checked(f"no database of this account has the address {host}")


def _behind_the_proxy(rds: Any, host: str) -> set[str]:
    """The clusters and instances that an RDS Proxy leads to; none where `host` is no proxy."""
    found: set[str] = set()
    for proxy in rds.describe_db_proxies()["DBProxies"]:
        if proxy.get("Endpoint") == host:
            targets = rds.describe_db_proxy_targets(DBProxyName=proxy["DBProxyName"])["Targets"]
            found |= {each["RdsResourceId"] for each in targets}
    return found


def judge_backups(database: dict[str, Any], snapshots: list[dict[str, Any]]) -> Verdict:
    """A verdict on what RDS says of a database (or cluster) and its snapshots."""
    now = datetime.now(UTC)
    days = database.get("BackupRetentionPeriod", 0)
    if not days:
        return red("automated backups are off", "set the backup retention to 7 days or more")
    taken = [each["SnapshotCreateTime"] for each in snapshots if each.get("SnapshotCreateTime")]
    if not taken:
        return red("there is no snapshot", "take one: aws rds create-db-snapshot")
    hours = (now - max(taken)).total_seconds() / 3600
    if hours > OLDEST_SNAPSHOT_HOURS:
        return red(f"the last snapshot is {hours:.0f} hours old", "see the events in RDS")
    until = database.get("LatestRestorableTime")
    if until is not None and (now - until).total_seconds() > OLDEST_RESTORE_POINT_HOURS * 3600:
        return yellow(f"it can be restored to {until:%Y-%m-%d %H:%M} only", "see the events in RDS")
    return green(f"last snapshot {hours:.0f} hours ago, kept for {days} days")


CHECKS = (
    Check("stack", deployed),
    Check("secret", secret),
    Check("alarms", alarms),
    Check("alarm subscriptions", subscriptions),
    Check("processes", processes),
    Check("backups", backups),
)
