//! Runs both suites against foreign Signal implementations (PROTOCOL §8); see `crates/comity-testkit/peers/signal`.
//!
//! ```text
//! cargo run -p comity-signal-pqxdh --example signal_interop -- SCRIPTS PACKAGES [CASE…]
//! ```
//! SCRIPTS holds the peer scripts, PACKAGES one directory per peer with its npm packages. One JSON line per case on
//! stdout: `{"peer","case","result":"pass|fail|skip","reason"}`; exit status 1 if one failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test driver: it starts processes, and a panic is a failed case"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_signal::suite_tests::{End, flipped};
use comity_signal::{
    Address, Bundle, EncKind, Encrypted, Error, Party, PqPreKeyPublic, PreKeyPublic, PublicKey, SignedPreKeyPublic,
    Suites, group_decrypt, group_distribution, group_encrypt, group_process, keys_for_group, safety_number, wire,
};
use comity_signal_pqxdh::Pqxdh;
use comity_signal_x3dh::X3dh;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const OURS: &str = "1-10853634039893";
const THEIRS: &str = "4915112345678@s.whatsapp.net";
const MESSAGES: usize = 200;

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn un64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().expect("base64")).expect("base64")
}

/// A foreign implementation behind line-delimited JSON.
struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    requests: u64,
    identity: PublicKey,
    /// Who we are to the peer.
    remote: Value,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(script: &Path, root: &Path, name: &str) -> Self {
        let mut child = Command::new("node")
            .arg(script)
            .env("PEER_ROOT", root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node");
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let identity = PublicKey::new([9; 32]).unwrap();
        let mut peer = Self { child, to, from, requests: 0, identity, remote: us() };
        let hello = peer.ask(json!({"cmd": "init", "name": name, "device_id": 1}));
        peer.identity = PublicKey::parse(&un64(&hello["identity_key"])).unwrap();
        peer
    }

    fn try_ask(&mut self, mut request: Value) -> Result<Value, String> {
        self.requests += 1;
        request["id"] = self.requests.into();
        writeln!(self.to, "{request}").expect("peer gone");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("peer gone");
        let reply: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("peer gone at {}", request["cmd"]));
        assert_eq!(reply["id"], request["id"]);
        if reply["ok"] == true { Ok(reply) } else { Err(reply["error"].to_string()) }
    }

    fn ask(&mut self, request: Value) -> Value {
        let cmd = request["cmd"].clone();
        self.try_ask(request).unwrap_or_else(|e| panic!("peer: {cmd}: {e}"))
    }

    fn bundle(&mut self, one_time: bool, pq: bool) -> Bundle {
        let b = self.ask(json!({"cmd": "bundle", "one_time": one_time, "kyber": pq}))["bundle"].clone();
        let id = |v: &Value| u32::try_from(v["id"].as_u64().unwrap()).unwrap();
        let key = |v: &Value| PublicKey::parse(&un64(v)).unwrap();
        let signature = |v: &Value| un64(&v["signature"]).try_into().unwrap();
        let (signed, first, kyber) = (&b["signed_pre_key"], &b["pre_key"], &b["kyber_pre_key"]);
        Bundle {
            registration_id: u32::try_from(b["registration_id"].as_u64().unwrap()).unwrap(),
            identity: key(&b["identity_key"]),
            signed: SignedPreKeyPublic { id: id(signed), value: key(&signed["key"]), signature: signature(signed) },
            one_time: (!first.is_null()).then(|| PreKeyPublic { id: id(first), value: key(&first["key"]) }),
            pq: (!kyber.is_null()).then(|| PqPreKeyPublic {
                id: id(kyber),
                value: un64(&kyber["key"]).into(),
                signature: signature(kyber),
            }),
        }
    }

    fn process(&mut self, bundle: &Bundle) {
        let body = json!({
            "registration_id": bundle.registration_id,
            "device_id": 1,
            "identity_key": b64(&bundle.identity.with_type()),
            "signed_pre_key": {
                "id": bundle.signed.id,
                "key": b64(&bundle.signed.value.with_type()),
                "signature": b64(&bundle.signed.signature),
            },
            "pre_key": bundle.one_time.as_ref().map(|k| json!({"id": k.id, "key": b64(&k.value.with_type())})),
            "kyber_pre_key": bundle.pq.as_ref().map(|k| {
                json!({"id": k.id, "key": b64(&k.value), "signature": b64(&k.signature)})
            }),
        });
        self.ask(json!({"cmd": "process_bundle", "remote": self.remote, "bundle": body}));
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> Encrypted {
        let m = self.ask(json!({"cmd": "encrypt", "remote": self.remote, "plaintext": b64(plaintext)}));
        let kind = if m["type"] == "prekey" { EncKind::Pkmsg } else { EncKind::Msg };
        let body = un64(&m["body"]);
        Encrypted { kind, version: body[0] >> 4, body: body.into() }
    }

    fn decrypt(&mut self, m: &Encrypted) -> Result<Vec<u8>, String> {
        let kind = if m.kind == EncKind::Pkmsg { "prekey" } else { "signal" };
        let reply =
            self.try_ask(json!({"cmd": "decrypt", "remote": self.remote, "type": kind, "body": b64(&m.body)}))?;
        Ok(un64(&reply["plaintext"]))
    }

    fn opens(&mut self, m: &Encrypted, plaintext: &[u8]) {
        assert_eq!(self.decrypt(m).expect("peer opens"), plaintext);
    }
}

