"""Which of our errors a failure is: the vendor's codes first, then its wordings, then the status.

Vendors report an empty account as 400, 403, 429 or 500 and a prompt too long in a dozen wordings; a code says which it is, a wording almost
always, a status only when nobody said anything. Wordings that stand for one thing alone count whatever the status; those that may mean
something else (a schema's field "tablets per day") count where the status leaves room for what they would mean.

Sources: the vendors' error pages; openai-python#3507 (quota as 429), bespokelabsai/curator#296 (quota as 400), BerriAI/litellm#10793
(context wordings), hermes-agent#16680 (no balance as 500), pydantic-ai#4354 (Groq's failed tool calls), llumiverse#467 (Gemini's 499),
DashScope's, MiniMax', Zhipu's and Volcengine's error codes, as of 2026-11.
"""

from __future__ import annotations

from surefoot.errors import (
    AuthFailed,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    Fault,
    NotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Transient,
)
from surefoot.providers.http.answers.told import Told

# The vendors' own words for it (code, type or status, as `told.plain` has them), whatever the HTTP status says.
CODES: dict[str, type[Fault]] = {
    **dict.fromkeys(
        ("insufficientquota", "billingnotactive", "billinghardlimitreached", "billing", "quotaexceeded", "insufficientcredits",
         "insufficientcredit", "insufficientbalance", "insufficientuserquota", "exceededcurrentquota", "arrearage", "accountoverdue",
         "creditbalancetoolow", "paymentrequired", "balancenotenough", "outofcredits", "notenoughcredits", "spendinglimitreached",
         "prepaidbilloverdue", "postpaidbilloverdue", "preconsumetokenquotafailed", "usagelimitreached", "usagelimitexceeded",
         "freetieronly", "allocationquotafreetieronly", "servicequotaexceeded", "1008", "1113", "1030"),
        QuotaExhausted,
    ),
    **dict.fromkeys(
        ("contextlengthexceeded", "contextwindowexceeded", "exceedcontextsize", "stringabovemaxlength", "maxtokensperrequest",
         "modelcontextwindowexceeded", "promptistoolong", "prompttoolong", "inputtoolong", "contextlength"),
        ContextTooLong,
    ),
    **dict.fromkeys(
        ("contentfilter", "contentpolicyviolation", "responsibleaipolicyviolation", "moderationblocked", "invalidprompt",
         "datainspectionfailed", "inputtextsensitivecontentdetected", "outputtextsensitivecontentdetected", "imagecontentpolicyviolation",
         "biopolicy", "misalignmentpolicyviolation", "1026", "1027", "1301"),
        ContentRefused,
    ),
    **dict.fromkeys(("invalidapikey", "apikeyinvalid", "incorrectapikey", "invalidauthentication", "1004", "2049"), AuthFailed),
    **dict.fromkeys(("modelnotfound", "modelnotexist", "deploymentnotfound"), NotFound),
    **dict.fromkeys(  # the model's own slips, made anew at each asking; a cancel by the server
        ("toolusefailed", "jsonvalidatefailed", "outputparsefailed", "cancelled", "canceled"), Transient,
    ),
    **dict.fromkeys(
        ("invalidfunctionparameters", "invalidvalue", "invalidtype", "missingrequiredparameter", "unsupportedparameter",
         "unsupportedvalue", "unknownparameter", "invalidjsonschema", "invalidschema", "arrayabovemaxlength", "integerabovemaxvalue",
         "integerbelowminvalue", "invalidimage",
         "invalidimageformat", "invalidbase64image", "invalidimageurl", "invalidimagemode", "imagetoolarge", "imagetoosmall",
         "imageparse", "imagefiletoolarge", "unsupportedimagemediatype", "emptyimagefile", "failedtodownloadimage", "imagefilenotfound",
         "decimalabovemaxvalue", "decimalbelowminvalue", "2013"),
        BadRequest,
    ),
    **dict.fromkeys(("1002", "1039", "1302", "1305"), RateLimited),
}  # fmt: skip
NUMBERS = frozenset(word for word in CODES if word.isdecimal())  # they mean this in MiniMax' and Zhipu's errors

# Words that mean the same as a status, for errors that came with none (in a 200, in a stream), or with a gateway's own.
KINDS: dict[str, type[Fault]] = {
    **dict.fromkeys(
        ("ratelimit", "ratelimited", "ratelimitexceeded", "ratelimitreached", "ratelimitusage", "resourceexhausted", "toomanyrequests",
         "throttling", "throttled", "throttlingratequota", "throttlingallocationquota", "throttlingburstrate",
         "limitrequests", "limitburstrate", "requestlimitexceeded", "tokens", "requests"),
        RateLimited,
    ),
    **dict.fromkeys(
        ("authentication", "permission", "permissiondenied", "unauthenticated", "unauthorized", "accessdenied", "forbidden", "invalidtoken",
         "noauth"),
        AuthFailed,
    ),
    **dict.fromkeys(("notfound", "resourcenotfound", "modelnotopen"), NotFound),
    **dict.fromkeys(
        ("invalidrequest", "invalidargument", "requesttoolarge", "badrequest", "invalidparameter", "validation", "failedprecondition",
         "unprocessableentity"),
        BadRequest,
    ),
    **dict.fromkeys(
        ("overloaded", "serveroverloaded", "engineoverloaded", "serviceunavailable", "unavailable", "modeloverloaded"), Overloaded,
    ),
}  # fmt: skip

