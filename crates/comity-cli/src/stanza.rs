//! `comity stanza`: the binary form, JSON and XML of stanzas, for people who debug a wire (PROTOCOL §6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use clap::{Args, Subcommand, ValueEnum};
use comity_core::Server;
use comity_xmpp::{Content, EncodeOptions, Limits, Node, Piece, Role, Value, body, decode, encode, limits, trace, xml};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Longest input taken, in bytes: a frame in hexadecimal, as a line of JSON, several times over.
const MAX_INPUT_LEN: u64 = 256 << 20;

/// Translate stanzas between their binary form, JSON and XML.
#[derive(Args, Debug)]
pub(crate) struct StanzaArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Binary to JSON or XML.
    ///
    /// The bytes start with the flags byte. Input whose first character is `{` is taken as JSON lines
    /// `{"name":…,"hex":…}`; each gives a line `{"name":…,"node":…}` or `{"name":…,"error":…}`.
    Decode {
        #[command(flatten)]
        bytes: Bytes,
        #[command(flatten)]
        tree: Tree,
        #[command(flatten)]
        input: Input,
    },
    /// JSON or XML to binary.
    Encode {
        #[command(flatten)]
        tree: Tree,
        #[command(flatten)]
        bytes: Bytes,
        /// Compress a body of 1 KiB and more if that makes it shorter.
        #[arg(long)]
        compress: bool,
        #[command(flatten)]
        input: Input,
    },
    /// Binary, piece by piece: offsets, sizes, forms and meaning, up to the end or the first fault.
    Explain {
        #[command(flatten)]
        bytes: Bytes,
        /// When to colour.
        #[arg(long, value_enum, default_value_t = Colour::Auto)]
        color: Colour,
        #[command(flatten)]
        input: Input,
    },
}

/// How bytes are written.
#[derive(Args, Debug, Clone, Copy)]
#[group(multiple = false)]
struct Bytes {
    /// Bytes in hexadecimal, white space ignored (the default).
    #[arg(long)]
    hex: bool,
    /// Bytes in base64.
    #[arg(long)]
    base64: bool,
    /// The bytes themselves.
    #[arg(long)]
    raw: bool,
}

/// How trees are written.
#[derive(Args, Debug, Clone, Copy)]
#[group(multiple = false)]
struct Tree {
    /// Trees as JSON: tag, attrs, content as a list, a string or `{"b64"}` (the default).
    #[arg(long)]
    json: bool,
    /// Trees as XML.
    #[arg(long)]
    xml: bool,
}

#[derive(Args, Debug)]
struct Input {
    /// Deepest nesting taken, up to 1024.
    #[arg(long, value_name = "N", default_value_t = limits::MAX_DEPTH)]
    max_depth: usize,
    /// The file to read; `-` is the standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// Runs `comity stanza …`: 0 if all went well, 1 if the input was refused or could not be read.
pub(crate) fn run(args: StanzaArgs) -> ExitCode {
    let mut out = Vec::new();
    let result = match args.command {
        Command::Decode { bytes, tree, input } => run_decode(&mut out, bytes, tree, &input),
        Command::Encode { tree, bytes, compress, input } => run_encode(&mut out, tree, bytes, compress, &input),
        Command::Explain { bytes, color, input } => run_explain(&mut out, bytes, color, &input),
    };
    // What was explained up to a fault is shown; a closed pipe is nobody's fault.
    let _closed_pipe = io::stdout().write_all(&out).and_then(|()| io::stdout().flush());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed_pipe = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_decode(out: &mut Vec<u8>, bytes: Bytes, tree: Tree, input: &Input) -> Result<(), String> {
    let data = input.read()?;
    if !bytes.raw && data.trim_ascii_start().first() == Some(&b'{') {
        return decode_lines(out, &data, &input.limits());
    }
    let node = decode(&bytes.parse(data)?, &input.limits()).map_err(|e| e.to_string())?;
    if tree.xml {
        out.extend_from_slice(xml::to_string(&node).map_err(|e| e.to_string())?.as_bytes());
    } else {
        serde_json::to_writer_pretty(&mut *out, &Json(&node)).map_err(|e| e.to_string())?;
    }
    out.push(b'\n');
    Ok(())
}

fn decode_lines(out: &mut Vec<u8>, data: &[u8], limits: &Limits) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Line {
        name: String,
        hex: String,
    }
    for (i, line) in data.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()) {
        let line: Line = serde_json::from_slice(line).map_err(|e| format!("line {}: {e}", i + 1))?;
        let node = unhex(line.hex.as_bytes()).and_then(|frame| decode(&frame, limits).map_err(|e| e.to_string()));
        let mut serializer = serde_json::Serializer::new(&mut *out);
        let written = serializer.serialize_map(None).and_then(|mut map| {
            map.serialize_entry("name", &line.name)?;
            match &node {
                Ok(node) => map.serialize_entry("node", &Json(node))?,
                Err(error) => map.serialize_entry("error", error)?,
            }
            map.end()
        });
        written.map_err(|e| e.to_string())?;
        out.push(b'\n');
    }
    Ok(())
}