fn us() -> Value {
    json!({"name": OURS, "device_id": 1})
}

fn them() -> Address {
    Address::new(THEIRS, 0).unwrap()
}

/// Our end: both suites for version 4, X3DH alone for version 3.
fn end(version: u8, one_time: usize, seed: u64) -> End {
    let suites = Suites::new().with(X3dh);
    End::new(OURS, seed, &if version == 4 { suites.with(Pqxdh::new()) } else { suites }, one_time)
}

/// Sets up a session from either side and lets one message go each way.
fn start(us: &mut End, peer: &mut Peer, version: u8, we_begin: bool, one_time: bool) {
    if we_begin {
        let bundle = peer.bundle(one_time, version == 4);
        assert_eq!(us.establish(&them(), &bundle).unwrap().version, version);
        let first = us.encrypt(&them(), b"first").unwrap();
        assert_eq!((first.kind, first.version), (EncKind::Pkmsg, version));
        peer.opens(&first, b"first");
        let answer = peer.encrypt(b"answer");
        assert_eq!(us.opens(&them(), &answer, b"answer").identity, peer.identity);
    } else {
        let bundle = us.bundle();
        assert_eq!(bundle.one_time.is_some(), one_time);
        peer.process(&bundle);
        let first = peer.encrypt(b"first");
        assert_eq!((first.kind, first.version), (EncKind::Pkmsg, version));
        let out = us.opens(&them(), &first, b"first");
        assert_eq!((out.new_session, out.consumed_pre_key), (true, bundle.one_time.map(|k| k.id)));
        assert_eq!(out.identity, peer.identity);
        let answer = us.encrypt(&them(), b"answer").unwrap();
        peer.opens(&answer, b"answer");
    }
}

/// `MESSAGES` each way out of order, in rounds, so that the ratchet turns in between.
fn shuffled(us: &mut End, peer: &mut Peer) {
    const ROUND: usize = 50;
    for round in 0..MESSAGES / ROUND {
        let text = |who: &str, i: usize| format!("{who} {round}/{i}").into_bytes();
        let ours: Vec<_> = (0..ROUND).map(|i| us.encrypt(&them(), &text("we", i)).unwrap()).collect();
        let theirs: Vec<_> = (0..ROUND).map(|i| peer.encrypt(&text("they", i))).collect();
        for i in (0..ROUND).map(|i| (i * 17 + 31) % ROUND) {
            peer.opens(&ours[i], &text("we", i));
            us.opens(&them(), &theirs[ROUND - 1 - i], &text("they", ROUND - 1 - i));
        }
    }
}

fn session(peer: &mut Peer, version: u8, we_begin: bool) {
    let mut us = end(version, 5, 1);
    start(&mut us, peer, version, we_begin, true);
    shuffled(&mut us, peer);
}

fn no_one_time_key(peer: &mut Peer, version: u8, we_begin: bool) {
    let mut us = end(version, 0, 2);
    start(&mut us, peer, version, we_begin, false);
}

fn tamper_and_replay(peer: &mut Peer, version: u8) {
    let mut us = end(version, 5, 3);
    let bundle = us.bundle();
    peer.process(&bundle);
    let first = peer.encrypt(b"first");
    us.refuses(&them(), &flipped(&first, first.body.len() - 10, 3));
    us.opens(&them(), &first, b"first");
    us.refuses(&them(), &first);
    let ours = us.encrypt(&them(), b"ours").unwrap();
    for at in [1, 10, 40, ours.body.len() - 12, ours.body.len() - 1] {
        peer.decrypt(&flipped(&ours, at, 2)).expect_err("peer refuses a tampered message");
    }
    peer.opens(&ours, b"ours");
    peer.decrypt(&ours).expect_err("peer refuses a replay");
    for i in 0..10_u8 {
        let m = peer.encrypt(&[i]);
        for at in (1..m.body.len()).step_by(7) {
            us.refuses(&them(), &flipped(&m, at, i % 8));
        }
        us.opens(&them(), &m, &[i]);
        us.refuses(&them(), &m);
    }
}

