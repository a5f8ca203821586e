//! The key directory (PROTOCOL §8).

use crate::client::{Client, Identity};
use crate::world::World;
use comity_xmpp::Node;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeSet;

async fn count(client: &mut Client) -> u32 {
    let answer = client.ok("get", "encrypt", vec![Node::new("count")]).await;
    answer.child("count").unwrap().attr_str("value").unwrap().parse().unwrap()
}

async fn fetch(client: &mut Client, jid: &str) -> Node {
    let key = Node::new("key").with_child(Node::new("user").with_attr("jid", jid).with_attr("reason", "identity"));
    let answer = client.ok("get", "encrypt", vec![key]).await;
    answer.child("list").unwrap().children()[0].clone()
}

#[tokio::test]
async fn upload_count_fetch_digest_rotate() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    assert_eq!(b.fails("get", "encrypt", vec![Node::new("digest")]).await, 404);
    let upload = bob.identity.upload(1..31);
    b.ok("set", "encrypt", upload.clone()).await;
    assert_eq!(count(&mut b).await, 30);

    let user = fetch(&mut a, &bob.jid).await;
    assert_eq!(user.attr_str("jid").unwrap(), bob.jid);
    assert_eq!(user.child("registration").unwrap().bytes().unwrap(), 0x1234u32.to_be_bytes());
    assert_eq!(user.child("type").unwrap().bytes().unwrap(), [5]);
    assert_eq!(user.child("identity").unwrap().bytes().unwrap(), bob.identity.key.public().as_bytes());
    assert_eq!(user.child("key"), upload[3].children().first());
    assert_eq!(user.child("skey"), Some(&upload[4]));
    assert!(user.child("pqkey").is_none());
    assert_eq!(count(&mut b).await, 29);

    // A bundle from the enlistment alone, no one-time key.
    let user = fetch(&mut b, &alice.jid).await;
    assert!(user.child("key").is_none() && user.child("skey").is_some());

    let digest = b.ok("get", "encrypt", vec![Node::new("digest")]).await;
    let digest = digest.child("digest").unwrap();
    let mut hash = Sha1::new();
    hash.update(bob.identity.key.public().as_bytes());
    for tag in ["value", "signature"] {
        hash.update(upload[4].child(tag).unwrap().bytes().unwrap());
    }
    for key in &upload[3].children()[1..] {
        hash.update(key.child("value").unwrap().bytes().unwrap());
    }
    assert_eq!(digest.child("hash").unwrap().bytes().unwrap(), &hash.finalize()[..]);
    assert_eq!(digest.child("list").unwrap().children().len(), 29);

    b.ok("set", "encrypt", vec![Node::new("rotate").with_child(bob.identity.skey_node(9))]).await;
    assert_eq!(fetch(&mut a, &bob.jid).await.child("skey").unwrap().child("id").unwrap().bytes().unwrap(), [0, 0, 9]);
    let forged = Node::new("rotate").with_child(Identity::generate().skey_node(10));
    assert_eq!(b.fails("set", "encrypt", vec![forged]).await, 409);
}

#[tokio::test]
async fn bad_uploads_change_nothing() {
    let world = World::start().await;
    let ((alice, mut a), (bob, mut b)) = world.pair().await;
    b.ok("set", "encrypt", bob.identity.upload(1..11)).await;
    let good = bob.identity.upload(20..25);
    let mut foreign_signature = good.clone();
    foreign_signature[4] = Identity::generate().skey_node(7);
    let mut low_order = good.clone();
    low_order[2] = Node::new("identity").with_bytes(vec![0; 32]);
    let too_many = bob.identity.upload(1..814);
    for bad in [good[1..].to_vec(), foreign_signature, low_order, too_many, bob.identity.upload(0..1)] {
        assert_eq!(b.fails("set", "encrypt", bad).await, 406);
    }
    assert_eq!(count(&mut b).await, 10);
    // A partner user's identity is the enlisted one.
    assert_eq!(a.fails("set", "encrypt", Identity::generate().upload(1..5)).await, 406);
    a.ok("set", "encrypt", alice.identity.upload(1..5)).await;
    assert_eq!(count(&mut a).await, 4);
}

