"""Where API keys come from: given, environment, .env, plain or encrypted file, AWS Secrets Manager, HashiCorp Vault.

Where a key may go stands beside it: `placed` gives a target the address and headers that the environment names for its provider.

A key is read when it is needed, kept in a Secret and never in a message. One that is refused is looked up again: rotation needs no restart.

    env:NAME                    an environment variable, or a line of ./.env (SUREFOOT_DOTENV names another file; empty: none)
    file:PATH                   a mounted secret
    age:PATH#REFERENCE          encrypted; the reference (env:NAME, file:PATH) gives the identity; left out: env:SUREFOOT_AGE_IDENTITY
    fernet:PATH#REFERENCE       likewise; left out: env:SUREFOOT_FERNET_KEY
    aws:SECRET_ID#FIELD         AWS Secrets Manager; the field of a JSON secret, or all of it
    vault:PATH#FIELD            HashiCorp Vault or OpenBao; see `_vault`
    adc:                        an access token of Google Cloud's application default credentials
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from surefoot.credentials._dotenv import dotenv_path, in_dotenv
from surefoot.credentials._leased import Grant, Leased
from surefoot.credentials._sealed import FromSealedFile
from surefoot.errors import Misconfigured, SurefootError, Transient
from surefoot.providers.registry import load
from surefoot.secret import KEY_HEADERS, PLACEHOLDER, KeySource, Secret

if TYPE_CHECKING:
    from surefoot.settings import Target


class Given:
    """A key that was passed in."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def get(self) -> Secret | None:
        """The key."""
        return self._secret

    async def renew(self, bad: Secret) -> Secret | None:
        """There is no other key."""
        del bad
        return None


class FromFunction:
    """A token that a function of the caller's gives, asked at each attempt: it knows best when a new one is due.

    A coroutine function is awaited on the background loop; another runs on a worker thread, since it may ask a server.
    """

    def __init__(self, function: Callable[[], Any], *, name: str) -> None:
        self._function = function
        self._name = name
        self._last: Secret | None = None

    async def get(self) -> Secret | None:
        """The token now; the same Secret while it stays the same.

        Raises Transient if the function fails, Misconfigured if it gives no text.
        """
        try:
            if inspect.iscoroutinefunction(self._function):
                value = await self._function()
            else:
                value = await asyncio.to_thread(self._function)
                if inspect.isawaitable(value):
                    value = await value
        except SurefootError:
            raise
        except Exception as error:
            raise Transient(f"{self._name}: the api_key function failed ({type(error).__name__})", target=self._name) from error
        token = Secret(value) if isinstance(value, str) else value
        if not isinstance(token, Secret) or not token:
            raise Misconfigured(f"target {self._name}: the api_key function gave {type(value).__name__} where a token belongs")
        if token != self._last:
            self._last = token
        return self._last

    async def renew(self, bad: Secret) -> Secret | None:
        """What the function gives after the provider refused `bad`, if that is another token."""
        now = await self.get()
        return None if now == bad else now


class FromEnvironment:
    """A key in an environment variable or the .env file. The file is read when the model is built, and again after the provider refused."""

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._last = _in_environment(variable) or in_dotenv(variable)
        self._in_file = None if _in_environment(variable) else self._last

    async def get(self) -> Secret | None:
        """The variable's value now, or the file's as last read; the same Secret while it stays the same."""
        value = _in_environment(self._variable) or self._in_file
        if not value:  # the variable has gone since the model was built
            value = self._in_file = await asyncio.to_thread(in_dotenv, self._variable)
        if not value:
            raise Misconfigured(f"no key: the environment variable {self._variable} is not set; set it, or pass api_key")
        if value != self._last:
            self._last = value
        return self._last

    async def renew(self, bad: Secret) -> Secret | None:
        """The value, if it changed meanwhile, in the environment or in the file."""
        if not _in_environment(self._variable):
            self._in_file = await asyncio.to_thread(in_dotenv, self._variable)
        now = await self.get()
        return None if now == bad else now


