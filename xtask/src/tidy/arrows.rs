//! Which crate may use which, and under which licence (ARCHITECTURE.md, "Rooms and arrows").

use super::graph::{Arrow, Graph, Kind, Package};

const PERMISSIVE: &str = "Apache-2.0 OR MIT";
const AGPL: &str = "AGPL-3.0-only";

/// The crates under the AGPL.
const AGPL_CRATES: &[&str] = &["comity-signal-x3dh", "comity-signal-pqxdh", "comity-cli", "comity-bench-signal"];
/// The crates that wrap a Signal engine.
const SUITES: &[&str] = &["comity-signal-x3dh", "comity-signal-pqxdh"];
/// The engines themselves, whatever their manifests say about their licence.
const ENGINES: &[&str] = &["libsignal-protocol-syft", "libsignal-protocol", "wacore-libsignal", "spqr"];
/// Programs that carry messages and must be unable to read them.
const SERVERS: &[&str] = &["comity-partner", "comity-gatekeeper", "comity-proxy"];
/// What can decrypt, and so must not be in a server.
const DECRYPTS: &[&str] = &[
    "comity-signal",
    "comity-signal-x3dh",
    "comity-signal-pqxdh",
    "comity-media",
    "comity-engine",
    "comity-client",
    "comity",
    "vodozemac",
];
/// What opens pictures: a server has none to open, and nothing of what attacks a decoder.
const PICTURES: &[&str] = &["image"];

/// Arrows among our crates, in `[dependencies]` and `[build-dependencies]`.
fn allowed(from: &str) -> &'static [&'static str] {
    match from {
        "comity-proto" | "comity-xmpp" | "comity-media" | "comity-identity" | "comity-server" => &["comity-core"],
        "comity-noise" | "comity-signal" => &["comity-core", "comity-proto"],
        "comity-signal-x3dh" | "comity-signal-pqxdh" => &["comity-core", "comity-signal"],
        "comity-engine" => {
            &["comity-core", "comity-proto", "comity-noise", "comity-xmpp", "comity-signal", "comity-media"]
        }
        "comity-client" => &[
            "comity-core",
            "comity-proto",
            "comity-noise",
            "comity-xmpp",
            "comity-signal",
            "comity-media",
            "comity-identity",
            "comity-engine",
        ],
        "comity" => &[
            "comity-core",
            "comity-proto",
            "comity-noise",
            "comity-xmpp",
            "comity-signal",
            "comity-signal-x3dh",
            "comity-signal-pqxdh",
            "comity-media",
            "comity-identity",
            "comity-engine",
            "comity-client",
        ],
        "comity-partner" | "comity-gatekeeper" | "comity-proxy" => {
            &["comity-core", "comity-proto", "comity-noise", "comity-xmpp", "comity-identity", "comity-server"]
        }
        _ => &[],
    }
}

/// The crates whose arrows are free: they stand on top, or are not published.
fn on_top(name: &str) -> bool {
    matches!(name, "comity-cli" | "comity-conformance" | "comity-testkit" | "comity-benches" | "comity-bench-signal")
}

/// Tests of the upper crates set up whole conversations.
fn tests_whole_conversations(name: &str) -> bool {
    SERVERS.contains(&name) || matches!(name, "comity-engine" | "comity-client" | "comity")
}

fn ours(name: &str) -> bool {
    name == "comity" || name.starts_with("comity-")
}

fn arrow_allowed(from: &str, arrow: &Arrow) -> bool {
    let to = arrow.to.as_str();
    if from == "xtask" {
        return false;
    }
    // Permissive crates compile, and pass their tests, without the AGPL ones.
    if AGPL_CRATES.contains(&to) && !AGPL_CRATES.contains(&from) && !(from == "comity" && SUITES.contains(&to)) {
        return false;
    }
    if from == "comity" && SUITES.contains(&to) {
        return arrow.optional || arrow.kind == Kind::Dev;
    }
    match arrow.kind {
        Kind::Dev => {
            // One driver of foreign peers runs both suites.
            let among_suites = SUITES.contains(&from) && SUITES.contains(&to);
            among_suites
                || to == "comity-testkit"
                || allowed(from).contains(&to)
                || on_top(from)
                || tests_whole_conversations(from)
        }
        Kind::Normal | Kind::Build => to != "comity-testkit" && allowed(from).contains(&to) || on_top(from),
    }
}

/// Every breach of the table, of the servers' rule and of the licences.
pub(crate) fn check(graph: &Graph) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in graph.members() {
        for arrow in package.arrows.iter().filter(|arrow| ours(&arrow.to) && arrow.to != package.name) {
            if !arrow_allowed(&package.name, arrow) {
                breaches.push(format!("{} must not use {} ({:?} dependency)", package.name, arrow.to, arrow.kind));
            }
        }
        check_linked(graph, package, &mut breaches);
        let licence = if AGPL_CRATES.contains(&package.name.as_str()) { AGPL } else { PERMISSIVE };
        if package.license != licence {
            breaches.push(format!("{} states the licence {:?}, not {licence:?}", package.name, package.license));
        }
    }
    breaches
}

/// What a crate is linked with, however long the way, with every feature on. The optional arrows from `comity` to the
/// suites are the one exception.
fn check_linked(graph: &Graph, package: &Package, breaches: &mut Vec<String>) {
    let name = package.name.as_str();
    let linked = graph.linked(package, |from, to| from.name == "comity" && SUITES.contains(&to.name.as_str()));
    for other in linked {
        let other_name = other.name.as_str();
        if SERVERS.contains(&name) && (DECRYPTS.contains(&other_name) || ENGINES.contains(&other_name)) {
            breaches.push(format!("the server {name} links {other_name}: it could decrypt"));
        }
        if SERVERS.contains(&name) && PICTURES.contains(&other_name) {
            breaches.push(format!("the server {name} links {other_name}: it has no picture to open"));
        }
        let copyleft = other.license.contains("AGPL") || ENGINES.contains(&other_name);
        if copyleft && !AGPL_CRATES.contains(&name) {
            breaches.push(format!("{name} is permissive and links {other_name} ({})", other.license));
        }
    }
}

