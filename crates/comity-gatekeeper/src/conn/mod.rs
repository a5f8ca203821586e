//! Chat connections: accept, handshake, log-in (PROTOCOL §5).

mod delivery;
mod session;
mod wire;

use crate::chat::{Refusal, Session, authenticate};
use crate::limits::{DRAIN_DEADLINE, MAX_CONNECTIONS};
use crate::rng::os_rng;
use crate::site::Site;
use bytes::BytesMut;
use comity_core::Redacted;
use comity_noise::io::{Timeouts, accept};
use comity_xmpp::Node;
use session::Live;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use wire::{Over, Reader, Writer};

/// Takes connections until told to drain, then waits for them to end.
pub(crate) async fn serve(site: Arc<Site>, listener: TcpListener, mut drain: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drained(&mut drain) => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept"); // out of files: others must end first
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue; // over the bound: closed unread
        };
        let (site, drain) = (Arc::clone(&site), drain.clone());
        tokio::spawn(async move {
            if let Err(over) = connection(site, stream, from, drain).await {
                tracing::debug!(%over, "connection over");
            }
            drop(slot);
        });
    }
    drop(listener);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _late_ones_are_cut = timeout(DRAIN_DEADLINE, slots.acquire_many(all)).await;
}

/// Waits for the order to drain, or for the gatekeeper's end.
async fn drained(drain: &mut watch::Receiver<bool>) {
    let _gone_is_the_same = drain.wait_for(|draining| *draining).await;
}

async fn connection(
    site: Arc<Site>,
    stream: TcpStream,
    from: SocketAddr,
    drain: watch::Receiver<bool>,
) -> Result<(), Over> {
    let _without_if_refused = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let noise = site.noise();
    let accepted = accept(read, write, &noise, &mut os_rng(), Timeouts::default()).await?;
    let key = *accepted.client.as_bytes();
    let login = accepted.login;
    let (reader, mut writer) = (Reader(accepted.reader), Writer(accepted.writer));
    match log_in(&site, login.payload(), &key, from.ip(), &mut writer).await? {
        Some(session) => {
            tracing::info!(account = %Redacted(&session.user.account), pattern = ?accepted.pattern, "logged in");
            begin(session, key, Peer { reader, writer }, login.is_replayable(), drain).await
        }
        None => {
            writer.close().await;
            Ok(())
        }
    }
}

/// Both directions of a connection that has logged in.
struct Peer {
    reader: Reader,
    writer: Writer,
}

/// `None` if it was refused; the client has been told.
async fn log_in(
    site: &Arc<Site>,
    payload: &[u8],
    key: &[u8; 32],
    from: IpAddr,
    writer: &mut Writer,
) -> Result<Option<Session>, Over> {
    let (mut user, name) = match authenticate(site, payload, key, from).await {
        Ok(accepted) => accepted,
        Err(refusal) => {
            refuse(refusal, writer).await?;
            return Ok(None);
        }
    };
    if let Some(name) = name {
        user.display_name = name;
    }
    Ok(Some(Session { site: Arc::clone(site), user }))
}

async fn refuse(refusal: Refusal, writer: &mut Writer) -> Result<(), Over> {
    tracing::info!(reason = refusal.0, "log-in refused");
    writer.node(&refusal.into_node()).await?;
    writer.flush().await
}

/// From the answer to the log-in on. What came as 0-RTT takes effect only when the client has proved to be there.
async fn begin(
    session: Session,
    key: [u8; 32],
    mut peer: Peer,
    replayable: bool,
    drain: watch::Receiver<bool>,
) -> Result<(), Over> {
    let success = Node::new("success")
        .with_attr("t", session.site.clock.now().as_secs())
        .with_opt_attr("display_name", Some(session.user.display_name.as_str()).filter(|name| !name.is_empty()));
    let mut first: Option<BytesMut> = None;
    if replayable {
        peer.writer.node(&success).await?;
        peer.writer.flush().await?;
        first = Some(peer.reader.frame().await?);
    }
    let (site, account) = (Arc::clone(&session.site), session.user.account.clone());
    let name = Some(session.user.display_name.clone()).filter(|name| !name.is_empty());
    let recorded = site.store.logged_in(&account, name, site.clock.now()).await;
    let port = site.hub.register(account.clone());
    site.push.came(&account);
    // The credentials may have changed between the check and the registration; whoever changes them from now on finds
    // this connection.
    let current = match recorded {
        Ok(()) => site.store.user(account).await,
        Err(error) => Err(error),
    };
    match current {
        Ok(Some(user)) if user.auth_key == key => {}
        Ok(_) => return refuse(Refusal(401), &mut peer.writer).await,
        Err(error) => {
            tracing::error!(%error, "store");
            return refuse(Refusal(500), &mut peer.writer).await;
        }
    }
    if !replayable {
        peer.writer.node(&success).await?;
        peer.writer.flush().await?;
    }
    Live::new(session, peer, port).run(first, drain).await
}
