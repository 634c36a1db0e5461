//! The client machine against the broker machine, on a fake clock: one file per subject.
mod connecting;
mod killed;
mod messages;
mod sessions;
mod subscriptions;
mod world;
