//! The future of one publish.
use super::PublishError;
use mqtt_session::client::{Failure, Outcome};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Resolves when the message was acknowledged (QoS 1 and 2), handed to the socket (QoS 0), or has failed. Dropping it changes nothing for the
/// message. Made by [`Client::try_publish`](super::Client::try_publish).
#[derive(Debug)]
#[must_use = "dropping it is fine, but then nobody learns whether the message arrived"]
pub struct Delivery {
    pub(super) outcome: oneshot::Receiver<Result<Outcome, Failure>>,
}

impl Future for Delivery {
    type Output = Result<Outcome, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(cx).map(|outcome| match outcome {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(failure)) => Err(PublishError::Failed(failure)),
            Err(_) => Err(PublishError::Ended),
        })
    }
}
