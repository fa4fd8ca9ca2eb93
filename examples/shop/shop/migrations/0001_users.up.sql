CREATE SCHEMA users;

CREATE TABLE users.account (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL,
  name text NOT NULL CONSTRAINT account_name_is_not_blank CHECK (btrim(name) <> ''),
  balance_cents bigint NOT NULL DEFAULT 0
    CONSTRAINT account_balance_is_never_negative CHECK (balance_cents >= 0),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX account_email_is_unique_in_any_case ON users.account (lower(email));

-- Every change of a balance, under the reference that makes it happen once.
CREATE TABLE users.entry (
  reference text PRIMARY KEY,
  account_id bigint NOT NULL REFERENCES users.account,
  amount_cents bigint NOT NULL CONSTRAINT entry_moves_something CHECK (amount_cents <> 0),
  created_at timestamptz NOT NULL DEFAULT now()
);
