//! Chat connections: accept, handshake, log-in (PROTOCOL §5).

mod delivery;
mod session;
mod wire;

use crate::chat::{LogIn, Refusal, Session, authenticate};
use crate::limits::{DRAIN_DEADLINE, MAX_CONNECTIONS};
use crate::metrics::{CONNECTIONS, Counted, LOG_INS, count};
use crate::rng::os_rng;
use crate::site::Site;
use crate::store::Use;
use bytes::BytesMut;
use comity_core::Redacted;
use comity_noise::Pattern;
use comity_noise::io::{Timeouts, accept};
use comity_xmpp::Node;
use session::Live;
use std::net::SocketAddr;
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
        let open = Counted::new(CONNECTIONS);
        tokio::spawn(async move {
            let _open = open;
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
    let (reader, mut writer) = (Reader(accepted.reader), Writer { messages: accepted.writer, site: Arc::clone(&site) });
    match authenticate(&site, login.payload(), &key, from.ip()).await {
        Ok(found) => {
            let peer = Peer { reader, writer };
            begin(site, found, key, peer, accepted.pattern, login.is_replayable(), drain).await
        }
        Err(refusal) => {
            refuse(refusal, &mut writer).await?;
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

async fn refuse(refusal: Refusal, writer: &mut Writer) -> Result<(), Over> {
    let reason = refusal.reason(&writer.site.profile);
    count(LOG_INS, "result", reason.to_string());
    tracing::info!(reason, "log-in refused");
    let node = Node::new("failure").with_attr("reason", reason).with_attr("location", "sandbox");
    writer.node(&node).await?;
    writer.flush().await
}

/// From the answer to the log-in on. What came as 0-RTT takes effect only when the client has proved to be there: until its
/// first stanza opens nobody is replaced, nothing is delivered, no token is used up and nothing is recorded.
async fn begin(
    site: Arc<Site>,
    login: LogIn,
    key: [u8; 32],
    mut peer: Peer,
    pattern: Pattern,
    replayable: bool,
    mut drain: watch::Receiver<bool>,
) -> Result<(), Over> {
    let LogIn { mut user, name, single_use } = login;
    if let Some(name) = &name {
        user.display_name.clone_from(name);
    }
    let success = Node::new("success")
        .with_attr("t", site.clock.now().as_secs())
        .with_opt_attr("display_name", Some(user.display_name.as_str()).filter(|name| !name.is_empty()));
    let mut first: Option<BytesMut> = None;
    if replayable {
        peer.writer.node(&success).await?;
        peer.writer.flush().await?;
        first = Some(tokio::select! {
            frame = peer.reader.frame() => frame?,
            () = tokio::time::sleep(site.profile.first_stanza) => return Err(Over::Late),
            () = drained(&mut drain) => return Ok(()),
        });
    }
    let account = user.account.clone();
    match site.store.logged_in(&account, name, single_use, site.clock.now()).await {
        Ok(Use::First) => {}
        Ok(Use::Again) => return refuse(Refusal::Token, &mut peer.writer).await,
        Ok(Use::Full) => return refuse(Refusal::RateLimited, &mut peer.writer).await,
        Err(error) => {
            tracing::error!(%error, "store");
            return refuse(Refusal::Internal, &mut peer.writer).await;
        }
    }
    tracing::info!(account = %Redacted(&account), ?pattern, "logged in");
    let port = site.hub.register(account.clone());
    site.push.came(&account);
    // The credentials may have changed between the check and the registration; whoever changes them from now on finds
    // this connection.
    match site.store.user(account).await {
        Ok(Some(user)) if user.auth_key == key => {}
        Ok(_) => return refuse(Refusal::Token, &mut peer.writer).await,
        Err(error) => {
            tracing::error!(%error, "store");
            return refuse(Refusal::Internal, &mut peer.writer).await;
        }
    }
    if !replayable {
        peer.writer.node(&success).await?;
        peer.writer.flush().await?;
    }
    count(LOG_INS, "result", "ok");
    Live::new(Session { site, user }, peer, port).run(first, drain).await
}
