//! What a person types: a text, or a command after a slash.

use std::path::PathBuf;

pub(super) const HELP: &str = "\
/to WHO             choose the chat               /history [N]      the last messages, as they stand
/reply [N] TEXT     answer message N or the last  /react [N] EMOJI  react to it; without EMOJI, take it back
/edit [N] TEXT      change a message of yours     /revoke [N]       take one back
/file PATH          send a file                   /get [N]          fetch a message's file again
/read               mark the chat as read         /played [N]       say that a voice note was played
/unread             chats with unread messages    /typing on|off    tell that you type, or stopped
/block /unblock     the chat                      /blocklist        whom you block
/report [N]…        report the chat, with these messages of theirs
/safety             the chat's safety number      /accept           take the other side's new key
/ping WHO           ask to be reachable           /online /offline  connect, disconnect
/doctor             what to do if nothing works   /help  /quit
// at the start of a line sends a text that begins with a slash. Times are UTC.";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Nothing,
    Text(String),
    To(String),
    Reply(Option<u64>, String),
    React(Option<u64>, String),
    Edit(Option<u64>, String),
    Revoke(Option<u64>),
    File(PathBuf),
    Get(Option<u64>),
    History(Option<usize>),
    Read,
    Played(Option<u64>),
    Unread,
    Typing(bool),
    Block(bool),
    Blocklist,
    Report(Vec<u64>),
    Safety,
    Accept,
    Ping(String),
    Online(bool),
    Doctor,
    Help,
    Quit,
}

const NAMES: [&str; 24] = [
    "to",
    "reply",
    "react",
    "edit",
    "revoke",
    "file",
    "get",
    "history",
    "read",
    "played",
    "unread",
    "typing",
    "block",
    "unblock",
    "blocklist",
    "report",
    "safety",
    "accept",
    "ping",
    "online",
    "offline",
    "doctor",
    "help",
    "quit",
];

/// Reads a line.
///
/// # Errors
/// What was wrong, and what would be right.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return Ok(if line.is_empty() { Command::Nothing } else { Command::Text(line.to_owned()) });
    };
    if command.starts_with('/') {
        return Ok(Command::Text(command.to_owned()));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let needs = |what: &str| if rest.is_empty() { Err(format!("/{name} {what}")) } else { Ok(rest.to_owned()) };
    let number = || match rest {
        "" => Ok(None),
        _ => rest.parse().map(Some).map_err(|_| format!("/{name} [N], where N is a message's number")),
    };
    let numbered = |what: &str| -> Result<(Option<u64>, String), String> {
        let (first, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match first.parse() {
            Ok(number) => Ok((Some(number), text.trim().to_owned())),
            Err(_) => Ok((None, needs(what)?)),
        }
    };
    let full = |(number, text): (Option<u64>, String), what: &str| {
        // A lone number is the text.
        match (number, text.is_empty()) {
            (Some(_), true) => Ok((None, rest.to_owned())),
            (_, true) => Err(format!("/{name} {what}")),
            _ => Ok((number, text)),
        }
    };
    Ok(match name {
        "to" => Command::To(needs("WHO: an e-mail address, a phone number or a JID")?),
        "reply" => {
            let (number, text) = full(numbered("[N] TEXT")?, "[N] TEXT")?;
            Command::Reply(number, text)
        }
        "edit" => {
            let (number, text) = full(numbered("[N] TEXT")?, "[N] TEXT")?;
            Command::Edit(number, text)
        }
        "react" => {
            let (number, text) = numbered("").unwrap_or_default();
            Command::React(number, text)
        }
        "revoke" => Command::Revoke(number()?),
        "file" => Command::File(needs("PATH")?.into()),
        "get" => Command::Get(number()?),
        "history" => Command::History(match rest {
            "" => None,
            _ => Some(rest.parse().map_err(|_| "/history [N], where N says how many")?),
        }),
        "read" => Command::Read,
        "played" => Command::Played(number()?),
        "unread" => Command::Unread,
        "typing" => match rest {
            "on" | "" => Command::Typing(true),
            "off" => Command::Typing(false),
            _ => return Err("/typing on|off".into()),
        },
        "block" => Command::Block(true),
        "unblock" => Command::Block(false),
        "blocklist" => Command::Blocklist,
        "report" => {
            let numbers = rest.split_whitespace().map(str::parse).collect::<Result<_, _>>();
            Command::Report(numbers.map_err(|_| "/report [N]…, where each N is a message's number")?)
        }
        "safety" => Command::Safety,
        "accept" => Command::Accept,
        "ping" => Command::Ping(needs("WHO: a phone number or a JID")?),
        "online" => Command::Online(true),
        "offline" => Command::Online(false),
        "doctor" => Command::Doctor,
        "help" | "?" => Command::Help,
        "quit" | "exit" => Command::Quit,
        _ => {
            let near = NAMES.iter().map(|known| (distance(name, known), known)).min();
            return Err(match near {
                Some((distance, known)) if distance <= 2 => format!("there is no /{name}; did you mean /{known}?"),
                _ => format!("there is no /{name}; /help shows what there is"),
            });
        }
    })
}

/// How many letters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(16).enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            let here = (before + usize::from(x != y)).min(left + 1).min(*above + 1);
            before = std::mem::replace(above, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        assert_eq!(parse("  hello  "), Ok(Command::Text("hello".into())));
        assert_eq!(parse("//etc"), Ok(Command::Text("/etc".into())));
        assert_eq!(parse(""), Ok(Command::Nothing));
        assert_eq!(parse("/reply 12 well, yes"), Ok(Command::Reply(Some(12), "well, yes".into())));
        assert_eq!(parse("/reply well, yes"), Ok(Command::Reply(None, "well, yes".into())));
        assert_eq!(parse("/reply 42"), Ok(Command::Reply(None, "42".into())));
        assert_eq!(parse("/react"), Ok(Command::React(None, String::new())));
        assert_eq!(parse("/react 3"), Ok(Command::React(Some(3), String::new())));
        assert_eq!(parse("/react 3 👍"), Ok(Command::React(Some(3), "👍".into())));
        assert_eq!(parse("/react 👍"), Ok(Command::React(None, "👍".into())));
        assert_eq!(parse("/report 1 2"), Ok(Command::Report(vec![1, 2])));
        assert_eq!(parse("/history 7"), Ok(Command::History(Some(7))));
    }

    #[test]
    fn wrong_input_is_answered_with_what_is_right() {
        assert_eq!(parse("/hsitory"), Err("there is no /hsitory; did you mean /history?".into()));
        assert_eq!(parse("/xylophone"), Err("there is no /xylophone; /help shows what there is".into()));
        assert_eq!(parse("/file"), Err("/file PATH".into()));
        assert_eq!(parse("/reply"), Err("/reply [N] TEXT".into()));
        assert_eq!(parse("/revoke x"), Err("/revoke [N], where N is a message's number".into()));
        for name in NAMES {
            assert!(HELP.contains(&format!("/{name}")), "{name} is not in the help");
            assert!(!parse(&format!("/{name}")).is_err_and(|e| e.contains("there is no")), "{name}");
        }
    }
}
