//! A directory with both servers running in it, started as a person does: `comity sandbox`, `comity partner`.

use comity_testkit::port::free_port;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) const ALICE: &str = "alice@partner.test";
pub(crate) const BOB: &str = "+4915100000001";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn comity() -> Command {
    Command::new(env!("CARGO_BIN_EXE_comity"))
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) gatekeeper: Option<Program>,
    pub(crate) partner: Option<Program>,
    pub(crate) partner_url: String,
    /// What programs trust for TLS, where it is not the system's.
    pub(crate) roots: Option<PathBuf>,
}

impl World {
    /// `None` if the servers' binaries are not beside ours.
    pub(crate) fn start() -> Option<Self> {
        for server in ["comity-partner", "comity-gatekeeper"] {
            let beside = Path::new(env!("CARGO_BIN_EXE_comity"));
            if !beside.with_file_name(format!("{server}{}", std::env::consts::EXE_SUFFIX)).exists() {
                eprintln!("skipped: {server} is not built (cargo build --workspace)");
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let (chat, http, partner) = (free_port(), free_port(), free_port());
        let home = dir.path().display();
        let partner_url = format!("http://127.0.0.1:{partner}");
        private(
            &dir.path().join("gatekeeper.toml"),
            &format!(
                "listen_chat = \"127.0.0.1:{chat}\"\nlisten_http = \"127.0.0.1:{http}\"\ndata_dir = \"{home}/gatekeeper\"\n\
                 admin_token = \"a token that is long enough\"\n[[integrator]]\nid = 1\nname = \"Partner\"\n\
                 origin = \"{partner_url}\"\nmedia_base_url = \"{partner_url}/media\"\n"
            ),
        );
        private(
            &dir.path().join("partner.toml"),
            &format!(
                "sandbox = true\nlisten = \"127.0.0.1:{partner}\"\ndata_dir = \"{home}/partner\"\n\
                 gatekeeper_jwks_url = \"http://127.0.0.1:{http}/.well-known/jwks\"\n\
                 [[users]]\nid = \"{ALICE}\"\nsecret = \"a secret that is long enough\"\n"
            ),
        );
        let mut world = Self { dir, gatekeeper: None, partner: None, partner_url, roots: None };
        world.gatekeeper = Some(world.program(&["sandbox"]));
        world.gatekeeper.as_mut().unwrap().line("configuration");
        world.partner = Some(world.program(&["partner"]));
        world.partner.as_mut().unwrap().line("configuration");
        Some(world)
    }

    /// Starts `comity ARGS… --dir` of this world.
    pub(crate) fn program(&self, args: &[&str]) -> Program {
        Program::start(self.command(args))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = comity();
        command.args(args).arg("--dir").arg(self.dir.path());
        if let Some(roots) = &self.roots {
            command.env("SSL_CERT_FILE", roots);
        }
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Writes a file for its owner alone.
pub(crate) fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A running program and its lines.
pub(crate) struct Program {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    pub(crate) kept: VecDeque<String>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).ok();
        });
        Self { input: child.stdin.take(), child, lines, kept: VecDeque::new() }
    }

    pub(crate) fn write(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that `fits`, and has not been found before; others are kept.
    pub(crate) fn find(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        if let Some(at) = self.kept.iter().position(|line| fits(line)) {
            return self.kept.remove(at).unwrap();
        }
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {what}; there was {:#?}", self.kept);
            };
            if fits(&line) {
                return line;
            }
            self.kept.push_back(line);
        }
    }

    pub(crate) fn line(&mut self, part: &str) -> String {
        self.find(part, |line| line.contains(part))
    }

    /// A line of JSON.
    pub(crate) fn json(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
        parse(&self.find(what, |line| fits(&parse(line))))
    }

    pub(crate) fn event(&mut self, event: &str) -> Value {
        self.json(event, |line| line["event"] == event)
    }

    /// Calls, and gives what is answered.
    pub(crate) fn call(&mut self, call: &str) -> Value {
        self.write(&format!("{{\"call\":7,{call}}}"));
        let answer = self.json(call, |line| line["answer"] == 7);
        assert!(answer.get("error").is_none(), "{call}: {answer}");
        answer["ok"].clone()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and gives the lines that were not looked for.
    pub(crate) fn quit(mut self) -> Vec<String> {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
        let mut lines: Vec<_> = self.kept.drain(..).collect();
        lines.extend(self.lines.iter());
        lines
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // `comity sandbox` must end its server: asked first, killed if it does not listen.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
        for _ in 0..100 {
            if asked.is_err() || self.child.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
