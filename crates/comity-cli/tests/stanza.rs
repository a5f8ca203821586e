//! `comity stanza` over all of the wire data, and what it says to people (PROTOCOL §6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Frames that no encoder of ours writes: empty content given, AD_JID of device 0, forms longer than need be, compressed.
const NOT_CANONICAL: [&str; 8] = [
    "message_pkmsg",
    "bin_0",
    "list_empty",
    "list16_small",
    "binary32_small",
    "flate",
    "interop_jid_no_server_last",
    "jid_pair_interop",
];

/// What the text of a tree does not tell apart: JSON has a bare server written as a token and as a JID_PAIR alike, and is
/// written as the first; XML is written as the second, and its content as bytes.
const OTHER_FROM_JSON: [&str; 2] = ["iq_prekeys_upload", "jid_server_only"];
const OTHER_FROM_XML: [&str; 2] = ["iq_ping", "str_content_token"];

fn data(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../comity-xmpp/tests/data/baileys").join(set)
}

/// Name, hexadecimal and description of each file that has bytes.
fn vectors(set: &str) -> BTreeMap<String, (String, Value)> {
    let files = std::fs::read_dir(data(set)).unwrap().map(|entry| entry.unwrap().path());
    let all: BTreeMap<_, _> = files
        .filter(|path| path.extension().is_some_and(|e| e == "hex"))
        .map(|path| {
            let hex = std::fs::read_to_string(&path).unwrap().trim().to_owned();
            let json = std::fs::read_to_string(path.with_extension("json")).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), (hex, parse(&json)))
        })
        .collect();
    assert!(all.len() > 5);
    all
}

/// Reads JSON of any depth.
fn parse(text: &str) -> Value {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    serde::Deserialize::deserialize(&mut reader).unwrap()
}

fn stanza(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comity"));
    command.arg("stanza").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `comity stanza ARGS` on this input.
fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child = stanza(args).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A command that does not read closes the pipe.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    });
    output.unwrap()
}

/// What it writes if all goes well.
fn good(args: &[&str], input: &[u8]) -> Vec<u8> {
    let output = run(args, input);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
    output.stdout
}

/// What it says if not.
fn refused(args: &[&str], input: &[u8]) -> String {
    let output = run(args, input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    said
}

fn lines(vectors: &BTreeMap<String, (String, Value)>) -> Vec<u8> {
    vectors
        .iter()
        .map(|(name, (hex, _))| json!({ "name": name, "hex": hex }).to_string() + "\n")
        .collect::<String>()
        .into()
}

/// That package's texts where they are not PROTOCOL §2's: a bare server has no `@`, and no device is device 0.
fn ours(mut theirs: Value) -> Value {
    let children = theirs.get_mut("content").and_then(Value::as_array_mut).map(std::mem::take);
    for value in theirs["attrs"].as_object_mut().unwrap().values_mut() {
        let text = value.as_str().unwrap();
        let text = text.strip_prefix("@s.whatsapp").map_or(text.to_owned(), |rest| format!("s.whatsapp{rest}"));
        *value = text.strip_suffix(":0@interop").map_or(text.clone(), |user| format!("{user}@interop")).into();
    }
    if let Some(children) = children {
        theirs["content"] = children.into_iter().map(ours).collect();
    }
    theirs
}

#[test]
fn wire_data_decodes() {
    let vectors = vectors("stanzas");
    let answers = good(&["decode", "--max-depth", "400"], &lines(&vectors));
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.lines().count(), vectors.len());
    for (line, (name, (_, json))) in answers.lines().zip(vectors) {
        let mut answer = parse(line);
        assert_eq!(answer["name"], json!(name));
        assert!(answer["node"].take() == ours(json["decoded"].clone()), "{name}: {answer}");
    }
}

/// A tree in which empty content is none, and a text its bytes, as the wire means it.
fn plain(tree: &[u8]) -> Value {
    fn strip(mut node: Value) -> Value {
        match node["content"].take() {
            Value::Array(children) if !children.is_empty() => {
                node["content"] = children.into_iter().map(strip).collect()
            }
            Value::String(text) if !text.is_empty() => node["content"] = STANDARD.encode(text).into(),
            Value::Object(mut bytes) if bytes["b64"] != "" => node["content"] = bytes["b64"].take(),
            _ => {}
        }
        node
    }
    strip(parse(std::str::from_utf8(tree).unwrap()))
}

