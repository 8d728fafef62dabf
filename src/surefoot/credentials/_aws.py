"""Keys in AWS Secrets Manager: `aws:SECRET_ID#FIELD`. Region, endpoint and who asks are boto3's own business (AWS_*, profiles, roles)."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from surefoot.credentials._leased import Grant
from surefoot.errors import AuthFailed, Misconfigured, SurefootError, Transient
from surefoot.secret import Secret, guard_logs

READ_EVERY_S = 3600.0  # the default of AWS's own caching client
CONNECT_S, READ_S = 5.0, 10.0


class AWSReader:
    """Reads one secret, or one field of its JSON. Its methods block: call them in a thread."""

    def __init__(self, reference: str) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise Misconfigured('aws: needs the package boto3, not installed here: run  pip install "surefoot[aws]"') from error
        guard_logs("botocore.parsers")  # logs whole answers at DEBUG
        self._boto3 = boto3
        self._config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
        self._secret_id, _, self._field = reference.partition("#")
        self.name = f"aws:{self._secret_id}"
        self._client: Any = None
        self._lock = threading.Lock()

    def read(self) -> Grant:
        """The secret now. Raises AuthFailed, Misconfigured (no such secret, field or region) or Transient (it cannot be asked now)."""
        with self._lock:
            try:
                if self._client is None:
                    self._client = self._boto3.session.Session().client("secretsmanager", config=self._config)
                answer = self._client.get_secret_value(SecretId=self._secret_id)
            except Exception as error:  # noqa: BLE001 - the error boundary: boto3, botocore, urllib3
                failure: SurefootError | None = self._told(error)
            else:
                failure = None
        if failure is not None:
            raise failure  # outside the handler: the frames of botocore's errors hold signed requests
        secret, why = self._secret_of(answer.get("SecretString") or "")
        del answer  # a traceback that shows locals must not show it
        if secret is None:
            raise Misconfigured(f"{self.name}: {why}")
        return Grant(secret=secret, ttl_s=READ_EVERY_S)

    def _secret_of(self, text: str) -> tuple[Secret | None, str]:
        """The secret, or why there is none; nothing is raised here, where the text stands in a local."""
        if not self._field:
            return (Secret(text), "") if text else (None, "the secret is empty or binary")
        try:
            fields = msgspec.json.decode(text, type=dict[str, Any])
        except (ValueError, RecursionError):
            return None, f"the secret is no JSON object, so it has no field {self._field!r}"
        value = fields.get(self._field)
        if not isinstance(value, str) or not value:
            return None, f"no text in field {self._field!r}; the secret has {', '.join(sorted(fields)) or 'no field'}"
        return Secret(value), ""

    def _told(self, error: Exception) -> SurefootError:
        names = {kind.__name__ for kind in type(error).__mro__}
        response = getattr(error, "response", None)
        code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
        what = f"{self.name}: {code or type(error).__name__}"
        if code == "ResourceNotFoundException":
            return Misconfigured(f"{what}: there is no such secret in this region")
        if names & {"NoRegionError", "ProfileNotFound", "InvalidRegionError"}:
            return Misconfigured(f"{what}: boto3 does not know where to ask; set AWS_DEFAULT_REGION or a profile")
        if names & {"NoCredentialsError", "PartialCredentialsError"} or code in _NOT_ALLOWED:
            return AuthFailed(f"{what}: AWS does not let us read the secret")
        return Transient(f"{what}: AWS Secrets Manager cannot be asked now")


_NOT_ALLOWED = frozenset({
    "AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException",
    "InvalidSignatureException", "DecryptionFailure",
})  # fmt: skip
