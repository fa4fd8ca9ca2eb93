CREATE SCHEMA notifications;

-- The key is the event's: a second delivery finds its row and changes only the count.
CREATE TABLE notifications.notification (
  event_id uuid PRIMARY KEY,
  order_id uuid NOT NULL,
  user_id bigint NOT NULL,
  text text NOT NULL,
  delivery_count integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notification_by_order ON notifications.notification (order_id);