/// Both of us named by UUIDs: the peer writes both addresses into its messages, under the MAC. They open as from whom they
/// say, and from nobody else.
fn addresses(peer: &mut Peer) {
    const UUIDS: [&str; 2] = ["9d0652a3-dcc3-4d11-975f-74d61598733f", "796abedb-ca4e-4f18-8803-1fde5b921f9f"];
    let hello = peer.ask(json!({"cmd": "init", "name": UUIDS[0], "device_id": 1}));
    peer.identity = PublicKey::parse(&un64(&hello["identity_key"])).unwrap();
    peer.remote = json!({"name": UUIDS[1], "device_id": 1});
    let theirs = Address::new(UUIDS[0], 0).unwrap();
    let mut us = end(4, 5, 6);
    peer.process(&us.bundle());
    for text in [b"1", b"2"] {
        let m = peer.encrypt(text);
        let inner = wire::PreKeyMessage::parse(&m.body).unwrap().inner;
        assert!(wire::SignalMessage::parse(inner).unwrap().addresses.is_some(), "no oracle without addresses");
        for other in [them(), Address::new(UUIDS[1], 0).unwrap(), Address::new(UUIDS[0], 2).unwrap()] {
            assert_eq!(us.refuses(&other, &m), Error::Misdirected);
        }
        us.opens(&theirs, &m, text);
    }
    let answer = us.encrypt(&theirs, b"answer").unwrap();
    peer.opens(&answer, b"answer");
    let m = peer.encrypt(b"3");
    assert_eq!(m.kind, EncKind::Msg);
    us.opens(&theirs, &m, b"3");
}

fn fingerprint(peer: &mut Peer) {
    let ours = end(4, 0, 4).account().identity();
    let theirs = Party { id: THEIRS, identity: peer.identity };
    let number = safety_number(Party { id: OURS, identity: ours }, theirs).unwrap();
    let got = peer.ask(json!({
        "cmd": "fingerprint", "local_id": THEIRS, "remote_id": OURS, "remote_key": b64(&ours.with_type()),
    }));
    assert_eq!(got["display"], number);
}

fn group(peer: &mut Peer, version: u8, group: &str, we_send: bool) {
    let mut us = end(version, 5, 5);
    start(&mut us, peer, version, true, true);
    let me = us.address.clone();
    if we_send {
        let records = us.load(&keys_for_group(group, &me));
        let (dist, batch) = group_distribution(&records, &us.suites, version, group, &me, &mut us.rng).unwrap();
        us.commit(&batch).unwrap();
        peer.ask(json!({"cmd": "group_process", "sender": self::us(), "group": group, "skdm": b64(&dist)}));
        let mut sent = Vec::new();
        for i in 0..20_u8 {
            let records = us.load(&keys_for_group(group, &me));
            let (m, batch) = group_encrypt(&records, &us.suites, group, &me, &[i; 30], &mut us.rng).unwrap();
            us.commit(&batch).unwrap();
            sent.push(m);
        }
        for i in (0..20_usize).map(|i| (i * 7) % 20) {
            let body = b64(&sent[i].body);
            let got = peer.ask(json!({"cmd": "group_decrypt", "sender": self::us(), "group": group, "body": body}));
            assert_eq!(un64(&got["plaintext"]), [u8::try_from(i).unwrap(); 30]);
        }
        let body = b64(&sent[3].body);
        peer.try_ask(json!({"cmd": "group_decrypt", "sender": self::us(), "group": group, "body": body}))
            .expect_err("peer refuses a replay");
    } else {
        let dist = un64(&peer.ask(json!({"cmd": "group_create", "group": group}))["skdm"]);
        let records = us.load(&keys_for_group(group, &them()));
        let batch = group_process(&records, &us.suites, group, &them(), peer.identity, &dist).unwrap();
        us.commit(&batch).unwrap();
        let sent: Vec<_> = (0..20_u8)
            .map(|i| {
                un64(&peer.ask(json!({"cmd": "group_encrypt", "group": group, "plaintext": b64(&[i; 30])}))["body"])
            })
            .collect();
        for i in (0..20_usize).map(|i| (i * 7) % 20) {
            let records = us.load(&keys_for_group(group, &them()));
            let mut bad = sent[i].clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 4;
            group_decrypt(&records, &us.suites, group, &them(), &bad).expect_err("refused");
            let (out, batch) = group_decrypt(&records, &us.suites, group, &them(), &sent[i]).unwrap();
            us.commit(&batch).unwrap();
            assert_eq!(out.plaintext.as_slice(), [u8::try_from(i).unwrap(); 30]);
            let records = us.load(&keys_for_group(group, &them()));
            group_decrypt(&records, &us.suites, group, &them(), &sent[i]).expect_err("a replay");
        }
    }
}

