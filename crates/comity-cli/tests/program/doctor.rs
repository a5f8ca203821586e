//! `comity doctor` where all is well, and where one thing is not.

use crate::world::{ALICE, World, comity, private};
use comity_testkit::port::free_port;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

struct Found(Vec<Value>, bool);

impl Found {
    fn of(&self, check: &str) -> Vec<&Value> {
        self.0.iter().filter(|line| line["check"].as_str().unwrap().starts_with(check)).collect()
    }

    fn failed(&self, check: &str) -> &Value {
        assert!(!self.1, "it must fail");
        let failed = self.of(check).into_iter().find(|line| line["status"] == "fail");
        let failed = failed.unwrap_or_else(|| panic!("{check} did not fail: {:#?}", self.0));
        assert!(failed["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{failed}");
        failed
    }
}

fn doctor(world: &World) -> Found {
    let output = world.command(&["doctor", "--json"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!([Some(0), Some(1)].contains(&output.status.code()));
    Found(lines, output.status.success())
}

#[test]
fn where_all_is_well_nothing_fails() {
    let Some(world) = World::start() else { return };
    let mut alice = world.program(&["chat", "--json", "--as", ALICE]);
    alice.json("up", |line| line["state"] == "UpToDate");
    // The chat runs, and the doctor does not disturb it.
    let found = doctor(&world);
    assert!(found.1, "{:#?}", found.0);
    for check in [
        "disk space",
        "profile",
        "gatekeeper.toml",
        "partner.toml",
        "gatekeeper",
        "gatekeeper's clock",
        "gatekeeper's keys",
        "chat port",
        "chat certificate",
        "partner server",
        "partner server's clock",
        "partner's keys",
        "ownership token",
        "media host",
        "store of chat-alice_partner_test",
    ] {
        assert!(found.0.iter().any(|line| line["check"] == check && line["status"] == "ok"), "{check}: {:#?}", found.0);
    }
    let output = comity().arg("doctor").arg("--dir").arg(world.dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| ["ok  ", "warn"].iter().any(|start| line.starts_with(start))), "{text}");
    alice.call("\"do\":\"history\"");
}

#[test]
fn what_is_broken_is_named_and_says_what_to_do() {
    let Some(mut world) = World::start() else { return };

    // A file that others may read.
    use std::os::unix::fs::PermissionsExt as _;
    let config = world.path("partner.toml");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(doctor(&world).failed("permissions")["advice"].as_str().unwrap().contains("chmod 600"));
    let text = std::fs::read_to_string(&config).unwrap();
    private(&config, &text);

    // A configuration that the server refuses, and one of another profile.
    private(&config, &format!("nonsense = 1\n{text}"));
    assert!(doctor(&world).failed("partner.toml")["found"].as_str().unwrap().contains("nonsense"));
    private(&config, &format!("profile = \"{}\"\n{text}", world.path("other.toml").display()));
    private(&world.path("other.toml"), "login_product = 77\n");
    assert!(doctor(&world).failed("partner.toml")["found"].as_str().unwrap().contains("login_product"));
    private(&config, &text);

    // The root of another gatekeeper.
    let place = std::fs::read_to_string(world.path("gatekeeper.json")).unwrap();
    let mut other: Value = serde_json::from_str(&place).unwrap();
    let root = other["root"].as_str().unwrap().to_owned();
    other["root"] = root.chars().rev().collect::<String>().into();
    private(&world.path("gatekeeper.json"), &other.to_string());
    doctor(&world).failed("chat port");

    // A gatekeeper's clock that is an hour behind.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    other["root"] = root.into();
    other["http"] = format!("http://{}", listener.local_addr().unwrap()).into();
    private(&world.path("gatekeeper.json"), &other.to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _read = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let found = doctor(&world);
    assert!(found.failed("gatekeeper's clock")["advice"].as_str().unwrap().contains("NTP"));
    found.failed("gatekeeper's keys"); // `ok` is no key set
    private(&world.path("gatekeeper.json"), &place);

    // The gatekeeper knows the partner by another address.
    let config = world.path("gatekeeper.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let elsewhere = format!("http://127.0.0.1:{}", free_port());
    private(&config, &text.replace(&world.partner_url, &elsewhere));
    let found = doctor(&world);
    found.failed("partner's keys");
    found.failed("media host");
    private(&config, &text);

    // A store that is none.
    std::fs::create_dir(world.path("chat-mallory")).unwrap();
    private(&world.path("chat-mallory/store.db"), "this is not a database, and never was one");
    doctor(&world).failed("store of chat-mallory");
    std::fs::remove_dir_all(world.path("chat-mallory")).unwrap();

    // The servers are gone, one after the other.
    drop(world.partner.take());
    doctor(&world).failed("partner server");
    drop(world.gatekeeper.take());
    let found = doctor(&world);
    found.failed("gatekeeper");
    found.failed("chat port");
    assert_eq!(comity().args(["doctor", "--dir", "/nowhere"]).status().unwrap().code(), Some(1));
}

#[test]
fn over_tls_the_certificate_must_be_trusted_and_last() {
    let Some(mut world) = World::start() else { return };
    let (config, gatekeeper) = (world.path("partner.toml"), world.path("gatekeeper.toml"));
    let https = world.partner_url.replace("http:", "https:");
    let mut text = std::fs::read_to_string(&config).unwrap();
    for file in ["chain", "key"] {
        let path = world.path(&format!("{file}.pem"));
        text = format!("tls_{file} = \"{}\"\n{text}", path.display());
    }
    let certify = |world: &World, days: u64| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let now = std::time::SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = (now + Duration::from_secs(days * 86_400 + 3600)).into();
        let chain = params.self_signed(&key).unwrap();
        private(&world.path("chain.pem"), &chain.pem());
        private(&world.path("key.pem"), &key.serialize_pem());
    };
    drop(world.partner.take());
    drop(world.gatekeeper.take());
    certify(&world, 90);
    world.roots = Some(world.path("chain.pem"));
    private(&config, &text);
    let known = std::fs::read_to_string(&gatekeeper).unwrap();
    private(&gatekeeper, &known.replace(&world.partner_url, &https));
    world.gatekeeper = Some(world.program(&["sandbox"]));
    world.gatekeeper.as_mut().unwrap().line("configuration");
    world.partner = Some(world.program(&["partner"]));
    world.partner.as_mut().unwrap().line("configuration");

    // The whole way: the gatekeeper, the chat and the doctor speak TLS to the partner server.
    let mut alice = world.program(&["chat", "--json", "--as", ALICE]);
    alice.json("up", |line| line["state"] == "UpToDate");
    let found = doctor(&world);
    assert!(found.1, "{:#?}", found.0);
    assert_eq!(found.of("partner server's TLS certificate")[0]["found"], "ends in 90 days");

    // The server takes the new one while it runs.
    let trusted = world.path("trusted.pem");
    let old = std::fs::read_to_string(world.path("chain.pem")).unwrap();
    certify(&world, 5);
    private(&trusted, &format!("{old}{}", std::fs::read_to_string(world.path("chain.pem")).unwrap()));
    world.roots = Some(trusted);
    let start = Instant::now();
    loop {
        let found = doctor(&world);
        let check = found.of("partner server's TLS certificate")[0];
        if check["status"] == "warn" {
            assert_eq!((check["found"].as_str(), check["advice"].as_str()), (Some("ends in 5 days"), Some("renew it")));
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{check}");
    }

    // Nobody vouches for it.
    world.roots = None;
    let found = doctor(&world);
    assert!(found.failed("partner server")["found"].as_str().unwrap().contains("ertificate"), "{:#?}", found.0);
}
