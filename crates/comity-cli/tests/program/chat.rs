//! Two chats that survive `kill -9`: what was taken is shown once, what was written is sent once.

use crate::world::{ALICE, BOB, Program, World};

fn json(world: &World, who: &str, more: &[&str]) -> Program {
    world.program(&[&["chat", "--json", "--as", who], more].concat())
}

/// A chat of bob's, and alice's JID.
fn both(world: &World) -> (Program, Program, String, String) {
    let mut bob = json(world, BOB, &[]);
    bob.json("up", |line| line["state"] == "UpToDate");
    bob.call("\"do\":\"opt_in\",\"integrators\":[1]");
    let mut alice = json(world, ALICE, &[]);
    let alice_jid = alice.event("enlisted")["jid"].as_str().unwrap().to_owned();
    alice.json("up", |line| line["state"] == "UpToDate");
    let bob_jid = alice.call(&format!("\"do\":\"look_up\",\"id\":\"{BOB}\",\"integrator\":null"));
    (bob, alice, bob_jid.as_str().unwrap().to_owned(), alice_jid)
}

#[test]
fn killed_between_event_and_confirmation_it_shows_the_message_once() {
    let Some(world) = World::start() else { return };
    let (mut bob, alice, _, alice_jid) = both(&world);
    alice.quit();

    // The event is in the history and told, and nobody confirms it.
    let mut alice = json(&world, ALICE, &["--manual-confirm"]);
    bob.call(&format!("\"do\":\"send\",\"to\":\"{alice_jid}\",\"text\":\"only once\""));
    let first = alice.event("message");
    assert_eq!((first["text"].as_str(), first["again"].as_bool()), (Some("only once"), Some(false)));
    alice.kill();

    // The client gives it again, and a program is told that it is the same.
    let mut alice = json(&world, ALICE, &["--manual-confirm"]);
    let again = alice.event("message");
    assert_eq!((&again["event_id"], again["again"].as_bool()), (&first["event_id"], Some(true)));
    alice.kill();

    // A person sees it once: in the history that is shown at the start.
    let mut alice = world.program(&["chat", "--as", ALICE]);
    alice.line("* connected");
    bob.call(&format!("\"do\":\"send\",\"to\":\"{alice_jid}\",\"text\":\"the next\""));
    alice.line(": the next");
    alice.kept.push_back(String::new());
    let shown = alice.quit();
    assert_eq!(shown.iter().filter(|line| line.contains("only once")).count(), 1, "{shown:#?}");

    // And it was confirmed meanwhile.
    let mut alice = json(&world, ALICE, &[]);
    alice.json("up", |line| line["state"] == "UpToDate");
    let history = alice.call("\"do\":\"history\"");
    let texts: Vec<_> = history.as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["only once", "the next"]);
    assert!(alice.quit().iter().all(|line| !line.contains("\"event\":\"message\"")));
}

