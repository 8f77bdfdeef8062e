-- What Stripe says of customers and subscriptions, for the app to ask "what has this user got"
-- without asking Stripe. Written by the process-stripe-webhook job alone (docs/stripe.md).

-- A number is taken before Stripe is asked, and written with the answer. Whoever has the greater
-- number asked later, so a row is only ever overwritten by a greater one.
CREATE SEQUENCE stripe_reading;

CREATE TABLE customers (
    customer_id      text COLLATE "C" PRIMARY KEY,  -- cus_...
    user_id          text,              -- metadata.user_id, or the checkout's client_reference_id
    organization_id  text,
    email            text,
    name             text,
    deleted          boolean NOT NULL DEFAULT false,
    reading          bigint NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_customers_user_id ON customers (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE subscriptions (
    subscription_id       text COLLATE "C" PRIMARY KEY,  -- sub_...
    customer_id           text COLLATE "C" NOT NULL,
    user_id               text,
    organization_id       text,
    -- Stripe's own words: incomplete, incomplete_expired, trialing, active, past_due, canceled,
    -- unpaid, paused. No CHECK: a word that Stripe adds must not stop the writing.
    status                text NOT NULL,
    price_id              text,              -- of the first item, like all that follows up to interval
    product_id            text,
    quantity              bigint,
    unit_amount           bigint,            -- in the currency's smallest unit; NULL: tiers or metered
    currency              text,
    billing_interval      text,              -- day, week, month or year
    interval_count        integer,
    current_period_end    timestamptz,
    cancel_at_period_end  boolean NOT NULL DEFAULT false,
    cancel_at             timestamptz,
    canceled_at           timestamptz,
    ended_at              timestamptz,
    trial_end             timestamptz,
    latest_invoice_id     text,
    latest_invoice_status text,              -- draft, open, paid, uncollectible or void
    started_at            timestamptz,
    -- What this row was updated from.
    event_id              text NOT NULL,
    event_created         timestamptz NOT NULL,
    reading               bigint NOT NULL,
    updated_at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_subscriptions_customer_id ON subscriptions (customer_id);
CREATE INDEX idx_subscriptions_user_id ON subscriptions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX idx_subscriptions_organization_id ON subscriptions (organization_id)
    WHERE organization_id IS NOT NULL;
