//! What tests share: a third suite for comity-signal ([`olm`]); foreign peers stand under `peers/`.

pub mod olm;
