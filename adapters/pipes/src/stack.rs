//! TLS and WebSocket on top of each other, either one, or none.
//!
//! Invariants: what the WebSocket wants to send goes into TLS as soon as that has room; TLS ends after the WebSocket.
use crate::{PipeError, Stage};
use bytes::BytesMut;
use mqtt_ws::CloseCode;

/// One layer: the face that the pipes of both crates have.
pub(crate) trait Layer {
    fn handle_input(&mut self, input: &[u8], plain: &mut BytesMut) -> Result<(), PipeError>;
    fn write(&mut self, chunks: &[&[u8]]) -> usize;
    fn room(&self) -> usize;
    fn transmit(&self) -> &[u8];
    fn transmitted(&mut self, bytes: usize);
    fn close(&mut self);
    fn stage(&self) -> Stage;
}

macro_rules! layer {
    ($name:ty, $error:path, ($($close:expr),*), $stage:expr) => {
        impl Layer for $name {
            fn handle_input(&mut self, input: &[u8], plain: &mut BytesMut) -> Result<(), PipeError> {
                <$name>::handle_input(self, input, plain).map_err($error)
            }

            fn write(&mut self, chunks: &[&[u8]]) -> usize {
                <$name>::write(self, chunks)
            }

            fn room(&self) -> usize {
                <$name>::room(self)
            }

            fn transmit(&self) -> &[u8] {
                <$name>::transmit(self)
            }

            fn transmitted(&mut self, bytes: usize) {
                <$name>::transmitted(self, bytes);
            }

            fn close(&mut self) {
                <$name>::close(self, $($close),*);
            }

            fn stage(&self) -> Stage {
                $stage(<$name>::stage(self))
            }
        }
    };
}

layer!(mqtt_tls::Server, PipeError::Tls, (), tls_stage);
layer!(mqtt_tls::Client, PipeError::Tls, (), tls_stage);
layer!(mqtt_ws::Server, PipeError::WebSocket, (CloseCode::NORMAL, ""), ws_stage);
layer!(mqtt_ws::Client, PipeError::WebSocket, (CloseCode::NORMAL, ""), ws_stage);

fn tls_stage(stage: mqtt_tls::Stage) -> Stage {
    match stage {
        mqtt_tls::Stage::Handshake => Stage::Handshake,
        mqtt_tls::Stage::Open => Stage::Open,
        mqtt_tls::Stage::Closed => Stage::Closed,
    }
}

/// MQTT waits for nothing once it has said good-bye, so a WebSocket that does is closed.
fn ws_stage(stage: mqtt_ws::Stage) -> Stage {
    match stage {
        mqtt_ws::Stage::Handshake => Stage::Handshake,
        mqtt_ws::Stage::Open => Stage::Open,
        mqtt_ws::Stage::Closing | mqtt_ws::Stage::Closed => Stage::Closed,
    }
}

/// The layers of one connection.
pub(crate) struct Stack<T, W> {
    pub(crate) tls: Option<T>,
    pub(crate) ws: Option<W>,
    /// Good-bye was said: TLS ends when the WebSocket has nothing more to send.
    closing: bool,
    failed: bool,
}

impl<T: Layer, W: Layer> Stack<T, W> {
    pub(crate) fn new(tls: Option<T>, ws: Option<W>) -> Self {
        let mut stack = Self { tls, ws, closing: false, failed: false };
        stack.pump();
        stack
    }

    pub(crate) fn handle_input(&mut self, input: &[u8], plain: &mut BytesMut) -> Result<(), PipeError> {
        let result = match (&mut self.tls, &mut self.ws) {
            (Some(tls), Some(ws)) => {
                let mut middle = BytesMut::new();
                let lower = tls.handle_input(input, &mut middle);
                let upper = ws.handle_input(&middle, plain);
                upper.and(lower)
            }
            (Some(tls), None) => tls.handle_input(input, plain),
            (None, Some(ws)) => ws.handle_input(input, plain),
            (None, None) => {
                plain.extend_from_slice(input);
                Ok(())
            }
        };
        self.failed |= result.is_err();
        self.closing |= result.is_err();
        self.pump();
        result
    }

    pub(crate) fn write(&mut self, chunks: &[&[u8]]) -> usize {
        let taken = match (&mut self.tls, &mut self.ws) {
            (_, Some(ws)) => ws.write(chunks),
            (Some(tls), None) => tls.write(chunks),
            (None, None) => 0,
        };
        self.pump();
        taken
    }

    /// Bytes that `write` would take now.
    pub(crate) fn room(&self) -> usize {
        match (&self.tls, &self.ws) {
            (_, Some(ws)) => ws.room(),
            (Some(tls), None) => tls.room(),
            (None, None) => 0,
        }
    }

    pub(crate) fn transmit(&self) -> &[u8] {
        match (&self.tls, &self.ws) {
            (Some(tls), _) => tls.transmit(),
            (None, Some(ws)) => ws.transmit(),
            (None, None) => &[],
        }
    }

    pub(crate) fn transmitted(&mut self, bytes: usize) {
        match (&mut self.tls, &mut self.ws) {
            (Some(tls), _) => tls.transmitted(bytes),
            (None, Some(ws)) => ws.transmitted(bytes),
            (None, None) => {}
        }
        self.pump();
    }

    /// Below it something is wrong: nothing more is owed to the peer.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    pub(crate) fn close(&mut self) {
        if let Some(ws) = &mut self.ws {
            ws.close();
        }
        self.closing = true;
        self.pump();
    }

    pub(crate) fn stage(&self) -> Stage {
        let stages = [self.tls.as_ref().map(Layer::stage), self.ws.as_ref().map(Layer::stage)];
        let any = |stage| stages.contains(&Some(stage));
        if self.failed || self.closing || any(Stage::Closed) {
            Stage::Closed
        } else if any(Stage::Handshake) {
            Stage::Handshake
        } else {
            Stage::Open
        }
    }

    /// Moves what the WebSocket wants to send into TLS.
    fn pump(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        if let Some(ws) = &mut self.ws {
            loop {
                let taken = tls.write(&[ws.transmit()]);
                if taken == 0 {
                    break;
                }
                ws.transmitted(taken);
            }
            // Whatever ends the WebSocket ends TLS, too, once it has been told.
            let over = self.closing || ws.stage() == Stage::Closed;
            if !over || !ws.transmit().is_empty() && tls.stage() == Stage::Open {
                return;
            }
        } else if !self.closing {
            return;
        }
        tls.close();
    }
}
