"""surefoot.toml: what nobody understands fails at load, naming the line and the nearest known word."""

from __future__ import annotations

import pytest

from surefoot import load
from surefoot.config import read
from surefoot.errors import Misconfigured

GOOD = """
[chat.default]
targets = ["openai:gpt-5-mini", "local:extractive"]
[chat.default.policy]
deadline_s = 60
[chat.default.options]
temperature = 0
extra = { top_k = 3 }
[chat.pair]
targets = [["openai:gpt-5-mini", "openai:b"], "local:extractive"]
[target."openai:gpt-5-mini"]
requests_per_minute = 500
base_url = "http://127.0.0.1:9/v1"
[target."openai:b"]
base_url = "http://127.0.0.1:9/v1"
headers = { x-team = "search" }
"""


def file(tmp_path, text):
    path = tmp_path / "surefoot.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_models(tmp_path):
    """The same words as in Python."""
    models = load(file(tmp_path, GOOD))
    assert models.chat().targets == ("openai:gpt-5-mini", "local:extractive")
    assert models.chat().policy.deadline_s == 60
    assert models.chat("pair").targets == ("openai:gpt-5-mini", "openai:b", "local:extractive")
    assert "temperature=0" in models.chat().describe()
    assert models.chat() is models.chat("default")
    assert models.names("chat") == ("default", "pair")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("deadline_s", "deadline", ["line 5", "'deadline'", "'deadline_s'"]),
        ("deadline_s", "deadline_ms", ["line 5", "'deadline_s'"]),
        ("deadline_s = 60", 'deadline_s = "60"', ["line 5", "deadline_s"]),
        ("deadline_s = 60", "deadline_s = -1", ["deadline_s"]),
        ("[chat.pair]", "[chta.pair]", ["line 9", "'chat'"]),
        ("requests_per_minute", "request_per_minute", ["line 12", "'requests_per_minute'"]),
        ('[target."openai:b"]', '[target."openai:c"]', ["line 14", "used by no model", "openai:b"]),
        ('targets = ["openai:gpt-5-mini", "local:extractive"]', "", ["line 2", "needs targets"]),
        ('"local:extractive"]\n[chat.default', "7]\n[chat.default", ["not 7"]),
        ("temperature", "temprature", ["line 7", "'temperature'"]),
        ("temperature = 0", 'temperature = "0"', ["line 7", "finite number"]),
        ("[chat.default]", "[chat.default", ["not TOML", "line 2"]),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, words):
    """Whoever mistyped finds it at once."""
    assert old in GOOD
    with pytest.raises(Misconfigured) as caught:
        load(file(tmp_path, GOOD.replace(old, new, 1)))
    for word in words:
        assert word in str(caught.value)


