"""Where keys come from, and that they turn without restart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dotenv
import pyrage
import pytest
from cryptography.fernet import Fernet
from moto.server import ThreadedMotoServer

from surefoot.credentials import by_reference, key_source, placed
from surefoot.errors import AuthFailed, Misconfigured, Transient
from surefoot.providers.registry import PROVIDERS
from surefoot.secret import Secret
from surefoot.settings import Target

VARIABLES = ("SUREFOOT_TEST_KEY",)


async def value(target):
    source = key_source(target, VARIABLES)
    assert source is not None
    secret = await source.get()
    assert secret is not None
    return secret.reveal()


async def test_a_given_key_wins_over_the_environment(monkeypatch):
    """What is said beats what is lying about."""
    monkeypatch.setenv(VARIABLES[0], "env")
    assert await value(Target("openai:m", api_key="given")) == "given"
    assert await value(Target("openai:m")) == "env"


async def test_a_file_is_read_again_after_a_refusal(tmp_path):
    """Rotation without restart: the orchestrator rewrites the file."""
    path = tmp_path / "key"
    path.write_text("old\n")
    source = key_source(Target("openai:m", api_key=f"file:{path}"), VARIABLES)
    old = await source.get()
    assert old.reveal() == "old"
    assert await source.renew(old) is None
    path.write_text("new")
    assert (await source.renew(old)).reveal() == "new"
    assert (await source.get()).reveal() == "new"


@pytest.mark.parametrize("kind", ["sync", "async", "gives an awaitable"])
async def test_a_function_gives_a_token_at_each_attempt(kind):
    """Entra ID and the like: tokens last an hour, and the function knows when a new one is due. A sync one may ask a server."""
    tokens, threads = iter(["first", "first", "second", "second", "second"]), set()

    async def later():
        return next(tokens)

    def now():
        threads.add(threading.current_thread())
        return later() if kind == "gives an awaitable" else Secret(next(tokens))

    source = key_source(Target("openai:m", api_key=later if kind == "async" else now), ("OPENAI_API_KEY",))
    first = await source.get()
    assert first.reveal() == "first"
    assert await source.get() is first  # the signed headers are kept as long as it is the same
    assert (await source.renew(first)).reveal() == "second"
    assert await source.renew(Secret("second")) is None
    assert (await source.get()).reveal() == "second"
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda: 1 / 0, Transient, "failed \\(ZeroDivisionError\\)"),
        (lambda: None, Misconfigured, "NoneType where a token"),
        (lambda: "", Misconfigured, "str where a token"),
        (lambda: b"token", Misconfigured, "bytes where a token"),
    ],
)
async def test_a_function_that_gives_no_token_is_told(function, error, words):
    """A token service that is down passes; a wrong type does not."""
    with pytest.raises(error, match=words):
        await key_source(Target("openai:m", api_key=function), ()).get()


async def test_a_local_server_needs_no_key(monkeypatch):
    """vLLM and Ollama look at none."""
    monkeypatch.delenv(VARIABLES[0], raising=False)
    assert await value(Target("openai:m", base_url="http://127.0.0.1:9/v1"))


@pytest.mark.parametrize(
    ("key", "word"),
    [(None, "SUREFOOT_TEST_KEY"), ("env:NO_SUCH", "NO_SUCH"), ("file:/no/such/file", "cannot read")],
)
def test_a_missing_key_names_where_to_put_it(key, word, monkeypatch):
    """When the model is built, before anything is sent."""
    monkeypatch.delenv(VARIABLES[0], raising=False)
    with pytest.raises(Misconfigured, match=word):
        key_source(Target("openai:m", api_key=key), VARIABLES)


# .env


async def test_a_dotenv_file_stands_in_for_the_environment_and_never_enters_it(tmp_path, monkeypatch):
    """A key in the environment is inherited by every child process; the file's is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLES[0], raising=False)
    path = tmp_path / ".env"
    path.write_text(f"# keys\nexport {VARIABLES[0]}='sk-dotenv'  # mine\n")
    source = key_source(Target("openai:m"), VARIABLES)
    old = await source.get()
    assert old.reveal() == "sk-dotenv"
    path.write_text(f"{VARIABLES[0]}=sk-new\nOTHER=1\n")
    assert (await source.renew(old)).reveal() == "sk-new"
    assert (await by_reference("env:OTHER").get()).reveal() == "1"
    assert VARIABLES[0] not in __import__("os").environ
    monkeypatch.setenv(VARIABLES[0], "sk-environment")
    assert await value(Target("openai:m")) == "sk-environment"


