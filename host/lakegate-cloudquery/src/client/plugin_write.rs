//! The Write call that sends a destination's rows. It only succeeds through [`PluginWrite::finish`]: the other side takes a half-close for success,
//! so nothing else may look like one, least of all a failed sync.

use super::{Plugin, PluginError};
use crate::proto::plugin::plugin_client::PluginClient;
use crate::proto::plugin::write::Request;
use crate::proto::plugin::write::request::Message;
use futures::stream::{self, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

/// Number of queued messages; each has up to 200 MiB.
const WAITING: usize = 2;

impl Plugin {
    /// Opens the stream for a destination's rows.
    pub fn write(self: &Arc<Self>) -> PluginWrite {
        PluginWrite::start(self.calls.clone(), self.clone())
    }
}

/// A request to the task that owns the call.
enum Step {
    Message(Message),
    End,
}

/// A Write in progress. Dropping it cancels the call.
#[derive(Debug)]
pub struct PluginWrite {
    steps: mpsc::Sender<Step>,
    /// The call, until its result is known.
    call: Option<JoinHandle<Result<(), Status>>>,
    /// Whether the half-close has been sent. A result before that only covers part of the messages.
    ended: Arc<AtomicBool>,
    plugin: Arc<Plugin>,
}

impl PluginWrite {
    pub(super) fn start(mut calls: PluginClient<Channel>, plugin: Arc<Plugin>) -> Self {
        let (steps, received) = mpsc::channel(WAITING);
        let ended = Arc::new(AtomicBool::new(false));
        let requests = requests(received, ended.clone());
        let call = tokio::spawn(async move { calls.write(requests).await.map(|_| ()) });
        Self { steps, call: Some(call), ended, plugin }
    }

    /// The destination.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Sends a message; waits while the destination is slow.
    ///
    /// # Errors
    /// The destination has ended the call, or has exited.
    pub async fn send(&mut self, message: Message) -> Result<(), PluginError> {
        if self.steps.send(Step::Message(message)).await.is_ok() {
            return Ok(());
        }
        // The call has ended; its result says why.
        self.verdict().await
    }

    /// Half-closes the call, and waits for the destination's result.
    ///
    /// # Errors
    /// The destination failed, or is gone.
    pub async fn finish(&mut self) -> Result<(), PluginError> {
        // If the call has already ended, its result says how.
        let _ended = self.steps.send(Step::End).await;
        self.verdict().await
    }

    /// The result of the call. OK only counts after the half-close: a destination that answers earlier has not seen all messages.
    async fn verdict(&mut self) -> Result<(), PluginError> {
        let given_up = || PluginError::call("Write", &Status::cancelled("the call was given up"), None);
        let call = self.call.as_mut().ok_or_else(given_up)?;
        let ended = call.await;
        self.call = None;
        match ended {
            Ok(Ok(())) if self.ended.load(Ordering::Acquire) => Ok(()),
            Ok(Ok(())) => {
                let early = Status::internal("the destination ended the call before the last message");
                Err(PluginError::call("Write", &early, None))
            }
            Ok(Err(status)) => Err(self.plugin.failed("Write", status).await),
            Err(_) => Err(given_up()),
        }
    }
}

impl Drop for PluginWrite {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            call.abort();
        }
    }
}

/// The messages up to the end marker. If the sender is dropped without one, the stream stays open, and the call is cancelled.
fn requests(steps: mpsc::Receiver<Step>, ended: Arc<AtomicBool>) -> impl Stream<Item = Request> + Send + 'static {
    stream::unfold((steps, ended), async |(mut steps, ended)| match steps.recv().await {
        Some(Step::Message(message)) => Some((Request { message: Some(message) }, (steps, ended))),
        Some(Step::End) => {
            ended.store(true, Ordering::Release);
            None
        }
        None => std::future::pending().await,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, LogCounts};
    use super::*;
    use crate::proto::plugin::write::MessageInsert;
    use futures::StreamExt as _;
    use tonic::transport::Endpoint;

    /// A Write to a destination that answers OK after `count` items of the stream, including its end.
    fn answered_after(count: usize) -> PluginWrite {
        let calls = PluginClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
        let (kind, name, connection) = (Kind::Destination, "d".to_owned(), String::new());
        let (questions, log_counts) = (calls.clone(), Arc::new(LogCounts::default()));
        let plugin = Arc::new(Plugin { kind, name, connection, calls, questions, process: None, log_counts });
        let (steps, received) = mpsc::channel(WAITING);
        let ended = Arc::new(AtomicBool::new(false));
        let mut requests = Box::pin(requests(received, ended.clone()));
        let call = tokio::spawn(async move {
            for _ in 0..count {
                requests.next().await;
            }
            Ok(())
        });
        PluginWrite { steps, call: Some(call), ended, plugin }
    }

    #[tokio::test]
    async fn an_answer_before_the_end_is_no_success() {
        let message = || Message::Insert(MessageInsert::default());
        let mut early = answered_after(1);
        early.send(message()).await.unwrap();
        while !early.call.as_ref().unwrap().is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(early.finish().await.unwrap_err().to_string().contains("before the last message"));
        let mut whole = answered_after(2);
        whole.send(message()).await.unwrap();
        whole.finish().await.unwrap();
        // Nor is it a success while there is more to send.
        let mut early = answered_after(1);
        let sent = async {
            loop {
                early.send(message()).await?;
            }
        };
        let refused: Result<(), PluginError> = sent.await;
        assert!(refused.unwrap_err().to_string().contains("before the last message"));
    }
}
