//! Chat connections, over TCP or WebSocket: accept, handshake, log-in (PROTOCOL §5).

mod delivery;
mod session;
mod wire;

use crate::chat::{LogIn, Refusal, Session, authenticate};
use crate::limits::{DRAIN_DEADLINE, MAX_CONNECTIONS, UPGRADE_DEADLINE};
use crate::metrics::{CONNECTIONS, Counted, LOG_INS, count};
use crate::rng::os_rng;
use crate::site::Site;
use crate::store::Use;
use bytes::BytesMut;
use comity_core::Redacted;
use comity_noise::Pattern;
use comity_noise::io::websocket::ByteStream;
use comity_noise::io::{Timeouts, accept};
use comity_server::Upgraded;
use comity_xmpp::Node;
use session::Live;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use wire::{Input, Output, Over, Reader, Writer};

/// A place among the connections, which is given back when this is dropped.
pub(crate) struct Place {
    _open: Counted,
    _slot: OwnedSemaphorePermit,
}

/// A place for one more connection, of whatever kind; `None` over the bound, and when they are drained.
pub(crate) fn place(site: &Site) -> Option<Place> {
    if *site.drain.borrow() {
        return None;
    }
    let slot = Arc::clone(&site.chat_slots).try_acquire_owned().ok()?;
    Some(Place { _open: Counted::new(CONNECTIONS), _slot: slot })
}

/// Takes connections until told to drain, then waits for all to end, those over WebSocket as well.
pub(crate) async fn serve(site: Arc<Site>, listener: TcpListener) {
    let mut drain = site.drain.clone();
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
        let Some(place) = place(&site) else {
            continue; // closed unread
        };
        let _without_if_refused = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        tokio::spawn(connection(Arc::clone(&site), place, Box::new(read), Box::new(write), from.ip()));
    }
    drop(listener);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _late_ones_are_cut = timeout(DRAIN_DEADLINE, site.chat_slots.acquire_many(all)).await;
}

/// Waits for the order to drain, or for the gatekeeper's end.
async fn drained(drain: &mut watch::Receiver<bool>) {
    let _gone_is_the_same = drain.wait_for(|draining| *draining).await;
}

/// A connection in the binary messages of a WebSocket, once its upgrade is answered.
pub(crate) fn web_socket(
    site: Arc<Site>,
    place: Place,
    upgraded: impl Future<Output = Option<Upgraded>> + Send + 'static,
    from: IpAddr,
) {
    tokio::spawn(async move {
        let Ok(Some(stream)) = timeout(UPGRADE_DEADLINE, upgraded).await else { return };
        let (read, write) = tokio::io::split(ByteStream::server(stream).await);
        connection(site, place, Box::new(read), Box::new(write), from).await;
    });
}

async fn connection(site: Arc<Site>, _place: Place, read: Input, write: Output, from: IpAddr) {
    let drain = site.drain.clone();
    if let Err(over) = run(site, read, write, from, drain).await {
        tracing::debug!(%over, "connection over");
    }
}

async fn run(
    site: Arc<Site>,
    read: Input,
    write: Output,
    from: IpAddr,
    drain: watch::Receiver<bool>,
) -> Result<(), Over> {
    let noise = site.noise();
    let accepted = accept(read, write, &noise, &mut os_rng(), Timeouts::default()).await?;
    let key = *accepted.client.as_bytes();
    let login = accepted.login;
    let (reader, mut writer) =
        (Reader(accepted.reader), Writer { messages: accepted.writer, site: Arc::clone(&site), alias_view: false });
    match authenticate(&site, login.payload(), &key, from).await {
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
    peer.writer.alias_view = user.alias_view;
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
