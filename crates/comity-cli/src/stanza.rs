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
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Longest single input taken, in bytes: a frame as JSON or XML, several times over.
const MAX_INPUT_LEN: u64 = 256 << 20;

/// Longest line of JSON taken, in bytes: a frame in hexadecimal and room for its name.
const MAX_LINE_LEN: u64 = 2 * limits::MAX_FRAME_LEN as u64 + (64 << 10);

const EXIT: &str = "\
Exit status: 0 if all went well (of JSON lines: each was answered, with a node or an error); 1 if the input was refused or
could not be read or the output not be written; 2 if the command line is wrong.";

/// Translate stanzas between their binary form, JSON and XML.
#[derive(Args, Debug)]
#[command(after_help = EXIT)]
pub(crate) struct StanzaArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Binary to JSON or XML.
    ///
    /// The bytes start with the flags byte. Input whose first character is `{` is taken as JSON lines
    /// `{"name":…,"hex":…}`, any number of them; each gives a line `{"name":…,"node":…}` (with --xml `{"name":…,"xml":…}`)
    /// or `{"name":…,"error":…}`.
    #[command(after_help = EXIT)]
    Decode {
        #[command(flatten)]
        bytes: Bytes,
        #[command(flatten)]
        tree: Tree,
        #[command(flatten)]
        input: Input,
    },
    /// JSON or XML to binary.
    #[command(after_help = EXIT)]
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
    #[command(after_help = EXIT)]
    Explain {
        #[command(flatten)]
        bytes: Bytes,
        /// When to colour; auto: on a terminal, unless `NO_COLOR` is set.
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

/// Why a command ends early.
enum Stop {
    /// The input is refused, or cannot be read.
    Input(String),
    /// The output cannot be written.
    Output(io::Error),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Input(why)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs `comity stanza …`; the exit status is that of [`EXIT`].
pub(crate) fn run(args: StanzaArgs) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match args.command {
        Command::Decode { bytes, tree, input } => run_decode(&mut out, bytes, tree, &input),
        Command::Encode { tree, bytes, compress, input } => run_encode(&mut out, tree, bytes, compress, &input),
        Command::Explain { bytes, color, input } => run_explain(&mut out, bytes, color, &input),
    };
    // What was written up to a fault is shown.
    let why = match (result, out.flush()) {
        (Err(Stop::Input(why)), _) => why,
        // Who stops reading has seen enough.
        (Err(Stop::Output(error)), _) | (Ok(()), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        (Err(Stop::Output(error)), _) | (Ok(()), Err(error)) => format!("standard output: {error}"),
        (Ok(()), Ok(())) => return ExitCode::SUCCESS,
    };
    let _closed_pipe = writeln!(io::stderr(), "error: {why}");
    ExitCode::FAILURE
}

fn run_decode(out: &mut impl Write, bytes: Bytes, tree: Tree, input: &Input) -> Result<(), Stop> {
    let mut source = input.open()?;
    if !bytes.raw && source.peek()? == Some(b'{') {
        return decode_lines(out, tree, source, &input.limits());
    }
    let node = decode(&bytes.parse(source.read()?)?, &input.limits()).map_err(|e| e.to_string())?;
    if tree.xml {
        out.write_all(xml::to_string(&node).map_err(|e| e.to_string())?.as_bytes())?;
    } else {
        serde_json::to_writer_pretty(&mut *out, &Json(&node)).map_err(io::Error::from)?;
    }
    Ok(out.write_all(b"\n")?)
}

/// One frame of many.
#[derive(serde::Deserialize)]
struct Line {
    #[serde(default)]
    name: serde_json::Value,
    hex: Option<String>,
}

/// Answers line by line, in memory for one of them.
fn decode_lines(out: &mut impl Write, tree: Tree, mut source: Source, limits: &Limits) -> Result<(), Stop> {
    let mut bad = 0u64;
    while let Some(line) = source.line()? {
        let (name, frame) = match line.and_then(|line| serde_json::from_slice(&line).map_err(|e| e.to_string())) {
            Ok(Line { name, hex: Some(hex) }) => (name, Ok(hex)),
            Ok(Line { name, hex: None }) => (name, Err("no hex".to_owned())),
            Err(why) => (serde_json::Value::Null, Err(why)),
        };
        bad += u64::from(frame.is_err());
        let frame = frame.map_err(|why| format!("line {}: {why}", source.line));
        let node = frame.and_then(|hex| decode(&unhex(hex.as_bytes())?, limits).map_err(|e| e.to_string()));
        let text = match &node {
            Ok(node) if tree.xml => xml::to_string(node).map(Some).map_err(|e| e.to_string()),
            Ok(_) => Ok(None),
            Err(why) => Err(why.clone()),
        };
        let mut serializer = serde_json::Serializer::new(&mut *out);
        let written = serializer.serialize_map(None).and_then(|mut map| {
            map.serialize_entry("name", &name)?;
            match (&text, &node) {
                (Ok(Some(xml)), _) => map.serialize_entry("xml", xml)?,
                (Ok(None), Ok(node)) => map.serialize_entry("node", &Json(node))?,
                (Err(why), _) | (_, Err(why)) => map.serialize_entry("error", why)?,
            }
            map.end()
        });
        written.map_err(io::Error::from)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    if bad > 0 { Err(format!("{bad} lines that are no {{\"name\",\"hex\"}}").into()) } else { Ok(()) }
}

fn run_encode(out: &mut impl Write, tree: Tree, bytes: Bytes, compress: bool, input: &Input) -> Result<(), Stop> {
    let data = input.open()?.read()?;
    let limits = input.limits();
    let node = if tree.xml {
        xml::parse(&data, &limits).map_err(|e| e.to_string())?
    } else {
        from_json(&data, limits.max_depth)?
    };
    let mut frame = BytesMut::new();
    encode(&node, &mut frame, &EncodeOptions { compress, ..EncodeOptions::default() }).map_err(|e| e.to_string())?;
    if bytes.raw {
        return Ok(out.write_all(&frame)?);
    }
    Ok(writeln!(out, "{}", if bytes.base64 { STANDARD.encode(&frame) } else { hex(&frame) })?)
}

fn run_explain(out: &mut impl Write, bytes: Bytes, color: Colour, input: &Input) -> Result<(), Stop> {
    let frame = bytes.parse(input.open()?.read()?)?;
    let limits = input.limits();
    let colour = match color {
        Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        Colour::Always => true,
        Colour::Never => false,
    };
    let plain = body(&frame, &limits).map_err(|e| e.to_string())?;
    match frame.first() {
        Some(0) => writeln!(out, "flags 00: a body of {} bytes", plain.len())?,
        flags => {
            let flags = flags.copied().unwrap_or(0);
            writeln!(out, "flags {flags:02x}: zlib, {} bytes to {}", frame.len() - 1, plain.len())?;
        }
    }
    let (mut nodes, mut tokens, mut written) = (0, 0, Ok(()));
    let result = trace(&plain, &limits, &mut |piece| {
        nodes += usize::from(piece.role == Role::Tag);
        tokens += usize::from(matches!(piece.form, "token" | "dictionary"));
        if written.is_ok() {
            written = out.write_all(line(&piece, colour).as_bytes());
        }
    });
    written?;
    writeln!(out, "{nodes} nodes, {tokens} tokens")?;
    result.map_err(|e| e.to_string())?;
    // What only the decoder notices.
    decode(&frame, &limits).map_err(|e| e.to_string())?;
    Ok(())
}

/// One piece: offset, bytes, place and meaning, form and size.
fn line(piece: &Piece<'_>, colour: bool) -> String {
    const SHOWN: usize = 10;
    const SHOWN_CHARS: usize = 256;
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
    let mut text: String = piece.text.chars().take(SHOWN_CHARS).flat_map(|c| c.escape_debug()).collect();
    if piece.text.chars().nth(SHOWN_CHARS).is_some() {
        text.push('…');
    }
    let size = piece.bytes.len();
    format!(
        "{:6}  {bytes:<22}{:indent$}{role} {on}{text}{off}  ({}, {size} {})\n",
        piece.at,
        "",
        piece.form,
        if size == 1 { "byte" } else { "bytes" },
    )
}

impl Input {
    fn limits(&self) -> Limits {
        Limits::DEFAULT.with_max_depth(self.max_depth)
    }

    fn open(&self) -> Result<Source, String> {
        let name = self.file.display().to_string();
        let reader: Box<dyn BufRead> = if name == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(std::fs::File::open(&self.file).map_err(|e| format!("{name}: {e}"))?))
        };
        Ok(Source { name: if name == "-" { "standard input".to_owned() } else { name }, reader, line: 0 })
    }
}

/// What is read.
struct Source {
    name: String,
    reader: Box<dyn BufRead>,
    /// Lines taken.
    line: u64,
}

impl Source {
    /// The first byte that is no white space; what is before it is gone, and matters in no text form.
    fn peek(&mut self) -> Result<Option<u8>, String> {
        loop {
            let data = self.reader.fill_buf().map_err(|e| format!("{}: {e}", self.name))?;
            let blank = data.iter().take_while(|b| b.is_ascii_whitespace()).count();
            match data.get(blank) {
                None if data.is_empty() => return Ok(None),
                Some(byte) => return Ok(Some(*byte)),
                None => {
                    self.line += data.iter().filter(|b| **b == b'\n').count() as u64;
                    self.reader.consume(blank);
                }
            }
        }
    }

    /// All of it, of [`MAX_INPUT_LEN`] bytes.
    fn read(&mut self) -> Result<Vec<u8>, String> {
        let mut data = Vec::new();
        let read = self.reader.by_ref().take(MAX_INPUT_LEN + 1).read_to_end(&mut data);
        read.map_err(|e| format!("{}: {e}", self.name))?;
        if data.len() as u64 > MAX_INPUT_LEN {
            return Err(format!("{}: more than {MAX_INPUT_LEN} bytes", self.name));
        }
        if data.is_empty() {
            return Err(format!("{}: empty", self.name));
        }
        Ok(data)
    }

    /// The next line that is not blank, or why it is none: it is longer than [`MAX_LINE_LEN`].
    fn line(&mut self) -> Result<Option<Result<Vec<u8>, String>>, String> {
        loop {
            let (mut line, mut too_long) = (Vec::new(), false);
            loop {
                let read = self.reader.by_ref().take(MAX_LINE_LEN).read_until(b'\n', &mut line);
                if read.map_err(|e| format!("{}: {e}", self.name))? as u64 == MAX_LINE_LEN && !line.ends_with(b"\n") {
                    too_long = true;
                    line.clear();
                } else {
                    break;
                }
            }
            if line.is_empty() && !too_long {
                return Ok(None);
            }
            self.line += 1;
            if too_long {
                return Ok(Some(Err(format!("more than {MAX_LINE_LEN} bytes"))));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Ok(line)));
            }
        }
    }
}

impl Bytes {
    fn parse(self, data: Vec<u8>) -> Result<Vec<u8>, String> {
        let frame = if self.raw {
            data
        } else if self.base64 {
            let packed: Vec<u8> = data.into_iter().filter(|b| !b.is_ascii_whitespace()).collect();
            STANDARD.decode(packed).map_err(|e| format!("not base64: {e}"))?
        } else {
            unhex(&data)?
        };
        if frame.is_empty() { Err("no bytes, only white space".to_owned()) } else { Ok(frame) }
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