#[test]
fn wire_data_comes_back() {
    const DEEP: [&str; 2] = ["--max-depth", "400"];
    for (name, (hex, json)) in vectors("stanzas") {
        let name = name.as_str();
        let file = data("stanzas").join(format!("{name}.hex"));
        let tree = good(&["decode", DEEP[0], DEEP[1], file.to_str().unwrap()], b"");
        let text = good(&["decode", "--xml", DEEP[0], DEEP[1]], hex.as_bytes());
        let canonical = json.get("input").is_some() && !NOT_CANONICAL.contains(&name);
        for (form, input, other_forms) in [("--json", &tree, &OTHER_FROM_JSON[..]), ("--xml", &text, &OTHER_FROM_XML)] {
            let again = good(&["encode", form, DEEP[0], DEEP[1]], input);
            assert_eq!(
                again == (hex.clone() + "\n").as_bytes(),
                canonical && !other_forms.contains(&name),
                "{name} {form}"
            );
            assert!(plain(&good(&["decode", DEEP[0], DEEP[1]], &again)) == plain(&tree), "{name} {form}");
        }
        let explained = good(&["explain", DEEP[0], DEEP[1]], hex.as_bytes());
        assert!(!explained.contains(&0x1b) && explained.starts_with(b"flags 0"), "{name}");
    }
    // As some tools write it.
    let written = good(&["encode"], b"{\"tag\":\"iq\",\"attrs\":{\"to\":\"@s.whatsapp.net\"}}");
    assert_eq!(written, (vectors("stanzas")["jid_server_only"].0.clone() + "\n").into_bytes());
}

#[test]
fn malformed_is_refused() {
    let vectors = vectors("malformed");
    let answers = String::from_utf8(good(&["decode"], &lines(&vectors))).unwrap();
    for (line, (name, (hex, _))) in answers.lines().zip(vectors) {
        let answer = parse(line);
        assert_eq!(answer["name"], json!(name));
        // The last token of the last dictionary: it exists.
        if name == "token_out_of_dict" {
            assert_eq!(answer["node"], json!({ "tag": "1961", "attrs": {} }));
            continue;
        }
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("(PROTOCOL §6.1)") || error.contains("(at most"), "{name}: {error}");
        for command in ["decode", "explain"] {
            assert_eq!(refused(&[command], hex.as_bytes()), format!("error: {error}\n"), "{name}");
        }
    }
}

/// What no file holds because it is long.
#[test]
fn deep_and_long() {
    let deep = "00".to_owned() + &"f80208f801".repeat(100_000);
    assert_eq!(refused(&["decode"], deep.as_bytes()), "error: nodes are nested too deeply (at most 32)\n");
    assert!(refused(&["decode", "--max-depth", "1000000"], deep.as_bytes()).contains("(at most 1024)"));
    let jids = "00f8031311".to_owned() + &"fa".repeat(200_000);
    assert!(refused(&["explain"], jids.as_bytes()).contains("a JID where a string stands"));
    let json = "{\"tag\":\"a\",\"content\":[".repeat(100_000);
    assert!(refused(&["encode"], json.as_bytes()).contains("too deeply (at most 32)"));
    let xml = "<a>".repeat(100_000);
    assert!(refused(&["encode", "--xml"], xml.as_bytes()).contains("too deeply (at most 32)"));
    let nested = "<a>".repeat(1024) + &"</a>".repeat(1024);
    let max = ["--max-depth", "1024"];
    let hex = good(&["encode", "--xml", max[0], max[1]], nested.as_bytes());
    let json = good(&["decode", max[0], max[1]], &hex);
    assert!(good(&["encode", max[0], max[1]], &json) == hex);
    good(&["explain", max[0], max[1]], &hex);
}

#[test]
fn forms_of_bytes() {
    let node = b"{\"tag\":\"iq\",\"attrs\":{\"id\":\"1\",\"type\":\"get\"}}";
    let (hex, raw) = (good(&["encode"], node), good(&["encode", "--raw"], node));
    let base64 = good(&["encode", "--base64", "-"], node);
    let shown: String = raw.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, (shown.clone() + "\n").as_bytes());
    let tree = good(&["decode", "--hex"], &hex);
    assert_eq!(parse(std::str::from_utf8(&tree).unwrap()), parse(std::str::from_utf8(node).unwrap()));
    assert_eq!(good(&["decode", "--raw", "--json"], &raw), tree);
    assert_eq!(good(&["decode", "--base64"], &base64), tree);
    // As people paste it.
    let pasted: String =
        shown.as_bytes().chunks(2).map(|pair| format!(" {}\n", String::from_utf8_lossy(pair))).collect();
    assert_eq!(good(&["decode"], pasted.to_uppercase().as_bytes()), tree);
    assert_eq!(good(&["decode", "--xml"], &hex), b"<iq id=\"1\" type=\"get\"/>\n");

    let long = format!("<a>{}</a>", "abcd".repeat(1000));
    let packed = good(&["encode", "--xml", "--compress", "--raw"], long.as_bytes());
    assert!(packed[0] == 2 && packed.len() < 100);
    assert!(String::from_utf8(good(&["explain", "--raw"], &packed)).unwrap().starts_with("flags 02: zlib, "));
    assert_eq!(good(&["decode", "--raw", "--xml"], &packed), (long + "\n").as_bytes());
}