const WHATSAPP_GROUP: &str = "120363000000000001@g.us";
const OFFICIAL_GROUP: &str = "d1d1d1d1-7000-11eb-b32a-33b8a8a487a6";

type Case = (&'static str, &'static str, fn(&mut Peer));

/// Case, the directory of its packages, what runs. `initiator` and `responder` are our part.
const CASES: &[Case] = &[
    ("signal.official-0.103.v4-initiator", "official-0.103.0", |p| session(p, 4, true)),
    ("signal.official-0.103.v4-responder", "official-0.103.0", |p| session(p, 4, false)),
    ("signal.official-0.103.v4-no-one-time-key", "official-0.103.0", |p| {
        no_one_time_key(p, 4, true);
        fresh(p);
        no_one_time_key(p, 4, false);
    }),
    ("signal.official-0.103.tamper-replay-refused", "official-0.103.0", |p| {
        tamper_and_replay(p, 4);
        addresses(p);
    }),
    ("signal.official-0.103.fingerprint", "official-0.103.0", fingerprint),
    ("signal.official-0.103.v4-group-send", "official-0.103.0", |p| group(p, 4, OFFICIAL_GROUP, true)),
    ("signal.official-0.103.v4-group-receive", "official-0.103.0", |p| group(p, 4, OFFICIAL_GROUP, false)),
    ("signal.official-0.92.v4-both", "official-0.92.0", |p| both(p, 4)),
    ("signal.official-0.75.v4-both", "official-0.75.0", |p| both(p, 4)),
    ("signal.official-0.23.1.v3-initiator", "official-0.23.1", |p| session(p, 3, true)),
    ("signal.official-0.23.1.v3-responder", "official-0.23.1", |p| session(p, 3, false)),
    ("signal.official-0.72.1.v3-both", "official-0.72.1", |p| both(p, 3)),
    ("signal.libsignal-js.v3-initiator", "js-v3", |p| session(p, 3, true)),
    ("signal.libsignal-js.v3-responder", "js-v3", |p| session(p, 3, false)),
    ("signal.baileys.group-send", "js-v3", |p| group(p, 3, WHATSAPP_GROUP, true)),
    ("signal.baileys.group-receive", "js-v3", |p| group(p, 3, WHATSAPP_GROUP, false)),
];

/// The whole battery from both sides, each with a peer that starts afresh.
fn both(peer: &mut Peer, version: u8) {
    session(peer, version, true);
    fresh(peer);
    session(peer, version, false);
    fresh(peer);
    no_one_time_key(peer, version, true);
    fresh(peer);
    no_one_time_key(peer, version, false);
    fresh(peer);
    tamper_and_replay(peer, version);
}

fn fresh(peer: &mut Peer) {
    let hello = peer.ask(json!({"cmd": "init", "name": "peer", "device_id": 1}));
    peer.identity = PublicKey::parse(&un64(&hello["identity_key"])).unwrap();
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [scripts, packages, wanted @ ..] = args.as_slice() else {
        println!("usage: signal_interop SCRIPTS PACKAGES [CASE…]");
        return 2.into();
    };
    let mut failed = false;
    for (case, dir, run) in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == case) {
            continue;
        }
        let root = Path::new(packages).join(dir);
        let script = Path::new(scripts).join(if *dir == "js-v3" { "js-v3.mjs" } else { "official.mjs" });
        let outcome = if root.join("node_modules").is_dir() {
            std::panic::catch_unwind(|| run(&mut Peer::start(&script, &root, "peer"))).map_err(|panic| {
                match panic.downcast::<String>() {
                    Ok(text) => ("fail", *text),
                    Err(panic) => ("fail", panic.downcast::<&str>().map_or_else(|_| "panic".into(), |s| (*s).into())),
                }
            })
        } else {
            Err(("skip", format!("not installed: {dir}")))
        };
        let (result, reason) = outcome.map_or_else(|(result, reason)| (result, reason), |()| ("pass", String::new()));
        failed |= result == "fail";
        println!("{}", json!({"peer": dir, "case": case, "result": result, "reason": reason}));
    }
    u8::from(failed).into()
}
