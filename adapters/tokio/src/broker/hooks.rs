//! Decisions that the embedder takes: who a client is, and what it may do.
//!
//! Invariant: hooks run outside the shard's thread, on the runtime that started the broker, so a slow one delays
//! nobody but the client that it is about.
use mqtt_session::broker::{Action, AuthOutcome, Authenticate, Decision};
use mqtt_session::proto::ClientId;
use std::future::{self, Future};
use std::pin::Pin;
use std::time::Duration;

/// What a hook returns.
pub type HookFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A question about one publish or subscribe, asked where the client's [`Grant`](super::Grant) says so.
#[derive(Clone, Debug)]
pub struct Authorize {
    /// Who asks.
    pub client_id: ClientId,
    /// The name that authentication established.
    pub identity: Option<String>,
    /// What it wants to do.
    pub action: Action,
}

/// The embedder's decisions. A hook that panics has refused.
pub trait Hooks: Send + Sync + 'static {
    /// Who is this, and what may it do? Called for each CONNECT (and AUTH) when the configuration says
    /// [`Authentication::Request`](super::Authentication::Request). The client is dropped if the answer takes longer
    /// than `connect_timeout`.
    fn authenticate(&self, question: Authenticate) -> HookFuture<'_, AuthOutcome>;

    /// May it do that? With the answer goes for how long the same question may be answered alike without asking; zero
    /// asks each time. Without an implementation the answer is no.
    fn authorize(&self, question: Authorize) -> HookFuture<'_, (Decision, Duration)> {
        drop(question);
        Box::pin(future::ready((Decision::Deny, Duration::ZERO)))
    }
}
