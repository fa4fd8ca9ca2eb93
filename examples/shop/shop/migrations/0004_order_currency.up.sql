ALTER TABLE orders.purchase
  ADD COLUMN currency text NOT NULL DEFAULT 'EUR'
    CONSTRAINT purchase_currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$');