SAME_WORDS = """[target."openai:a"]
requests_per_minute = 500
concurrency = 4 # requests_per_minute
[chat.default]
targets = ["openai:a"]
cache = "memory"
[chat.default.semantic]
threshold = 0.9
[chat.other]
targets = [
  "openai:a",
  ["local:extractive", "openai:a"],
]
[chat.other.policy]
deadline_s = 60
[[chat.other.policy.budgets]]
usd = 1
[[chat.other.policy.budgets]]
usd = 2
period = "day"
[embed.default]
targets = ["local:multilingual-e5-small"]
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("[embed.default]", "[embed.default.semantic]\nthreshold = 0.9\n[embed.default]", 21, "unknown key in .embed.default.: 'semantic'"),
        ("deadline_s = 60", "concurrency = 4", 15, "'concurrency'"),
        ("deadline_s = 60", "requests_per_minute = 4", 15, "'requests_per_minute'"),
        ("usd = 2", "usd = 2\ndeadline_s = 60", 20, "'deadline_s'"),
        ("usd = 2", "usd = -2", 19, "usd = -2"),
        ("usd = 2", 'usd = "2"', 19, "usd"),
        ('period = "day"', 'period = "week"', 20, "period"),
        ("deadline_s = 60", "attempts = 0", 15, "attempts = 0"),
        ("deadline_s = 60", "usd = 1", 15, "'usd'"),
        ('  ["local:extractive"', '  ["local"', 12, "'local': write it as 'provider:model'"),
        ('  ["local:extractive"', "  [7", 12, "not 7"),
        ("concurrency = 4", "concurrency = 0", 3, "concurrency = 0"),
        ("concurrency = 4", 'concurrency = "4"', 3, "concurrency"),
        ("threshold = 0.9", "threshold = 9", 8, "threshold = 9"),
        ("threshold = 0.9", "embed = 3", 8, "not 3"),
        ('cache = "memory"', "cache = 3", 6, "cache is text"),
        ("[chat.other.policy]", "[chat.other]\npolicy = 3\n[chat.third]", 14, "twice, first on line 9"),
        ('cache = "memory"', 'ledger = """\na"""\ntargets = [\n"x"\n]', 8, "chat.default.targets stands there twice, first on line 5"),
        ('["local:multilingual-e5-small"]', "[]", 22, "needs targets"),
        ("[embed.default]", "[[embed.default]]", 21, "must be a table"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_own_line_also_where_the_word_stands_rightly_elsewhere(tmp_path, old, new, line, words):
    """The first place of the word was named, which was right: the reader looked there and found nothing."""
    assert read(file(tmp_path, SAME_WORDS)).names("chat") == ("default", "other")
    assert old in SAME_WORDS
    with pytest.raises(Misconfigured, match=words) as caught:
        load(file(tmp_path, SAME_WORDS.replace(old, new, 1)))
    assert f"surefoot.toml, line {line}: " in str(caught.value)


def test_a_file_that_cannot_be_parsed_is_a_misconfigured_one(tmp_path):
    """Whatever is wrong with it."""
    path = tmp_path / "surefoot.toml"
    path.write_bytes(b"[chat.default]\n# caf\xe9\n")
    with pytest.raises(Misconfigured, match="line 2: not UTF-8"):
        load(path)
    with pytest.raises(Misconfigured, match="deep"):
        load(file(tmp_path, "a = " + "[" * 100_000))


def test_what_fails_when_a_model_is_built_names_its_table(tmp_path, monkeypatch):
    """A missing key or package is found only then."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    models = read(
        file(tmp_path, '[chat.a]\ntargets = ["local:extractive"]\n[chat.b]\ntargets = ["openai:m"]\n[chat.c]\ntargets = ["opnai:m"]\n')
    )
    with pytest.raises(Misconfigured, match=r"surefoot.toml, line 4: \[chat.b\]: .*OPENAI_API_KEY"):
        models.chat("b")
    with pytest.raises(Misconfigured, match=r"line 6: \[chat.c\]: .*did you mean 'openai'"):
        models.chat("c")


