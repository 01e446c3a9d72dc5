//! The one stream that a destination's rows go through. It ends well only by [`Writing::finish`]: half-close is what the other side takes
//! for success, so nothing else may look like it, least of all a sync that failed.

use super::{Plugin, PluginError};
use crate::grpc::proto::plugin::plugin_client::PluginClient;
use crate::grpc::proto::plugin::write::Request;
use crate::grpc::proto::plugin::write::request::Message;
use futures::stream::{self, Stream};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

/// Messages that wait for the connection; each has up to 200 MiB.
const WAITING: usize = 2;

/// What goes to the task that owns the call.
enum Step {
    Message(Message),
    End,
}

/// A Write under way. Dropping it cancels it.
#[derive(Debug)]
pub struct Writing {
    steps: mpsc::Sender<Step>,
    /// Until its verdict is in.
    call: Option<JoinHandle<Result<(), Status>>>,
    plugin: Arc<Plugin>,
}

impl Writing {
    pub(super) fn start(mut calls: PluginClient<Channel>, plugin: Arc<Plugin>) -> Self {
        let (steps, received) = mpsc::channel(WAITING);
        let call = tokio::spawn(async move { calls.write(requests(received)).await.map(|_| ()) });
        Self { steps, call: Some(call), plugin }
    }

    /// Who it goes to.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Sends a message; waits while the destination is slow.
    ///
    /// # Errors
    /// The destination has ended the call, or is gone.
    pub async fn send(&mut self, message: Message) -> Result<(), PluginError> {
        if self.steps.send(Step::Message(message)).await.is_ok() {
            return Ok(());
        }
        // The call has ended, and says why.
        Err(self.verdict().await.err().unwrap_or_else(|| {
            let early = Status::internal("the destination ended the call before the last message");
            PluginError::call("Write", &early, None)
        }))
    }

    /// Half-closes, and waits for the destination's word.
    ///
    /// # Errors
    /// The destination failed, or is gone.
    pub async fn finish(&mut self) -> Result<(), PluginError> {
        // If the call has ended already, its verdict says how.
        let _ended = self.steps.send(Step::End).await;
        self.verdict().await
    }

    async fn verdict(&mut self) -> Result<(), PluginError> {
        let given_up = || PluginError::call("Write", &Status::cancelled("the call was given up"), None);
        let call = self.call.as_mut().ok_or_else(given_up)?;
        let ended = call.await;
        self.call = None;
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(self.plugin.failed("Write", status).await),
            Err(_) => Err(given_up()),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            call.abort();
        }
    }
}

/// The messages up to the end. Senders that vanish without saying so leave the stream open; the call is cancelled then.
fn requests(steps: mpsc::Receiver<Step>) -> impl Stream<Item = Request> + Send + 'static {
    stream::unfold(steps, async |mut steps| match steps.recv().await {
        Some(Step::Message(message)) => Some((Request { message: Some(message) }, steps)),
        Some(Step::End) => None,
        None => std::future::pending().await,
    })
}
