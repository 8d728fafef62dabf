"""What a user says of a target and of the policy: frozen, checked when built.

Every default of Policy carries its reason and source beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from numbers import Real
from typing import Any, Literal
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import force_setattr

from surefoot._connection import CONNECTION, check_address, headers_of, options_of
from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.facts import prefixed
from surefoot.rules.spending import Period, period_key
from surefoot.secret import KEY_REFERENCES, Masked
from surefoot.text import clean_fields
from surefoot.types import Call, Secret

# The least cosine at which two questions may be the same, by embedding model: the highest that keeps 95 % of what the rule takes for the
# same on the tuning templates, found by  python -m surefoot_eval semantic --model NAME. It is the second judge; alone it would be none.
THRESHOLDS = {"local:multilingual-e5-small": 0.96}


class Target(Masked, Documented, frozen=True):
    """One model at one provider: `Target("openai:gpt-5-mini", base_url=..., api_key=...)`.

    `api_key` is a string, a Secret, or a reference ("env:NAME", "file:PATH", "vault:PATH#FIELD", ...); left out, the provider's customary
    environment variable is read. `requests_per_minute`, `tokens_per_minute`, `concurrency` left out are learned from its answers.
    `context_tokens` overrides the model's window where the provider cannot tell. `input_usd_per_mtok`/`output_usd_per_mtok` override the
    price list, in US dollars per million tokens. `api_key` may also be a function, sync or async, that gives a token (Entra ID, Vertex);
    it is asked at each attempt, a sync one on a worker thread.

    `lane="sdk"` sends through the vendor's SDK, "direct" without it at a fraction of the cost, "auto" through the SDK where it is
    installed. `client` is an SDK client of your own (AsyncAzureOpenAI, AsyncAnthropicBedrock, any subclass): it signs and sends, on
    surefoot's background loop, so give it to nobody else, and it stays yours to close. Raises Misconfigured for a name without provider, a
    number out of range, an unknown lane, a blank key, an address that is none, or a client beside what it says itself.
    """

    name: str
    """The model and whose it is, as "provider:model", such as "openai:gpt-5-mini"."""
    base_url: str = ""
    """Where its requests go: http:// or https://, up to and including `/v1` where the API has one. Empty: the vendor's environment variable
    (OPENAI_BASE_URL, ...), else the vendor's own address.
    """
    api_key: str | Secret | Callable[[], Any] | None = None
    """A key, a Secret, a reference ("env:NAME", "file:PATH", "vault:PATH#FIELD", ...), or a function, sync or async, that gives a token.
    None: the provider's customary environment variable. A literal key is masked from here on.
    """
    requests_per_minute: float | None = None
    """Rate limit in requests, above 0. None: learned from the provider's headers and 429s, since limits differ by account."""
    tokens_per_minute: float | None = None
    """Rate limit in tokens, question and answer together, above 0. None: learned as above."""
    concurrency: int | None = None
    """Requests at once, at least 1. None: learned; it grows while answers stay quick and shrinks when they fail or slow down."""
    lane: Literal["auto", "sdk", "direct"] = "auto"
    """The way to the provider: "sdk" sends through the vendor's SDK, "direct" without it at a fraction of the cost; "auto" takes the SDK
    where it is installed, because it follows the vendor's changes.
    """
    context_tokens: int | None = None
    """The model's window in tokens, question and answer together, above 0. None: what the provider or the price list says."""
    input_usd_per_mtok: float | None = None
    """US dollars a million input tokens, at least 0. None: the price list's."""
    output_usd_per_mtok: float | None = None
    """US dollars a million output tokens, at least 0. None: the price list's."""
    dimensions: int | None = None
    """Length of an embedding model's vectors, at least 1, where it offers shorter ones. None: the model's own."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further HTTP headers as pairs of name and value, sent with every request."""
    options: tuple[tuple[str, Any], ...] = ()
    """The provider's own settings as pairs of name and value (organization, api_version, device, ...): OPTIONS in its module lists and
    explains them.
    """
    client: Any = None
    """An SDK client of your own that signs and sends. None: ours."""
    proxy: str | None = None
    """The proxy of its requests, "http://USER:PASSWORD@HOST:PORT"; "" for none. None: the environment's (https_proxy, no_proxy)."""
    verify: Any = None
    """Whom it trusts: a file of CA certificates, or an ssl.SSLContext. None: whom the system trusts."""
    cert: Any = None
    """Its client certificate (mTLS): a PEM file, or (certificate, key), or (certificate, key, password). None: it shows none."""

    def __post_init__(self) -> None:
        """Check what can be checked without asking anybody."""
        clean_fields(self)  # names and addresses are often members of a StrEnum
        if isinstance(self.api_key, str) and self.api_key.strip() and not self.api_key.startswith(KEY_REFERENCES):
            force_setattr(self, "api_key", Secret(self.api_key))  # a literal key is masked from here on
        if self.headers:
            force_setattr(self, "headers", headers_of(self.name, self.headers))
        if self.options or any(getattr(self, name) is not None for name in CONNECTION):
            force_setattr(self, "options", options_of(self))
        provider, colon, model = self.name.partition(":")
        if not (provider and colon and model and self.name.isprintable()):
            raise Misconfigured(f"target {self.name!r}: write it as 'provider:model', for example {_written(self.name)!r}")
        for field in ("requests_per_minute", "tokens_per_minute", "concurrency", "context_tokens", "dimensions"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise Misconfigured(f"target {self.name}: {field} = {value!r} must be above 0, or left out to be learned")
        for field in ("input_usd_per_mtok", "output_usd_per_mtok"):
            value = getattr(self, field)
            if value is not None and not (_is_number(value) and 0 <= value < inf):
                raise Misconfigured(f"target {self.name}: {field} = {value!r} must be at least 0, in US dollars per million tokens")
        self._check_way()
        check_address(self.name, self.base_url)
        if isinstance(self.api_key, str | Secret) and not _is_written(self.api_key):
            raise Misconfigured(
                f"target {self.name}: api_key is blank; leave it out to use the environment, or pass a key or a reference such as "
                '"env:OPENAI_API_KEY"'
            )

    def _check_way(self) -> None:
        """Raise Misconfigured for a lane that is none, and for a client beside what it says itself."""
        if self.lane not in {"auto", "sdk", "direct"}:
            raise Misconfigured(f"target {self.name}: lane = {self.lane!r} must be 'auto', 'sdk' or 'direct'")
        if type(self.client).__hash__ is None:
            raise Misconfigured(f"target {self.name}: client is {type(self.client).__name__}, which is no client of an SDK")
        if self.client is not None and (self.lane == "direct" or self.base_url or self.api_key is not None):
            raise Misconfigured(f"target {self.name}: client brings its own way, address and key; leave out lane, base_url and api_key")

    @property
    def provider(self) -> str:
        """The part before the colon."""
        return self.name.partition(":")[0]

    @property
    def model(self) -> str:
        """The part after the first colon."""
        return self.name.partition(":")[2]


def _written(name: str) -> str:
    """How `name` is to be written, as far as anybody knows the model; else an example."""
    return (prefixed(name) if name.isprintable() else "") or "openai:gpt-5-mini"


def _is_written(key: str | Secret) -> bool:
    return bool((key if isinstance(key, str) else key.reveal()).strip())


class Semantic(Struct, Documented, frozen=True, kw_only=True):
    """Cached answers also for the same question in other words: `ChatModel(..., cache="memory", semantic=Semantic())`.

    `embed` compares the questions: "provider:model", a Target, or an EmbedModel (its own policy, cache and ledger then hold). `threshold`
    is the least cosine; left out, the one measured for that model, and for an unknown model it must be given. `patience_s` is how long a
    comparison is waited for. Raises Misconfigured for a number out of range.
    """

    embed: Any = "local:multilingual-e5-small"
    """Compares the questions: "provider:model", a Target, or an EmbedModel. Default: a small model in this process, which costs nothing and
    sends nothing.
    """
    threshold: float | None = None
    """The least cosine, above 0 and at most 1. None: the one measured for the model; for an unknown model it must be given."""
    patience_s: float = 1.0
    """Seconds a comparison is waited for, above 0. A hit must come faster than the call it saves; slower is a miss."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot mean anything."""
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise Misconfigured(f"semantic: threshold = {self.threshold!r} is a cosine above 0, at most 1")
        if not self.patience_s > 0:
            raise Misconfigured(f"semantic: patience_s = {self.patience_s!r} must be above 0")

    def threshold_for(self, embedders: Sequence[str]) -> float:
        """The least cosine for these models of one space. Raises Misconfigured where none is given and none has been measured."""
        if self.threshold is not None:
            return self.threshold
        known = [THRESHOLDS[name] for name in embedders if name in THRESHOLDS]
        if not known:
            raise Misconfigured(
                f"semantic: no threshold has been measured for {', '.join(embedders)}; say Semantic(embed=..., threshold=0.9), "
                "or whatever  python -m surefoot_eval semantic --model NAME  finds for it"
            )
        return max(known)


class SpendLimit(Struct, Documented, frozen=True, kw_only=True):
    """At most `usd` per `period` for `scope`: `SpendLimit(usd=5, scope="tenant", period="day")`.

    Raises Misconfigured for an amount that is not above 0, and for a scope, a period or a mode nobody knows.
    """

    usd: float
    """US dollars, above 0."""
    scope: str = "all"
    """What is added up: "all" calls, each "tenant" by itself, or each value of a tag by itself ("tag:NAME"; calls without it are free)."""
    period: Period = "ever"
    """The word "ever", or a calendar "day" or "month" in UTC."""
    mode: Literal["hard", "soft"] = "hard"
    """Whether it refuses before anything is sent ("hard"), or sends and tells a BudgetWarning ("soft")."""

    def __post_init__(self) -> None:
        """Refuse what would be no limit, or another one than was meant."""
        if not _is_number(self.usd) or not 0 < self.usd < inf:
            raise Misconfigured(f"budgets: usd = {self.usd!r} must be above 0")
        name = self.scope.removeprefix("tag:") if isinstance(self.scope, str) else ""
        if self.scope not in {"all", "tenant"} and not (name.strip() and name != self.scope):
            raise Misconfigured(f"budgets: scope = {self.scope!r} must be 'all', 'tenant' or 'tag:NAME'")
        if self.period not in {"ever", "day", "month"}:
            raise Misconfigured(f"budgets: period = {self.period!r} must be 'ever', 'day' or 'month'")
        if self.mode not in {"hard", "soft"}:
            raise Misconfigured(f"budgets: mode = {self.mode!r} must be 'hard' or 'soft'")

    def account(self, call: Call[Any], *, now_epoch_s: float) -> str | None:
        """The name of the account `call` is charged to; None if this limit does not concern it.

        All that makes the limit is in the name, so that two limits never share an account: "tenant=acme|day|hard|5.0|2026-11-22".
        """
        who = self.scope
        if who != "all":
            value = call.tenant if who == "tenant" else dict(call.tags).get(who.removeprefix("tag:"))
            if value is None:
                return None
            who = f"{quote(who, safe=':')}={quote(value, safe='')}"
        return f"{who}|{self.period}|{self.mode}|{float(self.usd)!r}|{period_key(self.period, now_epoch_s=now_epoch_s)}"


class Policy(Masked, Documented, frozen=True, kw_only=True):
    """How calls are kept on their feet. Seconds unless the name says otherwise; None switches a policy off."""

    deadline_s: float | None = 120.0
    """Seconds for the whole call, above 0: waiting, retries, fallbacks, hedges and the stream together. Vendors' 600 s outlive every caller
    we know. Embedding in this process alone has no default deadline: a large index takes as long as it takes; one that is set holds there,
    too. None, here or per call: whatever arrives whole (a plain answer, an embedding) is never cut, not even with another target at hand.
    """
    attempts: int = 3
    """Wire attempts of one call over all its targets, at least 1. 3 is what AWS, gRPC users and the SRE book settle on."""
    attempts_per_target: int = 2
    """With another target at hand, at most so many go to the same one, at least 1: a fresh host beats a third try at a sick one."""
    backoff_base_s: float = 0.5
    """Seconds the first wait between retries lasts at most, at least 0; this doubles with each, and each wait is drawn between 0 and it
    (full jitter: M. Brooker, AWS Architecture Blog, 2015). The value is the OpenAI SDK's.
    """
    backoff_ceiling_s: float = 8.0
    """Seconds at which that doubling ends, at least 0; a provider's Retry-After may still exceed it. The value is the OpenAI SDK's."""
    connect_s: float | None = 5.0
    """Seconds until a connection must stand, above 0. TCP and TLS take 3 round trips; 5 s is three SYN retransmissions. None: no limit."""
    first_token_s: float | None = 30.0
    """Seconds until the first content token must come, above 0: long prompts and reasoning take many seconds before they speak. None: no
    limit.
    """
    idle_s: float | None = 30.0
    """Seconds of silence allowed between content tokens, above 0; pings do not count. A model that has begun to speak pauses for seconds,
    not for half minutes. None: no limit.
    """
    hedge_after: Literal["p95"] | float | None = None
    """A second request beside a slow one, after the target's own p95 ("p95"), or after so many seconds, above 0. None: never, because it
    costs up to 5 % more requests.
    """
    budget_usd: float | None = None
    """US dollars this model object may spend in this process, above 0. None: no bound. `budgets` has limits per tenant, tag and period."""
    budgets: tuple[SpendLimit, ...] = ()
    """Further limits, per tenant, tag, day or month; every one that concerns a call must have room."""
    budget_store: str = ""
    """Where all spend limits are kept: "redis://..." is shared by everybody who names the same server. Empty: in this process, for this
    model object, since sharing needs a server.
    """
    budget_mode: Literal["hard", "soft"] = "hard"
    """What `budget_usd` does when it is reached: "hard" refuses before sending, "soft" sends and emits a BudgetWarning. Hard, because a
    limit that lets calls pass is none.
    """
    overflow: Literal["refuse", "drop_oldest", "summarise"] = "refuse"
    """A conversation longer than every window at hand: "refuse" it before it is sent, or shorten it by whole turns ("drop_oldest",
    "summarise"). Refused, because only the caller knows what may be left out.
    """
    shared: str | None = None
    """Where the limits of its targets are shared by all processes that name the same store: "redis://...", "postgresql://..." or
    "sqlite:PATH": requests and tokens a minute, places in flight, what was learned of limits, failures and pauses; and spend limits, unless
    `budget_store` says otherwise. None: what the environment variable SUREFOOT_SHARED says, else each process keeps limits for itself.
    Empty: each for itself, whatever the environment says.
    """
    shared_namespace: str = ""
    """Tells fleets apart that name the same store, such as those of two accounts at a provider. Empty: the one they all share."""
    shared_when_away: Literal["share", "refuse"] = "share"
    """What a process does while that store cannot be reached: "share" keeps to its part of the limits as last known, "refuse" sends
    nothing. To go on, because all of them do and each knows how many they are; one cut off alone adds at most its part.
    """
    queue_size: int = 1000
    """Calls waiting for one target before QueueFull, at least 0. 1000 at 1 s each on 20 slots is 50 s of work; who is told to wait longer
    is better refused.
    """
    breaker: bool = True
    """Whether a target that keeps failing is left alone for a while. On, because asking a dead host only keeps callers waiting."""
    breaker_window_s: float = 30.0
    """Seconds over which failures are counted, above 0. Polly's value; a shorter one forgets LLM calls that take a quarter of a minute
    before they have failed.
    """
    breaker_min_calls: int = 10
    """Fewer calls in the window than this, at least 1, prove nothing (resilience4j takes 100; LLM traffic is smaller)."""
    breaker_ratio: float = 0.5
    """The share of failures in the window that opens the breaker, above 0 and at most 1. resilience4j's and LiteLLM's value."""
    breaker_open_s: float = 5.0
    """Seconds a target is left alone, above 0; doubles after each failed trial, up to 7 s. Polly's value."""
    coalesce: bool | None = None
    """Whether identical calls in flight share one answer. None: where the answer is repeatable, that is, temperature is 0, or unset with a
    cache configured.
    """
    resume: bool = False
    """Whether a broken stream is begun anew on the next target, with a marker delta. Off: doubled cost and text are for the reader to
    choose.
    """
    cache_ttl_s: float = 86_400.0
    """Seconds cached answers stay fresh, above 0. A day, so that a model that changed behind its name is noticed within one."""
    cache_stale_s: float = 0.0
    """Seconds past that for which they may be served instead of an error or while being refreshed, at least 0. 0, because a stale answer
    must be wanted.
    """
    cache_sampled: bool | None = None
    """Whether answers at a temperature above 0 are cached, too. None: only repeatable calls are (temperature 0 or unset)."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot mean anything."""
        if self.attempts < 1 or self.attempts_per_target < 1:
            raise Misconfigured(f"policy: attempts = {self.attempts}, attempts_per_target = {self.attempts_per_target}; both start at 1")
        for field in ("deadline_s", "connect_s", "first_token_s", "idle_s", "budget_usd"):
            value = getattr(self, field)
            if value is not None and not (_is_number(value) and value > 0):
                raise Misconfigured(f"policy: {field} = {value!r} must be above 0, or None to switch it off")
        self._check_numbers()
        if self.budget_mode not in {"hard", "soft"}:
            raise Misconfigured(f"policy: budget_mode = {self.budget_mode!r} must be 'hard' or 'soft'")
        if not isinstance(self.budgets, Sequence) or not all(isinstance(one, SpendLimit) for one in self.budgets):
            raise Misconfigured(f"policy: budgets = {self.budgets!r} must be a tuple of SpendLimit(usd=...)")
        if not 0 < self.breaker_ratio <= 1:
            raise Misconfigured(f"policy: breaker_ratio = {self.breaker_ratio!r} is a share between 0 and 1")
        if self.shared_when_away not in {"share", "refuse"}:
            raise Misconfigured(f"policy: shared_when_away = {self.shared_when_away!r} must be 'share' or 'refuse'")
        if not all(isinstance(one, str) for one in (self.shared or "", self.shared_namespace)):
            raise Misconfigured("policy: shared is an address such as 'redis://HOST:6379/0', shared_namespace a word")
        if self.overflow not in {"refuse", "drop_oldest", "summarise"}:
            raise Misconfigured(f"policy: overflow = {self.overflow!r} must be 'refuse', 'drop_oldest' or 'summarise'")
        after = self.hedge_after
        if after is not None and after != "p95" and not (isinstance(after, int | float) and after > 0):
            raise Misconfigured(f"policy: hedge_after = {self.hedge_after!r} must be 'p95', seconds above 0, or None")

    def _check_numbers(self) -> None:
        """Raise Misconfigured for a number below what its field can mean."""
        for field in ("breaker_window_s", "breaker_open_s", "cache_ttl_s"):
            value = getattr(self, field)
            if not (_is_number(value) and value > 0):
                raise Misconfigured(f"policy: {field} = {value!r} must be above 0")
        for field, least in (("queue_size", 0), ("breaker_min_calls", 1)):
            value = getattr(self, field)
            if not (_is_number(value) and value >= least and value % 1 == 0):
                raise Misconfigured(f"policy: {field} = {value!r} must be a whole number of at least {least}")
        for field in ("backoff_base_s", "backoff_ceiling_s", "cache_stale_s"):
            value = getattr(self, field)
            if not (_is_number(value) and value >= 0):
                raise Misconfigured(f"policy: {field} = {value!r} must be at least 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


DEFAULTS = Policy()  # the one place of each default: layers and adapters take theirs from here
