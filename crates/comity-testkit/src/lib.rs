//! What tests share: a third suite for comity-signal ([`olm`]), a client against a scripted server ([`scripted`]), whole
//! conversations under virtual time ([`sim`]), and ports for real servers ([`port`]); foreign peers stand under `peers/`.

pub mod olm;
pub mod port;
pub mod scripted;
pub mod sim;
