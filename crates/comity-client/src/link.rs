//! One TCP connection: a task that reads, a task that writes, both gone with the value.

use crate::limits::{CONNECT_TIMEOUT, READ_BUFFER, WRITE_QUEUE, WRITE_TIMEOUT};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What a connection tells.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Open,
    Bytes(Bytes),
    Closed,
}

/// A connection being opened or open. Dropping it closes the socket.
pub(crate) struct Link {
    write: mpsc::Sender<Bytes>,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    task: AbortHandle,
}

impl Link {
    /// Starts to connect; the first event is `Open` or `Closed`.
    pub(crate) fn open(address: String) -> Self {
        let (write, queue) = mpsc::channel(WRITE_QUEUE);
        // Few: what is not taken stays in the socket, and the server slows down.
        let (tell, events) = mpsc::channel(4);
        let task = tokio::spawn(async move {
            if let Err(error) = run(&address, queue, &tell).await {
                tracing::debug!(%error, "connection ended");
            }
            let _receiver_gone = tell.send(LinkEvent::Closed).await;
        });
        Self { write, events, task: task.abort_handle() }
    }

    /// Queues bytes. `false`: the peer takes nothing, or the connection is gone.
    pub(crate) async fn write(&self, bytes: Bytes) -> bool {
        matches!(timeout(WRITE_TIMEOUT, self.write.send(bytes)).await, Ok(Ok(())))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(address: &str, queue: mpsc::Receiver<Bytes>, tell: &mpsc::Sender<LinkEvent>) -> std::io::Result<()> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    if tell.send(LinkEvent::Open).await.is_err() {
        return Ok(());
    }
    let (mut read, write) = stream.into_split();
    let reading = async {
        let mut buffer = BytesMut::with_capacity(READ_BUFFER);
        loop {
            buffer.reserve(READ_BUFFER);
            if read.read_buf(&mut buffer).await? == 0
                || tell.send(LinkEvent::Bytes(buffer.split().freeze())).await.is_err()
            {
                return Ok(());
            }
        }
    };
    tokio::select! {
        done = reading => done,
        done = writing(write, queue) => done,
    }
}

/// Writes what is queued, all that is there in one call.
async fn writing(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) -> std::io::Result<()> {
    let mut waiting = Vec::new();
    let mut buffer = BytesMut::new();
    while queue.recv_many(&mut waiting, WRITE_QUEUE).await > 0 {
        for bytes in waiting.drain(..) {
            buffer.extend_from_slice(&bytes);
        }
        timeout(WRITE_TIMEOUT, write.write_all(&buffer)).await??;
        buffer.clear();
    }
    Ok(())
}