fn run_encode(out: &mut Vec<u8>, tree: Tree, bytes: Bytes, compress: bool, input: &Input) -> Result<(), String> {
    let data = input.read()?;
    let limits = input.limits();
    let node = if tree.xml {
        xml::parse(&data, &limits).map_err(|e| e.to_string())?
    } else {
        from_json(&data, limits.max_depth)?
    };
    let mut frame = BytesMut::new();
    encode(&node, &mut frame, &EncodeOptions { compress, ..EncodeOptions::default() }).map_err(|e| e.to_string())?;
    if bytes.raw {
        out.extend_from_slice(&frame);
    } else {
        out.extend_from_slice(if bytes.base64 { STANDARD.encode(&frame) } else { hex(&frame) }.as_bytes());
        out.push(b'\n');
    }
    Ok(())
}

fn run_explain(out: &mut Vec<u8>, bytes: Bytes, color: Colour, input: &Input) -> Result<(), String> {
    let frame = bytes.parse(input.read()?)?;
    let limits = input.limits();
    let colour = color == Colour::Always || color == Colour::Auto && io::stdout().is_terminal();
    let plain = body(&frame, &limits).map_err(|e| e.to_string())?;
    let mut text = String::new();
    let flags = frame.first().copied().unwrap_or(0);
    let _infallible = match flags {
        0 => writeln!(text, "flags 00: a body of {} bytes", plain.len()),
        _ => writeln!(text, "flags {flags:02x}: zlib, {} bytes to {}", frame.len() - 1, plain.len()),
    };
    let (mut nodes, mut tokens) = (0, 0);
    let result = trace(&plain, &limits, &mut |piece| {
        nodes += usize::from(piece.role == Role::Tag);
        tokens += usize::from(matches!(piece.form, "token" | "dictionary"));
        line(&mut text, &piece, colour);
    });
    let _infallible = writeln!(text, "{nodes} nodes, {tokens} tokens");
    out.extend_from_slice(text.as_bytes());
    result.map_err(|e| e.to_string())?;
    // What only the decoder notices.
    decode(&frame, &limits).map(|_| ()).map_err(|e| e.to_string())
}

/// One piece: offset, bytes, place and meaning, form and size.
fn line(out: &mut String, piece: &Piece<'_>, colour: bool) {
    const SHOWN: usize = 10;
    let mut bytes = hex(piece.bytes.get(..SHOWN).unwrap_or(piece.bytes));
    if piece.bytes.len() > SHOWN {
        bytes.push('…');
    }
    let (role, code) = match piece.role {
        Role::Size => ("node", "2"),
        Role::Tag => ("tag", "1;34"),
        Role::Name => ("attribute", "36"),
        Role::Value => ("=", "32"),
        Role::Children => ("children", "2"),
        _ => ("content", "33"),
    };
    let indent = 2 * piece.depth + if matches!(piece.role, Role::Size) { 0 } else { 2 };
    let (on, off) = if colour { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") };
    // Text from outside must not steer the terminal.
    let text: String = piece.text.chars().flat_map(|c| c.escape_debug()).collect();
    let size = piece.bytes.len();
    let _infallible = writeln!(
        out,
        "{:6}  {bytes:<22}{:indent$}{role} {on}{text}{off}  ({}, {size} {})",
        piece.at,
        "",
        piece.form,
        if size == 1 { "byte" } else { "bytes" },
    );
}

impl Input {
    fn limits(&self) -> Limits {
        Limits::DEFAULT.with_max_depth(self.max_depth)
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let name = self.file.display();
        let source: Box<dyn io::Read> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(std::fs::File::open(&self.file).map_err(|e| format!("{name}: {e}"))?)
        };
        let mut data = Vec::new();
        source.take(MAX_INPUT_LEN + 1).read_to_end(&mut data).map_err(|e| format!("{name}: {e}"))?;
        if data.len() as u64 > MAX_INPUT_LEN {
            return Err(format!("{name}: more than {MAX_INPUT_LEN} bytes"));
        }
        Ok(data)
    }
}