async def test_a_dotenv_file_is_parsed_once_and_never_on_the_loop(tmp_path, monkeypatch):
    """One parse for all variables a target looks at, none for a call; a changed file is seen by the next model, or after a refusal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLES[0], raising=False)
    (tmp_path / ".env").write_text(f"{VARIABLES[0]}=sk-one\n")
    where: list[str] = []
    original = dotenv.dotenv_values

    def noted(path: str) -> dict[str, str | None]:
        where.append(threading.current_thread().name)
        return original(path)

    monkeypatch.setattr(dotenv, "dotenv_values", noted)
    target = placed(Target("openai:m"), PROVIDERS["openai"])
    source = key_source(target, VARIABLES)
    assert key_source(Target("openai:n"), ("ABSENT", *VARIABLES)) is not None
    assert len(where) == 1
    with monkeypatch.context() as patched:
        for name in ("stat", "read_text", "is_file", "open"):
            patched.setattr(Path, name, None)  # whoever looks at the file fails
        first = await source.get()
        assert all([await source.get() is first for _ in range(20)])
        patched.setenv(VARIABLES[0], "sk-environment")
        assert (await source.get()).reveal() == "sk-environment"
    assert await source.get() == first
    assert await source.renew(first) is None
    (tmp_path / ".env").write_text(f"{VARIABLES[0]}=sk-two-and-longer\n")
    assert (await key_source(Target("openai:m"), VARIABLES).get()).reveal() == "sk-two-and-longer"
    (tmp_path / ".env").write_text(f"{VARIABLES[0]}=sk-three-and-longer-still\n")
    assert (await source.renew(first)).reveal() == "sk-three-and-longer-still"
    assert where[:2] == [threading.main_thread().name] * 2
    assert where[2] != threading.main_thread().name
    assert len(where) == 3


@pytest.mark.parametrize("scheme", ["file", "fernet"])
async def test_a_key_file_is_read_again_on_a_worker_thread(scheme, tmp_path, monkeypatch):
    """A mounted secret may lie on a disk that hangs."""
    path = tmp_path / "key"
    fernet = Fernet.generate_key()
    monkeypatch.setenv("SUREFOOT_FERNET_KEY", fernet.decode())

    def put(text: str) -> None:
        path.write_bytes(text.encode() if scheme == "file" else Fernet(fernet).encrypt(text.encode()))

    put("sk-one")
    source = by_reference(f"{scheme}:{path}")
    old = await source.get()
    put("sk-two")
    readers: list[str] = []
    original = Path.read_bytes if scheme == "fernet" else Path.read_text

    def noted(self: Path, *args: Any, **words: Any) -> Any:
        readers.append(threading.current_thread().name)
        return original(self, *args, **words)

    monkeypatch.setattr(Path, original.__name__, noted)
    assert (await source.renew(old)).reveal() == "sk-two"
    assert readers
    assert threading.main_thread().name not in readers


@pytest.mark.parametrize("text", ["", "elsewhere/.env"])
def test_a_dotenv_file_can_be_named_or_ruled_out(text, tmp_path, monkeypatch):
    """A file that happens to lie in the working directory is not always one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLES[0], raising=False)
    (tmp_path / ".env").write_text(f"{VARIABLES[0]}=sk-dotenv\n")
    monkeypatch.setenv("SUREFOOT_DOTENV", text)
    with pytest.raises(Misconfigured, match=VARIABLES[0]):
        key_source(Target("openai:m"), VARIABLES)


# Encrypted files


def age_file(tmp_path, text: str) -> tuple[str, str]:
    """A file for a new identity, and that identity as age-keygen writes it."""
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path / "key.age"
    path.write_bytes(pyrage.encrypt(text.encode(), [identity.to_public()], armored=True))
    return str(path), f"# created: today\n# public key: {identity.to_public()}\n{identity}\n"


