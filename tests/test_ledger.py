"""The ledger equals the bill."""

from __future__ import annotations

import subprocess
import sys

import pytest

import surefoot
from surefoot import ChatModel, Policy, Target
from surefoot.cli import main
from surefoot.errors import Misconfigured
from surefoot.ledger import Ledger
from surefoot.testing.wire import OK, OpenAISim, fault


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "usage.db")


def test_the_ledger_equals_the_providers_own_count_to_the_token(ledger):
    """Completed, streamed and retried calls: wherever usage was sent."""
    with OpenAISim() as sim:
        chat = ChatModel(
            Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), policy=Policy(backoff_base_s=0.001), ledger=ledger
        )
        sim.script([OK, fault("status_503"), OK, OK])
        with surefoot.scope(tenant="acme", tags={"job": "nightly"}):
            chat.invoke("one")
            chat.invoke("two, after a failure")
        for _ in chat.stream("three, streamed"):
            pass
        total = ledger.sums(by=())[0]
        assert total.input_tokens == sum(one.input_tokens for one in sim.usage_log.values())
        assert total.output_tokens == sum(one.output_tokens for one in sim.usage_log.values())
        assert total.attempts == 3
        assert total.cost_usd > 0
        assert (total.estimated, total.unpriced) == (0, 0)
    assert [row.group for row in ledger.sums(by=("tenant", "tag:job"))] == [("", ""), ("acme", "nightly")]


def test_an_unknown_price_is_an_estimate_that_is_flagged_and_warned_of(ledger, caplog):
    """Never 0: that is how bills nobody saw coming begin. One warning a target."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:no-such-model-9000", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger)
        for _ in range(3):
            assert chat.invoke("hi").cost_usd is None
    row = ledger.sums(by=())[0]
    assert (row.attempts, row.unpriced, row.estimated) == (3, 3, 0)
    assert row.cost_usd == pytest.approx((5 * row.input_tokens + 20 * row.output_tokens) / 1e6)
    assert len([record for record in caplog.records if "nobody knows what openai:no-such-model-9000 costs" in record.message]) == 1


def test_a_cache_hit_is_a_saving_and_no_attempt(ledger):
    """What was not paid is worth showing."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), cache="memory", ledger=ledger)
        chat.invoke("same", temperature=0)
        chat.invoke("same", temperature=0)
    row = ledger.sums(by=("target",))[0]
    assert (row.attempts, row.cache_hits) == (1, 1)
    assert row.saved_usd == pytest.approx(row.cost_usd)


def test_what_was_not_written_is_written_at_exit(tmp_path):
    """A script that asks once and ends has its row."""
    script = (
        "from surefoot import ChatModel, Target\n"
        "from surefoot.testing.wire import OpenAISim\n"
        "with OpenAISim() as sim:\n"
        "    target = Target('openai:gpt-5-mini', base_url=sim.url + '/v1', api_key='k')\n"
        f"    ChatModel(target, ledger={str(tmp_path / 'u.db')!r}).invoke('hi')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert Ledger(tmp_path / "u.db").sums(by=())[0].attempts == 1


def test_usage_is_shown_as_table_csv_and_chart(ledger, capsys):
    """`surefoot usage`."""
    with OpenAISim() as sim:
        ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger).invoke("hi")
    ledger.flush()
    for style, word in (("table", "openai:gpt-5-mini"), ("csv", "target,attempts"), ("chart", "█")):
        assert main(["usage", "--ledger", str(ledger.path), "--by", "target", "--format", style]) == 0
        assert word in capsys.readouterr().out


def test_bad_input_names_what_is_known(ledger, tmp_path, capsys):
    """A typo is not an empty table."""
    with pytest.raises(Misconfigured, match="tag:NAME"):
        ledger.sums(by=("week",))
    with pytest.raises(Misconfigured, match="cannot be opened"):
        Ledger(tmp_path / "deep" / "usage.db" / "below")
    assert main(["usage", "--ledger", str(tmp_path / "none.db")]) == 1
    assert "no ledger" in capsys.readouterr().err
