ALTER TABLE orders.purchase DROP COLUMN currency;
