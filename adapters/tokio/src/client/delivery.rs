//! The future of one publish.
use super::PublishError;
use mqtt_session::client::{Failure, Outcome};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// Resolves when the message was acknowledged (QoS 1 and 2), handed to the socket (QoS 0), or has failed. Dropping it changes nothing for the
/// message. Made by [`Client::try_publish`](super::Client::try_publish).
#[derive(Debug)]
#[must_use = "dropping it is fine, but then nobody learns whether the message arrived"]
pub struct Delivery {
    outcome: oneshot::Receiver<Result<Outcome, Failure>>,
    /// The outcome, when [`Delivery::kept`] has waited for it.
    early: Option<Result<Outcome, PublishError>>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Yes,
    /// The store will tell, or the outcome if it goes away.
    Store(oneshot::Receiver<()>),
    /// The outcome will tell.
    Outcome,
}

impl Delivery {
    pub(super) fn new(
        outcome: oneshot::Receiver<Result<Outcome, Failure>>,
        store: Option<oneshot::Receiver<()>>,
    ) -> Self {
        Self { outcome, early: None, kept: store.map_or(Kept::Outcome, Kept::Store) }
    }

    /// Waits until the message survives the end of this process: until the store has kept it ([`Builder::store`](super::Builder::store)), or it was
    /// acknowledged. Without a store, and at QoS 0, only the outcome can tell. Cancel-safe.
    ///
    /// # Errors
    /// When the message has failed, or the client has ended, before it was kept.
    pub async fn kept(&mut self) -> Result<(), PublishError> {
        if let Kept::Store(store) = &mut self.kept {
            self.kept = if store.await.is_ok() { Kept::Yes } else { Kept::Outcome };
        }
        if matches!(self.kept, Kept::Yes) {
            return Ok(());
        }
        let outcome = match self.early.take() {
            Some(outcome) => outcome,
            None => outcome((&mut self.outcome).await),
        };
        self.early.insert(outcome).clone().map(drop)
    }
}

impl Future for Delivery {
    type Output = Result<Outcome, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(early) = self.early.take() {
            return Poll::Ready(early);
        }
        Poll::Ready(outcome(ready!(Pin::new(&mut self.outcome).poll(cx))))
    }
}

fn outcome(said: Result<Result<Outcome, Failure>, oneshot::error::RecvError>) -> Result<Outcome, PublishError> {
    match said {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(failure)) => Err(PublishError::Failed(failure)),
        Err(_) => Err(PublishError::Ended),
    }
}
