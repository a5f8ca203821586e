//! The checked-in code is what the schema generates. With `COMITY_REGENERATE=1` it is written instead of compared.
#![allow(clippy::disallowed_methods, reason = "reads and writes source files")]

use std::path::Path;

#[test]
fn generated_code_matches_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let schema = protox::compile(["handshake.proto", "message.proto"], [root.join("proto")]).unwrap();
    prost_build::Config::new()
        .out_dir(out.path())
        .bytes(["."])
        .skip_debug([".comity.message", ".comity.handshake.InteropData"])
        .compile_fds(schema)
        .unwrap();
    for name in ["handshake", "message"] {
        let fresh = std::fs::read_to_string(out.path().join(format!("comity.{name}.rs"))).unwrap();
        let tracked = root.join(format!("src/generated/{name}.rs"));
        if std::env::var_os("COMITY_REGENERATE").is_some() {
            std::fs::write(&tracked, &fresh).unwrap();
        }
        assert!(
            std::fs::read_to_string(&tracked).unwrap() == fresh,
            "src/generated/{name}.rs is stale: COMITY_REGENERATE=1 cargo test -p comity-proto"
        );
    }
}
