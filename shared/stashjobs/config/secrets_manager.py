"""One call of AWS Secrets Manager, GetSecretValue, by the standard library.

boto3 would do the same, at four times the import and three times the memory of a cold start
(docs/settings.md has the numbers). What it takes is one signed POST: Signature Version 4 (IAM User
Guide, "Create a signed AWS API request").

Where the process has no credentials in its environment, as on a laptop with a profile or single
sign-on, boto3 does it after all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stashjobs.errors import SecretUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE = "secretsmanager"
TARGET = "secretsmanager.GetSecretValue"
CONTENT_TYPE = "application/x-amz-json-1.1"
# It answers in some 20 ms. A delivery must not lose its time to it: what is known is used.
TIMEOUT_SECONDS = 2.0
TRIES = 2
# What the message of a secret that does not exist contains.
NOT_FOUND = "ResourceNotFoundException"
# China's regions have a domain of their own (AWS General Reference, "Service endpoints").
DOMAINS = {"aws-cn": "amazonaws.com.cn"}


def read(secret_id: str) -> str:
    """The current text of a secret, by its ARN or its name.

    Raises:
        SecretUnreadable: Refused, not reached, or not text.
    """
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        return _read_by_boto3(secret_id)
    region = _region(secret_id)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_SECRETS_MANAGER") or (
        f"https://{SERVICE}.{region}.{DOMAINS.get(_partition(secret_id), 'amazonaws.com')}"
    )
    document = _call(endpoint, region, json.dumps({"SecretId": secret_id}).encode())
    text = document.get("SecretString")
    if not isinstance(text, str):
        raise SecretUnreadable("it is binary; it must be text")
    return text


def sign(
    headers: Mapping[str, str],
    body: bytes,
    *,
    region: str,
    path: str = "/",
    key_id: str,
    key: str,
    service: str = SERVICE,
) -> str:
    """The `Authorization` header of a POST.

    Args:
        headers: All that are to be signed, by lower-case name; `host` and `x-amz-date` among them.
        body: What is sent.
        region: Whose endpoint is called.
        path: Of the URL, without a query.
        key_id: The access key's id.
        key: The secret access key.
        service: As Signature Version 4 knows it.
    """
    names = sorted(headers)
    signed = ";".join(names)
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    request = "\n".join(["POST", path, "", lines, signed, hashlib.sha256(body).hexdigest()])
    moment = headers["x-amz-date"]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signing_key = f"AWS4{key}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    signature = hmac.digest(signing_key, text.encode(), "sha256").hex()
    return (
        f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={signed}, "
        f"Signature={signature}"
    )


def _call(endpoint: str, region: str, body: bytes) -> dict[str, Any]:
    """Lambda's credentials are temporary, so their session token is sent and signed too."""
    url = urlsplit(endpoint)
    headers = {
        "content-type": CONTENT_TYPE,
        "host": url.netloc,
        "x-amz-date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-target": TARGET,
    }
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    headers["authorization"] = sign(
        headers,
        body,
        region=region,
        key_id=os.environ["AWS_ACCESS_KEY_ID"],
        key=os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
    )
    failure = ""
    for _ in range(TRIES):
        try:
            status, answer = _post(url.scheme, url.netloc, headers, body)
        except OSError as error:
            failure = f"{url.netloc} cannot be reached: {str(error) or type(error).__name__}"
            continue
        if status == 200:
            return answer
        # AccessDeniedException names the role and the secret, ResourceNotFoundException says so.
        kind = str(answer.get("__type", "")).rpartition("#")[2]
        failure = f"{status} {kind} {answer.get('message') or answer.get('Message') or ''}".strip()
        if status < 500 and kind != "ThrottlingException":
            break
    raise SecretUnreadable(failure)


def _post(
    scheme: str, host: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, Any]]:
    # Only now: an app whose settings are in its environment need not import it.
    import http.client

    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", "/", body, dict(headers))
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer ({type(error).__name__})") from None
    finally:
        connection.close()
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        # Whatever stands there, it is not Secrets Manager.
        return max(response.status, 500), {"message": "the answer is not a JSON object"}
    return response.status, document


def _partition(secret_id: str) -> str:
    return secret_id.split(":")[1] if secret_id.startswith("arn:") else "aws"


def _region(secret_id: str) -> str:
    """The secret's own where its ARN tells it, else the process's."""
    if secret_id.startswith("arn:"):
        return secret_id.split(":")[3]
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise SecretUnreadable("AWS_REGION is not set")
    return region


def _read_by_boto3(secret_id: str) -> str:
    try:
        import boto3
    except ImportError:
        raise SecretUnreadable(
            "there is no AWS_ACCESS_KEY_ID, and no boto3 to look for other credentials "
            "(pip install 'stashjobs[aws]')"
        ) from None
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        region = _region(secret_id) if secret_id.startswith("arn:") else None
        client = boto3.client(SERVICE, region_name=region)
        text = client.get_secret_value(SecretId=secret_id).get("SecretString")
    except (BotoCoreError, ClientError) as error:
        raise SecretUnreadable(str(error)) from None
    if not isinstance(text, str):
        raise SecretUnreadable("it is binary; it must be text")
    return text
