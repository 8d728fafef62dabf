"""The tree of errors: was money spent? may I ask again?"""

from __future__ import annotations

import copy
import inspect
import pickle  # noqa: TID251 - to show that keys and errors behave when others pickle

import pytest

from surefoot import errors
from surefoot.errors import BatchFailed, CircuitOpen, Exhausted, Fault, Interrupted, Overloaded, QuotaExhausted, RateLimited, SurefootError


def test_only_transient_faults_may_be_asked_again():
    """`retryable` is true under Transient and nowhere else."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, SurefootError):
            assert kind.retryable == issubclass(kind, errors.Transient), kind


def test_a_fault_keeps_what_support_asks_for():
    """Status, code, hint and request id survive, also a pickle."""
    fault = RateLimited("slow down", status=429, code="rate", retry_after_s=1.5, request_id="r1", target="openai:m")
    again = pickle.loads(pickle.dumps(fault))
    assert (again.status, again.code, again.retry_after_s, again.request_id, again.target) == (429, "rate", 1.5, "r1", "openai:m")
    assert str(again) == "slow down"


EVIL = ["acme\n2026-11-30 CRITICAL root: admin logged in", "a\r\nb", "a\x1b[2Jb", "a\u2028b\u2029c\x85d", "a\u202eb", "a\x00b", "a\ud800b"]


@pytest.mark.parametrize("said", EVIL, ids=ascii)
def test_a_message_is_one_printable_line(said):
    """Tenants, tags, model names and servers write into messages; a log must not read their lines as its own."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SurefootError)]
    assert len(kinds) > 20
    for kind in kinds:
        error = kind(f"tenant={said}", [Overloaded(said)]) if issubclass(kind, ExceptionGroup) else kind(f"tenant={said}")
        for one in (error, pickle.loads(pickle.dumps(error))):
            assert str(one).isprintable(), kind
            assert str(one).startswith("tenant=a"), kind
    assert Fault("x", code=said, request_id=said).code.isprintable()


def test_what_is_printable_stays_as_it_is():
    """Also beyond ASCII: most messages name what somebody wrote in their own language."""
    text = "müşteri=Ağaoğlu 東京 🙂: $1"
    assert str(SurefootError(text)) == text


def test_exhausted_is_a_group_of_every_failure():
    """`except*` works, `.last` is the newest even when groups are nested."""
    inner = Exhausted("a", [Overloaded("1"), Overloaded("2")])
    outer = Exhausted("b", [RateLimited("0"), inner])
    assert str(outer.last) == "2"
    assert isinstance(outer, SurefootError)
    with pytest.raises(ExceptionGroup):
        raise outer
    caught = []
    try:
        raise outer
    except* RateLimited as group:
        caught.extend(group.exceptions)
    except* Overloaded:
        pass
    assert [str(error) for error in caught] == ["0"]


HINTED = [RateLimited("a: 1", status=429, retry_after_s=9.0, target="a"), RateLimited("a: 2", status=429, retry_after_s=4.0, target="a")]


def test_a_group_is_of_the_kind_that_all_its_failures_are():
    """`except RateLimited` fires where every attempt ended in one, with what the newest says and the shortest wait of any target."""
    other = RateLimited("b: 3", status=429, code="tpm", retry_after_s=2.5, request_id="r3", target="b")
    with pytest.raises(RateLimited) as caught:
        raise Exhausted("a, b: no", [*HINTED, other])
    error = caught.value
    assert isinstance(error, Exhausted)
    assert (error.status, error.code, error.request_id, error.target, error.retry_after_s) == (429, "tpm", "r3", "b", 2.5)
    assert Exhausted("a: no", HINTED).retry_after_s == 4.0
    assert str(error) == "a, b: no"
    assert error.retryable is False


@pytest.mark.parametrize(
    ("failures", "kind", "too_much"),
    [
        ([RateLimited("1"), Overloaded("2", status=503)], errors.Transient, Overloaded),
        ([RateLimited("1"), errors.AuthFailed("2", status=401)], Fault, errors.Permanent),
        ([CircuitOpen("1", retry_after_s=3.0), CircuitOpen("2")], CircuitOpen, Fault),
        ([CircuitOpen("1"), errors.QueueFull("2")], errors.Refused, CircuitOpen),
        ([CircuitOpen("1"), RateLimited("2")], Exhausted, Fault),
        ([RateLimited("1"), errors.DeadlineExceeded("2")], Exhausted, Fault),
        ([Exhausted("x", [Overloaded("1"), Overloaded("2")]), Overloaded("3")], Overloaded, RateLimited),
        ([errors.Misconfigured("1"), errors.Misconfigured("2")], Exhausted, errors.Misconfigured),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_mixed_failures_are_what_they_have_in_common(failures, kind, too_much):
    """A kind that one of them is not would tell a lie about what was spent, or whether waiting helps."""
    group = Exhausted("no", failures)
    for one in (group, pickle.loads(pickle.dumps(group)), copy.copy(group)):
        assert isinstance(one, kind)
        assert isinstance(one, Exhausted)
        assert not isinstance(one, too_much)
        assert one.__dict__ == group.__dict__


def test_a_split_group_is_what_its_part_is():
    """`except*` hands over the rate limits alone."""
    part, rest = Exhausted("no", [RateLimited("1"), Overloaded("2")]).split(RateLimited)
    assert isinstance(part, RateLimited)
    assert isinstance(rest, Overloaded)


def test_exhausted_and_batch_failed_cross_processes():
    """Workers send their errors home."""
    again = pickle.loads(pickle.dumps(Exhausted("b", [Overloaded("1", status=503)])))
    assert again.exceptions[0].status == 503
    batch = BatchFailed("2 failed", [Overloaded("1")], replies=["a"])
    assert pickle.loads(pickle.dumps(batch)).replies == ["a"]


def test_what_was_refused_says_when_to_come_back():
    """Nothing was sent; the wait is a number."""
    assert CircuitOpen("open", retry_after_s=3.0).retry_after_s == 3.0


def test_interrupted_holds_the_partial_text():
    """What arrived was paid for."""
    assert Interrupted("cut", partial="half", target="t").partial == "half"


def test_quota_is_permanent():
    """Waiting a minute brings no money."""
    assert not QuotaExhausted("none left").retryable
    assert isinstance(QuotaExhausted("none left"), Fault)


def test_errors_of_several_targets_become_one_flat_group():
    """Whoever prints it reads each failure once, in order; a single one stays itself."""
    one, two, three = Overloaded("1"), RateLimited("2"), Overloaded("3")
    assert Exhausted.of([one], "targets asked failed") is one
    group = Exhausted.of([Exhausted("a", [one, two]), three], "targets asked failed")
    assert isinstance(group, Exhausted)
    assert group.exceptions == (one, two, three)
    assert "2 targets asked failed; the last: 3" in str(group)