#[tokio::test]
async fn post_quantum_keys_are_handed_out_once_and_then_the_last_resort() {
    let world = World::start().await;
    let ((_, mut a), (bob, mut b)) = world.pair().await;
    let pq = |id: u8| {
        let value = [vec![8], vec![id; 1568]].concat();
        let signature = comity_noise::xeddsa::sign(&bob.identity.key, &value, &mut crate::world::rng());
        Node::new("pqkey").with_children([
            Node::new("id").with_bytes(vec![0, 0, id]),
            Node::new("value").with_bytes(value),
            Node::new("signature").with_bytes(signature.to_vec()),
        ])
    };
    let mut upload = bob.identity.upload(1..4);
    let first = pq(1);
    upload.push(Node::new("pqlist").with_child(first.clone()));
    upload.push(Node::new("pqlast").with_child(pq(99)));
    b.ok("set", "encrypt", upload).await;
    assert_eq!(fetch(&mut a, &bob.jid).await.child("pqkey"), Some(&first));
    for _ in 0..2 {
        let user = fetch(&mut a, &bob.jid).await;
        assert_eq!(user.child("pqkey").unwrap().child("id").unwrap().bytes().unwrap(), [0, 0, 99]);
    }
    let user = fetch(&mut a, &bob.jid).await;
    assert!(user.child("key").is_none() && user.child("pqkey").is_some());
}

#[tokio::test]
async fn one_time_keys_are_never_served_twice() {
    let world = World::start().await;
    let (_, (bob, mut b)) = world.pair().await;
    b.ok("set", "encrypt", bob.identity.upload(1..41)).await;
    let mut fetchers = Vec::new();
    for n in 0..8 {
        let user = world.enlist(&format!("user{n}@partner.test")).await;
        let mut client = world.online(&user).await;
        let jid = bob.jid.clone();
        fetchers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..10 {
                let user = fetch(&mut client, &jid).await;
                ids.extend(user.child("key").map(|key| key.child("id").unwrap().bytes().unwrap().to_vec()));
            }
            ids
        }));
    }
    let (mut all, mut served) = (BTreeSet::new(), 0);
    for fetcher in fetchers {
        for id in fetcher.await.unwrap() {
            served += 1;
            assert!(all.insert(id), "served twice");
        }
    }
    assert_eq!((served, count(&mut b).await), (40, 0));
    let low = b.wait("low-water", |n| n.tag() == "notification" && n.child("count").is_some()).await;
    assert_eq!(low.attr_str("from").unwrap(), "s.whatsapp.net");
}

#[tokio::test]
async fn one_requester_cannot_drain_them() {
    let world = World::start().await;
    let ((_, mut a), (bob, mut b)) = world.pair().await;
    b.ok("set", "encrypt", bob.identity.upload(1..101)).await;
    for _ in 0..30 {
        assert!(fetch(&mut a, &bob.jid).await.child("skey").is_some());
    }
    assert_eq!(count(&mut b).await, 80);
}

#[tokio::test]
async fn a_native_users_new_identity_is_told_to_its_contacts() {
    let world = World::start().await;
    let ((_, mut a), (mut bob, mut b)) = world.pair().await;
    b.ok("set", "encrypt", bob.identity.upload(1..5)).await;
    a.deliver(&bob.jid, "AA01", b"x").await;
    bob.identity = Identity::generate();
    b.ok("set", "encrypt", bob.identity.upload(1..3)).await;
    let notice = a.wait_tag("notification").await;
    assert_eq!(notice.attr_str("from").unwrap(), bob.jid);
    assert!(notice.child("identity").is_some());
    assert_eq!(count(&mut b).await, 2);
}