/// Licence texts and a README beside every manifest of a library or program.
pub(crate) fn check_licence_files(graph: &Graph) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in graph.members().filter(|package| ours(&package.name) && !package.name.starts_with("comity-bench")) {
        let agpl = AGPL_CRATES.contains(&package.name.as_str());
        for (file, wanted) in
            [("LICENSE-AGPL", agpl), ("LICENSE-APACHE", !agpl), ("LICENSE-MIT", !agpl), ("README.md", true)]
        {
            if package.dir.join(file).is_file() != wanted {
                let is = if wanted { "lacks" } else { "must not carry" };
                breaches.push(format!("{} {is} {file}", package.name));
            }
        }
        if package.publish == (package.name == "comity-testkit") {
            breaches.push(format!("{}: publish = {} is wrong", package.name, package.publish));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small workspace in the shape of ours.
    fn graph() -> Graph {
        let package = |name: &str, license: &str, deps: &[&str]| {
            let deps: Vec<_> = deps.iter().map(|to| serde_json::json!({"name": to, "kind": null})).collect();
            let path = format!("/w/{name}/Cargo.toml");
            serde_json::json!({"id": name, "name": name, "license": license, "dependencies": deps,
                "manifest_path": path, "publish": null})
        };
        let spec: [(&str, &str, &[&str]); 10] = [
            ("comity-core", PERMISSIVE, &[]),
            ("comity-noise", PERMISSIVE, &["comity-core"]),
            ("comity-xmpp", PERMISSIVE, &["comity-core"]),
            ("comity-signal", PERMISSIVE, &["comity-core"]),
            ("comity-signal-x3dh", AGPL, &["comity-signal", "wacore-libsignal"]),
            ("comity-engine", PERMISSIVE, &["comity-noise", "comity-signal"]),
            ("comity", PERMISSIVE, &["comity-engine"]),
            ("comity-gatekeeper", PERMISSIVE, &["comity-noise", "comity-xmpp"]),
            ("wacore-libsignal", "MIT", &[]),
            ("image", "MIT", &[]),
        ];
        let members: Vec<_> = spec.iter().map(|s| s.0).filter(|name| ours(name)).collect();
        let packages: Vec<_> = spec.iter().map(|s| package(s.0, s.1, s.2)).collect();
        let nodes: Vec<_> = spec
            .iter()
            .map(|(name, _, deps)| {
                let kinds = serde_json::json!([{"kind": null}]);
                let deps: Vec<_> = deps.iter().map(|to| serde_json::json!({"pkg": to, "dep_kinds": kinds})).collect();
                serde_json::json!({"id": name, "deps": deps})
            })
            .collect();
        let metadata = serde_json::json!({"workspace_members": members, "packages": packages,
            "resolve": {"nodes": nodes}});
        Graph::parse(&metadata.to_string()).unwrap()
    }

    fn breaches_of(from: &str, to: &str, kind: Kind, optional: bool) -> usize {
        check(&graph().with_arrow(from, to, kind, optional)).len()
    }

    #[test]
    fn the_shape_as_it_is_passes() {
        assert_eq!(check(&graph()), Vec::<String>::new());
        assert_eq!(breaches_of("comity", "comity-signal-x3dh", Kind::Normal, true), 0);
        assert_eq!(breaches_of("comity-gatekeeper", "comity-engine", Kind::Dev, false), 0);
    }

    #[test]
    fn every_forbidden_arrow_fails() {
        for (from, to, kind) in [
            ("comity-noise", "comity-xmpp", Kind::Normal),
            ("comity-xmpp", "comity-noise", Kind::Normal),
            ("comity-signal", "comity-xmpp", Kind::Build),
            ("comity-core", "comity-noise", Kind::Normal),
            ("comity-noise", "comity-xmpp", Kind::Dev),
            ("comity-noise", "comity-engine", Kind::Dev),
            ("comity-engine", "comity", Kind::Normal),
            ("comity-engine", "comity-signal-x3dh", Kind::Normal),
            ("comity-engine", "comity-signal-x3dh", Kind::Dev),
            ("comity", "comity-signal-x3dh", Kind::Normal),
            ("comity-gatekeeper", "comity-signal", Kind::Normal),
            ("comity-gatekeeper", "comity-engine", Kind::Build),
        ] {
            assert_ne!(breaches_of(from, to, kind, false), 0, "{from} -> {to} ({kind:?})");
        }
    }

    /// The table looks at manifests, this at the whole way down.
    #[test]
    fn a_server_is_caught_at_any_distance() {
        let graph = graph().with_arrow("comity-xmpp", "comity-signal", Kind::Normal, true);
        let breaches = check(&graph);
        assert!(breaches.iter().any(|b| b.contains("comity-gatekeeper links comity-signal")), "{breaches:?}");
    }

    #[test]
    fn a_server_opens_no_pictures() {
        let graph = graph().with_arrow("comity-xmpp", "image", Kind::Normal, true);
        assert_eq!(check(&graph), ["the server comity-gatekeeper links image: it has no picture to open"]);
    }

    #[test]
    fn engines_stay_behind_the_suites() {
        let graph = graph().with_arrow("comity-core", "wacore-libsignal", Kind::Normal, true);
        assert!(check(&graph).iter().any(|b| b.starts_with("comity is permissive and links wacore-libsignal")));
    }
}
