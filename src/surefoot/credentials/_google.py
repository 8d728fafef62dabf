"""Access tokens of Google Cloud, `adc:`: what google-auth finds (GOOGLE_APPLICATION_CREDENTIALS, gcloud's login, a machine's account)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from surefoot.credentials._leased import Grant
from surefoot.errors import AuthFailed, Misconfigured, SurefootError, Transient
from surefoot.secret import Secret, guard_logs

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
READ_EVERY_S = 1800.0  # where a token does not say how long it lasts; Google's last an hour


class GoogleTokenReader:
    """Reads an access token of the application default credentials. Its methods block: call them in a thread."""

    name = "adc:"

    def __init__(self) -> None:
        try:
            import google.auth.transport.requests as transport
            from google.auth import default
        except ImportError as error:
            raise Misconfigured('adc: needs the package google-auth, not installed here: run  pip install "surefoot[google]"') from error
        guard_logs("google.auth", "google.auth.transport.requests", "urllib3.connectionpool")
        self._default: Any = default
        self._request: Any = transport.Request
        self._credentials: Any = None
        self._lock = threading.Lock()

    def read(self) -> Grant:
        """A token that was just made. Raises Misconfigured (no credentials), AuthFailed (refused) or Transient (nobody can be asked)."""
        with self._lock:
            try:
                if self._credentials is None:
                    self._credentials, _ = self._default(scopes=SCOPES)
                self._credentials.refresh(self._request())
                token, expiry = self._credentials.token, self._credentials.expiry
            except Exception as error:  # noqa: BLE001 - the error boundary: google-auth, requests, urllib3
                failure: SurefootError | None = _told(error)
            else:
                failure = None
        if failure is not None:
            raise failure  # outside the handler: the frames of google-auth's errors hold the signed assertion
        lasts_s = None if expiry is None else (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
        return Grant(secret=Secret(token), ttl_s=READ_EVERY_S if lasts_s is None else max(1.0, lasts_s), lasts_s=lasts_s)


def _told(error: Exception) -> SurefootError:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "DefaultCredentialsError" in names:
        return Misconfigured(
            "adc: no credentials of Google Cloud are found; run  gcloud auth application-default login, set "
            "GOOGLE_APPLICATION_CREDENTIALS to a key file, or pass api_key=a function that gives a token"
        )
    if "RefreshError" in names and not getattr(error, "retryable", False):
        return AuthFailed(f"adc: Google refused the credentials ({type(error).__name__}); log in anew, or look at the account's key")
    return Transient(f"adc: no token could be had ({type(error).__name__})")