/// One bad line does not stop the others.
#[test]
fn lines_answer_each() {
    let input =
        b"\n\n  {\"name\":\"a\",\"hex\":\"00f80119\"}\n{\"name\":7,\"hex\":\"zz\"}\nnonsense\n\n{\"name\":\"b\"}\n\
        {\"name\":\"c\",\"hex\":\"00f80119\",\"note\":1}";
    let output = run(&["decode"], input);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: 2 lines that are no {\"name\",\"hex\"}\n");
    let answers: Vec<Value> = std::str::from_utf8(&output.stdout).unwrap().lines().map(parse).collect();
    let node = json!({ "tag": "iq", "attrs": {} });
    assert_eq!(answers.len(), 5);
    assert_eq!(answers[0], json!({ "name": "a", "node": node }));
    assert_eq!(answers[1], json!({ "name": 7, "error": "not hexadecimal: another character" }));
    assert!(answers[2]["name"].is_null() && answers[2]["error"].as_str().unwrap().starts_with("line 5: expected"));
    assert_eq!(answers[3], json!({ "name": "b", "error": "line 7: no hex" }));
    assert_eq!(answers[4], json!({ "name": "c", "node": node }));

    let xml = good(&["decode", "--xml"], b"{\"name\":\"a\",\"hex\":\"00f80119\"}");
    assert_eq!(parse(std::str::from_utf8(&xml).unwrap()), json!({ "name": "a", "xml": "<iq/>" }));
}

#[test]
fn explain_shows_what_it_read() {
    let good_frame = good(&["explain", "--color", "always"], b"00f803130804");
    assert!(good_frame.contains(&0x1b));
    let output = run(&["explain"], b"00f803190804f8");
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("flags 00: a body of 6 bytes\n") && shown.contains("tag iq  (token, 1 byte)"), "{shown}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: byte 5: bytes follow the stanza (PROTOCOL §6.1)\n");
    let long = format!("<a b='{}'/>", "x".repeat(100_000));
    let shown = good(&["explain"], &good(&["encode", "--xml"], long.as_bytes()));
    assert!(shown.len() < 1000 && String::from_utf8(shown).unwrap().contains("xx…  (BINARY_20, 100004 bytes)"));
    // Text from outside does not steer the terminal.
    let steering = good(&["explain"], b"00f801fc041b5b324a");
    assert!(!steering.contains(&0x1b));
}

#[test]
fn wrong_input_is_named() {
    let missing = data("stanzas").join("none.hex");
    let missing = missing.to_str().unwrap();
    assert!(refused(&["decode", missing], b"").starts_with(&format!("error: {missing}: No such file")));
    let directory = data("stanzas");
    let directory = directory.to_str().unwrap();
    for command in ["decode", "encode", "explain"] {
        assert!(refused(&[command, directory], b"").starts_with(&format!("error: {directory}: Is a directory")));
        assert_eq!(refused(&[command], b""), "error: standard input: empty\n");
    }
    assert_eq!(refused(&["decode"], b" \n"), "error: standard input: empty\n");
    assert_eq!(refused(&["explain"], b" \n"), "error: no bytes, only white space\n");
    assert_eq!(refused(&["decode"], b"00f80"), "error: not hexadecimal: an odd number of digits\n");
    assert_eq!(refused(&["decode"], b"0xf8"), "error: not hexadecimal: another character\n");
    assert!(refused(&["decode", "--base64"], b"?").starts_with("error: not base64: "));
    for tree in [
        "{",
        "[]",
        "{\"tag\":\"\"}",
        "{\"tag\":\"a\",\"attrs\":{\"b\":1}}",
        "{\"tag\":\"a\"} x",
        "{\"tag\":\"a\",\"x\":1}",
    ] {
        assert!(refused(&["encode"], tree.as_bytes()).starts_with("error: not a tree: "), "{tree}");
    }
    assert!(refused(&["encode", "--xml"], b"<a></b>").starts_with("error: XML byte "));
    for wrong in [&["decode", "--hex", "--raw"][..], &["decode", "--max-depth", "x"], &["translate"]] {
        assert_eq!(run(wrong, b"").status.code(), Some(2));
    }
    for command in ["decode", "encode", "explain"] {
        let help = String::from_utf8(good(&[command, "--help"], b"")).unwrap();
        assert!(help.contains("Exit status: 0 if") && help.contains("--max-depth <N>"));
    }
}

/// Whoever stops reading (`| head -1`) is no error.
#[test]
fn a_closed_pipe_is_no_error() {
    let wide = "<a>".to_owned() + &"<b/>".repeat(60_000) + "</a>";
    let frame = good(&["encode", "--xml"], wide.as_bytes());
    let many = json!({ "name": "a", "hex": String::from_utf8(frame.clone()).unwrap().trim() }).to_string() + "\n";
    for (command, input) in [("decode", &frame[..]), ("explain", &frame), ("decode", many.repeat(3).as_bytes())] {
        let mut child = stanza(&[command]).spawn().unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        let _closed = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
