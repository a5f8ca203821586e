//! Does nothing; a package with a build script has its build-dependencies unpacked, and one of them carries protoc.
fn main() {}
