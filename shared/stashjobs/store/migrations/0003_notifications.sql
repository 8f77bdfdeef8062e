-- In-app notifications: one row is what one user gets to see. Written by the create-notification
-- job, read and marked by the app (functions/create_notification/notifications.py).

CREATE TABLE notifications (
    -- Grows with time, so that "newest first" and "the page after this one" need no second column.
    notification_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- No foreign key: an execution is deleted after its retention, what a user was told is not.
    job_id           text COLLATE "C" NOT NULL,
    user_id          text NOT NULL,
    organization_id  text,
    type             text NOT NULL,
    title            text NOT NULL,
    message          text NOT NULL,
    link             text,
    priority         text NOT NULL DEFAULT 'normal'
                     CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,       -- from then on it is not shown
    read_at          timestamptz        -- NULL: unread
);

-- A job that runs again tells nobody twice.
CREATE UNIQUE INDEX idx_notifications_job_user ON notifications (job_id, user_id);

-- A user's list, newest first; and the unread ones alone, which are few however long the list is.
CREATE INDEX idx_notifications_user ON notifications (user_id, notification_id DESC);
CREATE INDEX idx_notifications_unread ON notifications (user_id, notification_id DESC)
    WHERE read_at IS NULL;