#[test]
fn killed_at_any_time_it_sends_and_shows_each_message_once_and_in_order() {
    let Some(mut world) = World::start() else { return };
    let (bob, mut alice, bob_jid, _) = both(&world);
    bob.quit();
    let mut bob = world.program(&["chat", "--as", BOB]);
    bob.line("* connected");
    let mut count = 0;
    for round in 0..6 {
        for _ in 0..10 {
            // Without waiting for the answer.
            alice.write(&format!(
                "{{\"call\":1{count:04},\"do\":\"send\",\"to\":\"{bob_jid}\",\"text\":\"number {count}.\",\"id\":\"N{count:04}\"}}"
            ));
            count += 1;
        }
        std::thread::sleep(std::time::Duration::from_millis(40 * round));
        match round % 3 {
            0 => bob.kill(),
            1 => alice.kill(),
            _ => {
                drop(world.gatekeeper.take()); // its server ends with it
                world.gatekeeper = Some(world.program(&["sandbox"]));
                world.gatekeeper.as_mut().unwrap().line("configuration");
            }
        }
        if round % 3 == 0 {
            bob = world.program(&["chat", "--as", BOB]);
        }
        if round % 3 == 1 {
            alice = json(&world, ALICE, &[]);
            // What no one answered may be lost with the pipe; the same ids again send none twice.
            for n in 0..count {
                alice.write(&format!(
                    "{{\"call\":1{n:04},\"do\":\"send\",\"to\":\"{bob_jid}\",\"text\":\"number {n}.\",\"id\":\"N{n:04}\"}}"
                ));
            }
        }
    }
    // The last may have been shown before the last kill: the history has all.
    loop {
        bob.write("/history 1000");
        bob.write("/history 0");
        bob.write("/nonsense");
        bob.line("there is no /nonsense");
        let last = format!("number {}.", count - 1);
        if bob.kept.iter().any(|line| line.contains(&last)) {
            break;
        }
        bob.kept.clear();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut bob_json = {
        bob.quit();
        json(&world, BOB, &[])
    };
    let history = bob_json.call("\"do\":\"history\",\"limit\":1000");
    let texts: Vec<_> =
        history.as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, (0..count).map(|n| format!("number {n}.")).collect::<Vec<_>>());
    // And alice's history knows how far each is.
    alice.call("\"do\":\"network_changed\"");
    for _ in 0..200 {
        let history = alice.call("\"do\":\"history\",\"limit\":1000");
        let all = history.as_array().unwrap();
        assert_eq!(all.len(), count);
        if all.iter().all(|entry| ["delivered", "read"].contains(&entry["state"].as_str().unwrap())) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("not all are delivered");
}

#[test]
fn marks_edits_reactions_and_revocations_are_shown_on_their_message() {
    let Some(world) = World::start() else { return };
    let (bob, alice, ..) = both(&world);
    drop((bob, alice));
    let mut bob = world.program(&["chat", "--as", BOB]);
    bob.line("* you are reachable");
    let mut alice = world.program(&["chat", "--as", ALICE, "--to", BOB]);
    alice.line("* chat with");
    alice.write("hello");
    assert!(alice.line(": hello").contains("[1]"));
    bob.line(": hello");
    alice.line("[1] ✓✓");
    alice.line("[1] ✓✓ read");
    bob.write("/react 👍");
    assert!(alice.line("👍").contains("[1]"));
    alice.write("/edit hello there");
    assert!(bob.line("hello there (edited)").contains("👍"));
    bob.write("/reply 1 yes?");
    alice.line("(to “hello there”): yes?");
    bob.write("/reply");
    bob.line("! /reply [N] TEXT");
    bob.write("/hsitory");
    bob.line("did you mean /history?");
    alice.write("/typing on");
    bob.line("is typing");
    alice.write("/revoke 1");
    bob.line("(taken back)");
    let path = world.path("note.txt");
    std::fs::write(&path, "a file").unwrap();
    alice.write(&format!("/file {}", path.display()));
    alice.line("* document of 6 bytes sent");
    bob.line("sha256");
    bob.write("/report");
    bob.line("* reported, with 0 messages");
    bob.write("/block");
    bob.line("* done");
    bob.write("/blocklist");
    bob.line("* 1 blocked");
    bob.quit();

    let mut bob = world.program(&["chat", "--as", BOB]);
    bob.line("* connected");
    let shown = bob.quit().join("\n");
    assert!(shown.contains("(taken back)") && shown.contains("yes?") && shown.contains("[document]"), "{shown}");
    assert!(!shown.contains("hello there (edited)"), "{shown}");
}

/// Bob writes to one who has lost everything: what she cannot read comes again, in its place; and bob, who is careful,
/// takes her new key first.
#[test]
fn after_a_reinstall_what_waited_is_read_and_the_new_key_is_shown() {
    let Some(world) = World::start() else { return };
    let (bob, mut alice, bob_jid, _) = both(&world);
    alice.call(&format!("\"do\":\"send\",\"to\":\"{bob_jid}\",\"text\":\"before\""));
    bob.quit();
    let mut bob = world.program(&["chat", "--as", BOB, "--block-new-keys"]);
    bob.line(": before");
    bob.line("* connected");
    alice.quit();
    bob.write("are you there?");
    bob.line("✓");
    std::fs::remove_dir_all(world.path("chat-alice_partner_test")).unwrap();

    let mut alice = world.program(&["chat", "--as", ALICE]);
    let number = alice.line("cannot be read yet");
    let number = &number[number.find('[').unwrap()..=number.find(']').unwrap()];
    assert!(bob.line("! the security number").contains("changed"));
    // Her request for it shows a key that bob has not accepted.
    bob.write("hello?");
    bob.line("✗ failed");
    bob.write("/accept");
    bob.line("* accepted");
    bob.write("hello again");
    alice.line(": hello again");
    let read = alice.line("in place of what could not be read");
    assert!(read.contains(number) && read.contains("are you there?"), "{read}");
    alice.write("/history");
    alice.write("/nonsense");
    alice.line("there is no /nonsense");
    bob.write("/safety");
    alice.write("/safety");
    let digits = |line: String| line.chars().filter(char::is_ascii_digit).collect::<String>();
    let (hers, his) = (alice.line("safety number"), bob.line("safety number"));
    assert_eq!(digits(hers), digits(his));
}

#[test]
fn a_file_is_fetched_again_and_its_progress_is_told() {
    let Some(world) = World::start() else { return };
    let (bob, mut alice, bob_jid, _) = both(&world);
    bob.quit();
    let mut bob = world.program(&["chat", "--as", BOB]);
    bob.line("* connected");
    let path = world.path("big.bin");
    std::fs::write(&path, vec![7; 3_000_000]).unwrap();
    alice.call(&format!("\"do\":\"file\",\"to\":\"{bob_jid}\",\"path\":\"{}\"", path.display()));
    let told: Vec<_> = std::iter::from_fn(|| {
        let at = alice.kept.iter().position(|line| line.contains("\"progress\""))?;
        serde_json::from_str::<serde_json::Value>(&alice.kept.remove(at).unwrap()).ok()
    })
    .collect();
    let done = |at: usize| told[at]["done"].as_u64().unwrap();
    assert!(!told.is_empty() && (1..told.len()).all(|at| done(at - 1) <= done(at)), "{told:#?}");
    assert!(told.iter().all(|line| line["total"].as_u64() > Some(3_000_000) && line["what"] == "upload"));

    let first = bob.line("sha256");
    let hash = first.rsplit(' ').next().unwrap();
    let files = world.path("chat-_4915100000001/files");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path();
    for path in std::fs::read_dir(&files).unwrap().map(name).filter(|path| path.is_file()) {
        std::fs::remove_file(path).unwrap();
    }
    bob.write("/get");
    let again = bob.line("sha256");
    assert_eq!(again.rsplit(' ').next().unwrap(), hash);
    assert!(std::fs::read_dir(&files).unwrap().map(name).any(|path| path.is_file()));
    bob.write("/get 99");
    bob.line("! ");
}

#[test]
fn a_file_that_is_gone_is_asked_for_by_itself() {
    let Some(world) = World::start() else { return };
    let (bob, mut alice, bob_jid, _) = both(&world);
    bob.quit();
    let mut bob = world.program(&["chat", "--as", BOB]);
    bob.line("* connected");
    let path = world.path("photo.bin");
    std::fs::write(&path, vec![7; 300_000]).unwrap();
    alice.call(&format!("\"do\":\"file\",\"to\":\"{bob_jid}\",\"path\":\"{}\"", path.display()));
    let first = bob.line("sha256");
    let host = world.path("partner/media/files");
    let lose = || {
        let files = std::fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.inspect(|path| std::fs::remove_file(path).unwrap()).count()
    };
    assert_eq!(lose(), 1);
    // She is away when he asks, and answers when she is back.
    alice.quit();
    bob.write("/get");
    bob.line("its sender is asked for it again");
    let mut alice = json(&world, ALICE, &[]);
    alice.event("file_requested");
    bob.line("has sent the file again");
    let again = bob.line("sha256");
    assert_eq!(again.rsplit(' ').next(), first.rsplit(' ').next());
    // She has it no more.
    assert_eq!(lose(), 1);
    std::fs::remove_file(&path).unwrap();
    bob.write("/get");
    bob.line("its sender is asked for it again");
    bob.line("has the file no more");
}
