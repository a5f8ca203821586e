//! Push calls (PROTOCOL §11).

use crate::world::World;
use std::time::Duration;

async fn pushes(world: &World, count: usize) -> Vec<String> {
    for _ in 0..200 {
        let taken: Vec<String> =
            world.partner.state.pushes.lock().unwrap().iter().map(|(body, _)| body.clone()).collect();
        if taken.len() >= count {
            return taken;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no push");
}

#[tokio::test]
async fn new_mail_for_the_disconnected_wakes_once_until_the_next_log_in() {
    let world = World::start().await;
    let ((alice, a), (_, mut b)) = world.pair().await;
    a.close().await;
    for n in 0..3 {
        b.deliver(&alice.jid, &format!("BB{n}"), b"x").await;
    }
    let taken = pushes(&world, 1).await;
    assert_eq!(taken, [r#"{"to":"alice@partner.test"}"#]);
    let mut a = world.online(&alice).await;
    let queued = a.drain_offline().await;
    assert_eq!(queued.len(), 3);
    for message in &queued {
        a.receipt(message, None).await;
    }
    a.ping().await;
    a.close().await;
    b.deliver(&alice.jid, "BB9", b"x").await;
    assert_eq!(pushes(&world, 2).await.len(), 2);
}

#[tokio::test]
async fn a_failing_partner_is_tried_again_and_a_gone_user_is_not() {
    let world = World::start().await;
    let ((alice, a), (_, mut b)) = world.pair().await;
    a.close().await;
    *world.partner.state.push_answers.lock().unwrap() = vec![503];
    b.deliver(&alice.jid, "BB1", b"x").await;
    assert_eq!(pushes(&world, 1).await.len(), 1);

    let mut a = world.online(&alice).await;
    let queued = a.drain_offline().await;
    a.receipt(&queued[0], None).await;
    a.ping().await;
    a.close().await;
    *world.partner.state.push_answers.lock().unwrap() = vec![410];
    b.deliver(&alice.jid, "BB2", b"x").await;
    while !world.partner.state.push_answers.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    b.deliver(&alice.jid, "BB3", b"x").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.partner.state.pushes.lock().unwrap().len(), 1, "410 stops until the next log-in");
}

#[tokio::test]
async fn mail_from_before_a_restart_wakes_after_it() {
    let mut world = World::start().await;
    let ((alice, a), (_, mut b)) = world.pair().await;
    a.close().await;
    *world.partner.state.push_answers.lock().unwrap() = vec![500; 1];
    b.deliver(&alice.jid, "BB1", b"x").await;
    while !world.partner.state.push_answers.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.down().await;
    world.up().await;
    assert!(!pushes(&world, 1).await.is_empty());
}
