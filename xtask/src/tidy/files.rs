//! Rules for single files.

/// Longest source file, in lines.
const MAX_LINES: usize = 1_000;

/// Marks of unfinished work. Written in two halves, or this file would break its own rule.
const UNFINISHED: &[(&str, &str)] =
    &[("todo", "!("), ("unimplemented", "!("), ("FIX", "ME"), ("#[ign", "ore"), ("dbg", "!(")];

/// What names a place outside of the project: nobody else has it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("../sha", "red"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/Us", "ers/"),
    ("/wo", "rk/"),
    ("<<<<", "<<<"),
    (">>>>", ">>>"),
];

/// The breaches of one tracked file.
pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let foreign = path.contains("/tests/data/") || path.contains("/seeds/") || path.starts_with("LICENSE");
    if foreign || path.contains("/LICENSE-") {
        return breaches;
    }
    let mut find = |marks: &[(&str, &str)], what: &str| {
        for mark in marks.iter().map(|(a, b)| format!("{a}{b}")) {
            let lines = text.lines().enumerate().filter(|(_, line)| line.contains(&mark));
            breaches.extend(lines.map(|(n, _)| format!("{path}:{}: {what}: {mark}", n + 1)));
        }
    };
    find(ELSEWHERE, "names a place outside of the project");
    if !path.ends_with(".rs") {
        return breaches;
    }
    find(UNFINISHED, "unfinished");
    let generated = path.contains("/generated/") || text.lines().take(3).any(|line| line.contains("Generated from"));
    if !generated {
        if text.lines().count() > MAX_LINES {
            breaches.push(format!("{path}: longer than {MAX_LINES} lines"));
        }
        let shebang_or_attribute = |line: &&str| line.starts_with("#![") || line.trim().is_empty();
        if !text.lines().find(|line| !shebang_or_attribute(line)).is_some_and(|line| line.starts_with("//!")) {
            breaches.push(format!("{path}: does not open with what it is (`//!`)"));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_lengths_are_found() {
        let mark = |(a, b): &(&str, &str)| format!("//! A file.\n{a}{b})]\n");
        for text in UNFINISHED.iter().chain(ELSEWHERE).map(mark) {
            assert_eq!(check("crates/x/src/lib.rs", &text).len(), 1, "{text}");
        }
        assert_eq!(check("crates/x/src/lib.rs", &"//! A line.\n".repeat(MAX_LINES + 1)).len(), 1);
        assert_eq!(check("crates/x/src/lib.rs", "fn main() {}\n").len(), 1);
        assert!(check("crates/x/src/lib.rs", "//! A file.\nfn main() {}\n").is_empty());
        assert!(check("crates/x/tests/data/peer/lib.rs", "of another origin").is_empty());
    }
}
