//! Running commands: each is printed before it runs.

use std::path::Path;
use std::process::{Command, Stdio};
use xshell::Shell;

/// What every task gives back.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A shell in the workspace's root.
pub(crate) fn at_root() -> Result<Shell> {
    let sh = Shell::new()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace root")?;
    sh.change_dir(root);
    Ok(sh)
}

/// Cargo's target directory, made absolute.
pub(crate) fn target_dir(sh: &Shell) -> std::path::PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => sh.current_dir().join(dir),
        None => sh.current_dir().join("target"),
    }
}

/// Where tasks install tools and write reports: always `target/` of the workspace.
pub(crate) fn out_dir(sh: &Shell, name: &str) -> Result<std::path::PathBuf> {
    let dir = sh.current_dir().join("target").join(name);
    sh.create_dir(&dir)?;
    Ok(dir)
}

/// Prints `command`.
pub(crate) fn announce(command: &Command) {
    let mut line = String::from("$");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            line += &format!(" {}={}", name.to_string_lossy(), value.to_string_lossy());
        }
    }
    for part in std::iter::once(command.get_program()).chain(command.get_args()) {
        line += &format!(" {}", part.to_string_lossy());
    }
    eprintln!("{line}");
}

/// Runs `command` and hands each line of its stdout to `line`; true if it succeeded.
pub(crate) fn lines(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    use std::io::BufRead;
    announce(command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    for text in std::io::BufReader::new(stdout).split(b'\n') {
        line(&String::from_utf8_lossy(&text?));
    }
    Ok(child.wait()?.success())
}

/// Whether `program` can be started at all.
pub(crate) fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
