//! What tests share: a third suite for comity-signal ([`olm`]), and whole conversations under virtual time ([`sim`]); foreign
//! peers stand under `peers/`.

pub mod olm;
pub mod sim;
