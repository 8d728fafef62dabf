"""Keys in HashiCorp Vault or OpenBao: `vault:PATH#FIELD`, where PATH is the API's ("secret/data/llm").

Where Vault is and who asks is said by the environment: VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, and one of
VAULT_ROLE_ID with VAULT_SECRET_ID, VAULT_SECRET_ID_FILE or VAULT_WRAPPED_SECRET_ID (AppRole; at VAULT_APPROLE_MOUNT);
VAULT_K8S_ROLE (Kubernetes; at VAULT_K8S_MOUNT, with the token in VAULT_K8S_JWT_FILE); VAULT_TOKEN.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surefoot.credentials._leased import Grant
from surefoot.errors import AuthFailed, Misconfigured, SurefootError, Transient
from surefoot.secret import Secret

READ_EVERY_S = 300.0  # a secret without a lease (KV) is looked up again within this; Vault's own agent does so every 5 minutes
TIMEOUT_S = 10.0  # of one request: Vault is nearby, and calls wait for the first one
JWT_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"
SHRUNK = 0.9  # a renewal that grants less than this share of the login's time runs into the token's last day: log in anew


class VaultReader:
    """Reads one field of one secret, over a token of its own that it renews or gets anew. Its methods block: call them in a thread.

    Raises Misconfigured at once where the environment does not say where Vault is or who asks.
    """

    def __init__(self, reference: str, environment: Mapping[str, str]) -> None:
        try:
            import hvac
        except ImportError as error:
            raise Misconfigured('vault: needs the package hvac, not installed here: run  pip install "surefoot[vault]"') from error
        self._hvac = hvac
        self._path, _, self._field = reference.partition("#")
        self.name = f"vault:{self._path}"
        self._env = environment
        address = environment.get("VAULT_ADDR", "")
        if not address:
            raise Misconfigured(f"{self.name}: the environment variable VAULT_ADDR is not set; it says where Vault is")
        self._method = next((method for name, method in _METHODS.items() if environment.get(name)), "")
        if not self._method:
            raise Misconfigured(f"{self.name}: no way to log in; set one of {', '.join(_METHODS)}")
        self._client: Any = hvac.Client(
            url=address,
            token="",
            namespace=environment.get("VAULT_NAMESPACE") or None,
            verify=environment.get("VAULT_CACERT") or True,
            timeout=TIMEOUT_S,
        )
        self._lock = threading.Lock()
        self._has_token = False
        self._secret_id: Secret | None = None
        self._granted_s = 0.0  # what the login gave
        self._token_s = 0.0  # what is left, as last heard; 0: forever
        self._renewable = False

    def read(self) -> Grant:
        """The field now. Raises AuthFailed, Misconfigured (no such path or field) or Transient (Vault is down, sealed or busy)."""
        with self._lock:
            try:
                return self._read()
            except SurefootError:
                raise
            except Exception as error:  # noqa: BLE001 - the error boundary: hvac, requests, urllib3
                failure = self._told(error)
        raise failure  # outside the handler: the frames of hvac's errors hold the token

    def _read(self) -> Grant:
        self._keep_token()
        try:
            answer = self._client.read(self._path)
        except self._hvac.exceptions.Forbidden:  # the token was revoked; or the policy says no, then the next answer is the same
            if self._method == "token":
                raise
            self._log_in()
            answer = self._client.read(self._path)
        secret, lease_s, why = self._secret_of(answer)
        del answer  # a traceback that shows locals must not show it
        if secret is None:
            raise Misconfigured(f"{self.name}: {why}")
        times = [lease_s or READ_EVERY_S, self._token_s or READ_EVERY_S]
        return Grant(secret=secret, ttl_s=min(times), lasts_s=lease_s)

    def _secret_of(self, answer: Any) -> tuple[Secret | None, float | None, str]:
        """The secret and its lease in seconds, or why there is none; nothing is raised here, where values stand in locals."""
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            return None, None, "there is no such secret; for KV version 2 the path is MOUNT/data/NAME"
        if isinstance(data.get("data"), dict) and "metadata" in data:  # KV version 2
            data = data["data"]
        field = self._field or (next(iter(data)) if len(data) == 1 else "")
        value = data.get(field)
        if not isinstance(value, str) or not value:
            return None, None, f"no text in field {field!r}; the secret has {', '.join(sorted(data)) or 'no field'}"
        lease_s = float(answer.get("lease_duration") or 0) if answer.get("lease_id") else 0.0
        return Secret(value), lease_s or None, ""

    def _keep_token(self) -> None:
        if not (self._has_token and self._lives_on()):
            self._log_in()

    def _lives_on(self) -> bool:
        """Renew the token, if it ends at all. False where a new login is due: it cannot be renewed, or no longer to its full time."""
        if not self._token_s:
            return True
        is_given = self._method == "token"  # then there is nothing to log in with: the next read tells what is wrong
        if not self._renewable:
            return is_given
        try:
            self._note(self._client.auth.token.renew_self()["auth"])
        except self._hvac.exceptions.VaultError:  # revoked, or past its last day, which is a 500; a server that is ill fails the login too
            return is_given
        return is_given or self._token_s >= self._granted_s * SHRUNK

    def _note(self, auth: Mapping[str, Any]) -> None:
        self._token_s = float(auth.get("lease_duration") or auth.get("ttl") or 0)
        self._renewable = bool(auth.get("renewable"))

    def _log_in(self) -> None:
        client = self._client
        self._has_token = False
        if self._method == "token":
            client.token = self._env["VAULT_TOKEN"]
            self._note(client.auth.token.lookup_self()["data"])
        elif self._method == "approle":
            mount = self._env.get("VAULT_APPROLE_MOUNT") or "approle"
            given = client.auth.approle.login(self._env["VAULT_ROLE_ID"], self._secret_id_text(), mount_point=mount)
            self._note(given["auth"])
        else:
            # Read at each login: the cluster turns it.
            jwt = Path(self._env.get("VAULT_K8S_JWT_FILE") or JWT_FILE).read_text(encoding="utf-8").strip()
            mount = self._env.get("VAULT_K8S_MOUNT") or "kubernetes"
            self._note(client.auth.kubernetes.login(self._env["VAULT_K8S_ROLE"], jwt, mount_point=mount)["auth"])
        self._granted_s = self._token_s
        self._has_token = True

    def _secret_id_text(self) -> str | None:
        wrapped = self._env.get("VAULT_WRAPPED_SECRET_ID")
        if wrapped:
            if self._secret_id is None:  # unwrapping works once: whoever did it before us has read the secret id
                self._client.token = wrapped  # unwrapping needs no other token than the wrapping one
                try:
                    told = self._client.sys.unwrap()
                except (self._hvac.exceptions.InvalidRequest, self._hvac.exceptions.Forbidden):
                    told = None
                finally:
                    self._client.token = ""
                if told is None:
                    raise AuthFailed(f"{self.name}: VAULT_WRAPPED_SECRET_ID is used up or void; if nobody here used it, someone else did")
                self._secret_id = Secret(told["data"]["secret_id"])
            return self._secret_id.reveal()
        file = self._env.get("VAULT_SECRET_ID_FILE")
        return Path(file).read_text(encoding="utf-8").strip() if file else self._env.get("VAULT_SECRET_ID")

    def _told(self, error: Exception) -> SurefootError:
        """Our error for one of hvac's: its class and status, never its words, which may quote what was sent."""
        names = {kind.__name__ for kind in type(error).__mro__}
        what = f"{self.name}: {type(error).__name__}"
        if names & {"Forbidden", "Unauthorized"}:
            return AuthFailed(f"{what}: Vault does not let the {self._method} login read this path")
        if "InvalidRequest" in names:
            return AuthFailed(f"{what}: Vault refused the {self._method} login")
        if "InvalidPath" in names:
            return Misconfigured(f"{what}: there is no such path, or no such login at its mount")
        if "FileNotFoundError" in names or "PermissionError" in names:
            return Misconfigured(f"{what}: the file to log in with cannot be read")
        return Transient(f"{what}: Vault cannot be asked now (down, sealed or busy)")


_METHODS = {"VAULT_ROLE_ID": "approle", "VAULT_K8S_ROLE": "kubernetes", "VAULT_TOKEN": "token"}
