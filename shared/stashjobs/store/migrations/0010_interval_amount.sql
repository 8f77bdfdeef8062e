-- What all items of a subscription cost in one interval, in the currency's smallest unit, before
-- discounts and taxes. NULL: only the invoice tells (metered, tiers, items of several intervals).
ALTER TABLE subscriptions ADD COLUMN interval_amount numeric;

UPDATE subscriptions SET interval_amount = unit_amount * coalesce(quantity, 1)
 WHERE unit_amount IS NOT NULL;
