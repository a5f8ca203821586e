//! The gatekeeper's media relay beside nginx, which passes the same file of 1 GiB on from the same origin to the same client.

use super::{Measured, ROUNDS, Side, median};
use crate::run::{Result, announce, out_dir, target_dir};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use xshell::{Shell, cmd};

const PATH: &str = "/interop/whatsapp/download/12/bench_-0123456789/";
const MIB: f64 = (1 << 20) as f64;

/// Our relay, or the peer's; ended with this.
struct Relay {
    child: Child,
    address: String,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // By SIGTERM: nginx' master ends its workers only then.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

pub(super) fn bench(sh: &Shell) -> Result<Option<Measured>> {
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
        Command::new(program).arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    let Some(nginx) = found else {
        println!("relay_1GiB: skipped: nginx is not installed");
        return Ok(None);
    };
    cmd!(sh, "cargo build --release -p comity-gatekeeper -p comity-benches --bin comity-gatekeeper --bin bench-relay")
        .run()?;
    let release = target_dir(sh).join("release");
    let dir = out_dir(sh, "bench")?.join("relay");
    let _fresh = sh.remove_path(&dir);
    sh.create_dir(&dir)?;
    let mut origin = Side::start(Command::new(release.join("bench-relay")).arg("origin"))?;
    let mut said = String::new();
    origin.answers.read_line(&mut said)?;
    let said: Value = serde_json::from_str(&said)?;
    let origin_address = said.get("address").and_then(Value::as_str).ok_or("no address")?;
    let ours = gatekeeper(sh, &release, &dir, origin_address)?;
    let peer = proxy(sh, nginx, &dir, origin_address)?;
    let mut client = Side::start(&mut Command::new(release.join("bench-relay")))?;

    let mut samples = [Vec::new(), Vec::new()];
    let mut cpu = [0.0, 0.0];
    for round in 0..=ROUNDS {
        for ((relay, samples), cpu) in [&ours, &peer].into_iter().zip(&mut samples).zip(&mut cpu) {
            let before = cpu_seconds(relay.child.id())?;
            let nanos = client.measure(&json!({"address": relay.address, "path": PATH}))?;
            if round > 0 {
                samples.push(1024.0 * MIB * 1e3 / nanos);
                *cpu += (cpu_seconds(relay.child.id())? - before) / ROUNDS as f64;
            }
        }
    }
    let [mine, theirs] = samples.each_ref().map(|samples| median(samples));
    let peak = peak_memory(ours.child.id())? / MIB;
    let [ours_cpu, peer_cpu] = cpu;
    Ok(Some(Measured {
        metric: "relay_1GiB",
        unit: "MB/s",
        peer_name: "nginx, proxy_buffering off",
        ours: mine,
        peer: theirs,
        ratio: mine / theirs,
        note: format!("CPU s/GiB: {ours_cpu:.2}, peer {peer_cpu:.2}; peak of ours {peak:.0} MiB"),
        samples: json!(samples),
    }))
}

fn gatekeeper(sh: &Shell, release: &Path, dir: &Path, origin: &str) -> Result<Relay> {
    let data = dir.join("data");
    let config = dir.join("gatekeeper.toml");
    sh.write_file(
        &config,
        format!(
            "listen_chat = '127.0.0.1:0'\nlisten_http = '127.0.0.1:0'\ndata_dir = {data:?}\n[[integrator]]\nid = 12\n\
             name = 'Bench'\norigin = 'http://{origin}'\nmedia_base_url = 'http://{origin}/media'\n"
        ),
    )?;
    let mut command = Command::new(release.join("comity-gatekeeper"));
    command.arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::null());
    announce(&command);
    let mut relay = Relay { child: command.spawn()?, address: String::new() };
    let mut line = String::new();
    BufReader::new(relay.child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let address = line.split(' ').find_map(|word| word.trim().strip_prefix("http=http://"));
    relay.address = address.ok_or_else(|| format!("comity-gatekeeper says {line:?}"))?.to_owned();
    Ok(relay)
}

fn proxy(sh: &Shell, nginx: &str, dir: &Path, origin: &str) -> Result<Relay> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let config = dir.join("nginx.conf");
    let temp =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path temp;")).concat();
    sh.write_file(
        &config,
        format!(
            "daemon off; worker_processes auto; pid nginx.pid; error_log stderr error;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; {temp} server {{ listen {address};\n\
             location /interop/whatsapp/download/12/ {{ proxy_pass http://{origin}/media/; proxy_buffering off;\n\
             proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Authorization 'Bearer x'; }} }} }}\n"
        ),
    )?;
    let mut command = Command::new(nginx);
    command.arg("-p").arg(dir).arg("-c").arg(&config).arg("-e").arg("stderr").stderr(Stdio::null());
    announce(&command);
    let relay = Relay { child: command.spawn()?, address };
    for _ in 0..100 {
        if TcpStream::connect(&relay.address).is_ok() {
            return Ok(relay);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("nginx did not start".into())
}

/// Fields of `/proc/PID/stat` after the name.
fn stat(pid: &str) -> Option<Vec<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
}

/// CPU seconds of a process and its children.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(fields) = entry.file_name().to_str().filter(|name| name.parse::<u32>().is_ok()).and_then(stat) else {
            continue;
        };
        let own = entry.file_name().to_str() == Some(&pid.to_string());
        if own || fields.get(1) == Some(&u64::from(pid)) {
            ticks += fields.iter().skip(11).take(2).sum::<u64>();
        }
    }
    Ok(ticks as f64 / 100.0) // USER_HZ is 100 wherever Linux runs
}

/// Most memory a process ever had, in bytes.
fn peak_memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