async def test_an_age_file_is_opened_with_the_identity_of_a_reference(tmp_path, monkeypatch):
    """By file, by variable, or by the customary variable; a turned key is found after a refusal."""
    path, identity = age_file(tmp_path, "sk-age\n")
    (tmp_path / "identity.txt").write_text(identity)
    assert await value(Target("openai:m", api_key=f"age:{path}#file:{tmp_path}/identity.txt")) == "sk-age"
    monkeypatch.setenv("MINE", identity)
    monkeypatch.setenv("SUREFOOT_AGE_IDENTITY", identity)
    assert await value(Target("openai:m", api_key=f"age:{path}#env:MINE")) == "sk-age"
    source = by_reference(f"age:{path}")
    old = await source.get()
    assert await source.renew(old) is None
    recipient = pyrage.x25519.Identity.from_str(identity.splitlines()[-1]).to_public()
    (tmp_path / "key.age").write_bytes(pyrage.encrypt(b"sk-new", [recipient]))
    assert (await source.renew(old)).reveal() == "sk-new"


async def test_a_fernet_file_is_opened_with_any_of_several_keys(tmp_path, monkeypatch):
    """The opening key turns too; files sealed with the last one stay readable."""
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    path = tmp_path / "key.fernet"
    path.write_bytes(Fernet(old).encrypt(b"sk-fernet"))
    monkeypatch.setenv("SUREFOOT_FERNET_KEY", f"{new}\n{old}\n")
    assert await value(Target("openai:m", api_key=f"fernet:{path}")) == "sk-fernet"


def test_an_encrypted_file_that_does_not_open_says_what_is_wrong(tmp_path, monkeypatch):
    """When the model is built, without a byte of what was tried."""
    path, identity = age_file(tmp_path, "sk-age")
    monkeypatch.setenv("CANARY_KEY", "AGE-SECRET-KEY-CANARY")
    monkeypatch.setenv("OTHER_IDENTITY", str(pyrage.x25519.Identity.generate()))
    monkeypatch.delenv("SUREFOOT_AGE_IDENTITY", raising=False)
    wrongs = {
        f"age:{path}#env:CANARY_KEY": "does not open", f"age:{path}#env:OTHER_IDENTITY": "does not open",
        f"age:{path}": "SUREFOOT_AGE_IDENTITY", f"age:{path}#vault:x": "env:NAME or file:PATH",
        f"fernet:{path}#env:CANARY_KEY": "does not open", "age:/no/such#env:CANARY_KEY": "cannot read",
        "gpg:x": "known are",
    }  # fmt: skip
    for reference, word in wrongs.items():
        with pytest.raises(Misconfigured, match=word) as caught:
            by_reference(reference)
        assert "CANARY-" not in "".join(map(str, (caught.value, caught.value.__cause__)))
    assert identity


# AWS Secrets Manager, as moto's server speaks it


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto, monkeypatch):
    """A secrets manager with a plain and a JSON secret, and the environment that leads to it."""
    for name, text in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto, "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "CANARY-aws", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, text)
    client = boto3.client("secretsmanager")
    for name, text in {"plain": "sk-aws", "team/llm": json.dumps({"openai": "sk-one", "n": 1})}.items():
        try:
            client.create_secret(Name=name, SecretString=text)
        except client.exceptions.ResourceExistsException:
            client.put_secret_value(SecretId=name, SecretString=text)
    return client


async def test_a_secret_of_aws_is_read_whole_by_field_and_anew(aws):
    """Plain, JSON, by ARN; a turned key is found after a refusal."""
    assert await value(Target("openai:m", api_key="aws:plain")) == "sk-aws"
    arn = aws.describe_secret(SecretId="team/llm")["ARN"]
    source = by_reference(f"aws:{arn}#openai")
    old = await source.get()
    assert old.reveal() == "sk-one"
    aws.put_secret_value(SecretId="team/llm", SecretString=json.dumps({"openai": "sk-two"}))
    assert (await source.renew(old)).reveal() == "sk-two"


async def test_what_is_wrong_at_aws_is_told_apart(aws, monkeypatch):
    """A wrong name, a wrong field, nobody to ask, nobody who asks."""
    for reference, word in {
        "aws:nothing": "no such secret",
        "aws:team/llm#x": "has n, openai",
        "aws:team/llm#n": "no text",
        "aws:plain#x": "no JSON",
    }.items():
        with pytest.raises(Misconfigured, match=word):
            await by_reference(reference).get()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(Transient) as caught:
        await by_reference("aws:plain").get()
    assert caught.value.__context__ is None
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(AuthFailed):
        await by_reference("aws:plain").get()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(Misconfigured, match="AWS_DEFAULT_REGION"):
        await by_reference("aws:plain").get()
