//! The key directory on the wire: upload, count, fetch, digest, rotate (PROTOCOL §8).

use super::stanza::{account_of, error, iq_result};
use super::{Answer, Done, Fault, Session, notice};
use crate::http::signed_by;
use crate::limits::{MAX_PQ_KEY, MAX_UPLOAD_KEYS};
use crate::store::{Bundle, Handout, KeyCount, OneTimeKey, SignedKey, Upload, Uploaded, Wanted};
use comity_noise::{PublicKey, xeddsa};
use comity_xmpp::Node;
use sha1::{Digest as _, Sha1};

/// The type byte of a Kyber-1024 public key, where a key is written without it.
const KYBER_1024: u8 = 8;

pub(super) async fn handle(session: &Session, node: &Node, set: bool) -> Answer {
    match (node.children().first().map(Node::tag), set) {
        (Some("key"), false) => fetch(session, node).await,
        (Some("count"), false) => count(session, node).await,
        (Some("digest"), false) => digest(session, node).await,
        (Some("rotate"), true) => rotate(session, node).await,
        (Some(_), true) => upload(session, node).await,
        _ => Err(Fault::Code(400)),
    }
}

fn bytes<const N: usize>(node: &Node, tag: &str) -> Option<[u8; N]> {
    node.child(tag)?.bytes()?.try_into().ok()
}

