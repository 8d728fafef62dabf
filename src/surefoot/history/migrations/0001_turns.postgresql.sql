-- What was said, a row a message; `id` is its place, in order within each conversation.
CREATE TABLE sf_turn (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, conversation TEXT NOT NULL, message BYTEA NOT NULL);
CREATE INDEX sf_turn_conversation ON sf_turn (conversation, id)
