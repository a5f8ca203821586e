//! The media relay with media hosts that misbehave and readers that are slow (PROTOCOL §10): bounded in time and memory.

use crate::world::World;
use comity_core::Profile;
use reqwest::StatusCode;
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_millis(400);
const TOTAL: Duration = Duration::from_millis(1500);
/// Time for everything else, on a busy machine.
const SLACK: Duration = Duration::from_secs(8);

/// A gatekeeper with short time-outs, files of at most 1 MiB, and one download at a time.
async fn impatient() -> World {
    let mut profile = Profile::sandbox();
    (profile.media_idle, profile.media_total, profile.media_max_len) = (IDLE, TOTAL, 1 << 20);
    let mut world = World::start().await;
    world.profile = Some(profile);
    world.restart_with("", "limits.media_downloads = 1\n").await;
    world
}

impl World {
    fn relay(&self, name: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}/interop/whatsapp/download/12/{name}_-0123456789/", self.url()))
    }

    /// Whether the one place is free again, soon.
    async fn place_is_free(&self) -> bool {
        for _ in 0..100 {
            if self.relay("absentabsent").send().await.unwrap().status() == StatusCode::NOT_FOUND {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// Bytes that came before the body broke off, or was whole.
async fn drain(mut answer: reqwest::Response) -> (usize, bool) {
    let mut came = 0;
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => came += chunk.len(),
            Ok(None) => return (came, true),
            Err(_) => return (came, false),
        }
    }
}

#[tokio::test]
async fn a_media_host_that_misbehaves_costs_a_bounded_time() {
    let world = impatient().await;
    // Refused: nothing of the file was passed on.
    for (name, status, least) in [
        ("silent", 504, IDLE),
        ("boasting", 502, Duration::ZERO), // declares more than is allowed
        ("redirect", 502, Duration::ZERO),
    ] {
        let began = Instant::now();
        let answer = world.relay(name).send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{name}");
        let took = began.elapsed();
        assert!(took >= least && took < least + SLACK, "{name}: {took:?}");
        assert!(world.place_is_free().await, "{name}");
    }
    // Broken off: the reader sees that it is not whole.
    for (name, least, most, time) in [
        ("stalling", 1000, 1000, IDLE),
        ("trickling", 2, 10_000, TOTAL),
        ("truncated", 1000, 1000, Duration::ZERO),
        ("endless", 1000, 1 << 20, Duration::ZERO), // declares nothing
    ] {
        let began = Instant::now();
        let answer = world.relay(name).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        let (came, whole) = drain(answer).await;
        assert!(!whole, "{name} looks whole");
        assert!((least..=most).contains(&came), "{name}: {came} bytes");
        let took = began.elapsed();
        assert!(took >= time && took < time + SLACK, "{name}: {took:?}");
        assert!(world.place_is_free().await, "{name}");
    }
}

/// A reader's slowness is not the media host's, but its place is given back at the end of the time.
#[tokio::test]
async fn a_reader_that_stops_keeps_its_place_no_longer_than_a_transfer_may_take() {
    let mut world = impatient().await;
    world.profile.as_mut().unwrap().media_max_len = u64::MAX;
    world.restart_with("", "limits.media_downloads = 1\n").await;
    let mut slow = world.relay("endless").send().await.unwrap();
    let began = Instant::now();
    slow.chunk().await.unwrap().unwrap();
    tokio::time::sleep(IDLE * 2).await;
    assert_eq!(world.relay("absentabsent").send().await.unwrap().status(), 503, "its place is taken");
    assert!(slow.chunk().await.unwrap().is_some(), "its own silence does not count");
    tokio::time::sleep(TOTAL.saturating_sub(began.elapsed())).await;
    assert!(world.place_is_free().await);
    let (_, whole) = drain(slow).await;
    assert!(!whole);
}

/// A gibibyte to a slow reader, in little memory. The server is a process of its own.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_relayed_in_flat_memory() {
    const LEN: u64 = 1 << 30;
    const MAX_GROWTH: u64 = 24 << 20;
    let peak = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let world = crate::binary::world().await;
    let server = crate::binary::start(world.dir.path()).await;
    let get = |name| {
        let url = format!("{}/interop/whatsapp/download/12/{name}_-0123456789/", server.http);
        world.http.get(url).send()
    };
    assert_eq!(get("absentabsent").await.unwrap().status(), 404);
    let before = peak(server.pid());
    let mut answer = get("endless").await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut taken, mut pause) = (0, 0);
    while taken < LEN {
        taken += answer.chunk().await.unwrap().unwrap().len() as u64;
        if taken >= pause {
            tokio::time::sleep(Duration::from_millis(20)).await; // what came meanwhile has to wait somewhere
            pause = taken + (16 << 20);
        }
    }
    let grown = peak(server.pid()) - before;
    println!("{taken} bytes relayed, {grown} bytes more at the peak");
    assert!(grown < MAX_GROWTH, "{grown} bytes more");
}