fn id3(node: &Node) -> Option<u32> {
    let [a, b, c] = bytes(node, "id")?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

fn curve_key(node: &Node, tag: &str) -> Option<[u8; 32]> {
    bytes(node, tag).filter(|key| !PublicKey::from_bytes(*key).is_low_order())
}

/// Why a signed key is not taken.
enum BadKey {
    Form,
    Signature,
}

/// A `<skey>`, its signature verified.
fn signed_key(node: &Node, identity: &[u8; 32]) -> Result<SignedKey, BadKey> {
    let (id, value) = id3(node).zip(curve_key(node, "value")).ok_or(BadKey::Form)?;
    let signature = bytes(node, "signature").ok_or(BadKey::Form)?;
    if !signed_by(identity, &value, &signature) {
        return Err(BadKey::Signature);
    }
    Ok(SignedKey { id, value: value.to_vec(), signature: signature.to_vec() })
}

/// A `<pqkey>`, its signature verified: over the key with its type byte, which the value may or may not begin with.
fn pq_key(node: &Node, identity: &[u8; 32]) -> Result<SignedKey, BadKey> {
    let id = id3(node).ok_or(BadKey::Form)?;
    let value = node.child("value").and_then(Node::bytes).ok_or(BadKey::Form)?;
    let signature: [u8; 64] = bytes(node, "signature").ok_or(BadKey::Form)?;
    if !(1568..=MAX_PQ_KEY).contains(&value.len()) {
        return Err(BadKey::Form);
    }
    let key = PublicKey::from_bytes(*identity);
    let typed = [&[KYBER_1024], value].concat();
    if xeddsa::verify(&key, value, &signature).is_err() && xeddsa::verify(&key, &typed, &signature).is_err() {
        return Err(BadKey::Signature);
    }
    Ok(SignedKey { id, value: value.to_vec(), signature: signature.to_vec() })
}

fn pq_last(node: &Node, identity: &[u8; 32]) -> Result<Option<SignedKey>, BadKey> {
    let Some(last) = node.child("pqlast") else { return Ok(None) };
    pq_key(last.child("pqkey").ok_or(BadKey::Form)?, identity).map(Some)
}

fn parse_upload(node: &Node) -> Option<Upload> {
    let registration = u32::from_be_bytes(bytes(node, "registration")?);
    if bytes(node, "type")? != [5] {
        return None;
    }
    let identity = curve_key(node, "identity")?;
    let skey = signed_key(node.child("skey")?, &identity).ok()?;
    let list = node.child("list").map(Node::children).unwrap_or_default();
    let pq_list = node.child("pqlist").map(Node::children).unwrap_or_default();
    if list.len() > MAX_UPLOAD_KEYS || pq_list.len() > MAX_UPLOAD_KEYS {
        return None;
    }
    let one_time = |key: &Node| {
        let id = id3(key).filter(|id| (1..=0x00FF_FFFE).contains(id))?;
        Some(OneTimeKey { id, value: curve_key(key, "value")?.to_vec() })
    };
    let keys = list.iter().map(one_time).collect::<Option<_>>()?;
    let pq_keys = pq_list.iter().map(|key| pq_key(key, &identity).ok()).collect::<Option<_>>()?;
    let pq_last = pq_last(node, &identity).ok()?;
    Some(Upload { bundle: Bundle { registration, identity, skey, pq_last }, keys, pq_keys })
}

async fn upload(session: &Session, node: &Node) -> Answer {
    let upload = parse_upload(node).ok_or(Fault::Code(406))?;
    let site = &session.site;
    let (account, now) = (session.user.account.clone(), site.clock.now());
    let notice = notice::identity_changed(site, &account, now)?;
    match site.store.upload_keys(account, upload, notice, now).await? {
        Uploaded::Ok { told } => {
            for contact in &told {
                site.hub.nudge(contact);
            }
            Ok(Done::answer(iq_result(node)))
        }
        Uploaded::OtherIdentity | Uploaded::Full => Err(Fault::Code(406)),
    }
}

async fn count(session: &Session, node: &Node) -> Answer {
    let KeyCount { ec, pq } = session.site.store.count_keys(session.user.account.clone()).await?;
    let count = Node::new("count").with_attr("value", ec).with_attr("pq", pq);
    Ok(Done::answer(iq_result(node).with_child(count)))
}

async fn fetch(session: &Session, node: &Node) -> Answer {
    let users = node.children().first().map(Node::children).unwrap_or_default();
    if users.is_empty() || users.len() > session.site.profile.fetch_max_users {
        return Err(Fault::Code(400));
    }
    let (site, me) = (&session.site, &session.user.account);
    let now = site.clock.now();
    let mut wanted = Vec::with_capacity(users.len());
    for user in users {
        let jid = user.attr_jid("jid").ok_or(Fault::Code(400))?;
        // What is nobody's id is looked up like any other, as the server's own, which has no keys.
        let account = account_of(&jid).unwrap_or_else(super::stanza::server);
        let one_time = site.handed_out.take(me, &account, now, site.profile.one_time_per_pair_and_day);
        wanted.push(Wanted { account, one_time });
    }
    let accounts: Vec<_> = wanted.iter().map(|w| w.account.clone()).collect();
    let handouts = site.store.fetch_keys(me.clone(), wanted).await?;
    let mut list = Node::new("list");
    for ((user, account), handout) in users.iter().zip(&accounts).zip(handouts) {
        let mut answer = Node::new("user").with_opt_attr("jid", user.attr("jid").cloned());
        match handout {
            Some(handout) => {
                if handout.key.is_some() && handout.left < site.profile.low_water {
                    notice::low_water(site, account, handout.left);
                }
                answer = answer.with_children(bundle_nodes(&handout));
            }
            None => answer.push_child(error(500)),
        }
        list.push_child(answer);
    }
    Ok(Done::answer(iq_result(node).with_child(list)))
}

fn leaf(tag: &'static str, bytes: impl AsRef<[u8]>) -> Node {
    Node::new(tag).with_bytes(bytes.as_ref().to_vec())
}

fn id_node(id: u32) -> Node {
    let [_, id @ ..] = id.to_be_bytes();
    leaf("id", id)
}

fn signed_node(tag: &'static str, key: &SignedKey) -> Node {
    Node::new(tag).with_children([id_node(key.id), leaf("value", &key.value), leaf("signature", &key.signature)])
}

fn bundle_nodes(handout: &Handout) -> Vec<Node> {
    let bundle = &handout.bundle;
    let mut nodes = vec![
        leaf("registration", bundle.registration.to_be_bytes()),
        leaf("type", [5]),
        leaf("identity", bundle.identity),
    ];
    if let Some(key) = &handout.key {
        nodes.push(Node::new("key").with_children([id_node(key.id), leaf("value", &key.value)]));
    }
    nodes.push(signed_node("skey", &bundle.skey));
    if let Some(pq) = &handout.pq {
        nodes.push(signed_node("pqkey", pq));
    }
    nodes
}

async fn digest(session: &Session, node: &Node) -> Answer {
    let published = session.site.store.published(session.user.account.clone()).await?;
    let (bundle, keys, pq_ids) = published.ok_or(Fault::Code(404))?;
    let mut hash = Sha1::new();
    hash.update(bundle.identity);
    hash.update(&bundle.skey.value);
    hash.update(&bundle.skey.signature);
    for key in &keys {
        hash.update(&key.value);
    }
    let mut digest = Node::new("digest").with_children([
        leaf("registration", bundle.registration.to_be_bytes()),
        leaf("type", [5]),
        leaf("identity", bundle.identity),
        signed_node("skey", &bundle.skey),
        Node::new("list").with_children(keys.iter().map(|key| id_node(key.id))),
        leaf("hash", hash.finalize()),
    ]);
    if !pq_ids.is_empty() {
        digest.push_child(Node::new("pqlist").with_children(pq_ids.into_iter().map(id_node)));
    }
    if let Some(last) = &bundle.pq_last {
        digest.push_child(Node::new("pqlast").with_child(id_node(last.id)));
    }
    Ok(Done::answer(iq_result(node).with_child(digest)))
}

async fn rotate(session: &Session, node: &Node) -> Answer {
    let (store, account) = (&session.site.store, &session.user.account);
    let rotate = node.child("rotate").ok_or(Fault::Code(400))?;
    let identity = store.identity(account.clone()).await?.ok_or(Fault::Code(404))?;
    let fault = |bad| {
        Fault::Code(match bad {
            BadKey::Form => 406,
            BadKey::Signature => 409,
        })
    };
    let skey = rotate.child("skey").map(|key| signed_key(key, &identity)).transpose().map_err(fault)?;
    let pq_last = pq_last(rotate, &identity).map_err(fault)?;
    if skey.is_none() && pq_last.is_none() {
        return Err(Fault::Code(406));
    }
    if !store.rotate_keys(account.clone(), skey, pq_last).await? {
        return Err(Fault::Code(404));
    }
    Ok(Done::answer(iq_result(node)))
}
