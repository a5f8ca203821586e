//! Many accounts in one process: what an idle one costs.

use crate::world::{BOB, World};
use std::process::Command;

/// Under this name, in its environment, a process of this test is told to hold the accounts.
const HOLDER: &str = "COMITY_IDLE_ACCOUNTS";
const ACCOUNTS: u64 = 100;
/// Those before the measurement begins: what the process needs once is theirs.
const FIRST: u64 = 10;
/// What one may cost, in bytes.
const MAX_PER_ACCOUNT: u64 = 300 * 1024;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Not a test of its own: the process that holds the accounts.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_process() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let world = World::start_apart().await;
    let mut held = Vec::new();
    let mut before = 0;
    for n in 0..FIRST + ACCOUNTS {
        if n == FIRST {
            before = resident();
        }
        held.push(world.native(BOB + n, world.store(&format!("native-{n}"))).await);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    println!("per account: {}", resident().saturating_sub(before) / ACCOUNTS);
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_account_is_small() {
    let mut holder = Command::new(std::env::current_exe().unwrap());
    let output = holder.args(["--exact", "idle::accounts_process", "--nocapture"]).env(HOLDER, "1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let per_account = text.lines().find_map(|line| line.split_once("per account: ")?.1.trim().parse::<u64>().ok());
    let per_account = per_account.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    println!("an idle account: {} KiB", per_account / 1024);
    assert!(per_account <= MAX_PER_ACCOUNT, "{per_account} bytes");
}
