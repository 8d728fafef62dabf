"""Keys in Vault, proven against a real OpenBao server: logins, renewal, rotation, outages."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import hvac
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from surefoot.credentials import key_source
from surefoot.credentials._vault import VaultReader
from surefoot.errors import AuthFailed, Misconfigured, Transient
from surefoot.settings import Target

ROOT = "root-token"
POLICY = 'path "secret/*" { capabilities = ["read"] }'


class Bao:
    """A development server of its own, in memory, on a free port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        program = shutil.which("bao", path=str(Path(sys.executable).parent)) or "bao"
        command = [
            program,
            "server",
            "-dev",
            f"-dev-root-token-id={ROOT}",
            f"-dev-listen-address=127.0.0.1:{self.port}",
            "-dev-no-store-token",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.root = hvac.Client(url=self.url, token=ROOT)
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/v1/sys/health", timeout=1).close()
                break
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def put(self, **fields: str) -> None:
        self.root.secrets.kv.v2.create_or_update_secret("llm", secret=fields, mount_point="secret")

    def token(self, **options) -> str:
        return self.root.auth.token.create(policies=["llm"], **options)["auth"]["client_token"]

    def environment(self, **more: str) -> dict[str, str]:
        return {"VAULT_ADDR": self.url, **more}

    def stop(self) -> None:
        self.process.kill()  # the wrapper replaces itself by the server
        self.process.wait()


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    server = Bao()
    root = server.root
    root.sys.create_or_update_policy("llm", POLICY)
    root.sys.enable_auth_method("approle")
    root.auth.approle.create_or_update_approle("app", token_policies=["llm"], token_ttl="1s", token_max_ttl="3s")
    yield server
    server.stop()


@pytest.fixture
def app(bao: Bao) -> dict[str, str]:
    """The environment of an application with an AppRole whose tokens last 1 s."""
    bao.put(openai="sk-one", other="x")
    role_id = bao.root.auth.approle.read_role_id("app")["data"]["role_id"]
    secret_id = bao.root.auth.approle.generate_secret_id("app")["data"]["secret_id"]
    return bao.environment(VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id)


def read(environment: dict[str, str], reference: str = "secret/data/llm#openai") -> str:
    return VaultReader(reference, environment).read().secret.reveal()


def test_a_field_is_read_with_each_login(bao, app):
    """Token, AppRole, AppRole by file and by wrapped secret id."""
    assert read(app) == "sk-one"
    assert read(bao.environment(VAULT_TOKEN=bao.token())) == "sk-one"
    bao.root.secrets.kv.v2.create_or_update_secret("single", secret={"only": "sk-two"}, mount_point="secret")
    assert read(app, "secret/data/single") == "sk-two"


def test_the_secret_id_may_come_from_a_file(app, tmp_path):
    """So that it stands in no process listing."""
    path = tmp_path / "id"
    path.write_text(app["VAULT_SECRET_ID"] + "\n")
    assert read({k: v for k, v in app.items() if k != "VAULT_SECRET_ID"} | {"VAULT_SECRET_ID_FILE": str(path)}) == "sk-one"


def test_a_wrapped_secret_id_works_once_and_its_second_use_is_an_alarm(bao, app):
    """Whoever unwrapped it before us can log in as us."""
    wrapped = bao.root.auth.approle.generate_secret_id("app", wrap_ttl="60s")["wrap_info"]["token"]
    environment = {k: v for k, v in app.items() if k != "VAULT_SECRET_ID"} | {"VAULT_WRAPPED_SECRET_ID": wrapped}
    reader = VaultReader("secret/data/llm#openai", environment)
    assert reader.read().secret.reveal() == "sk-one"
    bao.root.auth.token.revoke(reader._client.token)
    assert reader.read().secret.reveal() == "sk-one"  # logs in again with what it unwrapped
    with pytest.raises(AuthFailed, match="someone else"):
        read(environment)


class Reviewer(http.server.BaseHTTPRequestHandler):
    """The part of Kubernetes that tells Vault whose token it is."""

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        token = json.loads(self.rfile.read(length))["spec"]["token"]
        user = {"username": "system:serviceaccount:default:app", "uid": "u1", "groups": ["system:serviceaccounts"]}
        status = {"authenticated": token in self.server.valid, "user": user}  # type: ignore[attr-defined]
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        """Say nothing."""


def jwt(serial: int) -> str:
    claims = {
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:app", "serial": serial,
        "kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/service-account.name": "app",
        "kubernetes.io/serviceaccount/service-account.uid": "u1", "exp": 4_000_000_000, "iat": 1_700_000_000,
    }  # fmt: skip
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)] + [b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def ca() -> str:
    """A certificate that signs itself: Vault wants one, though it speaks plain HTTP here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cluster")])
    start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
    draft = x509.CertificateBuilder(name, name, key.public_key(), 1, start, end)
    return draft.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_kubernetes_logs_in_with_the_token_of_the_moment(bao, app, tmp_path):
    """The cluster turns the token in the file; each login reads it anew."""
    with http.server.HTTPServer(("127.0.0.1", 0), Reviewer) as cluster:
        cluster.valid = {jwt(1), jwt(2)}
        threading.Thread(target=cluster.serve_forever, daemon=True).start()
        root = bao.root
        root.sys.enable_auth_method("kubernetes")
        host = f"http://127.0.0.1:{cluster.server_address[1]}"
        root.write(
            "auth/kubernetes/config", kubernetes_host=host, disable_local_ca_jwt=True, token_reviewer_jwt=jwt(0), kubernetes_ca_cert=ca()
        )
        root.write(
            "auth/kubernetes/role/app", bound_service_account_names="app", bound_service_account_namespaces="default", token_policies="llm",
            token_ttl="60s",
        )  # fmt: skip
        path = tmp_path / "token"
        path.write_text(jwt(1))
        reader = VaultReader("secret/data/llm#openai", bao.environment(VAULT_K8S_ROLE="app", VAULT_K8S_JWT_FILE=str(path)))
        assert reader.read().secret.reveal() == "sk-one"
        cluster.valid = {jwt(2)}
        path.write_text(jwt(2))
        root.auth.token.revoke(reader._client.token)
        assert reader.read().secret.reveal() == "sk-one"
        path.write_text(jwt(3))
        root.auth.token.revoke(reader._client.token)
        with pytest.raises(AuthFailed):
            reader.read()
        cluster.shutdown()


def test_the_token_is_renewed_and_at_its_last_day_gotten_anew(app):
    """1 s a renewal, 3 s in all: five seconds of reads every 0.65 s need renewals and a second login, and never fail."""
    reader = VaultReader("secret/data/llm#openai", app)
    tokens = set()
    grants = []
    for _ in range(8):
        grants.append(reader.read())
        tokens.add(reader._client.token)
        time.sleep(0.65)
    assert {grant.secret.reveal() for grant in grants} == {"sk-one"}
    assert all(grant.ttl_s <= 1 for grant in grants)
    assert all(grant.lasts_s is None for grant in grants)
    assert len(tokens) >= 2


def test_a_token_that_was_given_is_renewed_too(bao, app):
    """It cannot be gotten anew, so its time must not run out."""
    reader = VaultReader("secret/data/llm#openai", bao.environment(VAULT_TOKEN=bao.token(ttl="6s", renewable=True)))
    for _ in range(10):
        assert reader.read().secret.reveal() == "sk-one"
        time.sleep(0.8)


async def test_a_turned_key_is_found_after_a_refusal(bao, app, monkeypatch):
    """Rotation without restart, from the reference in the target to the server and back."""
    for name, text in app.items():
        monkeypatch.setenv(name, text)
    source = key_source(Target("openai:m", api_key="vault:secret/data/llm#openai"), ())
    old = await source.get()
    assert old.reveal() == "sk-one"
    bao.put(openai="sk-two")
    assert (await source.renew(old)).reveal() == "sk-two"
    assert (await source.get()).reveal() == "sk-two"


def test_what_is_wrong_is_told_apart(bao, app):
    """A wrong path, a wrong field, a policy that says no, a wrong login: each has its own remedy."""
    with pytest.raises(Misconfigured, match="no such secret"):
        read(app, "secret/data/nothing#x")
    with pytest.raises(Misconfigured, match="the secret has openai, other"):
        read(app, "secret/data/llm#nothing")
    with pytest.raises(Misconfigured, match="openai, other"):
        read(app, "secret/data/llm")
    with pytest.raises(AuthFailed, match="does not let"):
        read(app, "sys/mounts")
    with pytest.raises(AuthFailed, match="login"):
        read({**app, "VAULT_SECRET_ID": "wrong"})
    with pytest.raises(Misconfigured, match="VAULT_ADDR"):
        VaultReader("secret/data/llm#openai", {})
    with pytest.raises(Misconfigured, match="VAULT_ROLE_ID, VAULT_K8S_ROLE, VAULT_TOKEN"):
        VaultReader("secret/data/llm#openai", bao.environment())


def test_a_server_that_is_down_or_sealed_is_transient(app):
    """It may pass; whoever holds a key goes on with it."""
    with pytest.raises(Transient):
        read({**app, "VAULT_ADDR": "http://127.0.0.1:9"})
    own = Bao()
    try:
        own.root.sys.seal()
        with pytest.raises(Transient):
            read(own.environment(VAULT_TOKEN=ROOT))
    finally:
        own.stop()


def test_no_secret_stands_in_an_error(bao, app):
    """hvac's errors hold the request with its token; ours are raised outside of theirs."""
    for environment in ({**app, "VAULT_SECRET_ID": "CANARY-secret-id"}, bao.environment(VAULT_TOKEN="CANARY-token")):
        with pytest.raises(AuthFailed) as caught:
            read(environment)
        assert caught.value.__context__ is None
        assert "CANARY" not in repr(caught.value)