# Lower case, whatever the status.
PLAIN: tuple[tuple[type[Fault], tuple[str, ...]], ...] = (
    (QuotaExhausted, (
        "credit balance is too low", "insufficient credit", "insufficient balance", "balance is insufficient", "insufficient quota",
        "insufficient_quota", "insufficient account balance", "out of credits", "credits are depleted", "credits have been depleted",
        "credits are exhausted", "run out of credits", "requires more credits", "not enough credits", "no credits left",
        "billing hard limit", "account is in good standing", "account is in arrears", "overdue payment", "payment is overdue",
        "extra usage is required", "余额不足", "欠费", "额度不足",
    )),
    (ContextTooLong, (
        "maximum context length", "context length exceeded", "exceeds the available context size", "exceed context limit",
        "exceeds the context window", "exceeds the maximum number of tokens", "maximum number of tokens allowed", "prompt is too long",
        "longer than the maximum model length", "range of input length should be",
    )),
)  # fmt: skip
# Lower case, where the status is one of the caller's making (4xx) or none came.
WORDINGS: tuple[tuple[type[Fault], tuple[str, ...]], ...] = (
    (QuotaExhausted, ("exceeded your current quota", "spending limit", "api usage limits", "usage limit has been reached")),
    (ContextTooLong, (
        "context window", "context size", "input is too long", "too many tokens", "reduce the length of", "request too large for",
        "maximum allowed input length", "max tokens per request", "must have less than", "input length",
    )),
    (ContentRefused, (
        "content management policy", "safety system", "content policy", "usage policy", "usage policies", "flagged as potentially",
        "content filtering policy", "inappropriate content",
    )),
    (AuthFailed, (
        "api key not valid", "invalid api key", "incorrect api key", "invalid x-api-key", "invalid bearer token",
        "no auth credentials found", "api key is invalid", "missing api key",
    )),
)  # fmt: skip
# Where the status is a limit's (429, 402, 403) or none came: in any other error they may be a field's name.
DAILY = ("per day", "(rpd)", "(tpd)", "daily limit", "daily quota", "-per-day", "perday", "per month", "monthly limit", "monthly quota")
# Where the status says nothing of the kind: gateways answer 400 or 403 for what was a 429.
PASSING: tuple[tuple[type[Fault], tuple[str, ...]], ...] = (
    (RateLimited, ("rate limit", "rate-limit", "too many requests", "request rate", "throttl", "请求过于频繁", "访问量过大")),
    (Overloaded, ("overloaded", "at capacity", "server is busy", "temporarily unavailable")),
)
STATUSES: dict[int, type[Fault]] = {  # all others above 500 are Overloaded, below it BadRequest
    **dict.fromkeys((401, 403, 407, 511), AuthFailed),
    402: QuotaExhausted,
    **dict.fromkeys((404, 410), NotFound),
    **dict.fromkeys((408, 409, 425, 499), Transient),  # timed out while sending, a conflict, too early, cancelled by the server: all pass
    429: RateLimited,
}
LIMIT_STATUSES = frozenset({None, 402, 403, 429})
WAITING = ("wait before trying again", "wait and try again")


def kind_of(status: int | None, about: Told) -> type[Fault]:
    """The class of a failure. `status` None means the error came without one: inside a 200, or inside a stream."""
    for word in about.words:
        if word in CODES and (word not in NUMBERS or status in {None, 429, 500}):
            return CODES[word]
    if status is None:
        status = about.number
    text = about.message.lower()
    is_gemini = "resourceexhausted" in about.words
    for kind, wordings in PLAIN:
        if any(wording in text for wording in wordings):
            return kind
    if status is None or status < 500:
        meant = _by_wording(status, text, is_gemini=is_gemini)
        if meant is not None:
            return meant
    told = next((KINDS[word] for word in about.words if word in KINDS), None)
    if status is None:
        return told or _passing(text) or Overloaded
    if told is not None and (status == 400 or (status >= 500 and told is not BadRequest)):
        return told
    return _by_status(status, text)


def _by_wording(status: int | None, text: str, *, is_gemini: bool) -> type[Fault] | None:
    """What a wording means that may mean something else elsewhere."""
    if any(wording in text for wording in WAITING):
        return None
    for kind, wordings in WORDINGS:
        if is_gemini and kind is QuotaExhausted:
            continue
        if any(wording in text for wording in wordings):
            return kind
    if status in LIMIT_STATUSES and not is_gemini and any(wording in text for wording in DAILY):
        return QuotaExhausted
    return None


def _by_status(status: int, text: str) -> type[Fault]:
    if status in {400, 403} and (found := _passing(text)) is not None:
        return found
    return STATUSES.get(status) or (Overloaded if status >= 500 else BadRequest)


def _passing(text: str) -> type[Fault] | None:
    return next((kind for kind, wordings in PASSING if any(wording in text for wording in wordings)), None)