impl Bytes {
    fn parse(self, data: Vec<u8>) -> Result<Vec<u8>, String> {
        if self.raw {
            Ok(data)
        } else if self.base64 {
            let packed: Vec<u8> = data.into_iter().filter(|b| !b.is_ascii_whitespace()).collect();
            STANDARD.decode(packed).map_err(|e| format!("not base64: {e}"))
        } else {
            unhex(&data)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text
        .iter()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| char::from(*b).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.ok_or("not hexadecimal: another character")?;
    let (pairs, odd) = digits.as_chunks::<2>();
    if odd.is_empty() {
        Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
    } else {
        Err("not hexadecimal: an odd number of digits".to_owned())
    }
}

/// A tree as JSON.
struct Json<'a>(&'a Node);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Attrs<'a>(&'a Node);
        impl Serialize for Attrs<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.attrs().iter().map(|attr| (attr.name.as_str(), attr.value.as_str())))
            }
        }
        struct Base64<'a>(&'a [u8]);
        impl Serialize for Base64<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("b64", STANDARD.encode(self.0))])
            }
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("tag", self.0.tag())?;
        map.serialize_entry("attrs", &Attrs(self.0))?;
        match self.0.content() {
            Content::Empty => {}
            Content::Nodes(nodes) => map.serialize_entry("content", &nodes.iter().map(Json).collect::<Vec<_>>())?,
            Content::Text(text) => map.serialize_entry("content", text.as_str())?,
            Content::Bytes(bytes) => map.serialize_entry("content", &Base64(bytes))?,
        }
        map.end()
    }
}

/// Reads a tree from JSON, which nests twice per node.
fn from_json(data: &[u8], max_depth: usize) -> Result<Node, String> {
    let max_depth = max_depth.min(limits::MAX_DEPTH_CEILING);
    if nesting(data) > 2 * max_depth + 1 {
        return Err(format!("nodes are nested too deeply (at most {max_depth})"));
    }
    let mut reader = serde_json::Deserializer::from_slice(data);
    reader.disable_recursion_limit(); // it was just checked
    let FromJson(node) = FromJson::deserialize(&mut reader).map_err(|e| format!("not a tree: {e}"))?;
    reader.end().map_err(|e| format!("not a tree: {e}"))?;
    Ok(node)
}

/// How deep brackets nest, those in strings aside.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => depth += 1,
            b'}' | b']' if !string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

struct FromJson(Node);

impl<'de> Deserialize<'de> for FromJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            tag: String,
            #[serde(default)]
            attrs: FromAttrs,
            #[serde(default)]
            content: FromContent,
        }
        let fields = Fields::deserialize(deserializer)?;
        if fields.tag.is_empty() {
            return Err(de::Error::custom("an empty tag"));
        }
        let mut node = Node::new(fields.tag).with_content(fields.content.0);
        for (name, value) in fields.attrs.0 {
            if name.is_empty() || node.attr(&name).is_some() {
                return Err(de::Error::custom("an attribute without a name, or given twice"));
            }
            node.set_attr(name, value);
        }
        Ok(Self(node))
    }
}

/// Attributes in the order they are given.
#[derive(Default)]
struct FromAttrs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for FromAttrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Attrs;
        impl<'de> Visitor<'de> for Attrs {
            type Value = FromAttrs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FromAttrs, A::Error> {
                let mut all = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    // Some tools write a bare server so.
                    let value = if value == "@s.whatsapp.net" { Server::Whatsapp.into() } else { value.into() };
                    all.push((name, value));
                }
                Ok(FromAttrs(all))
            }
        }
        deserializer.deserialize_map(Attrs)
    }
}

#[derive(Default)]
struct FromContent(Content);

impl<'de> Deserialize<'de> for FromContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = FromContent;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of nodes, a string or {\"b64\"}")
            }

            fn visit_unit<E>(self) -> Result<FromContent, E> {
                Ok(FromContent::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<FromContent, E> {
                Ok(FromContent(Content::Text(text.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FromContent, A::Error> {
                let mut nodes = Vec::new();
                while let Some(FromJson(node)) = seq.next_element()? {
                    nodes.push(node);
                }
                Ok(FromContent(Content::Nodes(nodes)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FromContent, A::Error> {
                match (map.next_entry::<String, String>()?, map.next_key::<String>()?) {
                    (Some((key, base64)), None) if key == "b64" => {
                        let bytes = STANDARD.decode(base64).map_err(de::Error::custom)?;
                        Ok(FromContent(Content::Bytes(bytes.into())))
                    }
                    _ => Err(de::Error::custom("bytes are {\"b64\": …}")),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}