class FromFile:
    """A key in a file (a mounted secret); read again after the provider refused it, so rotation needs no restart."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._secret: Secret = self._read()

    def _read(self) -> Secret:
        try:
            value = Secret(self._path.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise Misconfigured(f"no key: cannot read the key file {self._path}: {error.strerror}") from error
        if not value:
            raise Misconfigured(f"no key: the key file {self._path} is empty")
        return value

    async def get(self) -> Secret | None:
        """The file's content as last read."""
        return self._secret

    async def renew(self, bad: Secret) -> Secret | None:
        """The file's content, if it changed meanwhile."""
        self._secret = await asyncio.to_thread(self._read)
        return None if self._secret == bad else self._secret


def _in_environment(name: str) -> Secret | None:
    return Secret(os.environ.get(name, "")) or None  # noqa: TID251 - one of the readers of the environment


def _variable(name: str) -> Secret | None:
    """An environment variable, or else the line of that name in the .env file, which never enters the environment itself."""
    return _in_environment(name) or in_dotenv(name)


def at_hand(variables: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of `variables` that holds a key, and where it stands ("the environment" or the .env file's path); None if none does.

    Raises Misconfigured where a .env file names one of them and python-dotenv, which reads it, is not installed.
    """
    for variable in variables:
        if os.environ.get(variable, "").strip():  # noqa: TID251 - one of the readers of the environment
            return variable, "the environment"
    for variable in variables:
        found = in_dotenv(variable)
        if found is not None and found.reveal().strip():
            return variable, str(dotenv_path())
    return None


class KnownProvider(Protocol):
    """What is known of one provider's address and key: what `placed` and `key_source` need of a `facts.ProviderFacts`."""

    @property
    def address(self) -> str:
        """The provider's own address, "" where there is none."""

    @property
    def address_variable(self) -> str:
        """Names the base address, "" if there is none."""

    @property
    def headers_variable(self) -> str:
        """Names headers for every request, a "Name: value" a line."""

    @property
    def option_variables(self) -> tuple[tuple[str, str], ...]:
        """Options of the target, each with the variable it is taken from; of several for one option the first that is set counts."""

    @property
    def place(self) -> str:
        """The function that makes an address of a target's own and its options, "module:function"; "" for none."""

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """What options are where a target does not say."""

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The customary environment variables of its key, looked at when the target names none."""

    @property
    def keyless(self) -> str:
        """Where no key is needed: "elsewhere" than at its own address, "nowhere" or "everywhere"."""

    @property
    def key_reference(self) -> str:
        """The reference that gives the key where no variable does; "" where there is none."""

    @property
    def signs(self) -> bool:
        """Whether its SDK finds credentials by itself."""


def placed(target: Target, known: KnownProvider) -> Target:
    """`target` with the address, headers and options that the environment (or the .env file) names for its provider.

    What the target says itself wins; one with a client of the caller's stays as it is. Resolved here, once, and not by a lane: the same key
    goes to the same host on each of them, and the cache and the shared endpoint know the address that is asked. Raises Misconfigured for an
    address that is none, and where a provider without an address of its own is given none.
    """
    if target.client is not None:
        return target
    said = dict(target.options)
    options: dict[str, Any] = {}
    for option, name in known.option_variables:
        if option not in said and option not in options and (value := _text(name)):
            options[option] = value
    given = {name.lower() for name, _ in target.headers}
    lines = [line.partition(":") for line in _text(known.headers_variable).splitlines() if ":" in line]
    headers = tuple((name.strip(), value.strip()) for name, _, value in lines if name.strip().lower() not in given)
    if headers or options:
        target = replace(target, headers=(*headers, *target.headers), options=(*target.options, *options.items()))
    address = "" if target.base_url else _text(known.address_variable)
    try:
        if known.place:
            asked = address or target.base_url
            address = load(known.place)(target, asked, {**dict(known.options), **dict(target.options)})
        return replace(target, base_url=address) if address else target
    except Misconfigured as error:
        if not address or target.base_url:
            raise
        raise Misconfigured(f"the environment variable {known.address_variable}: {error}") from None


def _text(name: str) -> str:
    found = _variable(name) if name else None
    return found.reveal().strip() if found is not None else ""


def keys_of(target: Target, known: KnownProvider) -> KeySource | None:
    """Where the key of `target` comes from, by what is known of its provider; None where it needs none, or its SDK signs by itself."""
    is_said = target.api_key is not None or target.client is not None
    if not known.key_variables and known.keyless == "everywhere" and not is_said:
        return Given(PLACEHOLDER)
    is_at_home = bool(known.place) and target.base_url == known.address
    keyless = "nowhere" if is_at_home and known.keyless == "elsewhere" else known.keyless
    try:
        found = key_source(target, known.key_variables, keyless=keyless)
    except Misconfigured:
        if is_said or not known.signs:
            raise
        return None
    return by_reference(known.key_reference) if found is None and known.key_reference and not is_said else found


def key_source(target: Target, variables: tuple[str, ...], *, keyless: str = "elsewhere") -> KeySource | None:
    """Where the key of `target` comes from; None where its provider needs none.

    `variables` are the provider's customary environment variables, looked at when the target names no key. Raises Misconfigured, naming
    the variable to set, if there is no key at all. A placeholder stands for it where `keyless` says that none is needed: "elsewhere", that
    is for a target with a `base_url` of its own (local servers), "everywhere" or "nowhere"; and where the target's headers hold the key.
    What lies in AWS or Vault is fetched with the first call.
    """
    key = target.api_key
    if target.client is not None:
        return None  # it signs by itself
    if isinstance(key, Secret) or callable(key):
        return Given(key) if isinstance(key, Secret) else FromFunction(key, name=target.name)
    if key is not None:
        try:
            return by_reference(key)
        except Misconfigured as error:
            raise Misconfigured(f"target {target.name}: {error}") from None
    if not variables:
        return None
    has_own = any(name.lower() in KEY_HEADERS for name, _ in target.headers)
    found = None if has_own else next((variable for variable in variables if _variable(variable)), None)
    if found is not None:
        return FromEnvironment(found)
    if has_own or keyless == "everywhere" or (keyless == "elsewhere" and target.base_url):
        return Given(PLACEHOLDER)
    raise Misconfigured(f"target {target.name}: no key; set the environment variable {' or '.join(variables[:2])} or pass api_key")


def by_reference(reference: str) -> KeySource:
    """The source behind a reference such as "env:NAME". Raises Misconfigured if it cannot give a key."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        if not _variable(rest):
            raise Misconfigured(f"api_key is {reference!r}, but the environment variable {rest} is not set")
        return FromEnvironment(rest)
    if scheme == "file":
        return FromFile(rest)
    if scheme in {"age", "fernet"}:
        return FromSealedFile(scheme, rest, _opener)
    if scheme == "aws":
        from surefoot.credentials._aws import AWSReader

        return _in_thread(AWSReader(rest))
    if scheme == "vault":
        from surefoot.credentials._vault import VaultReader

        return _in_thread(VaultReader(rest, os.environ))  # noqa: TID251 - one of the readers of the environment
    if scheme == "adc":
        from surefoot.credentials._google import GoogleTokenReader

        return _in_thread(GoogleTokenReader())
    raise Misconfigured(f"api_key reference {scheme!r} is not known; known are env, file, age, fernet, aws, vault and adc")


def _opener(reference: str) -> Secret:
    """What opens an encrypted file."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        found = _variable(rest)
        if found is None:
            raise Misconfigured(f"what opens the encrypted key file is not there: the environment variable {rest} is not set")
        return found
    if scheme == "file":
        return FromFile(rest)._read()  # noqa: SLF001 - same module
    raise Misconfigured(f"an encrypted key file is opened with env:NAME or file:PATH, not with {scheme!r}")


def _in_thread(reader: _Reader) -> Leased:
    read: Callable[[], Grant] = reader.read
    return Leased(lambda: asyncio.to_thread(read), name=reader.name)


if TYPE_CHECKING:
    from surefoot.credentials._aws import AWSReader
    from surefoot.credentials._google import GoogleTokenReader
    from surefoot.credentials._vault import VaultReader

    _Reader = AWSReader | GoogleTokenReader | VaultReader


def said_in_environment(variable: str) -> str:
    """The value of a setting that may stand in the environment; "" if it does not."""
    found = _in_environment(variable)
    return found.reveal() if found else ""
