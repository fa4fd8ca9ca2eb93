CREATE SCHEMA orders;

-- user_id refers to another service's data: a number here, not a foreign key.
CREATE TABLE orders.purchase (
  id uuid PRIMARY KEY,
  user_id bigint NOT NULL,
  status text NOT NULL DEFAULT 'placed'
    CONSTRAINT purchase_status_is_known CHECK (status IN ('placed', 'paid', 'refused')),
  total_cents bigint NOT NULL CONSTRAINT purchase_total_is_not_negative CHECK (total_cents >= 0),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders.line (
  order_id uuid NOT NULL REFERENCES orders.purchase ON DELETE CASCADE,
  sku text NOT NULL,
  quantity integer NOT NULL CONSTRAINT line_quantity_is_positive CHECK (quantity > 0),
  price_cents bigint NOT NULL CONSTRAINT line_price_is_not_negative CHECK (price_cents >= 0),
  PRIMARY KEY (order_id, sku)
);

CREATE TABLE orders.outbox (
  event_id uuid PRIMARY KEY,
  body jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  sent_at timestamptz
);
-- What waits to be sent is a handful of rows however long the history grows.
CREATE INDEX outbox_pending ON orders.outbox (created_at) WHERE sent_at IS NULL;
