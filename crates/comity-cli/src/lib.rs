//! The comity command: demo, chat, sandbox, partner.
