//! The one stream that a destination's rows go through. It ends well only by [`PluginWrite::finish`]: half-close is what the other side takes
//! for success, so nothing else may look like it, least of all a sync that failed.

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

/// Messages that wait for the connection; each has up to 200 MiB.
const WAITING: usize = 2;

impl Plugin {
    /// Opens the one stream that a destination's rows go through.
    pub fn write(self: &Arc<Self>) -> PluginWrite {
        PluginWrite::start(self.calls.clone(), self.clone())
    }
}

/// What goes to the task that owns the call.
enum Step {
    Message(Message),
    End,
}

/// A Write under way. Dropping it cancels it.
#[derive(Debug)]
pub struct PluginWrite {
    steps: mpsc::Sender<Step>,
    /// Until its verdict is in.
    call: Option<JoinHandle<Result<(), Status>>>,
    /// Has the half-close been sent? A verdict before it is of a part only.
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
        self.verdict().await
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

    /// How the call ended. OK counts only from a destination that was told of the end: one that answers earlier has not seen every message.
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

/// The messages up to the end. Senders that vanish without saying so leave the stream open; the call is cancelled then.
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

    /// A Write to a destination that answers OK after `count` items of the stream, its end among them.
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
        // Nor is it one for who still has something to send.
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
