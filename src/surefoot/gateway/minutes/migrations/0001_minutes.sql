-- What keys and teams have used in the last minute. Nothing here is older than that, so no backup needs it.
CREATE TABLE sf_minute (
    name TEXT PRIMARY KEY,            -- of a key or team, and what is counted
    state TEXT NOT NULL               -- JSON: amounts by second, processes by the second they last asked
)