def test_missing_file_name_and_key(tmp_path, monkeypatch):
    """Each names what to do."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(tmp_path / "none.toml")
    models = read(file(tmp_path, '[chat.default]\ntargets = ["openai:gpt-5-mini"]\n'))
    with pytest.raises(Misconfigured, match=r"no \[chat.other\]"):
        models.chat("other")
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        models.chat()
    with pytest.raises(Misconfigured, match="describes no model"):
        load(file(tmp_path, ""))


HEAD = '[chat.default]\ntargets = ["openai:m"]\n'
KEY = '[target."openai:m"]\napi_key = "sk-x"\n'
REFUSED = [
    ("a key that nobody gave", HEAD, 2, "OPENAI_API_KEY"),
    ("a key in a variable that is not set", HEAD + '[target."openai:m"]\napi_key = "env:NOPE"\n', 4, "NOPE is not set"),
    ("a key in a file that is not there", HEAD + '[target."openai:m"]\n\napi_key = "file:/nope"\n', 5, "/nope"),
    ("an unknown provider", '[chat.default]\n\ntargets = ["local:extractive", "opnai:m"]\n', 3, "did you mean 'openai'"),
    ("an unknown cache", HEAD + 'cache = "memcached://x"\n' + KEY, 3, "sqlite:PATH"),
    ("a misspelt cache", HEAD + 'cache = "memroy"\n' + KEY, 3, "memory"),
    ("an unknown ledger", HEAD + 'ledger = "mysql://x"\n' + KEY, 3, "ledger"),
    (
        "an unknown store of budgets",
        HEAD + '[chat.default.policy]\nbudget_usd = 1\nbudget_store = "foo://x"\n' + KEY,
        5,
        "budget_store: write",
    ),
    ("an unknown place to share limits", HEAD + '[chat.default.policy]\nshared = "foo://x"\n' + KEY, 4, "shared: write"),
    ("a variable where a key belongs", HEAD + '[target."openai:m"]\napi_key = "${OPENAI_API_KEY}"\n', 4, '"env:OPENAI_API_KEY"'),
    ("a variable in an address", HEAD + KEY + 'base_url = "https://$MY_HOST/v1"\n', 5, "MY_HOST is not replaced"),
    ("a number in quotes", HEAD + KEY + 'requests_per_minute = "500"\n', 5, "requests_per_minute"),
    ("seconds with their unit", HEAD + '[chat.default.policy]\ndeadline_s = "60s"\n' + KEY, 4, "deadline_s"),
    ("a chat model that embeds", '[embed.default]\ntargets = ["openai:gpt-4o"]\n[target."openai:gpt-4o"]\napi_key = "k"\n', 2, "ChatModel"),
]


@pytest.mark.parametrize(("text", "line", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_no_model_can_be_built_of_fails_at_load(text, line, says, tmp_path, monkeypatch, clean_environment):
    """With the line to look at, before anything is connected."""
    with pytest.raises(Misconfigured) as told:
        load(file(tmp_path, text))
    assert f"surefoot.toml, line {line}: " in str(told.value)
    assert says in str(told.value)
    assert "sk-x" not in str(told.value)


@pytest.mark.parametrize("secret", ["pa$$WORD12-CANARY", "$ECRET@CANARY", "x$ABC", "a$B/c:CANARY"])
def test_a_dollar_within_a_secret_is_a_dollar(secret, tmp_path):
    """In a key, in the password of an address: it is taken as it stands, and no part of it is shown as a variable's name."""
    lines = f'cache = "redis://:{secret.replace("/", "")}@127.0.0.1:1/0"\n[target."openai:m"]\napi_key = "{secret}"\n'
    assert load(file(tmp_path, HEAD + lines)).names("chat") == ("default",)


def test_a_file_of_another_encoding_is_refused_and_a_mark_before_it_is_not(tmp_path):
    """Editors on Windows write both."""
    path = tmp_path / "surefoot.toml"
    for encoding in ("utf-16", "latin-1"):
        path.write_bytes((HEAD + KEY + "# gün\n").encode(encoding))
        with pytest.raises(Misconfigured, match="not UTF-8"):
            load(path)
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + KEY).encode())
    assert load(path).names("chat") == ("default",)


@pytest.fixture
def clean_environment(monkeypatch, tmp_path):
    """No key in the environment, no .env file."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('scop = "tenant"', "line 5.*policy.budgets.*'scop'; did you mean 'scope'"),
        ('scope = "tenent"', "line 5.*scope = 'tenent' must be"),
        ('mode = "warn"', "line 5.*mode"),
        ('period = "week"', "line 5.*period"),
    ],
)
def test_a_budget_that_limits_nothing_is_refused_naming_its_line(tmp_path, line, told):
    """An unknown key was passed over: the file said five dollars a tenant, and everybody together had five."""
    file = tmp_path / "surefoot.toml"
    file.write_text(f'[chat.default]\ntargets = ["openai:gpt-5-mini"]\n[[chat.default.policy.budgets]]\nusd = 5\n{line}\n')
    with pytest.raises(Misconfigured, match=told):
        load(file)


def test_a_lane_that_is_left_open_is_chosen_for_all_targets_at_once(tmp_path):
    """As the gateway does, which sends without the vendors' SDKs; who names a lane keeps it."""
    file = tmp_path / "surefoot.toml"
    file.write_text(
        '[chat.default]\ntargets = ["openai:a", ["openai:b", "local:extractive"]]\n[target."openai:b"]\nlane = "sdk"\n'
        '[target."openai:a"]\napi_key = "k-0123456789"\n'
    )
    models = read(file).with_lane("direct")
    assert [(one.name, one.lane) for one in models.targets("chat")] == [
        ("openai:a", "direct"), ("openai:b", "sdk"), ("local:extractive", "auto"),
    ]  # fmt: skip
