"""Who may use the gateway: virtual keys and teams in SQLite or Postgres, what they may ask, spend and how often."""
