"""What a framework's message carries: all that the vendor wants back, through frameworks that know nothing of it."""

from __future__ import annotations

from surefoot.core.carried import carried, restored
from surefoot.types import File, Image, Opaque, Reasoning, Text, ToolCall

SEARCH = Opaque.of("anthropic", {"type": "server_tool_use", "id": "s"})
THOUGHT = Reasoning(text="hm", signature="S", vendor="anthropic")
PICTURE = Image(data=b"PNG", media_type="image/png", extra='{"thoughtSignature":"P"}', vendor="google")
CALL = ToolCall(id="1", name="f", extra='{"caller":1}', vendor="anthropic", after=1)


def test_a_plain_answer_carries_nothing():
    """Messages of text and calls are as short as they were."""
    assert carried((), (ToolCall(id="1", name="f"),)) == ""
    assert restored(None, "hi", (), (CALL,)) == (None, (CALL,))


def test_parts_and_calls_come_back_as_they_were():
    """In their order, with the bytes of pictures out of the message itself."""
    content = (THOUGHT, SEARCH, Text("hi"), PICTURE)
    kept = carried(content, (CALL,))
    assert "PNG" not in kept
    plain = ToolCall(id="1", name="f")
    assert restored(kept, "hi", [Image(data=b"PNG")], [plain]) == (content, (CALL,))


def test_a_text_that_was_changed_stays_changed():
    """Guardrails rewrite answers; the thoughts before them are still the model's."""
    kept = carried((THOUGHT, Text("a", '{"citations":[]}', "anthropic"), SEARCH, Text("b")), ())
    assert restored(kept, "c", (), ())[0] == (THOUGHT, Text("c"), SEARCH)
    assert restored(kept, "", (), ())[0] == (THOUGHT, SEARCH)
    kept = carried((THOUGHT, SEARCH), ())
    assert restored(kept, "c", (), ())[0] == (THOUGHT, Text("c"), SEARCH)


def test_pictures_that_the_message_lacks_are_left_out():
    """A framework may drop them; a sound is known by its id."""
    sound = File(data=b"RIFF", media_type="audio/wav", extra='{"id":"a"}', vendor="openai/h")
    kept = carried((PICTURE, sound, Text("x")), ())
    assert restored(kept, "x", (), ())[0] == (File(media_type="audio/wav", extra='{"id":"a"}', vendor="openai/h"), Text("x"))


def test_what_cannot_be_read_is_as_if_it_were_not_there():
    """Messages are stored and edited by others."""
    for kept in ("{", 3, '{"parts":[{"type":"new"}]}'):
        assert restored(kept, "x", (), (CALL,)) == (None, (CALL,))
